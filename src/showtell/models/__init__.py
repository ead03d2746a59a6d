"""The networks: encoders that look, decoders that tell."""

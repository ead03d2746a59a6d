"""Fast kernels of the decoders. Each has a plain reference, in its file or in its test."""

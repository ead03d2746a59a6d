"""Fast kernels behind the decoders, each with a plain reference in the tests."""

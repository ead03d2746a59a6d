"""How fast the package is, against the physical bound and against what people run instead: ``python -m benchmarks``."""

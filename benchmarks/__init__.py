"""How fast the package is, against the bound and against what people run instead: ``python -m benchmarks``."""

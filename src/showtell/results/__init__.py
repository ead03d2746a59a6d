"""The table of all captioners on one split, a person beside them, made from their runs: ``showtell results``."""

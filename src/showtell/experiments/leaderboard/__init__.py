"""Several captioners compared on one split, with a human baseline."""

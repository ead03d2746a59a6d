"""Faults of a prepared set that training does not stop at: the checks, page and fix of ``showtell inspect``."""

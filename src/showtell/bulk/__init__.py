"""Captions any number of images into one output: sources, rows, parts that survive an interruption, and engines."""

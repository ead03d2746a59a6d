"""Scores of more captions than fit in memory."""

"""Captioned datasets: sources, the prepared set, the feature cache, batches."""

"""Captioners on disk: checkpoints, model cards, the hub, averaging and ensembles."""

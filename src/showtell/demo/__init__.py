"""The demo: prepare, train, evaluate and caption drawn scenes in minutes."""

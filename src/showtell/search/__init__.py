"""Turning logits into captions. Knows logits and states, not networks."""

"""Captions as text: their normal form, and how it is split into tokens."""

"""Image loading, preprocessing and attention overlays."""

"""Image files to arrays: safe decoding, preprocessing, attention overlays."""

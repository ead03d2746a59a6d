"""Captioning with a trained model: torch and ONNX backends, the `Captioner`, the listing of images and writers."""

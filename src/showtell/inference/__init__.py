"""Captioning with a trained model: backends (torch, ONNX), the `Captioner` facade, readers and writers."""

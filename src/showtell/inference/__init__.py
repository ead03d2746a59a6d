"""Captioning with a trained model: torch and ONNX backends, the `Captioner`, batches for servers."""

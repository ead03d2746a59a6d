"""Export to ONNX, quantization and parity checks."""

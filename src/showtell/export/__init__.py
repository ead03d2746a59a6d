"""A captioner as ONNX graphs: written with torch, run with onnxruntime and numpy alone."""

"""Captioning with a trained model.

`captioner` is the facade and `caption` its result. `backend` chooses between `torch_backend` (with `onednn_decoder`)
and `onnx_backend` (with `onnx_config`, `onnx_files` and `onnx_sessions`). For servers: `batcher` and
`captioner_process`; `decode_pool` and `decode_process` decode images in processes of their own.
"""

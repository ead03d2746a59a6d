"""Files, processes, devices and the console: nothing here knows about captions.

- Files: `atomic` (writes and manifests), `locks`, `reading`, `json_stream`, `disk_store`, `safetensors`,
  `safetensors_header`.
- Processors: `cpu`, `device`, `batch_pool`, `skip_init`.
- Processes: `child_process`, `supervisor`, `signals`.
- Network: `public_fetch`, `slow_heads`. Terminal: `console`, `log_lines`.
"""

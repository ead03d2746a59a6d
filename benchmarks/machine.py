"""What a run of the benchmarks ran on: processor, cores, memory, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")
PACKAGES = (
    "showtell",
    "torch",
    "numpy",
    "pillow",
    "simplejpeg",
    "tokenizers",
    "onnxruntime",
    "openvino",
    "transformers",
    "pycocoevalcap",
)


def describe_machine() -> dict[str, Any]:
    """Return processor, the cores that may be used, their matrix units, memory, graphics card, threads."""
    import torch

    described = _cpuinfo()
    return {
        "processor": described.get("model name", platform.processor() or platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "flags": [flag for flag in FLAGS if flag in described.get("flags", "").split()],
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.release()}",
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of what is measured, where it is installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Return the commit that was measured, with a plus where files differ from it; "unknown" outside a clone."""

    def ask(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip()

    name = ask("rev-parse", "--short=10", "HEAD")
    changed = ask("status", "--porcelain", "--untracked-files=no", "--", "src", "benchmarks")
    return f"{name}{'+' if changed else ''}" if name else "unknown"


def _cpuinfo() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    pairs = (line.partition(":") for line in path.read_text(encoding="utf-8").splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}

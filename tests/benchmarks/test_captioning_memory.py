"""The memory of an export is measured where torch is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.thorough
def test_what_measures_memory_imports_no_torch() -> None:
    code = "import sys, benchmarks.apart, benchmarks.captioning_memory; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.stdout == "False\n", run.stderr

"""The quickstart notebook runs from top to bottom."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "quickstart.ipynb"


@pytest.mark.slow
def test_the_quickstart_runs_in_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(NOTEBOOK.parent)
    namespace: dict[str, Any] = {}
    printed = io.StringIO()
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    with contextlib.redirect_stdout(printed):
        for cell in cells:
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), NOTEBOOK.name, "exec"), namespace)
    lines = printed.getvalue().splitlines()
    assert sum(" - " in line for line in lines) == len(list(NOTEBOOK.parent.glob("*.jpg")))
    assert any(line.startswith("BLEU-1") for line in lines)

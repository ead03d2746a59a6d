"""The captions that examples/README.md shows are what the captioner gives."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from tests.docs import markdown
from tests.docs.markdown import ROOT
from typer.testing import CliRunner

from showtell import Captioner
from showtell.cli.main import app

EXAMPLES = ROOT / "examples"
MOST_BYTES = 120_000
ROW = re.compile(r"^\| `([\w-]+\.jpg)` \| ([a-z ]+) \| ([^|]+) \|", re.M)


def _rows() -> dict[str, tuple[str, str]]:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    return {name: (caption, verdict) for name, caption, verdict in ROW.findall(text)}


def test_every_example_has_a_verdict_and_some_are_wrong() -> None:
    rows = _rows()
    assert sorted(rows) == sorted(path.name for path in EXAMPLES.glob("*.jpg"))
    verdicts = [verdict for _, verdict in rows.values()]
    assert all(verdict.startswith(("correct", "**wrong**")) for verdict in verdicts)
    assert any(verdict.startswith("correct") for verdict in verdicts)
    assert any("**wrong**" in verdict for verdict in verdicts)


def test_examples_are_small() -> None:
    assert all(path.stat().st_size <= MOST_BYTES for path in EXAMPLES.glob("*.jpg"))


def test_scores_of_the_example_captions_are_what_the_command_prints(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    blocks = list(markdown.blocks(ROOT / "docs" / "metrics.md"))
    checked = 0
    for command, output in pairwise(blocks):
        if "examples/captions" in command.body and output.info == "text":
            for _, *words in markdown.commands(command.body):
                moved = [word.replace("data/", f"{tmp_path}/") for word in words]
                printed = CliRunner().invoke(app, moved).stdout
            assert printed.strip() == output.body.strip()
            checked += 1
    assert checked == 3


@pytest.mark.slow
def test_the_captions_are_the_captioners() -> None:
    rows = _rows()
    captions = Captioner.load(ROOT / "models" / "flickr8k", device="cpu").caption(
        [EXAMPLES / name for name in rows]
    )
    same = [caption.text == text for caption, (text, _) in zip(captions, rows.values(), strict=True)]
    # Processors that multiply bfloat16 may change one of them.
    assert sum(same) >= len(rows) - 1

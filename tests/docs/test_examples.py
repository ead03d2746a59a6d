"""The captions that examples/README.md shows are what the captioner gives."""

from __future__ import annotations

import re

import pytest
from tests.docs.markdown import ROOT

from showtell import Captioner

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


@pytest.mark.slow
def test_the_captions_are_the_captioners() -> None:
    rows = _rows()
    captions = Captioner.load(ROOT / "models" / "flickr8k", device="cpu").caption(
        [EXAMPLES / name for name in rows]
    )
    same = [caption.text == text for caption, (text, _) in zip(captions, rows.values(), strict=True)]
    # Processors that multiply bfloat16 may change one of them.
    assert sum(same) >= len(rows) - 1

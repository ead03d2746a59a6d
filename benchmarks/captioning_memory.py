"""How much memory captioning takes, ours and Hugging Face's, each in a process that imports what it needs alone.

No torch here: an export runs without it, and its memory is measured without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.apart import Memory
from showtell.inference.captioner import Captioner

BATCH = 32
BEAM_SIZE = 3
WORDS = 20
"""Tokens of every caption, ours and theirs: as many as ``generate`` says by default."""
FIRST_WORDS = 3
"""Of theirs, where their best batch is searched and their memory measured, which more words could only raise.
On slow cores a whole caption of a batch takes a minute."""


def caption(captioner: Captioner, images: list[Path]) -> None:
    """Caption images as both are measured."""
    captioner.caption(images, batch_size=BATCH, beam_size=BEAM_SIZE, min_tokens=WORDS, max_tokens=WORDS)


def of_ours(path: str, weights: str | None, images: list[str]) -> dict[str, Any]:
    """Load a captioner and caption; return the peaks of this process from then on, in bytes."""
    captioner = Captioner.load(path, encoder_weights=weights)
    with Memory().watched() as memory:
        caption(captioner, [Path(image) for image in images])
    return {"peak": memory.peak, "anonymous": memory.anonymous}


def of_theirs(name: str, batch: int, images: list[str]) -> dict[str, Any]:
    """The same with the first words of one of Hugging Face's."""
    from benchmarks.rivals.hugging_face import HuggingFace

    rival = HuggingFace(name)
    paths = [Path(image) for image in images]
    with Memory().watched() as memory:
        rival.caption(paths, batch=batch, beam_size=BEAM_SIZE, words=FIRST_WORDS)
    return {"peak": memory.peak, "anonymous": memory.anonymous}

"""Draws the attention of captions, one PNG per image."""

import os
from collections.abc import Iterable
from pathlib import Path

from showtell.inference.caption import Caption
from showtell.system.atomic import atomic_path
from showtell.system.disk_store import text_list


class AttentionWriter:
    """Draws attention into a folder: ``photo.attention.png``, or ``photo.attention-2.png`` if that name is taken.

    The images that are captioned are never overwritten.
    """

    def __init__(self, folder: Path, images: Iterable[str], drawn: Iterable[str] = ()) -> None:
        """``images`` are all paths to be captioned, ``drawn`` what an earlier run of the same job has drawn."""
        self._folder = folder
        self._taken = text_list(Path(path).name.casefold() for path in drawn)
        self._inputs = text_list(os.path.realpath(path) for path in images)

    def __call__(self, caption: Caption) -> str:
        """Draw the attention of a caption and return the path; an ImageError if the image can no longer be read."""
        drawing = caption.draw_attention()
        target = self._folder / self._name(Path(caption.path or "").stem.replace("\0", ""))
        with atomic_path(target) as temporary:
            drawing.save(temporary, "PNG")
        return str(target)

    def _name(self, stem: str) -> str:
        name, number = f"{stem}.attention.png", 1
        while self._inputs.find(os.path.realpath(self._folder / name)) or self._taken.add(name.casefold()):
            number += 1
            name = f"{stem}.attention-{number}.png"
        return name

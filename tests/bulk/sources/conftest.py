"""A captioner, what units yield, and calls that are interrupted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from showtell.bulk.caption_files import caption_files
from showtell.bulk.sources.listing import list_units
from showtell.bulk.units import Failure
from showtell.images.load import NamedBytes
from showtell.inference.captioner import Captioner

Rows = list[dict[str, Any]]


@pytest.fixture(scope="session")
def captioner(tiny_checkpoint: Callable[[str], Path]) -> Captioner:
    return Captioner.load(tiny_checkpoint("attention"), device="cpu")


@pytest.fixture
def caption_rows(captioner: Captioner, tmp_path: Path) -> Callable[..., Rows]:
    """Caption sources, and return the rows."""

    def rows(*sources: str | Path, **options: Any) -> Rows:
        out = tmp_path / "captions.jsonl"
        caption_files(captioner, sources, output=out, form="jsonl", **options)
        return [json.loads(line) for line in out.read_bytes().splitlines()]

    return rows


@pytest.fixture
def images_of() -> Callable[..., list[Any]]:
    """Return what the units of sources yield: names with bytes, names with errors, and paths."""

    def images(*sources: str | Path, start: int = 0, **options: Any) -> list[Any]:
        listing = list_units(sources, **options)
        assert listing.problems == []
        found: list[Any] = []
        for unit in listing.units():
            for image in unit.images(start):
                if isinstance(image, NamedBytes):
                    found.append((image.name, image.data))
                elif isinstance(image, Failure):
                    found.append((image.path, image.error))
                else:
                    found.append(image)
        return found

    return images


@pytest.fixture
def check_resume(
    captioner: Captioner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Check that a call, interrupted after each of some numbers of images, writes the bytes of one undisturbed."""

    def check(*sources: str | Path, after: Iterable[int], **options: Any) -> None:
        def call(name: str) -> bytes:
            out = tmp_path / name
            caption_files(captioner, sources, output=out, form="jsonl", batch_size=1, **options)
            return out.read_bytes()

        whole = captioner.stream_batches
        for count in after:

            def interrupted(*arguments: Any, count: int = count, **others: Any) -> Iterable[Any]:
                yield from islice(whole(*arguments, **others), count)
                raise KeyboardInterrupt

            monkeypatch.setattr(captioner, "stream_batches", interrupted)
            with pytest.raises(KeyboardInterrupt):
                call("resumed.jsonl")
            monkeypatch.setattr(captioner, "stream_batches", whole)
        assert call("resumed.jsonl") == call("undisturbed.jsonl")

    return check


@pytest.fixture
def peak_of() -> Callable[..., int]:
    """Return the peak of the memory, in bytes, of a process that reads all images of a source."""

    def peak(source: Path, num_images: int) -> int:
        script = (
            "import sys; from showtell.bulk.sources.listing import list_units\n"
            "from tests.memory import peak_bytes\n"
            "units = list_units([sys.argv[1]]).units()\n"
            "print(sum(len(image.data) > 0 for unit in units for image in unit.images()), peak_bytes())"
        )
        root = Path(__file__).resolve().parents[3]
        command = [sys.executable, "-c", script, str(source)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root)
        read, peak = map(int, done.stdout.split())
        assert read == num_images
        return peak

    return peak

"""Captioning with Ray on this machine, some of whose processes are killed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.bulk.stub_captioner import StubCaptioner, load, load_slow

from showtell.bulk.caption_files import caption_files
from showtell.bulk.engine import ThisProcess
from showtell.bulk.ray_engine import RayEngine
from showtell.errors import ConfigError

Write = Callable[[Path, Iterable[str]], None]

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
pytest.importorskip("ray.data", reason="Ray is not installed: pip install -e '.[ray]'")


def ray_engine(loading: Callable[..., Any] = load) -> RayEngine:
    return RayEngine(loading, StubCaptioner.facts, StubCaptioner.options, workers=2, threads=1)


@pytest.fixture
def images(tmp_path: Path, write_images: Write, monkeypatch: pytest.MonkeyPatch) -> Path:
    """60 images in units of 10, one of them broken in each."""
    monkeypatch.setattr("showtell.bulk.sources.listing.UNIT_IMAGES", 10)
    write_images(tmp_path / "in", [f"{number:02d}.png" for number in range(60)])
    for number in range(6):
        (tmp_path / "in" / f"{number}7.png").write_bytes(b"")
    return tmp_path / "in"


def workers() -> list[int]:
    """The processes of Ray that caption."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::MapWorker"):
                found.append(int(path.parent.name))
        except OSError:  # ended meanwhile
            continue
    return found


def test_ray_writes_what_this_process_writes_though_a_worker_is_killed(images: Path, tmp_path: Path) -> None:
    call = partial(caption_files, sources=[images], form="jsonl", batch_size=4)
    here = ThisProcess(StubCaptioner())  # type: ignore[arg-type]
    expected = call(here, output=tmp_path / "one.jsonl")
    killed: list[int] = []

    def kill() -> None:
        while not list((tmp_path / "two.jsonl.parts").glob("*.end.jsonl")):
            time.sleep(0.02)
        killed.append(workers()[0])
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    report = call(ray_engine(load_slow), output=tmp_path / "two.jsonl")
    thread.join()
    assert report == expected
    assert len(killed) == 1
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()


def test_an_image_that_ends_its_process_twice_is_an_error(images: Path, tmp_path: Path) -> None:
    (images / "15.png").rename(images / "deadly.png")
    report = caption_files(ray_engine(), [images], output=tmp_path / "out.jsonl", form="jsonl", batch_size=4)
    assert report.num_captioned == 53
    error = "the process that captioned it ended, 2 times"
    assert [problem for problem in report.problems if error in problem] == [
        f"cannot caption {images / 'deadly.png'}: found {error}"
    ]
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert len({row["path"] for row in rows}) == len(rows) == 60


def test_errors_of_a_worker_are_those_of_the_captioner(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="attention cannot be returned: found no networks"):
        caption_files(ray_engine(), [images], output=tmp_path / "out", attention=tmp_path / "maps")

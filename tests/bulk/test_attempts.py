"""What other processes do with units, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.bulk.stub_captioner import load

from showtell.bulk.attempts import Task, Tried, caption_tasks
from showtell.bulk.units import Unit

Write = Callable[[Path, Iterable[str]], None]


def test_captions_are_sent_before_an_image_that_may_end_the_process_is_tried(
    tmp_path: Path, write_images: Write
) -> None:
    write_images(tmp_path, ["a.png", "b.png"])
    units = [
        Unit(number, {"files": [str(tmp_path / name)]}) for number, name in enumerate(["a.png", "b.png"])
    ]
    tasks = [Task(units[0], 0), Task(units[1], 0, Tried(num_ended=1))]
    happened: list[Any] = []
    lists = caption_tasks(
        load, tasks, lambda *alone: happened.append(alone), batch_size=4, attention=False, beam_size=1
    )
    for events in lists:
        assert isinstance(events, list)
        happened.append([event.unit for event in events])
    assert happened == [[0, 0], (1, 0), (1, 1), (1, None), [1, 1]]

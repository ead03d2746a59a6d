"""The collector rests while scores are made, and is left as it was found."""

from __future__ import annotations

import gc

import pytest

from showtell.errors import ScoreError
from showtell.scoring import evaluate
from showtell.scoring.collecting import collecting_paused


@pytest.mark.parametrize("was_on", [True, False])
def test_the_collector_is_left_as_it_was_found(was_on: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if was_on else gc.disable)()
        with collecting_paused():
            assert not gc.isenabled()
        assert gc.isenabled() == was_on
        with pytest.raises(ScoreError):
            evaluate({"a": ["one dog"]}, {"b": "one dog"})
        assert gc.isenabled() == was_on
    finally:
        (gc.enable if before else gc.disable)()


def test_nothing_is_collected_while_captions_are_scored() -> None:
    runs: list[str] = []

    def watch(phase: str, _: dict[str, int]) -> None:
        runs.append(phase)

    references = {f"{number}": [f"dog {number} runs"] * 5 for number in range(2000)}
    gc.collect()
    gc.callbacks.append(watch)
    try:
        evaluate(references, {key: texts[0] for key, texts in references.items()})
    finally:
        gc.callbacks.remove(watch)
    assert len(runs) <= 4

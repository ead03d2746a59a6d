"""A captioner in a process of its own: the same captions, words on the way, errors, and a process that ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from showtell.errors import CheckpointError, ConfigError, ShowtellError
from showtell.inference.captioner import Captioner
from showtell.inference.captioner_process import CaptionerEndedError, CaptionerProcess

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


class Fragile(Captioner):
    """Its process ends with a batch that has a black image."""

    def caption_preprocessed(self, images: npt.NDArray[np.uint8], *arguments: Any, **options: Any) -> Any:
        if (images == 0).all(axis=(1, 2, 3)).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if (images == 255).all():
            raise OSError("too much")
        return super().caption_preprocessed(images, *arguments, **options)


@pytest.fixture(scope="module")
def path(tiny_checkpoint: Callable[[str], Path]) -> Path:
    return tiny_checkpoint("attention")


@pytest.fixture(scope="module")
def process(path: Path) -> Iterator[CaptionerProcess]:
    process = CaptionerProcess(partial(Fragile.load, path, device="cpu"))
    yield process
    process.close()


@pytest.fixture
def here(path: Path) -> Captioner:
    return Captioner.load(path, device="cpu")


def test_it_captions_as_a_captioner_of_this_process(process: CaptionerProcess, here: Captioner) -> None:
    expected = here.caption_preprocessed(IMAGES, here.options, attention=True)
    captions = process.caption_preprocessed(IMAGES, process.options, attention=True)
    assert [each.text for each in captions] == [each.text for each in expected]
    np.testing.assert_allclose(captions[0].attention, expected[0].attention, atol=1e-6)
    for name in ("options", "preprocessing", "grid", "place", "networks", "facts", "datastore_size"):
        assert getattr(process, name) == getattr(here, name), name


def test_words_come_while_they_are_chosen(process: CaptionerProcess, here: Captioner) -> None:
    options = process.options.model_copy(update={"method": "greedy"})
    steps: list[list[int]] = []
    process.caption_preprocessed(
        IMAGES[:1], options, on_step=lambda _, found: steps.append(found.ids[0, 0].tolist())
    )
    (caption,) = here.caption_preprocessed(IMAGES[:1], options)
    assert [len(ids) for ids in steps] == list(range(1, len(steps) + 1))
    assert here.tokenizer.decode(steps[-1]) == caption.text


def test_errors_of_the_captioner_are_raised_here(process: CaptionerProcess) -> None:
    with pytest.raises(OSError, match="too much") as error:
        process.caption_preprocessed(np.full_like(IMAGES, 255), process.options)
    assert "in caption_preprocessed" in error.value.__notes__[0]
    options = process.options.model_copy(update={"retrieval": "rerank"})
    with pytest.raises(ConfigError, match="without a datastore"):
        process.caption_preprocessed(IMAGES, options)


def test_a_process_that_ends_is_replaced_and_only_the_image_that_ended_it_has_no_caption(
    process: CaptionerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CaptionerEndedError, match="3 images in work"):
        process.caption_preprocessed(np.zeros_like(IMAGES), process.options)
    assert "the captioner's process ended by signal 9; a new one starts" in capsys.readouterr().err
    assert len(process.caption_preprocessed(IMAGES, process.options)) == 3


def test_a_captioner_that_cannot_be_loaded_is_its_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="missing"):
        CaptionerProcess(partial(Captioner.load, tmp_path / "missing"))
    with pytest.raises(ShowtellError, match="cannot be started: found its end by exit code 3"):
        CaptionerProcess(partial(os._exit, 3))

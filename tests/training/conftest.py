"""What several tests of training share."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showtell.config.preprocessing import Preprocessing
from showtell.data.prepared import PreparedSet, prepare
from showtell.encoders.encoder import EncoderSpec, build_encoder, save_encoder
from showtell.training.train_step import TrainStep


class _CutError(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture
def cut_before(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], contextlib.AbstractContextManager[None]]:
    """Inside the block a training ends, as if its process did, before the step after so many; it must get there."""
    step = TrainStep.step

    @contextlib.contextmanager
    def cut(steps: int) -> Iterator[None]:
        def stopping_step(self: TrainStep, *rest: object) -> object:
            if self.state.progress.step == steps:
                raise _CutError
            return step(self, *rest)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(TrainStep, "step", stopping_step)
            with pytest.raises(_CutError):
                yield

    return cut


@pytest.fixture(scope="session")
def encoder_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small encoder, for runs that freeze it."""
    spec = EncoderSpec(name="small", width=32, trainable=True, preprocessing=Preprocessing(size=32))
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_encoder(build_encoder(spec), path)
    return path


@pytest.fixture
def make_set(tmp_path: Path) -> Callable[..., PreparedSet]:
    """Makes a prepared set of plain images from their captions: one group of captions per image, by split."""

    def make(name: str, **splits: list[list[str]]) -> PreparedSet:
        folder = tmp_path / f"{name}-source"
        folder.mkdir()
        rows = []
        for split, groups in splits.items():
            for number, captions in enumerate(groups):
                image = f"{split}-{number}.png"
                seed = int.from_bytes(f"{name}{image}".encode(), "big")
                color = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(color).save(folder / image)
                rows += [{"image": image, "caption": text, "split": split} for text in captions]
        source = folder / "captions.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return prepare(source, tmp_path / name)

    return make

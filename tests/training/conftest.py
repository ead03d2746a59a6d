"""What several tests of training share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from showtell.config.preprocessing import Preprocessing
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

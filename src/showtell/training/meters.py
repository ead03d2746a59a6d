"""Throughput and elapsed time of a training."""

import time

from showtell.training.train_step import StepResult
from showtell.training.trainer_state import TrainProgress


class ThroughputMeter:
    """Captions and tokens per second since its creation."""

    def __init__(self) -> None:
        self._started, self._captions, self._tokens = time.monotonic(), 0, 0

    def add(self, result: StepResult) -> None:
        """Add a step."""
        self._captions += result.captions
        self._tokens += result.num_tokens

    def rates(self) -> dict[str, float]:
        """Return the throughput."""
        seconds = time.monotonic() - self._started
        return {"captions_per_s": self._captions / seconds, "tokens_per_s": self._tokens / seconds}


class Stopwatch:
    """Adds the time since its start or its last stop to a run's seconds."""

    def __init__(self, progress: TrainProgress) -> None:
        self._progress, self._started = progress, time.monotonic()

    def stop(self) -> None:
        """Add the time since the last stop."""
        now = time.monotonic()
        self._progress.seconds += now - self._started
        self._started = now

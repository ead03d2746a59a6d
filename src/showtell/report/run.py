"""What a report tells, read from a run's directory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from showtell.errors import DataError
from showtell.report.charts import PALETTE, Series
from showtell.system.atomic import read_json_lines


@dataclass(frozen=True)
class Prediction:
    """What was said about one picture.

    Attributes:
        key: The picture's key in its prepared set.
        picture: Where it lies.
        candidate: Our caption.
        references: The human ones.
        scores: By metric, on the scale of coco-caption's code.
        words: The caption's words.
        attention: R weights for each word (and maybe one more, for the end); None without attention.
        grid: Rows and columns of the regions; None without attention.
    """

    key: str
    picture: Path
    candidate: str
    references: list[str]
    scores: dict[str, float]
    words: list[str]
    attention: list[list[float]] | None
    grid: tuple[int, int] | None


@dataclass(frozen=True)
class RunData:
    """A run's recipe, numbers by epoch, scores and predictions.

    Attributes:
        recipe: Text of ``recipe.yaml``.
        rows: Rows of ``metrics.jsonl``.
        scores: Of ``best/``, by metric, on the scale of coco-caption's code.
        signature: What these depend on.
        predictions: In the order of their file.
    """

    recipe: str
    rows: list[dict[str, Any]]
    scores: dict[str, float]
    signature: str
    predictions: list[Prediction]

    @property
    def extent(self) -> str:
        """How long the run is so far, as a phrase."""
        epochs = [row for row in self.rows if row.get("kind") == "epoch"]
        if not epochs:
            return ""
        last = epochs[-1]
        return f"{last['epoch']} epochs, {last['step']:,} steps, {last['seconds'] / 60:.1f} minutes"

    def lines(self, quantity: str, *, scale: float = 1.0) -> list[Series]:
        """Return a quantity by epoch: of training steps where they have it, and of validations.

        The loss of epochs that train on rewards is no cross-entropy, and left out.
        """
        rewarded = {row["epoch"] for row in self.rows if row.get("kind") == "step" and "reward" in row}
        training = [point for point in self._points("epoch", quantity, scale) if point[0] not in rewarded]
        lines = [
            Series("training", "train", training),
            Series("validation", "dev", self._points("validation", quantity, scale)),
        ]
        return [line for line in lines if line.points]

    def bleu_lines(self) -> list[Series]:
        """Return BLEU-1 to BLEU-4 of validations by epoch, times 100."""
        names = [f"BLEU-{order}" for order in range(1, 5)]
        lines = [
            Series(name, style, self._points("validation", name, 100.0))
            for name, style in zip(names, PALETTE, strict=False)
        ]
        return [line for line in lines if line.points]

    def step_line(self, quantity: str, name: str) -> Series:
        """Return a quantity of training steps by step."""
        return Series(name, "train", self._points("step", quantity, 1.0, place="step"))

    def _points(
        self, kind: str, quantity: str, scale: float, *, place: str = "epoch"
    ) -> list[tuple[float, float]]:
        return [
            (float(row[place]), scale * float(row[quantity]))
            for row in self.rows
            if row.get("kind") == kind and row.get(quantity) is not None
        ]


def read_run(run: Path, predictions: Path | None = None) -> RunData:
    """Read a run. Numbers or predictions that are not there yet are empty.

    Args:
        run: The run's directory.
        predictions: Which predictions to show; None: ``best/predictions.jsonl``, where it is.

    Raises:
        DataError: no run is there, or one of its files is broken.
    """
    recipe = run / "recipe.yaml"
    if not recipe.is_file():
        raise DataError(
            f"{run} is not a run", found="no recipe.yaml", mend="Name a directory that train made"
        )
    config = _read_json(run / "best" / "config.json")
    scores = config.get("scores") or {}
    shown = predictions or run / "best" / "predictions.jsonl"
    if predictions is not None and not predictions.is_file():
        raise DataError(f"cannot read {predictions}", found="no such file")
    return RunData(
        recipe=recipe.read_text(encoding="utf-8"),
        rows=read_json_lines(run / "metrics.jsonl", may_be_cut=True),
        scores={name: float(value) for name, value in scores.get("values", {}).items()},
        signature=str(scores.get("signature", "")),
        predictions=[_prediction(row, shown) for row in read_json_lines(shown)],
    )


def select_examples(predictions: Sequence[Prediction], *, most: int, metric: str) -> list[Prediction]:
    """Return at most this many predictions, in their order: the worst, the best, and some evenly in between.

    A quarter are the lowest by the metric, a quarter the highest; the rest are spread evenly over the set.
    """
    if len(predictions) <= most:
        return list(predictions)
    ranked = sorted(range(len(predictions)), key=lambda index: predictions[index].scores.get(metric, 0.0))
    chosen = {*ranked[: most // 4], *ranked[len(ranked) - most // 4 :]}
    others = [index for index in range(len(predictions)) if index not in chosen]
    wanted = most - len(chosen)
    chosen |= {others[number * len(others) // wanted] for number in range(wanted)}
    return [predictions[index] for index in sorted(chosen)]


def _prediction(row: Mapping[str, Any], path: Path) -> Prediction:
    try:
        grid = row["grid"]
        return Prediction(
            key=str(row["key"]),
            picture=Path(row["picture"]),
            candidate=str(row["candidate"]),
            references=[str(reference) for reference in row["references"]],
            scores={name: float(value) for name, value in row["scores"].items()},
            words=[str(word) for word in row["words"]],
            attention=row["attention"],
            grid=None if grid is None else (int(grid[0]), int(grid[1])),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DataError(
            f"{path} does not hold predictions",
            found=f"a row without a usable {error}",
            mend="Write it again with showtell evaluate --predictions",
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"cannot read {path}", found=str(error)) from error

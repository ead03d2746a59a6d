"""A run's recipe, numbers, scores and predictions, read from its directory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from showtell.checkpoints.config import CALIBRATION
from showtell.config.confidence import Calibration
from showtell.errors import DataError
from showtell.metrics import evaluate
from showtell.report.charts import PALETTE, STEPS, TRAIN, VALIDATION, Chart, Point, Series
from showtell.report.confidence import reliability_chart
from showtell.system.reading import read_json_lines, read_json_object, read_text

STEP_QUANTITIES = (
    ("reward", "Reward", "mean of sampled captions"),
    ("lr", "Learning rate", ""),
    ("grad_norm", "Gradient norm", "before clipping"),
    ("captions_per_s", "Captions", "per second"),
    ("tokens_per_s", "Tokens", "per second"),
    ("peak_memory_gb", "Memory", "GB, peak so far"),
)


class NeighbourCaptions(BaseModel):
    """The captions of an image of the datastore, and the ``fraction`` (0..1) that they contributed to a caption."""

    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True)

    key: str
    fraction: float
    captions: list[str]


class Prediction(BaseModel):
    """The caption of one image.

    ``scores`` are on the scale of coco-caption's code. ``attention`` has R weights for each word (and maybe one
    more, for the end), ``grid`` the rows and columns of the regions; both are None without attention.
    """

    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True)

    key: str
    image: Path
    candidate: str
    references: list[str]
    scores: dict[str, float] = Field(alias="metrics")
    words: list[str]
    attention: list[list[float]] | None
    grid: tuple[int, int] | None
    neighbours: list[NeighbourCaptions] = []


@dataclass(frozen=True)
class RunData:
    """What a report shows of a run: its recipe as text, the rows of ``metrics.jsonl``, and predictions.

    ``scores``, ``signature`` and ``split`` (empty if the file does not name it) are those of the predictions.
    """

    recipe: str
    rows: list[dict[str, Any]]
    scores: Mapping[str, float]
    signature: str
    predictions: list[Prediction]
    split: str = ""
    calibration: Calibration | None = None

    @property
    def extent(self) -> str:
        """The length of the training so far, as a phrase."""
        epochs = [row for row in self.rows if row.get("event") == "epoch"]
        if not epochs:
            return ""
        last = epochs[-1]
        return f"{last['epoch']} epochs, {last['step']:,} steps, {last['elapsed_s'] / 60:.1f} minutes"

    @property
    def score_charts(self) -> list[Chart]:
        """Loss, BLEU, CIDEr-D and ROUGE-L by epoch.

        Epochs that train on rewards have no training loss: theirs is no cross-entropy.
        """
        rewarded = self._rewarded_epochs()
        train_loss = [point for point in points(self.rows, "epoch", "loss") if point[0] not in rewarded]
        losses = [Series("training", TRAIN, train_loss), self._validation("loss")]
        bleu = [
            self._validation(f"BLEU-{order}", f"BLEU-{order}", PALETTE[order - 1]) for order in range(1, 5)
        ]
        charts = [
            Chart("Loss", "nats per token", losses),
            score_chart("BLEU", bleu),
            *(score_chart(name, [self._validation(name)]) for name in ("CIDEr-D", "ROUGE-L")),
        ]
        return [
            replace(chart, series=[series for series in chart.series if series.points]) for chart in charts
        ]

    @property
    def step_charts(self) -> list[Chart]:
        """What training logged by step, as far as it did."""
        charts = [
            Chart(name, unit, [Series(name, TRAIN, points(self.rows, "step", quantity, by="step"))], STEPS)
            for quantity, name, unit in STEP_QUANTITIES
        ]
        return [chart for chart in charts if not chart.is_empty]

    @property
    def reliability_charts(self) -> list[Chart]:
        """How often the captioner is right by its confidence, if it is calibrated."""
        measured = () if self.calibration is None else self.calibration.measured
        return [reliability_chart(measured)] if measured else []

    def _rewarded_epochs(self) -> set[int]:
        """Return the epochs that train on rewards; of a phase only the first is sure to have logged a step."""
        epochs, has_reward = set(), False
        for row in self.rows:
            if row.get("event") == "step":
                has_reward = "reward" in row
            elif row.get("event") == "epoch" and has_reward:
                epochs.add(row["epoch"])
        return epochs

    def _validation(self, quantity: str, name: str = "validation", style: str = VALIDATION) -> Series:
        return Series(name, style, points(self.rows, "validation", quantity))


def score_chart(name: str, series: Sequence[Series]) -> Chart:
    """Return a chart of a score times 100."""
    return Chart(name, "× 100", series, min_span=1.0)


def points(rows: Sequence[Mapping[str, Any]], event: str, quantity: str, *, by: str = "epoch") -> list[Point]:
    """Return (``by``, quantity) of the events of this name that have it; scores times 100."""
    scale = 100.0 if quantity.startswith(("BLEU", "CIDEr", "ROUGE")) else 1.0
    return [
        (float(row[by]), scale * float(row[quantity]))
        for row in rows
        if row.get("event") == event and row.get(quantity) is not None
    ]


def read_run(run: Path, predictions: Path | None = None) -> RunData:
    """Read a run, or that of its ``best/`` or ``last/``. Numbers or predictions that are not there yet are empty.

    ``predictions`` are shown with their own scores; None: ``best/predictions.jsonl``, if it exists.

    Raises:
        DataError: no run is there, or one of its files is broken.
    """
    run = run_directory(run)
    if predictions is not None and not predictions.is_file():
        raise DataError(f"cannot read {predictions}", found="no such file")
    shown = predictions or run / "best" / "predictions.jsonl"
    lines = read_json_lines(shown)
    try:
        parsed = [Prediction.model_validate(line) for line in lines]
    except ValidationError as error:
        raise DataError(
            f"{shown} does not hold predictions",
            found=f"a row without a usable '{error.errors()[0]['loc'][0]}'",
            mend="Write it again with showtell evaluate --predictions",
        ) from error
    calibration = None
    if predictions is None:
        config = run / "best" / "config.json"
        content = read_json_object(config) if config.exists() else {}
        found = content.get("scores") or {}
        try:
            if CALIBRATION in content:
                calibration = Calibration.model_validate(content[CALIBRATION])
            scores = {name: float(value) for name, value in found.get("values", {}).items()}
            signature = str(found.get("signature", ""))
        except (AttributeError, TypeError, ValueError) as error:
            raise DataError(f"cannot read the scores in {config}", found=str(error)) from error
    else:
        # The run's scores are those of its validation split; these predictions may be of another.
        evaluated = evaluate(
            {one.key: one.references for one in parsed}, {one.key: one.candidate for one in parsed}
        )
        scores, signature = evaluated.values, evaluated.signature
    return RunData(
        recipe=read_text(run / "recipe.yaml"),
        rows=read_json_lines(run / "metrics.jsonl", may_be_cut=True),
        scores=scores,
        signature=signature,
        predictions=parsed,
        split=str(lines[0].get("split", "")) if lines else "",
        calibration=calibration,
    )


def run_directory(path: Path) -> Path:
    """Return the run that a path names: itself, or that of its ``best/`` or ``last/``; DataError: it names none."""
    resolved = path.resolve()
    if (path / "recipe.yaml").is_file():
        return path
    if resolved.name in {"best", "last"} and (resolved.parent / "recipe.yaml").is_file():
        return path.parent if path.name == resolved.name else resolved.parent
    raise DataError(
        f"{path} is not a run", found="no recipe.yaml", mend="Name a directory that showtell train wrote"
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

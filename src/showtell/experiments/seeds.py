"""The same recipe from several seeds, to separate a recipe's effect on the scores from chance.

Each seed is a run of its own in ``OUT/seed-N``; finished ones are neither trained nor decoded again.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from showtell.config.recipe import Recipe
from showtell.errors import ConfigError
from showtell.report.templates import percent
from showtell.system.atomic import claim_directory, write_summed_json
from showtell.system.console import note, text_table
from showtell.system.reading import foreign_values, read_json_object
from showtell.training.device import resolve_device_config
from showtell.training.distributed import is_main_process
from showtell.training.setup import set_up_training
from showtell.training.trainer import train
from showtell.training.trainer_state import STATE

KIND, SUMMARY_KIND, FORMAT = "showtell seeds", "showtell seeds summary", 1
SUMMARY = "summary.json"
MAX_SEEDS = 100


@dataclass(frozen=True)
class MeanStd:
    """A score over several seeds; ``std`` is the sample deviation (divisor n - 1), None for a single seed."""

    mean: float
    std: float | None
    min: float
    max: float


@dataclass(frozen=True)
class SeedRun:
    """The result of one seed: ``scores`` of the best epoch on coco-caption's scale, ``seconds`` with validations."""

    seed: int
    run: Path
    best_epoch: int
    epochs: int
    seconds: float
    scores: Mapping[str, float]
    signature: str


@dataclass(frozen=True)
class SeedsResult:
    """All seeds together."""

    directory: Path
    runs: Sequence[SeedRun]
    scores: Mapping[str, MeanStd]

    def table(self) -> str:
        """Return mean, deviation and each seed's score, times 100, as aligned lines, and the signature below."""
        header = ["x100", "mean", "std", "min", "max", *(f"seed {run.seed}" for run in self.runs)]
        rows = [
            [name, *(percent(value, "-") for value in asdict(score).values())]
            + [percent(run.scores[name]) for run in self.runs]
            for name, score in self.scores.items()
        ]
        return f"{text_table([header, *rows], left=1)}\n{self.runs[0].signature}"


def train_seeds(
    recipe: Recipe,
    seeds: int,
    *,
    data: Path,
    out: Path,
    encoder_weights: Path | None = None,
    features: Path | None = None,
    device: str = "auto",
    include_encoder: bool = False,
    restart: bool = False,
) -> SeedsResult:
    """Train a recipe from ``training.seed`` and the seeds after it, in ``out/seed-N``; write ``summary.json``.

    The same call resumes an interrupted one; a later call may name more seeds; ``restart`` trains finished ones
    again. The other arguments are those of `train`.

    Raises:
        ConfigError: no seeds or too many, or ``out`` holds runs of another recipe, data or encoder.
        DataError: ``out`` holds something else.
        ShowtellError: any error of `train`.
    """
    if not 1 <= seeds <= MAX_SEEDS:
        raise ConfigError(f"--seeds {seeds} cannot be used", expected=f"1 to {MAX_SEEDS}")
    if is_main_process():
        claim_directory(out, KIND, FORMAT, {"recipe": recipe.model_dump(mode="json")})
    runs = []
    for seed in range(recipe.training.seed, recipe.training.seed + seeds):
        training = recipe.training.model_copy(update={"seed": seed})
        seeded = recipe.model_copy(update={"training": training})
        run = out / f"seed-{seed}"
        is_scored = (run / "best" / "predictions.jsonl").exists()
        if not restart and is_scored and read_progress(run).get("finished"):
            _check_same(run, seeded, data, encoder_weights, device)
            note(f"{run}: already finished")
        else:
            train(
                seeded,
                data=data,
                out=run,
                encoder_weights=encoder_weights,
                features=features,
                device=device,
                include_encoder=include_encoder,
                restart=restart,
            )
        runs.append(_read_run(run, seed))
    result = SeedsResult(out, runs, mean_std([run.scores for run in runs]))
    if is_main_process():
        _write_summary(result, recipe)
    return result


def mean_std(scores: Sequence[Mapping[str, float]]) -> dict[str, MeanStd]:
    """Return mean and deviation of each score over runs that all have it."""
    result = {}
    for name in scores[0]:
        values = [one[name] for one in scores]
        std = statistics.stdev(values) if len(values) > 1 else None
        result[name] = MeanStd(statistics.fmean(values), std, min(values), max(values))
    return result


def read_progress(run: Path) -> dict[str, Any]:
    """Return the progress of a run's training, empty without ``last/``."""
    return _read_progress(run) if (run / "last" / STATE).is_file() else {}


def _read_progress(run: Path) -> dict[str, Any]:
    path = run / "last" / STATE
    with foreign_values(path, mend="Train the seed again: --restart"):
        return dict(read_json_object(path)["progress"])


def _check_same(run: Path, recipe: Recipe, data: Path, weights: Path | None, device: str) -> None:
    """Refuse a finished run of another recipe, data or encoder, as `train` would."""
    compute = resolve_device_config(device, recipe.training.precision, recipe.training.threads)
    set_up_training(recipe, data=data, out=run, compute=compute, encoder_weights=weights)


def _read_run(run: Path, seed: int) -> SeedRun:
    progress = _read_progress(run)
    with foreign_values(run, mend="Train the seed again: --restart"):
        scores = read_json_object(run / "best" / "config.json")["scores"]
        return SeedRun(
            seed=seed,
            run=run,
            best_epoch=progress["best_epoch"],
            epochs=progress["epoch"],
            seconds=progress["seconds"],
            scores=scores["values"],
            signature=scores["signature"],
        )


def _write_summary(result: SeedsResult, recipe: Recipe) -> None:
    content = {
        "kind": SUMMARY_KIND,
        "format": FORMAT,
        "split": recipe.validation.split,
        "signature": result.runs[0].signature,
        "scores": {name: asdict(score) for name, score in result.scores.items()},
        "seeds": [
            {name: value for name, value in asdict(run).items() if name != "signature"}
            | {"run": run.run.name, "scores": dict(run.scores)}
            for run in result.runs
        ],
    }
    write_summed_json(result.directory / SUMMARY, content)

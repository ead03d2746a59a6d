"""Several runs on one page, their curves in the same charts: the seeds of a recipe, or the trials of a tuning."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from showtell.errors import DataError
from showtell.report.charts import OTHER, PALETTE, VALIDATION, Axis, Chart, Series
from showtell.report.run import points, score_chart
from showtell.report.templates import NOTHING, percent, render
from showtell.system.atomic import write_text
from showtell.system.reading import foreign_values, read_json_lines, read_json_object, read_text

FORMAT = 1
RUN_AGAIN = "Run the same command again"
TABLE_SCORES = ("BLEU-4", "CIDEr-D")


def write_seeds_report(directory: Path) -> Path:
    """Write ``report.html`` of the runs of ``showtell train --seeds``: mean, deviation and curves.

    Raises:
        DataError: there is no summary of seeds, or it is broken.
    """
    path = directory / "summary.json"
    with foreign_values(path, mend=RUN_AGAIN):
        return _write_seeds_report(directory, _read(path, "showtell seeds summary"))


def _write_seeds_report(directory: Path, summary: Mapping[str, Any]) -> Path:
    seeds = summary["seeds"]
    rows = [
        [name, *(percent(spread[kind]) for kind in ("mean", "std", "min", "max"))]
        + [percent(one["scores"][name]) for one in seeds]
        for name, spread in summary["scores"].items()
    ]
    curves = {
        one["run"]: Series(f"seed {one['seed']}", PALETTE[number % len(PALETTE)], ())
        for number, one in enumerate(seeds)
    }
    return _write(
        directory,
        headline=f"{_count(seeds, 'seed')} of the same recipe; std is the sample standard deviation.",
        table_title="Scores",
        table_unit=f"× 100, {summary['split']}; best epoch of each run",
        head=["", "mean", "std", "min", "max"]
        + [_link(directory, one["run"], f"seed {one['seed']}") for one in seeds],
        rows=rows,
        signature=summary["signature"],
        charts=_by_epoch(directory, curves),
        recipe_of=seeds[0]["run"],
    )


def write_tuning_report(directory: Path) -> Path:
    """Write ``report.html`` of ``showtell tune``: the trials' values, losses, scores and curves.

    Raises:
        DataError: there is no table of a tuning, or it is broken.
    """
    with foreign_values(directory / "tuning.json", mend=RUN_AGAIN):
        return _write_tuning_report(directory, read_tuning(directory))


def _write_tuning_report(directory: Path, table: Mapping[str, Any]) -> Path:
    trials, keys, best = table["trials"], table["keys"], table["best"]
    states = [trial["state"] for trial in trials]
    counts = [f"{states.count(state)} {state}" for state in ("done", "pruned", "failed") if state in states]
    return _write(
        directory,
        headline=f"{_count(trials, 'trial')}: {', '.join(counts)}.",
        table_title="Trials",
        table_unit=f"scores × 100, at the best epoch by {table['metric']}",
        head=[*keys, "state", "epochs", f"{table['split']} loss", *TABLE_SCORES, "trial"],
        rows=[
            [*trial_cells(trial, TABLE_SCORES), _link(directory, trial["run"], trial["run"], trial["error"])]
            for trial in trials
        ],
        best=None if best is None else [trial["run"] for trial in trials].index(best),
        tuning=table,
        charts=[*_by_value(trials, keys), *_by_epoch(directory, _trial_curves(trials, keys, best))],
        recipe_of=best,
    )


def read_tuning(directory: Path) -> dict[str, Any]:
    """Return the table that ``showtell tune`` wrote."""
    return _read(directory / "tuning.json", "showtell tuning table")


def trial_cells(trial: Mapping[str, Any], metrics: Sequence[str], *, missing: str = NOTHING) -> list[str]:
    """Return a trial's values, state, epochs, loss and scores times 100 as text."""
    return [
        *map(str, trial["values"].values()),
        trial["state"],
        str(trial["epochs"]),
        missing if trial["loss"] is None else f"{trial['loss']:.3f}",
        *(percent(trial["scores"].get(name), missing) for name in metrics),
    ]


def _trial_curves(
    trials: Sequence[Mapping[str, Any]], keys: Sequence[str], best: str | None
) -> dict[str, Series]:
    """Return an empty series for each trial, in the order of their values; the best one is on top.

    Each has a color of its own if there are enough, otherwise only the best has one.
    """
    curves = {}
    for number, trial in enumerate(sorted(trials, key=_sort_key)):
        is_best = trial["run"] == best
        style = PALETTE[number] if len(trials) <= len(PALETTE) else VALIDATION if is_best else OTHER
        name = ", ".join(f"{key.rpartition('.')[2]} {trial['values'][key]}" for key in keys)
        curves[trial["run"]] = Series(name, style, (), on_top=is_best)
    return curves


def _sort_key(trial: Mapping[str, Any]) -> list[tuple[float, str]]:
    """Order numbers by size, before other values by text."""
    key = []
    for value in trial["values"].values():
        try:
            key.append((float(value), ""))
        except ValueError:
            key.append((float("inf"), value))
    return key


def _by_value(trials: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[Chart]:
    """Return a chart of loss by value for each key whose values are numbers."""
    charts = []
    for key in keys:
        try:
            values = [float(trial["values"][key]) for trial in trials]
        except ValueError:
            continue
        series = []
        for state, style in (("done", VALIDATION), ("pruned", "c8")):
            losses = [
                (value, trial["loss"])
                for value, trial in zip(values, trials, strict=True)
                if trial["state"] == state and trial["loss"] is not None
            ]
            if losses:
                series.append(Series(state, style, sorted(losses)))
        is_log = min(values) > 0 and max(values) >= 10 * min(values)
        axis = Axis(key, is_whole=all(value.is_integer() for value in values), is_log=is_log, form="apart")
        charts.append(Chart("Validation loss", "nats per token", series, axis))
    return charts


def _by_epoch(directory: Path, curves: Mapping[str, Series]) -> list[Chart]:
    """Return charts of validation loss and scores by epoch, with a line for each run."""
    rows = {}
    for run in curves:
        logged = read_json_lines(directory / run / "metrics.jsonl", may_be_cut=True)
        rows[run] = [row for row in logged if row.get("event") == "validation"]

    def lines(quantity: str) -> list[Series]:
        return [
            replace(curve, points=points(rows[run], "validation", quantity)) for run, curve in curves.items()
        ]

    loss = Chart("Loss", "nats per token, validation", lines("loss"))
    return [loss, *(score_chart(name, lines(name)) for name in TABLE_SCORES)]


def _count(items: Sequence[object], noun: str) -> str:
    return f"{len(items)} {noun}{'s' * (len(items) != 1)}"


def _link(directory: Path, run: str, text: str, error: str = "") -> Markup:
    link = Markup.escape(text)
    if (directory / run / "report.html").exists():
        link = Markup('<a href="{}/report.html">{}</a>').format(quote(run), text)
    return link + Markup('<br><span class="state">{}</span>').format(error) if error else link


def _read(path: Path, kind: str) -> dict[str, Any]:
    content = read_json_object(path, mend=RUN_AGAIN)
    found = (content.get("kind"), content.get("format"))
    if found != (kind, FORMAT):
        raise DataError(
            f"{path} cannot be shown",
            found=f"{found[0]}, format {found[1]}",
            expected=f"{kind}, format {FORMAT}",
        )
    return content


def _write(directory: Path, *, recipe_of: str | None, **values: Any) -> Path:
    path = directory / "report.html"
    values = {"signature": "", "best": None, "tuning": None, **values}
    recipe = "" if recipe_of is None else read_text(directory / recipe_of / "recipe.yaml")
    write_text(path, render("comparison.html", title=directory.resolve().name, recipe=recipe, **values))
    return path

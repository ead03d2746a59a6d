"""Several runs on one page: the seeds of a recipe, or what a tuning tried. Their curves lie over one another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from showtell.errors import DataError
from showtell.report.charts import PALETTE, Axis, Series, figure
from showtell.report.page import options_section
from showtell.report.tables import html_cell, html_head, html_row, html_table
from showtell.report.template import asset, fill, render
from showtell.system.atomic import read_json_lines, read_text, write_text

FORMAT = 1
SHOWN_SCORES = ("BLEU-4", "CIDEr-D")


def write_seeds_report(directory: Path, *, title: str | None = None) -> Path:
    """Write ``report.html`` of the runs that ``showtell train --seeds`` made: mean and spread, and their curves.

    Args:
        directory: Holds ``summary.json`` and the runs.
        title: The page's heading; None: the directory's name.

    Raises:
        DataError: there is no summary of seeds, or it is broken.
    """
    summary = _read(directory / "summary.json", "showtell seeds summary")
    seeds = summary["seeds"]
    heads = ["", "mean", "std", "min", "max"]
    heads += [_link(directory, one["run"], f"seed {one['seed']}") for one in seeds]
    rows = [
        [html_head(name), *(html_cell(_hundredfold(spread[kind])) for kind in ("mean", "std", "min", "max"))]
        + [html_cell(_hundredfold(one["scores"][name])) for one in seeds]
        for name, spread in summary["scores"].items()
    ]
    lines = {
        one["run"]: (f"seed {one['seed']}", PALETTE[place % len(PALETTE)]) for place, one in enumerate(seeds)
    }
    many = "1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
    main = fill(
        asset("comparison.html"),
        {
            "table_title": "Scores",
            "table_unit": f"× 100, {escape(summary['split'])}; best epoch of each run",
            "table": html_table(heads, [html_row(cells) for cells in rows]),
            "signature": escape(summary["signature"]),
            "advice": "",
            "charts": "".join(_curves(directory, lines, ("loss", "BLEU-4", "CIDEr-D"))),
            "options": options_section(_recipe(directory, [one["run"] for one in seeds])),
        },
    )
    headline = f"{many} of the same recipe; std is the sample standard deviation."
    return _write(directory, title, headline, main)


def write_tuning_report(directory: Path, *, title: str | None = None) -> Path:
    """Write ``report.html`` of what ``showtell tune`` tried: values, losses, scores, and the trials' curves.

    Args:
        directory: Holds ``tuning.json`` and the trials' runs.
        title: The page's heading; None: the directory's name.

    Raises:
        DataError: there is no table of a tuning, or it is broken.
    """
    table = read_tuning(directory)
    trials, keys, split = table["trials"], table["keys"], table["split"]
    heads = [*map(escape, keys), "state", "epochs", f"{escape(split)} loss", *SHOWN_SCORES, "trial"]
    best = next((trial for trial in trials if trial["run"] == table["best"]), None)
    lines = _trial_lines(trials, keys, table["best"])
    advice = ""
    if best is not None:
        advice = f"<p>Best by {escape(table['metric'])}: <code>{escape(table['options'])}</code></p>"
    main = fill(
        asset("comparison.html"),
        {
            "table_title": "What was tried",
            "table_unit": f"scores × 100, at the best epoch by {escape(table['metric'])}",
            "table": html_table(heads, [_trial_row(directory, trial, table["best"]) for trial in trials]),
            "signature": "",
            "advice": advice,
            "charts": "".join(
                [*_by_value(trials, keys), *_curves(directory, lines, ("loss", "BLEU-4", "CIDEr-D"))]
            ),
            "options": options_section(_recipe(directory, [table["best"]] if best else [])),
        },
    )
    counts = {
        state: sum(trial["state"] == state for trial in trials) for state in ("done", "pruned", "failed")
    }
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    many = "1 trial" if len(trials) == 1 else f"{len(trials)} trials"
    return _write(directory, title, f"{many}: {told}.", main)


def read_tuning(directory: Path) -> dict[str, Any]:
    """Return the table that ``showtell tune`` wrote.

    Raises:
        DataError: there is none, or it is broken.
    """
    return _read(directory / "tuning.json", "showtell tuning table")


def _trial_row(directory: Path, trial: Mapping[str, Any], best: str | None) -> str:
    values = list(trial["values"].values())
    link = _link(directory, trial["run"], trial["run"])
    cells = [html_head(value) if place == 0 else html_cell(value) for place, value in enumerate(values)]
    cells += [html_cell(trial["state"], "state"), html_cell(str(trial["epochs"]))]
    cells += [html_cell("–" if trial["loss"] is None else f"{trial['loss']:.3f}")]
    cells += [html_cell(_hundredfold(trial["scores"].get(name))) for name in SHOWN_SCORES]
    why = f'<br><span class="state">{escape(trial["error"])}</span>' if trial["error"] else ""
    return html_row([*cells, f"<td>{link}{why}</td>"], is_best=trial["run"] == best)


def _trial_lines(
    trials: Sequence[Mapping[str, Any]], keys: Sequence[str], best: str | None
) -> dict[str, tuple[str, str]]:
    """Return name and colour of each trial's curve: one colour each while they are few, else one for the best."""
    lines = {}
    for place, trial in enumerate(trials):
        values = ", ".join(f"{key.rpartition('.')[2]} {trial['values'][key]}" for key in keys)
        style = PALETTE[place] if len(trials) <= len(PALETTE) else "dev" if trial["run"] == best else "other"
        lines[trial["run"]] = (values, style)
    # The best is drawn last, over the others.
    return dict(sorted(lines.items(), key=lambda item: item[0] == best))


def _by_value(trials: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    """Return a chart of loss by value for each key whose values are numbers."""
    figures = []
    for key in keys:
        points = {"done": [], "pruned": []}  # type: dict[str, list[tuple[float, float]]]
        try:
            values = [float(trial["values"][key]) for trial in trials]
        except ValueError:
            continue
        for value, trial in zip(values, trials, strict=True):
            if trial["loss"] is not None and trial["state"] in points:
                points[trial["state"]].append((value, trial["loss"]))
        lines = [
            Series(state, style, sorted(points[state]))
            for state, style in (("done", "dev"), ("pruned", "c8"))
            if points[state]
        ]
        is_log = min(values) > 0 and max(values) >= 10 * min(values)
        axis = Axis(key, is_whole=all(value.is_integer() for value in values), is_log=is_log, form="apart")
        figures.append(figure("Validation loss", "nats a token", lines, axis))
    return figures


def _curves(directory: Path, lines: Mapping[str, tuple[str, str]], quantities: Sequence[str]) -> list[str]:
    """Return a chart by epoch for each quantity, with a line for each run."""
    figures = []
    rows = {run: read_json_lines(directory / run / "metrics.jsonl", may_be_cut=True) for run in lines}
    for quantity in quantities:
        scale, unit = (1.0, "nats a token, validation") if quantity == "loss" else (100.0, "× 100")
        curves = []
        for run, (name, style) in lines.items():
            told = [row for row in rows[run] if row["kind"] == "validation" and row.get(quantity) is not None]
            points = [(float(row["epoch"]), scale * float(row[quantity])) for row in told]
            curves.append(Series(name, style, points))
        figures.append(figure(quantity.capitalize() if quantity == "loss" else quantity, unit, curves))
    return figures


def _link(directory: Path, run: str, text: str) -> str:
    if not (directory / run / "report.html").exists():
        return escape(text)
    return f'<a href="{escape(quote(run))}/report.html">{escape(text)}</a>'


def _hundredfold(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"


def _recipe(directory: Path, runs: Sequence[str]) -> str:
    return read_text(directory / runs[0] / "recipe.yaml") if runs else ""


def _read(path: Path, kind: str) -> dict[str, Any]:
    try:
        content = dict(json.loads(read_text(path)))
    except (ValueError, TypeError) as error:
        raise DataError(f"cannot read {path}", found=str(error), mend="Run the same command again") from error
    found = (content.get("kind"), content.get("format"))
    if found != (kind, FORMAT):
        raise DataError(
            f"{path} cannot be shown",
            found=f"{found[0]}, format {found[1]}",
            expected=f"{kind}, format {FORMAT}",
        )
    return content


def _write(directory: Path, title: str | None, headline: str, main: str) -> Path:
    path = directory / "report.html"
    write_text(path, render(title or directory.resolve().name, headline, main))
    return path

"""The results of a run: one JSON file, and the table that is made from it, as text or as Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT
from showtell.system.console import text_table

FORMAT = 1
FOLDER = ROOT / "benchmarks" / "results"
COLUMNS = ("work", "against", "target", "figure", "reached", "measured")


def write_results(results: dict[str, Any], folder: Path = FOLDER) -> Path:
    """Write a run's results under its date and commit; return where."""
    stamp = results["date"][:19].replace(":", "").replace("-", "").replace("T", "-")
    quick = "-quick" if results["quick"] else ""
    path = folder / f"{stamp}-{results['commit'].replace('+', '-changed')}{quick}.json"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read_results(path: Path) -> dict[str, Any]:
    """Read what `write_results` wrote."""
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if results.get("format") != FORMAT:
        raise ValueError(f"{path} is of format {results.get('format')}; this version reads {FORMAT}")
    return results


def table(results: dict[str, Any]) -> str:
    """Return the table as aligned text."""
    return text_table([COLUMNS, *_cells(results["rows"])], left=2, least=0) + "\n\n" + _made_on(results)


def markdown(results: dict[str, Any]) -> str:
    """Return the table as Markdown."""
    lines = [COLUMNS, ("---", "---", "--:", "--:", ":-:", "---"), *_cells(results["rows"])]
    rows = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([*rows, "", _made_on(results)])


def _cells(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            row["work"],
            row["against"],
            f"{'≤' if row['at_most'] else '≥'} {_value(row['target'], row['unit'], bound=True)}",
            "–" if row["figure"] is None else _value(row["figure"], row["unit"]),
            {True: "yes", False: "no", None: "–"}[row["reached"]],
            row["measured"],
        )
        for row in rows
    ]


def _value(value: float, unit: str, *, bound: bool = False) -> str:
    if unit == "%":
        return f"{100 * value:.0f} %"
    if unit == "x":
        return f"{value:g}×" if bound else f"{value:.{1 if value >= 10 else 2}f}×"
    return f"{value:g} {unit}" if bound else f"{value:.2f} {unit}"


def _made_on(results: dict[str, Any]) -> str:
    machine, versions = results["machine"], results["versions"]
    units = [
        flag for flag in machine["flags"] if flag in ("amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni")
    ]
    return (
        f"{machine['processor']}, {machine['cores']} cores ({', '.join(units) or 'no matrix units'}), "
        f"{machine['threads']} threads, {machine['memory_gb']} GB; "
        f"Python {versions['python']}, torch {versions['torch']}; commit {results['commit']}, "
        f"{results['date'][:10]}, {results['seconds'] / 60:.0f} minutes{', quick' if results['quick'] else ''}."
    )

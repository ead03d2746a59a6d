"""A comparison of two captioners as text, JSON, JSON lines, and one self-contained HTML page."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from showtell.errors import escape_controls
from showtell.experiments.compare import METRIC, Change, Comparison
from showtell.metrics.bootstrap import DRAWS
from showtell.report.images import thumbnail
from showtell.report.scores import describe_draws, difference_rows, difference_text, scores_json
from showtell.report.templates import percent, render
from showtell.system.atomic import write_text
from showtell.system.console import progress_bar

SIDES = ("A", "B")


def to_json(result: Comparison) -> dict[str, Any]:
    """Return scores, differences (B less A) on coco-caption's scale, and the numbers of changed captions."""
    return {
        **{side.lower(): scores_json(scores) for side, scores in zip(SIDES, result.scores, strict=True)},
        "differences": {name: asdict(delta) for name, delta in result.differences.items()},
        "draws": DRAWS,
        "changed": len(result.changes),
        "better": result.better,
        "worse": result.worse,
    }


def to_text(result: Comparison, *, most: int) -> str:
    """Return the scores, and the captions that gain and lose most, at most so many of each."""
    new = result.scores[1]
    lines = [
        f"{_captioners(result)}; {new.num_images:,} images of {result.split}",
        difference_text(_rows(result), new),
        "",
        _count(result),
    ]
    for change in result.extremes(most):
        before, after = (percent(scores[METRIC]) for scores in change.scores)
        lines += ["", f"{100 * change.gain:+.2f}  {escape_controls(change.key)}"]
        lines += [
            f"  {side} {score:>6}  {escape_controls(text) or '(nothing)'}"
            for side, score, text in zip(SIDES, (before, after), change.captions, strict=True)
        ]
    return "\n".join(lines)


def write_changes(result: Comparison, out: Path) -> Path:
    """Write all changed captions, with their scores, gain of CIDEr-D and references, as JSON lines."""
    prepared = result.prepared
    lines = []
    for change in result.changes:
        both = zip(SIDES, change.captions, change.scores, strict=True)
        line = {
            "key": change.key,
            "image": str(prepared.image_path(change.row)),
            "gain": change.gain,
            **{side.lower(): {"caption": text, "metrics": dict(scores)} for side, text, scores in both},
            "references": prepared.captions(change.row),
        }
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    write_text(out, "".join(lines))
    return out


def write_compare_page(result: Comparison, out: Path, *, title: str, most: int) -> Path:
    """Write the page with the images whose captions gain and lose most; it needs no other file."""
    new = result.scores[1]
    extremes = result.extremes(most)
    groups = [
        ("Better", "better", [change for change in extremes if change.gain > 0]),
        ("Worse", "worse", [change for change in extremes if change.gain < 0][::-1]),
    ]
    with progress_bar("page", len(extremes), unit="images") as advance:
        shown = [
            (heading, group, [_page_item(result, change, advance) for change in changes])
            for heading, group, changes in groups
        ]
    head, *rows = _rows(result)
    html = render(
        "compare.html",
        title=title,
        headline=f"{_captioners(result)}.",
        head=head,
        rows=rows,
        draws=describe_draws(new.num_images),
        signature=new.signature,
        count=_count(result),
        groups=shown,
    )
    write_text(out, html)
    return out


def _page_item(result: Comparison, change: Change, advance: Callable[[int, str], None]) -> dict[str, Any]:
    before, after = change.scores
    others = [f"{name} {percent(before[name])} → {percent(after[name])}" for name in after if name != METRIC]
    item = {
        "key": change.key,
        "thumbnail": thumbnail(result.prepared.image_path(change.row)),
        "captions": [
            (side, text, 100 * scores[METRIC])
            for side, scores, text in zip(SIDES, change.scores, change.captions, strict=True)
        ],
        "references": result.prepared.captions(change.row),
        "facts": f"{100 * change.gain:+.2f} · {' · '.join(others)} · {change.key}",
    }
    advance(1, "")
    return item


def _rows(result: Comparison) -> list[list[str]]:
    """Return the scores of A and of B by metric, and their differences."""
    old, new = result.scores
    rows = difference_rows(new, old, result.differences, SIDES[::-1])
    return [[name, before, after, *others] for name, after, before, *others in rows]


def _captioners(result: Comparison) -> str:
    return "; ".join(f"{side}: {name}" for side, name in zip(SIDES, result.names, strict=True))


def _count(result: Comparison) -> str:
    changed, total = len(result.changes), result.scores[0].num_images
    if not changed:
        return f"No caption of {total:,} changed."
    equal = changed - result.better - result.worse
    return (
        f"{changed:,} of {total:,} captions changed: {result.better:,} better, {result.worse:,} worse, {equal:,} "
        f"equal, by the image's own {METRIC}."
    )

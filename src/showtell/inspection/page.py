"""An inspection as text and as one self-contained HTML page with the worst findings of each kind."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from showtell.data.problems import by_kind, report
from showtell.inspection.findings import KINDS, Finding, Inspection
from showtell.report.images import thumbnail
from showtell.report.templates import NOTHING, render
from showtell.system.atomic import write_text
from showtell.system.console import progress_bar, shorten

EXAMPLES, CAPTIONS, CAPTION_COLUMNS = 3, 5, 30
INDENT = 11


def to_text(inspection: Inspection, *, width: int) -> list[str]:
    """Return the number of findings of each kind and the worst of them, shortened to ``width`` columns."""
    prepared = inspection.prepared
    lines = [f"{prepared.directory}: {len(prepared):,} images"]
    if inspection.problems:
        lines += ["Found by showtell prepare:", *report(inspection.problems, examples=1)]
    lines.append("Found by showtell inspect:")
    for kind, group in inspection.findings.items():
        lines.append(f"{len(group):>9,}  {kind}: {KINDS[kind].text}")
        lines += [" " * INDENT + shorten(_line(inspection, one), width - INDENT) for one in group[:EXAMPLES]]
        if len(group) > EXAMPLES:
            lines.append(f"{'':{INDENT}}... and {len(group) - EXAMPLES:,} more")
    lines += [
        f"not checked: {', '.join(check.kinds)}: {check.skipped}"
        for check in inspection.checks
        if check.skipped
    ]
    return lines


def _line(inspection: Inspection, finding: Finding) -> str:
    name = inspection.prepared.key
    caption = f"'{shorten(finding.caption, CAPTION_COLUMNS)}', " if finding.caption else ""
    other = f": {name(finding.other)}" if finding.other >= 0 else ""
    return f"{name(finding.row)}: {caption}{finding.reason}{other}"


def write_page(inspection: Inspection, out: Path, *, num_images: int) -> None:
    """Write the page; of each kind it shows at most ``num_images`` findings. It needs no other file."""
    checks = [(kind, check) for check in inspection.checks for kind in check.kinds]
    rows = [
        [_explained(kind, f"not checked: {check.skipped}"), NOTHING]
        if check.skipped
        else [_explained(kind, check.how), f"{len(inspection.findings[kind]):,}"]
        for kind, check in checks
    ]
    problems = [
        [_explained(kind, f"{group[0].key}: {group[0].detail}"), f"{len(group):,}"]
        for kind, group in by_kind(inspection.problems).items()
    ]
    prepared = inspection.prepared
    html = render(
        "inspection.html",
        title=f"Inspection of {prepared.directory.name}",
        headline=f"{len(prepared):,} images, fingerprint {prepared.fingerprint[:12]}",
        rows=rows,
        problems=problems,
        groups=list(_groups(inspection, num_images)),
    )
    write_text(out, html)


def _explained(kind: str, text: str) -> Markup:
    return Markup("{}<small>{}</small>").format(kind, text)


def _groups(inspection: Inspection, num_images: int) -> Iterator[dict[str, Any]]:
    prepared = inspection.prepared

    @cache
    def describe(row: int) -> dict[str, Any]:
        captions = prepared.captions(row)
        return {
            "key": prepared.key(row),
            "split": prepared.split(row),
            "thumbnail": thumbnail(prepared.image_path(row)),
            "captions": captions[:CAPTIONS],
            "more": max(0, len(captions) - CAPTIONS),
        }

    shown = {kind: group[:num_images] for kind, group in inspection.findings.items() if group}
    with progress_bar("page", sum(map(len, shown.values())), unit="findings") as advance:
        for kind, group in shown.items():
            items = []
            for finding in group:
                rows = [row for row in (finding.row, finding.other) if row >= 0]
                items.append(
                    {
                        "reason": finding.reason,
                        "caption": finding.caption,
                        "images": [describe(row) for row in rows],
                    }
                )
                advance(1, "")
            text, count = KINDS[kind].text, len(inspection.findings[kind])
            yield {"kind": kind, "text": text, "count": count, "items": items}

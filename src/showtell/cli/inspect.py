"""``showtell inspect``: the dataset doctor."""

import json
import shutil
from pathlib import Path
from typing import Annotated, Literal

import typer

from showtell.cli import common_options as common
from showtell.cli.exit import FINDINGS
from showtell.errors import ConfigError


@common.in_panels(
    {
        "Checks by a captioner": "captioner split encoder_weights features device threads",
        "Output": "html num_images findings output_format fail_on",
        "Cleaned set": "fix out",
    }
)
def command(
    data: Annotated[
        Path, typer.Argument(metavar="SET", help="Prepared dataset (output of showtell prepare).")
    ],
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="Do not check this kind. Repeatable.")
    ] = None,
    captioner: Annotated[
        Path | None,
        typer.Option(help="Checkpoint or run that compares scenes and captions; images are encoded."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Encode the images of this split only.", show_default="all")
    ] = None,
    encoder_weights: common.EncoderWeights = None,
    features: common.Features = None,
    device: common.Device = "auto",
    threads: common.Threads = 0,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with the images of the worst findings.")
    ] = None,
    num_images: Annotated[int, typer.Option(min=0, help="Findings of each kind on the page.")] = 40,
    findings: Annotated[
        Path | None, typer.Option(help="Write all findings to this file, as JSON lines.")
    ] = None,
    output_format: Annotated[
        Literal["text", "json"],
        typer.Option("--format", help="Text with the worst findings, or JSON with the number by kind."),
    ] = "text",
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND[=N]", help=f"Exit with code {FINDINGS} at more than N findings (0). Repeatable."
        ),
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Write a set without what was found in the training split to -o.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Directory of the cleaned set.")] = None,
) -> None:
    """Find near-duplicates, leaked, copied and mismatched captions, boilerplate and other languages in a set."""
    from showtell.inspection.checks import count_over_limits, inspect_set
    from showtell.inspection.fix import write_fixed
    from showtell.inspection.page import to_text, write_page
    from showtell.system.atomic import write_text
    from showtell.system.console import note, show

    if fix != (out is not None):
        raise ConfigError("--fix and -o go together", found="only one of them", mend="Write: --fix -o NEWSET")
    options = common.given(split=split, encoder_weights=encoder_weights, features=features)
    if options and captioner is None:
        raise ConfigError("--split, --encoder-weights and --features need --captioner")
    if captioner is not None:
        options |= {"device": device, "threads": threads}
    inspection = inspect_set(data, captioner=captioner, ignore=ignore or (), **options)
    exceeded = count_over_limits(inspection, fail_on or ())
    if output_format == "json":
        counts = {kind: len(group) for kind, group in inspection.findings.items()}
        skipped = {
            kind: check.skipped for check in inspection.checks if check.skipped for kind in check.kinds
        }
        show(json.dumps({"findings": counts, "not_checked": skipped, "problems": inspection.problem_counts}))
    else:
        show("\n".join(to_text(inspection, width=shutil.get_terminal_size((100, 24)).columns)))
    if findings is not None:
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in inspection.records()]
        write_text(findings, "".join(lines))
        note(f"findings: {findings}")
    if html is not None:
        write_page(inspection, html, num_images=num_images)
        note(f"page: {html}")
    if out is not None:
        fixed, left_out = write_fixed(inspection, out)
        note(
            f"cleaned set: {out}, {len(fixed):,} images; left out of train: {left_out['images']:,} images and "
            f"{left_out['captions']:,} captions"
        )
    for text in exceeded:
        note(f"failed: {text}")
    if exceeded:
        raise typer.Exit(FINDINGS)

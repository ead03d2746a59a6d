"""Measure everything and print one table.

python -m benchmarks                                     # random weights, made-up images and captions
python -m benchmarks --captioner runs/attention --data data/flickr8k --images photos/
python -m benchmarks --only search --only training --quick
python -m benchmarks --only caption --against COMMIT     # this build against another
python -m benchmarks --markdown benchmarks/results/FILE.json
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.against import compare_builds
from benchmarks.harness import Group, Row, Setting
from benchmarks.machine import commit, describe_machine, versions
from benchmarks.results import FOLDER, FORMAT, markdown, read_results, table, write_results

GROUPS = (
    "caption",
    "int8",
    "hugging_face",
    "search",
    "retrieval",
    "bulk",
    "training",
    "features",
    "scores",
    "rewards",
    "cold",
    "beside",
    "growth",
)

BUILD_ROUNDS = 2


def main() -> None:
    """Measure, print the table, write the results."""
    options = _parser().parse_args()
    if options.markdown:
        print(markdown(read_results(options.markdown)))
        return
    made_up = not any((options.captioner, options.data, options.images, options.references))
    if options.against and not made_up:
        sys.exit(
            "--against: both builds measure made-up material, as file formats change; leave the rest out"
        )
    started, date = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    facts = {"machine": describe_machine(), "versions": versions(), "commit": commit()}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="showtell-bench-", dir=options.folder) as folder:
        setting = Setting(
            folder=Path(folder),
            quick=options.quick,
            full=options.full,
            captioner=options.captioner,
            encoder_weights=options.encoder_weights,
            data=options.data,
            images=options.images,
            references=options.references,
        )
        groups = {name: _group(name, setting, options.against) for name in options.only or GROUPS}
        failed = [name for name, measured in groups.items() if not _measured(name, measured, rows)]
    results = {
        "format": FORMAT,
        "date": date,
        **facts,
        "quick": options.quick,
        "against": options.against,
        "made_up": {
            "captioner": options.captioner is None,
            "captions": options.data is None,
            "images": options.images is None,
            "references": options.references is None,
        },
        "groups": options.only or list(GROUPS),
        "failed": failed,
        "seconds": time.monotonic() - started,
        "rows": [row.to_json() for row in rows],
    }
    print(table(results))
    print(f"\n{write_results(results, options.results)}")
    if failed:
        sys.exit(f"failed, see above: {', '.join(failed)}")


def _group(name: str, setting: Setting, against: str | None) -> Iterator[Row]:
    if against:
        yield from compare_builds(
            against, name, ["--quick"] if setting.quick else [], setting.rounds(BUILD_ROUNDS)
        )
    else:
        group: Group = importlib.import_module(f"benchmarks.{name}").measure
        yield from group(setting)


def _measured(name: str, group: Iterator[Row], rows: list[Row]) -> bool:
    """Add the rows of a group, printed to stderr as they are measured; return whether all were."""
    started = time.monotonic()
    try:
        for row in group:
            rows.append(row)
            figure = "-" if row.figure is None else f"{row.figure:.2f}"
            _report(f"{name}: {row.work} | {row.against} | {figure} | {row.measured}")
    except Exception:  # an hour of other rows is not thrown away for one
        traceback.print_exc()
        return False
    _report(f"{name}: {time.monotonic() - started:.0f} s")
    return True


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=GROUPS, metavar="NAME", help=", ".join(GROUPS))
    parser.add_argument("--against", metavar="COMMIT", help="how many times as fast as that commit's build")
    parser.add_argument("--quick", action="store_true", help="fewer rounds of less: rough figures")
    parser.add_argument("--full", action="store_true", help="growth up to a million images")
    parser.add_argument("--captioner", type=Path, help="a checkpoint or run; else one of random weights")
    parser.add_argument("--encoder-weights", type=Path, help="its encoder's weights")
    parser.add_argument("--data", type=Path, help="a prepared set; else captions are made up")
    parser.add_argument("--images", type=Path, help="a folder of photographs; else noise like photographs")
    parser.add_argument("--references", type=Path, help="captions to score against; else made up")
    parser.add_argument("--folder", type=Path, help="where temporary files go (some GB)")
    parser.add_argument("--results", type=Path, default=FOLDER, help="where the JSON goes")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="print a result's table as Markdown")
    return parser


if __name__ == "__main__":
    main()

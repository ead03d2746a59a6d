"""What a call would caption and write, without a captioner; nothing is written."""

from pathlib import Path

from showtell.bulk.parts import count_rows
from showtell.bulk.report import CaptioningReport
from showtell.bulk.sidecars import Sidecars, plan
from showtell.bulk.sinks import parts_folder
from showtell.bulk.sources.storage import exists
from showtell.bulk.units import Listing
from showtell.bulk.writers import escape
from showtell.system.console import note


def print_plan(listing: Listing, output: Path | str | Sidecars | None) -> CaptioningReport:
    """Print what would be done: for side-cars a line per image (action, image, side-car), else counts.

    Raises:
        DataError: a folder of side-cars cannot be written.
    """
    report = CaptioningReport()
    for problem in listing.problems:
        report.fail(problem)
    num_images = "an unknown number of" if listing.num_images is None else f"{listing.num_images:,}"
    if isinstance(output, Sidecars):
        num_done = 0
        for planned in plan(listing, output):
            if planned.problem:
                report.fail(planned.problem)
            action = "fail" if planned.problem else "skip" if planned.is_done else "caption"
            num_done += planned.is_done
            report.num_captioned += action == "caption"
            print(f"{action}\t{escape(str(planned.image))}\t{escape(str(planned.sidecar))}")
        note(f"would caption {report.num_captioned:,} images and skip {num_done:,}")
    elif output is None:
        note(f"would caption {num_images} images")
    else:
        folder = parts_folder(output)
        num_rows = count_rows(folder)
        unfinished = f", of which {num_rows:,} are in {folder}" if num_rows else ""
        replaced = ", which exists" if exists(output) else ""
        note(f"would caption {num_images} images{unfinished}, into {output}{replaced}")
    return report

"""The output of img2dataset: captions of one or several lines, and rows whose download failed.

00000.parquet     all rows with their status, a report on the shard
00000_stats.json  {"count": 8, "successes": 6, "failed_to_download": 1, "failed_to_resize": 1, ...}
00000/            000000000.jpg, 000000000.txt, 000000000.json; or 00000.tar with these
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from showtell.system.reading import read_json

FAILURES = ("failed_to_download", "failed_to_resize")


def is_report(table: Path) -> bool:
    """Return whether a Parquet file is the report on a shard, whose images are in a folder or a .tar of its name."""
    has_images = table.with_suffix("").is_dir() or table.with_suffix(".tar").is_file()
    return has_images and table.with_name(f"{table.stem}_stats.json").is_file()


def split_captions(text: str, metadata: Any = None) -> tuple[str, ...]:
    """Return the captions of an image's text: one per line, or one in all if its metadata are img2dataset's."""
    lines = tuple(line for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line.strip())
    if len(lines) > 1 and isinstance(metadata, Mapping):
        caption = metadata.get("caption")
        if "status" in metadata or (isinstance(caption, str) and caption.split() == text.split()):
            return ("\n".join(lines),)
    return lines


def failed_status(record: Mapping[str, Any]) -> str:
    """Return the status of a row whose download failed, else an empty text."""
    status = record.get("status")
    return status if isinstance(status, str) and status.startswith("failed") else ""


def failed_in(files: Iterable[Path]) -> Counter[str]:
    """Count the failed downloads by the statistics of shards among these files."""
    failed = Counter[str]()
    for file in (file for file in files if file.name.endswith("_stats.json")):
        try:
            counts = read_json(file)
            failed.update({status: int(counts[status]) for status in FAILURES})
        except (OSError, ValueError, TypeError, KeyError, OverflowError):
            continue  # another file of such a name
    return failed


def note_of(failed: Counter[str]) -> list[str]:
    """Return a note of failed downloads, if there are any."""
    counts = ", ".join(f"{status} {count:,}" for status, count in failed.items() if count)
    return [f"{failed.total():,} rows are failed downloads and have no image ({counts})"] if counts else []

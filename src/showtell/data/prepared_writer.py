"""Writes the files of a prepared set (`showtell.data.prepared`), and the images that its source embeds."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from showtell.data.problems import by_kind
from showtell.data.sources.base import EmbeddedImageExample, Example, Problem
from showtell.data.validate import SPLITS, CheckedExample
from showtell.system.atomic import sha256_file, write_manifest, write_text
from showtell.system.console import progress_bar

KIND, FORMAT = "prepared set", 3
EXAMPLES, PROBLEMS, PROVENANCE, IMAGES = "examples.arrow", "problems.jsonl", "provenance.jsonl", "images"
SUFFIXES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"RIFF": ".webp", b"BM": ".bmp"}
ROWS_PER_BATCH = 2_048
FINGERPRINTED = ("key", "sha256", "split", "captions")

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("split", pa.string()),
        ("captions", pa.list_(pa.string())),
    ]
)


def write_embedded_images(
    examples: Iterable[Example | EmbeddedImageExample], directory: Path
) -> Iterator[Example]:
    """Yield all examples, writing embedded images unchanged to ``images/``, named by content, one at a time."""
    with progress_bar("reading images", None, unit="images") as advance:
        for example in examples:
            if isinstance(example, Example):
                yield example
                continue
            digest = hashlib.sha256(example.data).hexdigest()
            suffix = next((suffix for mark, suffix in SUFFIXES.items() if example.data.startswith(mark)), "")
            path = directory / IMAGES / digest[:2] / f"{digest}{suffix}"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(example.data)
            advance(1, "")
            yield Example(example.key, path, example.captions, example.split)


def write_set(
    directory: Path, checked: Iterable[CheckedExample], problems: Sequence[Problem], content: dict[str, Any]
) -> None:
    """Write a prepared set in batches of rows.

    The fingerprint is the SHA-256 over keys, image hashes, splits and captions, in order; paths do not count.
    """
    digest = hashlib.sha256()
    images, captions = Counter[str](), Counter[str]()
    origins: list[str] = []
    remaining = (_row(example, directory, origins) for example in checked)
    with pa.ipc.new_file(str(directory / EXAMPLES), SCHEMA) as writer:
        while rows := list(islice(remaining, ROWS_PER_BATCH)):
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
            for row in rows:
                line = json.dumps([row[name] for name in FINGERPRINTED], ensure_ascii=False)
                digest.update(line.encode() + b"\n")
                images[row["split"]] += 1
                captions[row["split"]] += len(row["captions"])
    lines = [json.dumps(asdict(problem), ensure_ascii=False) + "\n" for problem in problems]
    write_text(directory / PROBLEMS, "".join(lines))
    if origins:
        write_text(directory / PROVENANCE, "".join(f"{line}\n" for line in origins))
        corrections = f"{len(origins):,} captions are corrections, of what {PROVENANCE} says"
        content = {**content, "notes": [*content["notes"], corrections]}
    counted = {
        "fingerprint": digest.hexdigest(),
        "examples_sha256": sha256_file(directory / EXAMPLES),
        "splits": {
            split: {"images": images[split], "captions": captions[split]} for split in SPLITS if images[split]
        },
        "problems": {kind: len(group) for kind, group in by_kind(problems).items()},
    }
    write_manifest(directory, KIND, FORMAT, counted | content)


def _row(checked: CheckedExample, directory: Path, origins: list[str]) -> dict[str, Any]:
    """Return a row of the table; the provenance of its captions goes to ``origins``."""
    example, info = checked.example, checked.info
    origins += (
        json.dumps({"key": example.key, "split": example.split, **json.loads(origin)}, ensure_ascii=False)
        for origin in example.provenance
    )
    # Relative where the image moves with the set; unlike absolute(), abspath() drops '..'.
    stored = example.image.is_relative_to(directory)
    path = example.image.relative_to(directory).as_posix() if stored else os.path.abspath(example.image)  # noqa: PTH100
    return {
        "key": example.key,
        "path": path,
        "sha256": info.sha256,
        "size": checked.size,
        "mtime_ns": checked.mtime_ns,
        "width": info.width,
        "height": info.height,
        "split": example.split,
        "captions": list(example.captions),
    }

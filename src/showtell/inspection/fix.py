"""A prepared set without the images and captions that were found: only its training split changes."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from showtell.data.prepared import PreparedSet, check_replaceable
from showtell.data.prepared_writer import EXAMPLES, PROVENANCE, write_set
from showtell.data.sources.base import Example
from showtell.data.validate import CheckedExample
from showtell.errors import DataError
from showtell.images.load import ImageInfo
from showtell.inspection.findings import KINDS, Finding, Inspection
from showtell.system.atomic import atomic_directory, with_file_name, write_text
from showtell.system.locks import locked_directory
from showtell.system.reading import read_json_lines

LEFT_OUT = "left-out.jsonl"


def write_fixed(inspection: Inspection, out: Path) -> tuple[PreparedSet, Counter[str]]:
    """Write a cleaned set, with ``left-out.jsonl``: the images and captions that it lacks, and why.

    Images stay where they are. A training image without any caption left is left out. The set that was inspected is
    not changed.

    Returns:
        The new set, and the number of ``images`` and ``captions`` that were left out.

    Raises:
        DataError: ``out`` is something else, or no training image would be left.
    """
    prepared = inspection.prepared
    out = with_file_name(out).absolute()
    if out == prepared.directory:
        raise DataError(
            f"will not overwrite {out}", found="the set that is inspected", mend="Choose another -o"
        )
    images, captions = _left_out(inspection)
    list_of_left_out: list[dict[str, Any]] = []
    with locked_directory(out):
        check_replaceable(out, str(prepared.directory), overwrite=False)
        with atomic_directory(out) as folder:
            kept = _cleaned_examples(prepared, images, captions, list_of_left_out)
            content = {name: prepared.manifest[name] for name in ("options", "generated_split")}
            note = f"cleaned by showtell inspect; {LEFT_OUT} lists what was left out"
            content |= {
                "source": {**prepared.manifest["source"], "path": str(prepared.directory)},
                "notes": [text for text in prepared.manifest["notes"] if PROVENANCE not in text] + [note],
            }
            write_set(folder, kept, inspection.problems, content)
            lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in list_of_left_out]
            write_text(folder / LEFT_OUT, "".join(lines))
    fixed = PreparedSet.load(out)
    counts = Counter("captions" if record["caption"] else "images" for record in list_of_left_out)
    return fixed, counts


def _left_out(inspection: Inspection) -> tuple[dict[int, Finding], dict[tuple[int, str], Finding]]:
    """Return the first finding of each image and each caption of the training split that is left out."""
    images: dict[int, Finding] = {}
    captions: dict[tuple[int, str], Finding] = {}
    for kind, group in inspection.findings.items():
        for finding in group:
            if inspection.prepared.split(finding.row) != "train":
                continue
            if KINDS[kind].leaves_out == "image":
                images.setdefault(finding.row, finding)
            elif KINDS[kind].leaves_out == "caption":
                captions.setdefault((finding.row, finding.caption), finding)
    return images, captions


def _cleaned_examples(
    prepared: PreparedSet,
    images: dict[int, Finding],
    captions: dict[tuple[int, str], Finding],
    left_out: list[dict[str, Any]],
) -> Iterator[CheckedExample]:
    """Yield the examples that stay, and append to ``left_out`` those that do not."""
    row, training, provenance = -1, 0, _provenance(prepared)
    with pa.memory_map(str(prepared.directory / EXAMPLES)) as file:
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            for values in reader.get_batch(number).to_pylist():
                row += 1
                texts = [text for text in values["captions"] if (row, text) not in captions]
                found = images.get(row)
                if found is None:
                    lost = dict.fromkeys(text for text in values["captions"] if (row, text) in captions)
                    left_out += [_record(prepared, captions[row, text], text) for text in lost]
                    if not texts:
                        found = captions[row, values["captions"][0]]
                if found is not None:
                    left_out.append(_record(prepared, found, ""))
                    continue
                training += values["split"] == "train"
                key, split = values["key"], values["split"]
                path, origins = prepared.image_path(row), provenance.get((key, split), ())
                example = Example(key, path, tuple(texts), split, tuple(origins))
                info = ImageInfo(values["sha256"], values["width"], values["height"])
                yield CheckedExample(example, info, values["size"], values["mtime_ns"])
    if not training and "train" in prepared.manifest["splits"]:
        raise DataError(
            f"cannot fix {prepared.directory}",
            found="no training image without findings",
            mend="Leave kinds out: --ignore KIND",
        )


def _provenance(prepared: PreparedSet) -> dict[tuple[str, str], list[str]]:
    """Return the provenance of corrected captions, as in `Example`, by key and split."""
    path = prepared.directory / PROVENANCE
    origins: dict[tuple[str, str], list[str]] = {}
    for line in read_json_lines(path) if path.exists() else ():
        origins.setdefault((line["key"], line["split"]), []).append(json.dumps(line, ensure_ascii=False))
    return origins


def _record(prepared: PreparedSet, finding: Finding, caption: str) -> dict[str, Any]:
    return {
        "image": prepared.key(finding.row),
        "caption": caption or None,
        "kind": finding.kind,
        "reason": finding.reason,
        "other": prepared.key(finding.other) if finding.other >= 0 else None,
    }

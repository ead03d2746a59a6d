"""Flickr30k with Karpathy's splits, in the text format of Hugging Face: ``flickr_annotations_30k.csv``.

    raw,sentids,split,filename,img_id
    "[""Two young guys with shaggy hair ..."", ...]","[0, 1, 2, 3, 4]",train,1000092795.jpg,0

The captions of an image are a JSON list in one field; the images (``flickr30k-images.zip``) are unpacked beside it.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from showtell.data.sources.base import Problem, Source, not_a
from showtell.data.sources.image_index import FLICKR30K_FOLDERS, find_images
from showtell.data.sources.table import Row, group_rows
from showtell.errors import DataError
from showtell.system.atomic import text_lines

LAYOUT = "a folder with flickr_annotations_30k.csv and flickr30k-images/, or that file"
TABLE = "flickr_annotations_30k.csv"
COLUMNS = ("raw", "split", "filename")


def matches(path: Path) -> bool:
    """Return whether this is the table or a folder with it."""
    return (path.name == TABLE and path.is_file()) or (path / TABLE).is_file()


def read(path: Path) -> Source:
    """Read the dataset."""
    table = path if path.is_file() else path / TABLE
    if not table.is_file():
        raise not_a("flickr30k-csv", path, f"no {TABLE}", LAYOUT)
    reader = csv.DictReader(text_lines(table, newline=""))
    if not set(COLUMNS) <= set(reader.fieldnames or ()):
        found = ", ".join(reader.fieldnames or ()) or "no header"
        raise DataError(
            f"cannot read {table}",
            found=found[:80],
            expected=f"the columns {', '.join(COLUMNS)}",
            mend="Download it again, or pass another --format",
        )
    problems: list[Problem] = []
    rows = _rows(table, reader, problems)
    return group_rows(rows, problems, root=find_images(table.parent, FLICKR30K_FOLDERS), name="flickr30k-csv")


def _rows(table: Path, reader: "csv.DictReader[str]", problems: list[Problem]) -> Iterator[Row]:
    while True:
        error = ""
        try:
            record = next(reader)
            captions = json.loads(record["raw"])
            if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
                error = "raw is not a list of texts"
            elif not (record["filename"] or "").strip():
                error = "no filename"
            else:
                yield Row(record["filename"].strip(), tuple(captions), (record["split"] or "").strip())
        except StopIteration:
            return
        except csv.Error as failure:
            error = str(failure)
        except (TypeError, ValueError, RecursionError) as failure:
            error = f"raw is not a JSON list: {failure}"
        if error:
            problems.append(Problem("unreadable-line", f"{table.name}:{reader.line_num}", error))

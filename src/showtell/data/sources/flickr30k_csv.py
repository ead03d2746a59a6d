"""Flickr30k with Karpathy's splits as Hugging Face has its text: ``flickr_annotations_30k.csv``.

    raw,sentids,split,filename,img_id
    "[""Two young guys with shaggy hair ..."", ...]","[0, 1, 2, 3, 4]",train,1000092795.jpg,0

The captions of a picture are a JSON list in one field; the pictures (``flickr30k-images.zip``) lie beside.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from showtell.data.sources.base import Problem, Source
from showtell.data.sources.image_index import FLICKR30K_FOLDERS, find_images
from showtell.data.sources.table import Row, group_rows
from showtell.errors import DataError
from showtell.system.atomic import text_lines

LOOKS = "a folder with flickr_annotations_30k.csv and flickr30k-images/, or that file"
TABLE = "flickr_annotations_30k.csv"
COLUMNS = ("raw", "split", "filename")


def matches(path: Path) -> bool:
    """Tell whether this is the table or a folder with it."""
    return (path.name == TABLE and path.is_file()) or (path / TABLE).is_file()


def read(path: Path) -> Source:
    """Read the set.

    Raises:
        DataError: the table, one of its columns or the folder of photographs is missing.
    """
    table = path if path.is_file() else path / TABLE
    if not table.is_file():
        raise DataError(
            f"cannot read {path} as flickr30k-csv", found=f"no {TABLE}", expected=LOOKS, mend="Check the path"
        )
    problems: list[Problem] = []
    rows = _rows(table, _reader(table), problems)
    pictures = find_images(table.parent, FLICKR30K_FOLDERS)
    return group_rows(rows, problems, root=pictures, name="flickr30k-csv")


def _reader(table: Path) -> csv.DictReader[str]:
    reader = csv.DictReader(text_lines(table, newline=""))
    if not set(COLUMNS) <= set(reader.fieldnames or ()):
        found = ", ".join(reader.fieldnames or ()) or "no header"
        raise DataError(
            f"cannot read {table}",
            found=found[:80],
            expected=f"the columns {', '.join(COLUMNS)}",
            mend="Download it again, or name another --format",
        )
    return reader


def _rows(table: Path, reader: csv.DictReader[str], problems: list[Problem]) -> Iterator[Row]:
    while True:
        try:
            record = next(reader)
            where = f"{table.name}:{reader.line_num}"
            captions = json.loads(record["raw"])
        except StopIteration:
            return
        except csv.Error as error:
            problems.append(Problem("unreadable-line", f"{table.name}:{reader.line_num}", str(error)))
            continue
        except (TypeError, ValueError, RecursionError) as error:
            problems.append(Problem("unreadable-line", where, f"raw is no JSON list: {error}"))
            continue
        if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
            problems.append(Problem("unreadable-line", where, "raw is no list of texts"))
        elif not (record["filename"] or "").strip():
            problems.append(Problem("unreadable-line", where, "no filename"))
        else:
            yield Row(record["filename"].strip(), tuple(captions), (record["split"] or "").strip())

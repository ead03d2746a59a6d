"""Flickr30k with Karpathy's splits, in the text format of Hugging Face: ``flickr_annotations_30k.csv``.

    raw,sentids,split,filename,img_id
    "[""Two young guys with shaggy hair ..."", ...]","[0, 1, 2, 3, 4]",train,1000092795.jpg,0

The captions of an image are a JSON list in one field; the images (``flickr30k-images.zip``) are unpacked beside it.
"""

from pathlib import Path

from showtell.data.sources.base import Problem, Source, parse_records
from showtell.data.sources.csv_dialect import CsvDialect
from showtell.data.sources.files import FLICKR30K_FOLDERS, files_named, find_images
from showtell.data.sources.table import Row, group_rows
from showtell.errors import DataError
from showtell.system.reading import parse_json, text_lines

LAYOUT = "a folder with flickr_annotations_30k.csv and flickr30k-images/, or that file"
TABLE = "flickr_annotations_30k.csv"
MISSING = f"no {TABLE}"
COLUMNS = ("raw", "split", "filename")


def find(path: Path, *, forced: bool) -> list[Path]:
    return files_named(path, (TABLE,), forced=forced)


def read(path: Path, files: list[Path]) -> Source:
    [table] = files
    problems: list[Problem] = []
    lines = text_lines(table, newline="")
    first = next(lines, "")
    header = CsvDialect().split(first.rstrip("\r\n"))
    if not set(COLUMNS) <= set(header):
        raise DataError(
            f"cannot read {table}",
            found=", ".join(header)[:80],
            expected=f"the columns {', '.join(COLUMNS)}",
            mend="Download it again, or pass another --format",
        )

    dialect = CsvDialect(width=len(header), image=header.index("filename"), cr_ends_rows=first.endswith("\r"))
    records = ((f"{table.name}:{number}", fields) for number, fields in dialect.rows(lines))

    def parse(fields: list[str]) -> Row:
        values = dict(zip(header, fields, strict=False))
        try:
            captions = parse_json(values.get("raw", ""), lenient=True)
        except ValueError as error:
            raise ValueError(f"raw is not a JSON list: {error}") from error
        if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
            raise ValueError("raw is not a list of texts")
        if not values.get("filename", "").strip():
            raise ValueError("no filename")
        return Row(values["filename"].strip(), tuple(captions), values.get("split", "").strip())

    rows = parse_records(records, parse, problems)
    return group_rows(rows, find_images(path, FLICKR30K_FOLDERS), problems)

"""CSV or TSV with the columns image, caption and optionally split; an image may have several rows.

    image,caption,split
    dogs/1.jpg,"A dog, running.",train

The header names the columns (also file_name, text, caption_0 to caption_4, ...) and determines the delimiter. If the
caption is the last column, it may contain unquoted delimiters. Image paths are relative to the table, or to the
folder of the images.
"""

from pathlib import Path

from showtell.data.sources.base import Problem, Source
from showtell.data.sources.columns import Columns
from showtell.data.sources.files import first_line
from showtell.data.sources.locate import locate_beside
from showtell.data.sources.table import USUAL, find_header, group_rows, read_csv

LAYOUT = "a .csv, .tsv or .txt file with the columns image, caption and optionally split"
MISSING = "a folder"


def find(path: Path, *, forced: bool) -> list[Path]:
    if not path.is_file():
        return []
    is_table = path.suffix.lower() in (".csv", ".tsv") or (
        path.suffix.lower() == ".txt" and find_header(first_line(path))
    )
    return [path] if forced or is_table else []


def read(path: Path, files: list[Path], images: Path | None = None, columns: Columns = USUAL) -> Source:
    folder, problems = images or path.absolute().parent, list[Problem]()
    rows = read_csv(path, problems, path.name, columns)
    return locate_beside(group_rows(rows, folder, problems), path, folder)

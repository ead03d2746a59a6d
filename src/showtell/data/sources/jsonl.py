"""JSON lines with image, caption (or a list of captions) and optionally split; image paths are relative to the file.

{"image": "dogs/1.jpg", "captions": ["A dog runs.", "A brown dog."], "split": "train"}
{"file_name": "dogs/2.jpg", "text": "A dog sleeps."}
"""

from pathlib import Path

from showtell.data.sources.base import Problem, Source
from showtell.data.sources.columns import Columns
from showtell.data.sources.locate import locate_beside
from showtell.data.sources.table import USUAL, group_rows, read_jsonl

LAYOUT = "a .jsonl file of objects with image, caption and optionally split"
MISSING = "a folder"


def find(path: Path, *, forced: bool) -> list[Path]:
    return [path] if path.is_file() and (forced or path.suffix.lower() in (".jsonl", ".ndjson")) else []


def read(path: Path, files: list[Path], images: Path | None = None, columns: Columns = USUAL) -> Source:
    folder, problems = images or path.absolute().parent, list[Problem]()
    rows = read_jsonl(path, problems, path.name, columns)
    return locate_beside(group_rows(rows, folder, problems), path, folder)

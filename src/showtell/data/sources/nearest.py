"""What an unknown dataset is: the known format that it is nearest to, and what differs, for error messages."""

from itertools import islice
from pathlib import Path
from typing import Any

from showtell.data.sources.columns import CHOOSE
from showtell.data.sources.files import files_below, first_line, is_image
from showtell.data.sources.json import caption_columns
from showtell.data.sources.locate import find_files
from showtell.data.sources.table import USUAL, longest_header
from showtell.system.json_stream import first_element, outline

FORMS = {
    "coco": {"images": ("id", "file_name"), "annotations": ("image_id", "caption")},
    "karpathy": {"images": ("filename", "sentences")},
}
TABLES = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "huggingface"}
SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
ARCHIVES = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
CONVERSATIONS = "conversations"  # LLaVA's: only some answers are captions
MOST_FILES = 100_000
SHOWN = 6  # keys

Nearness = tuple[float, str]
"""From 0 to 1, and what differs."""


def describe_nearest(path: Path) -> str:
    """Return the format that a file or folder is nearest to, and what differs."""
    if path.is_dir():
        found = find_files(path, ".json", json_nearness, depth=1)
        return max(found.values(), key=lambda near: near[0])[1] if found else _describe_folder(path)
    near = json_nearness(path)
    return near[1] if near else _describe_file(path)


def _describe_file(path: Path) -> str:
    if path.suffix.lower() in SPREADSHEETS:
        return _describe_table(path)
    if path.name.lower().endswith(ARCHIVES):
        return f"{path.name} is an archive; unpack it, and give the folder"
    if is_image(path.name):
        return f"{path.name} is an image; give a folder or a file of captions"
    if path.suffix.lower() == ".json":
        return f"{path.name} is not JSON, or has no entries"
    with path.open(encoding="utf-8-sig", errors="replace") as text:
        line = " ".join(text.readline(60).split())
    if not line.isprintable() or "\ufffd" in line or not line:
        return f"{path.name} is not a text file" if line else f"{path.name} is empty"
    return f"nearest is caption-list, but {path.name} begins with '{line}', not with NAME#NUMBER CAPTION"


def json_nearness(file: Path) -> Nearness | None:
    """Return how near a JSON file is to a format; None if it is no JSON file of objects."""
    head = outline(file)
    if not head:
        return None
    if caption_columns(head) and USUAL.find_image(head):
        with file.open(encoding="utf-8-sig", errors="replace") as text:
            is_per_line = text.readline().rstrip().endswith("}")
        if is_per_line:
            return 1.0, f"nearest is jsonl: {file.name} has an object per line; pass --format jsonl"
        return 1.0, f"nearest is json, but {file.name} has one object, not a list of them"
    near = [(0.0, f"{file.name} has no captions in a known form ({_keys(head)})")]
    near += [_form_nearness(file, head, name) for name in FORMS]
    near += [_entry_nearness(file, key, entry) for key, entry in head.items() if isinstance(entry, dict)]
    return max(near, key=lambda one: one[0])


def _form_nearness(file: Path, head: dict[str, Any], name: str) -> Nearness:
    known, wanted, missing = 0, 0, []
    for key, columns in FORMS[name].items():
        entry = head.get(key) or first_element(file, key)
        wanted += len(columns)
        if isinstance(entry, dict):
            known += len(entry.keys() & set(columns))
            missing += [
                f"{key} have no '{column}' ({_keys(entry)})" for column in columns if column not in entry
            ]
        else:
            missing.append(f"there are no '{key}'")
    return known / wanted, f"nearest is {name}, but in {file.name} {', and '.join(missing)}"


def _entry_nearness(file: Path, key: str, entry: dict[str, Any]) -> Nearness:
    """Return how near an entry of a list is to one of image and caption."""
    has_image, has_caption = USUAL.find_image(entry), caption_columns(entry)
    where = f"nearest is json, but {file.name} has entries {f'in {key} ' * bool(key)}"
    if has_image and CONVERSATIONS in entry and not has_caption:
        return 0.6, (
            f"{where}with {CONVERSATIONS} in place of a caption ({_keys(entry)}); write the answers that are "
            "captions as entries of image and caption"
        )
    if has_caption and not has_image:
        return 0.5, f"{where}without the name of an image ({_keys(entry)})"
    if has_caption and has_image:
        return 0.6, f"{where}whose '{has_image}' is {entry[has_image]!r:.40}, not the name of an image"
    return 0.4 if has_image else 0.0, f"{where}without caption ({_keys(entry)})"


def _keys(entry: dict[str, Any]) -> str:
    return "found " + ", ".join(islice(entry, SHOWN)) + (", ..." if len(entry) > SHOWN else "")


def _describe_table(file: Path) -> str:
    """Return what differs in a table of captions; an empty text: the file is no table."""
    suffix = file.suffix.lower()
    if suffix in SPREADSHEETS:
        return f"{file.name} is a spreadsheet; save it as CSV in UTF-8"
    if suffix not in (".csv", ".tsv", ".txt"):
        return f"nearest is {TABLES[suffix]}: give the file itself, {file}" if suffix in TABLES else ""
    line = first_line(file)
    columns = longest_header(line)
    if len(columns) > 1 and is_image(columns[0].strip()):
        return f"nearest is csv, but {file.name} has no header; put the line image,caption before the others"
    if suffix == ".txt":
        return ""
    found = ", ".join(columns[:SHOWN]) if line else "no lines"
    return f"nearest is csv, but {file.name} has not the columns of images and captions (found {found}); {CHOOSE}"


def _describe_folder(folder: Path) -> str:
    images, table, count = 0, "", 0
    for file in islice(files_below(folder), MOST_FILES):
        count += 1
        images += is_image(file.name)
        table = table or _describe_table(file)
    if table:
        return table
    if images:
        return f"nearest is folder, but none of its {images:,} images has a .txt of the same name beside it"
    if count == MOST_FILES:
        return f"neither images nor captions in its first {MOST_FILES:,} files"
    return "neither images nor captions"

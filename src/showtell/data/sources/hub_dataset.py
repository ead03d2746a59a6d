"""Loading datasets by the library ``datasets``, saved to disk or streamed from the hub, with images as bytes."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from showtell.data.sources.columns import IMAGE_COLUMNS
from showtell.data.sources.img2dataset import is_report
from showtell.errors import ConfigError, DataError, import_extra

ADDRESS = re.compile(
    r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:/(?P<config>[^@:/]+))?(?:@(?P<revision>[^:]+))?(?::(?P<split>\w+))?"
)
SCRIPT = re.compile(r"dataset scripts|custom code", re.IGNORECASE)
CONVERTED = "refs/convert/parquet"
PARQUET_FOLDERS = ("*.parquet", "data/*.parquet", "*/*.parquet", "*/*/*.parquet")
EMBEDDED_COLUMNS = ("image", "img", "picture", "jpg", "png", "webp", *IMAGE_COLUMNS)
NAME_COLUMNS = ("filename", "file_name", "image_name", "image_path", "image_file", "image_file_name")
ID_COLUMNS = ("img_id", "image_id", "imgid", "cocoid", "id", "key", "__key__")


def is_saved(path: Path) -> bool:
    """Return whether a folder was written by ``save_to_disk``."""
    names = ("dataset_dict.json",), ("dataset_info.json", "state.json")
    return any(all((path / name).is_file() for name in group) for group in names)


def parquet_files(folder: Path) -> Iterator[Path]:
    """Yield the Parquet files of a downloaded dataset, without img2dataset's reports on shards."""
    tables = (table for pattern in PARQUET_FOLDERS for table in folder.glob(pattern))
    return (table for table in tables if not is_report(table))


def load_saved(path: Path) -> Any:
    """Return a dataset that was saved to disk, or its splits by name.

    Raises:
        DataError: it cannot be read.
        MissingExtraError: ``datasets`` is not installed.
    """
    datasets = library()
    with library_errors(str(path)):
        return datasets.load_from_disk(str(path))


def load_hub(address: str) -> tuple[Any, str | None, list[str]]:
    """Return a dataset of the hub, streamed, or its splits by name; the split requested; and notes.

    Raises:
        ConfigError: the address is not ``OWNER/NAME[/CONFIG][@REVISION][:SPLIT]``.
        DataError: the dataset cannot be reached.
        MissingExtraError: ``datasets`` is not installed.
    """
    dataset = f"hf:{address}"
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise ConfigError(f"cannot read {dataset}", expected="hf:OWNER/NAME[/CONFIG][@REVISION][:SPLIT]")
    datasets = library()
    name, config, revision, split = match.group("name", "config", "revision", "split")

    def load(revision: str | None) -> Any:
        with library_errors(dataset):
            return datasets.load_dataset(name, config, split=split, revision=revision, streaming=True)

    notes: list[str] = []
    try:
        loaded = load(revision)
    except DataError as error:
        # Dataset scripts are no longer supported; the hub has their output as Parquet.
        if revision is not None or not SCRIPT.search(str(error.__cause__)):
            raise
        loaded = load(CONVERTED)
        notes = [f"{name} is a script; its conversion to Parquet on the hub ({CONVERTED}) was read"]
    return loaded, split, notes


def undecoded(rows: Any) -> tuple[Any, list[str]]:
    """Return rows whose images are bytes, as they are in the files, and the names of the columns of images."""
    images = [name for name, feature in (rows.features or {}).items() if type(feature).__name__ == "Image"]
    for name in images:
        rows = rows.cast_column(name, library().Image(decode=False))
    return rows, images


def library() -> Any:
    """Return the module; a MissingExtraError if it is not installed."""
    return import_extra("datasets", extra="datasets", need="the package 'datasets'")


@contextlib.contextmanager
def library_errors(dataset: str) -> Iterator[None]:
    """Convert the library's errors of all types, which are the dataset's or the network's."""
    try:
        yield
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).split("\n")[0]
        on_hub = dataset.startswith("hf:")
        mend = (
            "Check name, configuration and split, and the network"
            if on_hub
            else "Check that its files are whole"
        )
        raise DataError(f"cannot read {dataset}", found=first, mend=mend) from error


def image_parts(value: Any) -> tuple[bytes | None, str]:
    """Return an image's bytes, if embedded, and its path."""
    if isinstance(value, Mapping):
        return value.get("bytes"), str(value.get("path") or "")
    if isinstance(value, bytes):
        return value, ""
    return None, str(value or "")


def fetch(address: str, dataset: str) -> bytes:
    """Return the bytes of an image file on the hub."""
    from datasets.utils.file_utils import xopen

    with library_errors(dataset), xopen(address, "rb") as file:
        return bytes(file.read())

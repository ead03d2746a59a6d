"""Lists sources in units: files, folders, patterns, shards, tables, datasets, addresses, lists of files."""

import glob
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from showtell.bulk.sources.storage import expand_glob, is_url, list_folder
from showtell.bulk.units import UNIT_IMAGES, Listing
from showtell.data.sources.shard_names import TAR_SUFFIXES, expand_braces, has_braces
from showtell.errors import DataError
from showtell.images.formats import IMAGE_SUFFIXES
from showtell.images.listing import describe_suffixes, list_images, natural_key
from showtell.system.console import note
from showtell.system.disk_store import DiskList

_PARQUET = ".parquet"


def list_units(
    sources: Sequence[str | Path],
    *,
    recursive: bool = False,
    listed: Iterable[str] = (),
    image_column: str = "",
    sidecar_suffix: str = "",
) -> Listing:
    """List the images of sources in units; note files that are no images.

    Args:
        sources: Files; folders of images, with the folders in them if ``recursive``, or of shards or tables; patterns
            with ``*`` or braces that no file has for its name; ``hf:OWNER/NAME``; addresses of object storage.
        listed: Files, of any kind and at any place, but no folders or patterns.
        image_column: The column of images in tables and datasets; empty: by its usual names.
        sidecar_suffix: The suffix of files that belong to images, and are not noted.

    Raises:
        ConfigError: there is no such column, or the address of a dataset has another form.
        MissingExtraError: a package that a source needs is not installed.
    """
    lister = _Lister(recursive, image_column)
    for source in sources:
        try:
            lister.add(str(source))
        except DataError as error:
            lister.problems.append(str(error))
    for path in listed:
        lister.add_file(path)
    return lister.listing(sidecar_suffix)


class _Lister:
    def __init__(self, recursive: bool, image_column: str) -> None:
        self.problems: list[str] = []
        self._recursive, self._image_column = recursive, image_column
        self._left_out: Counter[str] = Counter()
        self._num_images: int | None = 0
        self._units = DiskList[dict[str, Any]](pack=dict, unpack=dict)
        self._files = list[str]()  # that are in no unit yet

    def listing(self, sidecar_suffix: str) -> Listing:
        self._flush()
        del self._left_out[sidecar_suffix[1:].upper()]
        if self._left_out:
            names = describe_suffixes(self._left_out)
            note(f"files left out, no images: {self._left_out.total()} ({names})")
        return Listing(lambda: iter(self._units), self._num_images if self._units else 0, self.problems)

    def add(self, source: str) -> None:
        exists = os.path.exists(source)  # noqa: PTH110  (never raises)
        if has_braces(source) and not exists:
            for each in expand_braces(source):
                self.add(each)
        elif glob.has_magic(source) and not exists:
            self._add_pattern(source)
        elif is_url(source):
            self._add_url(source)
        elif source.startswith("hf:") and not exists:
            self._add_dataset(source)
        elif os.path.isdir(source):  # noqa: PTH112  (never raises: reading it reports a closed or odd path)
            self._add_folder(Path(source))
        else:
            self.add_file(source)

    def add_file(self, source: str) -> None:
        """Add a file by its suffix; whether it exists shows when it is read."""
        name = source.lower()
        if name.endswith(TAR_SUFFIXES):
            self._add_unit({"tar": source}, None)
        elif name.endswith(_PARQUET):
            from showtell.bulk.sources.parquet import units  # pyarrow takes time at a cold start

            for unit in units(source, self._image_column):
                self._add_unit(unit, unit["rows"])
        else:
            if len(self._files) == UNIT_IMAGES:
                self._flush()
            self._files.append(source)

    def _add_pattern(self, pattern: str) -> None:
        if is_url(pattern):
            files = expand_glob(pattern)
        else:
            found = glob.iglob(pattern, recursive=True)  # noqa: PTH207  (Path.glob takes no absolute pattern)
            files = sorted(filter(os.path.isfile, found), key=natural_key)
        if not files:
            raise DataError(f"cannot read {pattern}", found="no file that fits", mend="Check the pattern")
        for file in files:
            self.add_file(file)

    def _add_url(self, url: str) -> None:
        is_file = url.lower().endswith((*IMAGE_SUFFIXES, *TAR_SUFFIXES, _PARQUET))
        files = None if is_file else list_folder(url, recursive=self._recursive)
        if files is None:
            self.add_file(url)
        else:
            self._add_remote_files(url, files)

    def _add_remote_files(self, folder: str, files: list[str]) -> None:
        images = [file for file in files if file.lower().endswith(IMAGE_SUFFIXES)]
        chosen = images or _shards(files)
        others = Counter(PurePosixPath(file).suffix[1:].upper() for file in set(files).difference(chosen))
        if not chosen:
            names = f" ({describe_suffixes(others)})" if others else ""
            mend = "" if self._recursive else "Add --recursive for the images of its folders"
            raise DataError(f"cannot read {folder}", found=f"a folder without images{names}", mend=mend)
        if images:
            self._left_out.update(others)
        for file in chosen:
            self.add_file(file)

    def _add_folder(self, folder: Path) -> None:
        from showtell.data.sources.hub_dataset import is_saved

        if is_saved(folder):
            self._add_dataset(str(folder))
            return
        left_out: Counter[str] = Counter()
        images, problems = list_images([folder], recursive=self._recursive, left_out=left_out)
        shards = [] if images else _shards_in(folder, recursive=self._recursive)
        for file in shards or map(str, images):
            self.add_file(file)
        if not shards:
            self.problems += problems
            self._left_out.update(left_out)

    def _add_dataset(self, source: str) -> None:
        from showtell.bulk.sources.dataset import units

        for unit in units(source, self._image_column):
            self._add_unit(unit, unit.get("rows"))

    def _add_unit(self, unit: dict[str, Any], num_images: int | None) -> None:
        self._flush()
        self._units.add(unit)
        if num_images is None or self._num_images is None:
            self._num_images = None
        else:
            self._num_images += num_images

    def _flush(self) -> None:
        files, self._files = self._files, []
        if files:
            self._add_unit({"files": files}, len(files))


def _shards(files: list[str]) -> list[str]:
    """Return the files that are .tar, else those that are .parquet: beside shards there are reports on them."""
    found = ([file for file in files if file.lower().endswith(kind)] for kind in (TAR_SUFFIXES, _PARQUET))
    return next(filter(None, found), [])


def _shards_in(folder: Path, *, recursive: bool) -> list[str]:
    """Return the shards in a folder, in natural order, else its Parquet files, as datasets on the hub have them."""
    from showtell.data.sources.files import walk_folders
    from showtell.data.sources.hub_dataset import parquet_files

    folders = islice(walk_folders(folder), None if recursive else 1)
    files = (str(path / name) for path, names in folders for name in names)
    shards = {file for file in files if file.lower().endswith(TAR_SUFFIXES)}
    near = (folder, folder / "data")
    tables = {str(table) for table in parquet_files(folder) if recursive or table.parent in near}
    return sorted(shards or tables, key=natural_key)

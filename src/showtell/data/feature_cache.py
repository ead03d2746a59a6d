"""Encoder features of a prepared set, cached on disk as memory-mapped half floats.

A cache is a directory: ``manifest.json`` (encoder, prepared set), ``regions.f16`` [N, R, D] and ``pooled.f16`` [N, D]
(row = prepared row), ``sums.u64`` [N, 2] with a sum of each row of both, compared when it is read, and
``done.bitmap`` with one bit per row, set only after that row has reached the disk: a process may be killed at any
byte and the next one resumes (`showtell.data.features`). Without regions, R is 0 and the cache of a ResNet-50 takes a
fiftieth. Rows that are never extracted are holes in sparse files, which take no disk space.
"""

import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from showtell.data.feature_writer import (
    BITMAP,
    CLAIMS,
    POOLED,
    REGIONS,
    SUM_KIND,
    SUM_TYPE,
    SUMS,
    forget_row,
    sum_of,
)
from showtell.data.prepared import PreparedSet
from showtell.encoders.encoder import Encoder, identity_differences
from showtell.errors import DataError
from showtell.system.atomic import MANIFEST, cannot_write, read_manifest, write_manifest
from showtell.system.console import note

# Format 3: color profiles are applied, and TIFF and PNG kinds are decoded otherwise.
KIND, FORMAT = "feature cache", 3
SPARE_BYTES = 64 * 2**20


class FeatureCache:
    """Cached features of a prepared set, memory-mapped and read-only; see `showtell.data.features.extract_features`.

    ``regions`` float16 [N, R, D], ``pooled`` float16 [N, D], and ``done`` bool [N], true where a row has features.
    """

    def __init__(self, directory: Path, manifest: dict[str, Any], done: npt.NDArray[np.bool_]):
        self.directory, self.manifest, self.done = directory, manifest, done
        rows, regions, width = (int(manifest[name]) for name in ("rows", "regions", "width"))
        # An empty file cannot be mapped.
        self.regions: npt.NDArray[np.float16] = np.empty((rows, 0, width), np.float16)
        if regions:
            self.regions = np.memmap(directory / REGIONS, np.float16, "r", shape=(rows, regions, width))
        self.pooled = np.memmap(directory / POOLED, np.float16, "r", shape=(rows, width))
        self._sums: npt.NDArray[np.uint64] | None = None
        if "sums" in manifest:
            self._sums = np.fromfile(directory / SUMS, SUM_TYPE).reshape(rows, 2)

    def read(self, name: Literal["regions", "pooled"], row: int) -> npt.NDArray[np.float16]:
        """Return the regions [R, D] or the pooled features [D] of a row.

        Raises:
            DataError: the row is damaged; it is extracted again by the next command that needs it.
        """
        values: npt.NDArray[np.float16] = getattr(self, name)[row]
        # Regions that a reader cut off are not read.
        if (
            self._sums is not None
            and values.size
            and sum_of(values) != self._sums[row, int(name == "pooled")]
        ):
            forgotten = forget_row(self.directory / BITMAP, row)
            raise DataError(
                f"the feature cache {self.directory} is damaged",
                found=f"other {name} of image {row} than were extracted",
                mend="Run the same command again: they are extracted again"
                if forgotten
                else "Delete the directory and extract again",
            )
        return values


def cache_bytes(rows: int, regions: int, width: int) -> int:
    """Return the bytes of features, regions and pooled vectors, of some rows."""
    return rows * (regions + 1) * width * np.dtype(np.float16).itemsize


def open_manifest(
    prepared: PreparedSet, encoder: Encoder, directory: Path, *, regions: bool
) -> dict[str, Any] | None:
    """Return the manifest of a cache of this set and encoder; None: there is no cache in the directory yet.

    Raises:
        DataError: a cache of another set, encoder or version, or other files.
    """
    if (directory / MANIFEST).exists():
        manifest = read_manifest(directory, KIND, FORMAT, outdated="Delete the cache; it is extracted again")
        found: dict[str, Any] = {"encoder": manifest["encoder"], "prepared set": manifest["prepared"]}
        expected: dict[str, Any] = {"encoder": encoder.identity(), "prepared set": prepared.fingerprint}
        if regions:
            found["regions"], expected["regions"] = manifest["regions"], encoder.regions
        differences = identity_differences(found, expected)
        if differences:
            raise DataError(
                f"the feature cache {directory} is stale",
                found="; ".join(differences),
                mend="Delete it or choose another directory",
            )
        if int(manifest["rows"]) != len(prepared) or manifest.get("sums", SUM_KIND) != SUM_KIND:
            raise DataError(
                f"the feature cache {directory} cannot be used",
                found=f"{manifest['rows']} rows with sums of kind {manifest.get('sums')}",
                expected=f"{len(prepared)} rows, {SUM_KIND}",
                mend="Delete it; it is extracted again",
            )
        if "sums" not in manifest:
            note(
                f"{directory} is of an earlier version, without sums: damage would go unnoticed. "
                "Delete it to extract again"
            )
        return manifest
    # A process killed before it wrote the manifest leaves some of these.
    own = (REGIONS, POOLED, BITMAP, SUMS, CLAIMS)
    names = sorted(path.name for path in directory.iterdir())
    foreign = [name for name in names if name not in own and not name.startswith(f".{MANIFEST}.")]
    if foreign:
        raise DataError(
            f"cannot create a feature cache in {directory}",
            found=f"other files ({foreign[0]})",
            mend="Choose an empty or new directory",
        )
    return None


def create_cache(prepared: PreparedSet, encoder: Encoder, directory: Path, *, regions: int) -> dict[str, Any]:
    """Create the files of a cache without any features, ``regions`` R for each image, and return its manifest."""
    content = {
        "encoder": encoder.identity(),
        "prepared": prepared.fingerprint,
        "rows": len(prepared),
        "regions": regions,
        "grid": list(encoder.grid),
        "width": encoder.width,
        "dtype": dtype_name(encoder),
        "sums": SUM_KIND,
    }
    try:
        for name, size in _file_sizes(content).items():
            with (directory / name).open("wb") as file:
                file.truncate(size)
    except OSError as error:
        raise cannot_write(directory, error) from error
    # Last: without a manifest the directory is no cache.
    write_manifest(directory, KIND, FORMAT, content)
    return read_manifest(directory, KIND, FORMAT)


def _file_sizes(manifest: dict[str, Any]) -> dict[str, int]:
    rows, regions, width = (int(manifest[name]) for name in ("rows", "regions", "width"))
    return {
        REGIONS: cache_bytes(rows, regions - 1, width),
        POOLED: cache_bytes(rows, 0, width),
        BITMAP: -(-rows // 8),
        **({SUMS: 2 * SUM_TYPE.itemsize * rows} if "sums" in manifest else {}),
    }


def dtype_name(encoder: Encoder) -> str:
    """Return the dtype that the encoder computes in, as the manifest has it: ``bfloat16``."""
    return str(encoder.dtype).removeprefix("torch.")


def check_space(directory: Path, images: int, rows: int, regions: int, width: int) -> None:
    """Report the disk space that the features of some images need, bytes; DataError: the disk has less."""
    need, apparent = cache_bytes(images, regions, width), cache_bytes(rows, regions, width)
    free = shutil.disk_usage(directory).free
    sparse = f"; the files are sparse and list as {_megabytes(apparent)}" if images < rows else ""
    note(
        f"features of {images:,} images: {_megabytes(need)} in {directory} ({_megabytes(free)} free{sparse})"
    )
    if need + SPARE_BYTES > free:
        raise DataError(
            f"not enough disk space for the feature cache {directory}",
            found=f"{_megabytes(free)} free",
            expected=_megabytes(need + SPARE_BYTES),
            mend="Free some space or choose a directory on another disk",
        )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def read_bitmap(directory: Path, manifest: dict[str, Any]) -> npt.NDArray[np.bool_]:
    """Return which rows are done, bool [N]; DataError: a file is missing or of another size than it should be."""
    for name, size in _file_sizes(manifest).items():
        path = directory / name
        found_size = path.stat().st_size if path.is_file() else None
        if found_size != size:
            raise DataError(
                f"the feature cache {directory} is broken",
                found=f"no {name}" if found_size is None else f"{name} of {found_size:,} bytes",
                expected=f"{size:,} bytes",
                mend="Delete the directory and extract again",
            )
    count = int(manifest["rows"])
    return np.unpackbits(np.fromfile(directory / BITMAP, np.uint8), count=count).astype(np.bool_)

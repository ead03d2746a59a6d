"""Encoder features of a prepared set, cached on disk as memory-mapped half floats.

A cache is a directory: ``manifest.json`` (encoder, prepared set), ``regions.f16`` [N, R, D] and ``pooled.f16`` [N, D]
(row = prepared row), ``sums.u64`` [N, 2] with a sum of each row of both, compared when it is read, and
``done.bitmap`` with one bit per row, set only after that row has reached the disk: a process may be killed at any
byte and the next one resumes. Several processes extract the rows of a cache together, 256 at a time, which each
claims by a lock in ``claims.lock``. Without regions, R is 0 and the cache of a ResNet-50 takes a fiftieth. Rows that
are never extracted are holes in sparse files, which take no disk space.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from showtell.config.preprocessing import Preprocessing
from showtell.data.changes import require_unchanged
from showtell.data.feature_writer import (
    BITMAP,
    CLAIMED_ROWS,
    CLAIMS,
    POOLED,
    REGIONS,
    SUM_KIND,
    SUM_TYPE,
    SUMS,
    Claims,
    FeatureWriter,
    forget_row,
    sum_of,
)
from showtell.data.prepared import PreparedSet
from showtell.encoders.encoder import Encoder, identity_differences
from showtell.encoders.features import Features
from showtell.errors import DataError, ImageError
from showtell.images.preprocess import load_and_preprocess
from showtell.system.atomic import MANIFEST, cannot_write, read_manifest, write_manifest
from showtell.system.batch_pool import map_ahead
from showtell.system.console import note, progress_bar
from showtell.system.cpu import usable_cores
from showtell.system.device import make_batch_pool
from showtell.system.locks import locked_directory

KIND, FORMAT = (
    "feature cache",
    3,
)  # 3: color profiles are applied, and TIFF and PNG kinds are decoded otherwise
SHOWN_ERRORS = 10
BATCHES_AHEAD = 2
LAYOUT_IMAGES = 24
SPARE_BYTES = 64 * 2**20

Images = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]
_Batch = tuple[Rows, Images, list[str]]  # rows, their images, and errors of images that cannot be read


class FeatureCache:
    """Cached features of a prepared set, memory-mapped and read-only; see `extract_features`.

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


def extract_features(
    prepared: PreparedSet,
    encoder: Encoder,
    directory: Path,
    *,
    batch_size: int = 32,
    rows: Rows | None = None,
    regions: bool = True,
) -> FeatureCache:
    """Encode the images of a prepared set and cache the features; resume an interrupted extraction.

    Processes that extract into one directory share the work, and each returns once all its rows are done.

    ``rows``, int64, ascending, are to be encoded (None: all). Unless ``regions`` are needed, a new cache holds pooled
    vectors only. An image that cannot be read or has changed since it was prepared stops nothing: the others are
    encoded, then all such images are reported. Images that have features may be gone, but not changed.

    Raises:
        DataError: the cache is stale, the disk is full, images cannot be read, or one with features has changed.
    """
    if encoder.spec.trainable:
        raise DataError(
            "the features of a trainable encoder cannot be cached",
            mend="They change with every step: train without a cache",
        )
    wanted = np.arange(len(prepared), dtype=np.int64) if rows is None else rows
    with locked_directory(directory, wait_for="opens"):
        try:
            directory.mkdir(exist_ok=True)
        except OSError as error:
            raise cannot_write(directory, error) from error
        manifest = _open_manifest(prepared, encoder, directory, regions=regions)
        num_regions = (encoder.regions if regions else 0) if manifest is None else int(manifest["regions"])
        done = np.zeros(len(prepared), np.bool_) if manifest is None else read_bitmap(directory, manifest)
        missing = wanted[~done[wanted]]
        require_unchanged(prepared, wanted[done[wanted]])
        if len(missing):
            _check_space(directory, len(missing), len(prepared), num_regions, encoder.width)
        if manifest is None:
            verify_stride_layout(prepared, encoder, wanted)
            manifest = _create(prepared, encoder, directory, regions=num_regions)
    errors: list[str] = []
    if len(missing):
        if done.any() and manifest["dtype"] != _dtype(encoder):
            note(f"{directory} was started in {manifest['dtype']} and continues in {_dtype(encoder)}")
        errors = _fill(prepared, encoder, directory, manifest, missing, batch_size)
        done = read_bitmap(directory, manifest)
    if errors:
        more = f" and {len(errors) - SHOWN_ERRORS:,} more" if len(errors) > SHOWN_ERRORS else ""
        raise DataError(
            f"{len(errors):,} of {len(missing):,} images have no features, the others are done",
            found="; ".join(errors[:SHOWN_ERRORS]) + more,
            mend="Restore the images, or prepare the set again",
        )
    # Mapped after the writes: on overlayfs (containers) a mapping from before does not see them.
    return FeatureCache(directory, manifest, done)


def cache_bytes(rows: int, regions: int, width: int) -> int:
    """Return the bytes of features, regions and pooled vectors, of some rows."""
    return rows * (regions + 1) * width * np.dtype(np.float16).itemsize


def verify_stride_layout(prepared: PreparedSet, encoder: Encoder, rows: Rows) -> None:
    """Check the encoder's stride layout on some images; EncoderError: the weights are of the other one."""
    if not encoder.has_stride_variants or len(rows) == 0:
        return
    sample = rows[np.unique(np.linspace(0, len(rows) - 1, LAYOUT_IMAGES).astype(np.int64))]
    for good, images, _ in _decoded_batches(prepared, encoder.preprocessing, map(int, sample), len(sample)):
        if len(good) > 1:
            encoder.verify_stride_layout(torch.from_numpy(images))


def _open_manifest(
    prepared: PreparedSet, encoder: Encoder, directory: Path, *, regions: bool
) -> dict[str, Any] | None:
    """Return the manifest of an existing cache after checking that it is of this set and encoder, or None."""
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


def _create(prepared: PreparedSet, encoder: Encoder, directory: Path, *, regions: int) -> dict[str, Any]:
    content = {
        "encoder": encoder.identity(),
        "prepared": prepared.fingerprint,
        "rows": len(prepared),
        "regions": regions,
        "grid": list(encoder.grid),
        "width": encoder.width,
        "dtype": _dtype(encoder),
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


def _dtype(encoder: Encoder) -> str:
    return str(encoder.dtype).removeprefix("torch.")


def _check_space(directory: Path, images: int, rows: int, regions: int, width: int) -> None:
    """Report the disk space that features need, and refuse to start without it."""
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


def _fill(
    prepared: PreparedSet,
    encoder: Encoder,
    directory: Path,
    manifest: dict[str, Any],
    missing: Rows,
    batch_size: int,
) -> list[str]:
    """Extract the missing rows, with other processes that do; return the errors of images that cannot be read."""
    errors: list[str] = []
    blocks = dict(_blocks(missing))
    num_regions = int(manifest["regions"])

    def encode(batch: _Batch) -> tuple[Rows, Features | None, list[str]]:
        rows, images, unreadable = batch
        return rows, encoder(torch.from_numpy(images)) if len(rows) else None, unreadable

    def extract(rows: Iterator[int]) -> None:
        with (
            FeatureWriter(directory, manifest, read_bitmap(directory, manifest)) as writer,
            contextlib.closing(
                _decoded_batches(prepared, encoder.preprocessing, rows, batch_size)
            ) as batches,
            contextlib.closing(make_batch_pool(encoder.mean.device).map(encode, batches)) as encoded,
        ):
            for good, features, unreadable in encoded:
                if features is not None:
                    writer.put(good, features.regions[:, :num_regions], features.pooled)
                errors.extend(unreadable)
                advance(len(good) + len(unreadable), "")

    def take(block: int, *, wait: bool) -> Iterator[int]:
        """Claim a block unless another process has it, and yield those of its rows that are still missing."""
        if claims.take(block, wait=wait):
            rows, first = blocks.pop(block), CLAIMED_ROWS * block
            packed = np.fromfile(directory / BITMAP, np.uint8, CLAIMED_ROWS // 8, offset=first // 8)
            done = np.unpackbits(packed, count=CLAIMED_ROWS).astype(np.bool_)
            yield from map(int, rows[~done[rows - first]])

    with Claims(directory) as claims, progress_bar("features", len(missing), unit="images") as advance:
        extract(row for block in list(blocks) for row in take(block, wait=False))
        claims.release()
        if blocks:
            note(f"waiting for another process that fills {directory}")
        # Other processes had these; rows that one left missing, as it was killed, are extracted here.
        for block in list(blocks):
            rows = list(take(block, wait=True))
            if rows:
                extract(iter(rows))
            claims.release()
    return errors


def _blocks(rows: Rows) -> Iterator[tuple[int, Rows]]:
    """Yield the number of each block of 256 rows that has some of these, and those."""
    numbers, starts = np.unique(rows // CLAIMED_ROWS, return_index=True)
    return zip(map(int, numbers), np.split(rows, starts[1:]), strict=True)


def _decoded_batches(
    prepared: PreparedSet, preprocessing: Preprocessing, rows: Iterable[int], batch_size: int
) -> Generator[_Batch, None, None]:
    """Yield rows, images uint8 [P, S, S, 3] and errors, decoding in threads two batches ahead."""

    def load(row: int) -> tuple[int, Images | str]:
        return row, _load(prepared, row, preprocessing)

    ahead = BATCHES_AHEAD * batch_size
    with contextlib.closing(map_ahead(load, rows, workers=usable_cores(), ahead=ahead)) as loaded:
        while group := list(islice(loaded, batch_size)):
            good = {row: image for row, image in group if not isinstance(image, str)}
            images = np.stack(list(good.values())) if good else np.empty((0,), np.uint8)
            yield (
                np.array(list(good), np.int64),
                images,
                [error for _, error in group if isinstance(error, str)],
            )


def _load(prepared: PreparedSet, row: int, preprocessing: Preprocessing) -> Images | str:
    """Return a preprocessed image, or the error of one that cannot be read or is not the one that was prepared."""
    path = prepared.image_path(row)
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != prepared.sha256(row):
            return f"{path} has changed since the set was prepared"
        return load_and_preprocess(content, preprocessing)
    except OSError as error:
        found = error.strerror or str(error)
    except ImageError as error:
        found = str(error)
    return str(ImageError(f"cannot read {path}", found=found))

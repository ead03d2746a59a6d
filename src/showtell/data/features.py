"""What a frozen encoder sees of a prepared set, kept once on disk as memory-mapped half floats.

A cache is a directory: ``manifest.json`` (of which encoder and which set), ``regions.f16`` [V, N, R, D] and
``pooled.f16`` [V, N, D] (row = prepared row; V views, today the upright picture alone), and ``done.bitmap``, one
bit a row, set only after that row has reached the disk. So a process may die at any byte and the next one goes on,
and an unfinished cache is never taken for a finished one. Where only pooled vectors are read, R is 0: of ResNet-50
they are a fiftieth of the whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from showtell.config.preprocessing import Preprocessing
from showtell.data.feature_writer import BITMAP, POOLED, REGIONS, FeatureWriter
from showtell.data.prepared import PreparedSet
from showtell.encoders.encoder import Encoder, identity_differences
from showtell.encoders.features import Features
from showtell.errors import DataError, ImageError
from showtell.images.preprocess import load_and_preprocess
from showtell.system.atomic import MANIFEST, cannot_write, read_manifest, write_manifest
from showtell.system.console import note, progress
from showtell.system.cpu import usable_cores
from showtell.system.device import make_batch_pool

KIND, FORMAT = "feature cache", 1
VIEWS = ("upright",)
SHOWN_PICTURES = 10
BATCHES_AHEAD = 3
LAYOUT_PICTURES = 24
SPARE_BYTES = 64 * 2**20

Pictures = npt.NDArray[np.uint8]
_Batch = tuple[
    npt.NDArray[np.int64], Pictures, list[str]
]  # rows, what they show, and why others show nothing


class FeatureCache:
    """Features of a prepared set, read-only. `extract_features` makes one, or opens the one that is there.

    Attributes:
        directory: Where it is.
        manifest: What it says of its making.
        regions: float16 [N, R, D], memory-mapped.
        pooled: float16 [N, D], memory-mapped.
        done: bool [N], which rows are there.
    """

    def __init__(self, directory: Path, manifest: dict[str, Any], done: npt.NDArray[np.bool_]):
        self.directory, self.manifest, self.done = directory, manifest, done
        rows, regions, width = (int(manifest[name]) for name in ("rows", "regions", "width"))
        self.regions: npt.NDArray[np.float16] = (
            np.memmap(directory / REGIONS, np.float16, "r", shape=(rows, regions, width))
            if regions
            else np.empty((rows, 0, width), np.float16)  # an empty file cannot be mapped
        )
        self.pooled: npt.NDArray[np.float16] = np.memmap(
            directory / POOLED, np.float16, "r", shape=(rows, width)
        )


class FlippedFeatureCache:
    """The features of mirror images, where the encoder sees in them the mirrored map: nothing is looked at again.

    Args:
        cache: Those of the pictures, of an encoder with ``flip_average``.

    Attributes:
        manifest: The cache's.
        regions: float16 [N, R, D], read by row, each row of a map from right to left.
        pooled: float16 [N, D], the cache's.
    """

    def __init__(self, cache: FeatureCache) -> None:
        self.manifest, self.pooled = cache.manifest, cache.pooled
        self.regions = _FlippedRows(cache.regions, cache.manifest["grid"][1])


class _FlippedRows:
    def __init__(self, regions: npt.NDArray[np.float16], columns: int) -> None:
        self._regions, self._columns = regions, columns

    def __getitem__(self, row: int) -> npt.NDArray[np.float16]:
        regions = self._regions[row]  # [R, D], where R may be 0
        turned: npt.NDArray[np.float16] = regions.reshape(-1, self._columns, regions.shape[1])[:, ::-1]
        return turned.reshape(regions.shape)


AnyCache = FeatureCache | FlippedFeatureCache


def extract_features(
    prepared: PreparedSet,
    encoder: Encoder,
    directory: Path,
    *,
    batch_size: int = 32,
    rows: npt.NDArray[np.int64] | None = None,
    regions: bool = True,
) -> FeatureCache:
    """Look at every picture of a prepared set once and keep what was seen.

    Goes on where an interrupted run stopped; returns at once where nothing is missing. A picture that cannot be
    read or has changed since it was prepared stops nothing: the others are done, then all such are named.

    Args:
        prepared: The set.
        encoder: A frozen encoder.
        directory: Where the cache is or shall be.
        batch_size: Pictures the network sees at once.
        rows: Which pictures, int64, ascending; None: all.
        regions: Whether regions are wanted; if not, a new cache keeps pooled vectors alone.

    Raises:
        DataError: the cache there is stale, the disk is full, or pictures cannot be read.
    """
    if encoder.spec.trainable:
        raise DataError(
            "the features of a trainable encoder cannot be kept",
            mend="They change with every step: train without a cache",
        )
    wanted = np.arange(len(prepared), dtype=np.int64) if rows is None else rows
    with _alone(directory):
        manifest = _find(prepared, encoder, directory, regions=regions)
        kept = (encoder.regions if regions else 0) if manifest is None else int(manifest["regions"])
        done = np.zeros(len(prepared), np.bool_) if manifest is None else read_bitmap(directory, manifest)
        missing = wanted[~done[wanted]]
        if len(missing):
            _check_room(directory, cache_bytes(len(missing), kept, encoder.width), len(missing))
        if manifest is None:
            verify_stride_layout(prepared, encoder, wanted)
            manifest = _lay_out(prepared, encoder, directory, regions=kept)
        bad = _fill(prepared, encoder, directory, manifest, done, missing, batch_size) if len(missing) else []
    if bad:
        more = f" and {len(bad) - SHOWN_PICTURES:,} more" if len(bad) > SHOWN_PICTURES else ""
        raise DataError(
            f"{len(bad):,} of {len(missing):,} pictures have no features, the others are done",
            found="; ".join(bad[:SHOWN_PICTURES]) + more,
            mend="Put the pictures back, or prepare the set again",
        )
    return FeatureCache(directory, manifest, done)


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold a cache's directory, made if need be, so that two processes never lay out or fill it at once."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # A lock on the directory itself leaves no file, and ends with the process however that ends.
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise cannot_write(directory, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(f"another process is filling {directory}: waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def cache_bytes(rows: int, regions: int, width: int) -> int:
    """Return how many bytes a cache takes on disk."""
    return len(VIEWS) * rows * (regions + 1) * width * np.dtype(np.float16).itemsize


def verify_stride_layout(prepared: PreparedSet, encoder: Encoder, rows: npt.NDArray[np.int64]) -> None:
    """Let some pictures of these rows say whether the encoder's layout is the right one.

    Raises:
        EncoderError: it is the other one, and nothing said which to use.
    """
    if not encoder.has_stride_variants or len(rows) == 0:
        return
    some = rows[np.unique(np.linspace(0, len(rows) - 1, LAYOUT_PICTURES).astype(np.int64))]
    with contextlib.closing(_decoded_batches(prepared, encoder.preprocessing, some, len(some))) as batches:
        for good, pictures, _ in batches:
            if len(good) > 1:
                encoder.verify_stride_layout(torch.from_numpy(pictures))


def _find(
    prepared: PreparedSet, encoder: Encoder, directory: Path, *, regions: bool
) -> dict[str, Any] | None:
    """Return the manifest of the cache that is there, if there is one.

    Raises:
        DataError: it is stale, or something else is there.
    """
    if (directory / MANIFEST).exists():
        manifest = read_manifest(directory, KIND, FORMAT)
        _refuse_stale(directory, manifest, prepared, encoder, regions=regions)
        return manifest
    # A process killed before the manifest was there leaves some of these.
    ours = (REGIONS, POOLED, BITMAP)
    names = sorted(path.name for path in directory.iterdir())
    foreign = [name for name in names if name not in ours and not name.startswith(f".{MANIFEST}.")]
    if foreign:
        raise DataError(
            f"cannot make a feature cache in {directory}",
            found=f"other files ({foreign[0]})",
            mend="Name an empty or new directory",
        )
    return None


def _lay_out(prepared: PreparedSet, encoder: Encoder, directory: Path, *, regions: int) -> dict[str, Any]:
    """Make an empty cache; rows that are never filled are holes in its files, which take no room."""
    rows = len(prepared)
    content = {
        "encoder": encoder.identity(),
        "prepared": prepared.fingerprint,
        "rows": rows,
        "regions": regions,
        "grid": list(encoder.grid),
        "width": encoder.width,
        "views": list(VIEWS),
        "computed_in": _precision(encoder),
    }
    try:
        _stretch(directory / REGIONS, cache_bytes(rows, regions - 1, encoder.width))
        _stretch(directory / POOLED, cache_bytes(rows, 0, encoder.width))
        _stretch(directory / BITMAP, -(-rows // 8))
    except OSError as error:
        raise cannot_write(directory, error) from error
    # Last: without a manifest the directory is no cache.
    write_manifest(directory, KIND, FORMAT, content)
    return read_manifest(directory, KIND, FORMAT)


def _stretch(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def _precision(encoder: Encoder) -> str:
    return str(encoder.dtype).removeprefix("torch.")


def _check_room(directory: Path, need: int, pictures: int) -> None:
    """Say how many bytes the features of some pictures need, and refuse to begin where there is no room for them."""
    free = shutil.disk_usage(directory).free
    note(f"features of {pictures:,} pictures: {_megabytes(need)} in {directory} ({_megabytes(free)} free)")
    if need + SPARE_BYTES > free:
        raise DataError(
            f"too little room for the feature cache {directory}",
            found=f"{_megabytes(free)} free",
            expected=f"{_megabytes(need + SPARE_BYTES)}",
            mend="Free some space or name a directory on another disk",
        )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _refuse_stale(
    directory: Path, manifest: dict[str, Any], prepared: PreparedSet, encoder: Encoder, *, regions: bool
) -> None:
    found: dict[str, Any] = {
        "encoder": manifest["encoder"],
        "prepared set": manifest["prepared"],
        "views": manifest["views"],
    }
    expected: dict[str, Any] = {
        "encoder": encoder.identity(),
        "prepared set": prepared.fingerprint,
        "views": list(VIEWS),
    }
    if regions:
        found["regions"], expected["regions"] = manifest["regions"], encoder.regions
    differences = identity_differences(found, expected)
    if differences:
        raise DataError(
            f"the feature cache {directory} is stale",
            found="; ".join(differences),
            mend="Delete it or name another directory",
        )


def read_bitmap(directory: Path, manifest: dict[str, Any]) -> npt.NDArray[np.bool_]:
    """Return which rows are done, bool [N].

    Raises:
        DataError: a file of the cache is missing or not as long as the manifest says.
    """
    rows, regions, width = (int(manifest[name]) for name in ("rows", "regions", "width"))
    sizes = {
        REGIONS: cache_bytes(rows, regions - 1, width),
        POOLED: cache_bytes(rows, 0, width),
        BITMAP: -(-rows // 8),
    }
    for name, size in sizes.items():
        path = directory / name
        if not path.is_file() or path.stat().st_size != size:
            raise DataError(
                f"the feature cache {directory} is broken",
                found=f"{name} of {path.stat().st_size:,} bytes" if path.is_file() else f"no {name}",
                expected=f"{size:,} bytes",
                mend="Delete the directory and extract again",
            )
    return np.unpackbits(np.fromfile(directory / BITMAP, np.uint8), count=rows).astype(np.bool_)


def _fill(
    prepared: PreparedSet,
    encoder: Encoder,
    directory: Path,
    manifest: dict[str, Any],
    done: npt.NDArray[np.bool_],
    missing: npt.NDArray[np.int64],
    batch_size: int,
) -> list[str]:
    """Extract the missing rows; return a line for each picture that could not be read."""
    if done.any() and manifest["computed_in"] != _precision(encoder):
        note(f"{directory} was begun in {manifest['computed_in']} and goes on in {_precision(encoder)}")
    bad: list[str] = []

    def look(batch: _Batch) -> tuple[npt.NDArray[np.int64], Features | None, list[str]]:
        rows, pictures, problems = batch
        return rows, encoder(torch.from_numpy(pictures)) if len(rows) else None, problems

    with (
        FeatureWriter(directory, manifest, done) as writer,
        progress("features", len(missing), unit="pictures") as advance,
        contextlib.closing(_decoded_batches(prepared, encoder.preprocessing, missing, batch_size)) as batches,
        contextlib.closing(make_batch_pool(encoder.mean.device).map(look, batches)) as seen,
    ):
        for rows, features, problems in seen:
            if features is not None:
                writer.put(rows, features.regions[:, : manifest["regions"]], features.pooled)
            bad += problems
            advance(len(rows) + len(problems), "")
    return bad


def _decoded_batches(
    prepared: PreparedSet, preprocessing: Preprocessing, rows: npt.NDArray[np.int64], batch_size: int
) -> Generator[_Batch, None, None]:
    """Yield rows, pictures uint8 [P, S, S, 3] and problems, decoding in threads a few batches ahead."""
    groups = (rows[start : start + batch_size] for start in range(0, len(rows), batch_size))
    pending: deque[tuple[npt.NDArray[np.int64], list[Future[Pictures]]]] = deque()
    pool = ThreadPoolExecutor(max_workers=usable_cores(), thread_name_prefix="decode")
    try:
        while True:
            for group in islice(groups, BATCHES_AHEAD - len(pending)):
                pending.append(
                    (group, [pool.submit(_load, prepared, int(row), preprocessing) for row in group])
                )
            if not pending:
                return
            group, futures = pending.popleft()
            good, pictures, problems = [], [], []
            for row, future in zip(group, futures, strict=True):
                try:
                    pictures.append(future.result())
                    good.append(row)
                except ImageError as error:
                    problems.append(str(error))
            stacked = np.stack(pictures) if pictures else np.empty((0,), np.uint8)
            yield np.asarray(good, np.int64), stacked, problems
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _load(prepared: PreparedSet, row: int, preprocessing: Preprocessing) -> Pictures:
    """Return one picture ready for the encoder.

    Raises:
        PictureError: it cannot be read, or its bytes are not those that were prepared.
    """
    path = prepared.image_path(row)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot read {path}", found=error.strerror or str(error)) from error
    if hashlib.sha256(content).hexdigest() != prepared.sha256(row):
        raise ImageError(f"{path} has changed since the set was prepared")
    try:
        return load_and_preprocess(content, preprocessing)
    except ImageError as error:
        raise ImageError(f"cannot read {path}", found=str(error)) from error

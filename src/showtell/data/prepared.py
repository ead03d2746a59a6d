"""The prepared set: a captioned dataset that was validated once, so that later steps can rely on it.

A directory with ``manifest.json``, ``examples.arrow`` (an Arrow IPC file with the columns of
`showtell.data.prepared_writer.SCHEMA`), ``problems.jsonl``, and ``provenance.jsonl`` if it has corrected captions.
Images stay where they are, except embedded ones, which go to ``images/``. The *fingerprint* identifies the content,
wherever the directory is.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from showtell.data.prepared_writer import EXAMPLES, FORMAT, IMAGES, KIND, write_embedded_images, write_set
from showtell.data.problems import HARMLESS, printable, report
from showtell.data.sources.base import Example, Problem, Source, examples_on_disk
from showtell.data.sources.registry import HUB, open_source
from showtell.data.validate import SPLITS, CheckedExample, assign_splits, check_images, check_texts
from showtell.errors import ConfigError, DataError
from showtell.system.atomic import (
    MANIFEST,
    atomic_directory,
    read_manifest,
    sha256_file,
    with_file_name,
)
from showtell.system.console import note
from showtell.system.disk_store import DiskList
from showtell.system.locks import locked_directory
from showtell.system.reading import read_json

REMAKE = "Run showtell prepare again"

HOLDOUT = "holdout"
_SPLITS = (*SPLITS, HOLDOUT)


class PreparedSet:
    """A prepared set, read-only: row numbers identify images in features and batches."""

    def __init__(self, directory: Path, manifest: dict[str, Any], table: pa.Table) -> None:
        self.directory = directory
        self.manifest = manifest
        self.fingerprint: str = manifest["fingerprint"]
        # Memory-mapped columns: as Python objects, a set of COCO's size takes five times as much.
        self._keys, self._paths, self._sha256 = table["key"], table["path"], table["sha256"]
        self._sizes, self._mtimes = table["size"], table["mtime_ns"]
        self._captions = table["captions"]
        self.verified: npt.NDArray[np.bool_] = np.zeros(len(table), np.bool_)
        """Rows whose image `showtell.data.changes.require_unchanged` has found unchanged, bool [N]."""
        names = (name for chunk in table["split"].chunks for name in chunk.to_pylist())
        self._splits: npt.NDArray[np.int8] = np.fromiter(map(_SPLITS.index, names), np.int8, len(table))

    @classmethod
    def load(cls, directory: str | Path) -> "PreparedSet":
        """Open a prepared set; DataError: there is none, of this format, or a file is truncated or changed."""
        directory = with_file_name(Path(directory)).absolute()
        unprepared = f"Run `showtell prepare {directory} -o SET` first, then give SET"
        manifest = read_manifest(directory, KIND, FORMAT, missing=unprepared, outdated=REMAKE)
        path = directory / EXAMPLES
        try:
            if sha256_file(path) != manifest["examples_sha256"]:
                raise DataError(f"cannot read {path}", found="a truncated or changed file", mend=REMAKE)
            with pa.memory_map(str(path)) as file:
                return cls(directory, manifest, pa.ipc.open_file(file).read_all())
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            found = f"{type(error).__name__}: {error}"
            raise DataError(f"cannot read {path}", found=found, mend=REMAKE) from error

    def hold_out(self, count: int) -> "PreparedSet":
        """Return the set with ``count`` of the training images in the split ``holdout``; 0: the set as it is.

        These are the images of the least SHA-256: the same in every run, and independent of names and order. Rows and
        fingerprint stay, so that features are shared.

        Raises:
            ConfigError: there are not more training images than that.
        """
        if count == 0:
            return self
        rows = self.split_rows("train")
        if count >= len(rows):
            raise ConfigError(
                "data.holdout is out of range",
                found=f"{count:,}",
                expected=f"less than the {len(rows):,} training images",
            )
        changed = copy.copy(self)
        changed._splits = self._splits.copy()
        changed._splits[sorted(rows.tolist(), key=self.sha256)[:count]] = _SPLITS.index(HOLDOUT)
        return changed

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def keys(self) -> list[str]:
        """Keys of all images, in order; a new list on each access."""
        return [str(key) for key in self._keys.to_pylist()]

    def split_rows(self, split: str, *, subset: int = 0, seed: int = 0) -> npt.NDArray[np.int64]:
        """Return the row numbers of a split, int64, ascending: at most ``subset`` (0: all), nested for one seed.

        Raises:
            ConfigError: no such split, or it has no images.
        """
        rows = np.flatnonzero(self._splits == _SPLITS.index(split)) if split in _SPLITS else np.empty(0)
        if len(rows) == 0:
            counts = dict(
                zip(_SPLITS, np.bincount(self._splits, minlength=len(_SPLITS)).tolist(), strict=True)
            )
            expected = ", ".join(f"{name} ({count:,})" for name, count in counts.items() if count)
            raise ConfigError(
                f"{self.directory} has no images in split '{split}'",
                expected=f"one of {expected}",
                mend="Training makes it: showtell train --holdout N" if split == HOLDOUT else "",
            )
        rows = rows.astype(np.int64)
        return np.sort(np.random.default_rng(seed).permutation(rows)[:subset]) if subset else rows

    def key(self, row: int) -> str:
        """Return the image's name in its source."""
        return str(self._keys[row])

    def captions(self, row: int) -> list[str]:
        """Return the reference captions of an image."""
        return list(self._captions[row].as_py())

    def iterate_captions(self) -> Iterator[list[str]]:
        """Yield the reference captions of each image, in order; faster than row by row."""
        for chunk in self._captions.chunks:
            yield from chunk.to_pylist()

    def image_path(self, row: int) -> Path:
        """Return where the image was when the set was prepared."""
        return self.directory / str(self._paths[row])

    def sha256(self, row: int) -> str:
        """Return the SHA-256 of the image file's bytes."""
        return str(self._sha256[row])

    def file_status(self, row: int) -> tuple[int, int]:
        """Return the size of the image file (bytes) and its modification time (ns) when the set was prepared."""
        return self._sizes[row].as_py(), self._mtimes[row].as_py()

    def split(self, row: int) -> str:
        """Return the split of an image."""
        return _SPLITS[self._splits[row]]


def prepare(
    source_path: str | Path,
    out: str | Path,
    *,
    format: str | None = None,
    images: Path | None = None,
    image_column: str = "",
    caption_column: str = "",
    max_problem_fraction: float = 0.05,
    dev_fraction: float = 0.1,
    test_fraction: float = 0.0,
    make_split: Literal["none", "all", "train"] = "none",
    seed: int = 42,
    overwrite: bool = False,
) -> PreparedSet:
    """Validate a captioned dataset and write the usable examples.

    Args:
        source_path: A folder or file in one of the formats of `showtell.data.sources.registry`, or
            ``hf:OWNER/NAME`` for a dataset on the Hugging Face hub.
        out: Directory of the prepared set; a set of the same source is replaced.
        format: Name of a reader; None: detect it.
        images: Folder of the images, if they are not beside the annotation file.
        image_column: Column or field of the images in a table, if its name is unusual.
        caption_column: Likewise, of the captions.
        max_problem_fraction: Fraction of images that may have problems; above it nothing is written.
        dev_fraction: Fraction of images for development, if the source has no split.
        test_fraction: Likewise for testing.
        make_split: ``all``: ignore the source's splits; ``train``: take the fractions from its training split and
            keep the others.
        seed: Seed of the generated split.
        overwrite: Replace a prepared set of another source too.

    Raises:
        ConfigError: an option is out of range, or the format is unknown.
        DataError: the source cannot be read, has too many problems, or ``out`` must not or cannot be written.
    """
    out = with_file_name(Path(out)).absolute()
    on_hub = str(source_path).startswith(HUB)
    origin = str(source_path) if on_hub else str(Path(source_path).absolute())
    _check_fractions(max_problem_fraction, dev_fraction, test_fraction)
    with locked_directory(out):
        check_replaceable(out, origin, overwrite=overwrite)
        source = open_source(
            source_path, format, images=images, image_column=image_column, caption_column=caption_column
        )
        with atomic_directory(out) as temporary:
            found, problems = _validate(
                source, temporary, source_path, max_problem_fraction, ignore_splits=make_split == "all"
            )
            checked: Iterable[CheckedExample] = found
            generated: dict[str, Any] | None = None
            if make_split == "train" or not found[0].example.split:
                fractions = {"dev_fraction": dev_fraction, "test_fraction": test_fraction}
                checked = assign_splits(found, **fractions, seed=seed)
                generated = {**fractions, "seed": seed}
                if make_split != "none":
                    generated["make_split"] = make_split
            content = {
                "source": {"path": origin, "format": source.name},
                "options": {"max_problem_fraction": max_problem_fraction},
                "generated_split": generated,
                "notes": source.notes,
            }
            write_set(temporary, checked, problems, content)
    return PreparedSet.load(out)


def _validate(
    source: Source, directory: Path, path: str | Path, limit: float, *, ignore_splits: bool
) -> tuple[DiskList[CheckedExample], list[Problem]]:
    """Return the usable examples of a source and all of its problems; embedded images go to ``directory``.

    More than the fraction ``limit`` of entries with problems is an error.
    """
    examples = source.examples
    if not isinstance(examples, Sequence):
        examples = examples_on_disk(write_embedded_images(examples, directory))
    clean = check_texts(examples, source.problems, ignore_splits=ignore_splits)
    checked = check_images(clean, source.problems)
    problems = [printable(problem) for problem in source.problems]
    _refuse_too_many(path, clean, problems, limit, left=len(checked))
    for image in (directory / IMAGES).glob("*/*"):
        found = checked.find(image.stem)  # named by its SHA-256
        if found is None or found.example.image != image:
            image.unlink()
    return checked, problems


def _check_fractions(problems: float, dev: float, test: float) -> None:
    for option, fraction in (("max-problems", problems), ("dev-fraction", dev), ("test-fraction", test)):
        if not 0.0 <= fraction <= 1.0:
            raise ConfigError(f"--{option} is out of range", found=str(fraction), expected="0 to 1")
    if dev + test >= 1.0:
        what = "--dev-fraction and --test-fraction leave no training images"
        raise ConfigError(what, found=f"{dev} + {test}", expected="a sum below 1")


def check_replaceable(out: Path, source: str, *, overwrite: bool) -> None:
    """Raise a DataError unless ``out`` is empty or a prepared set: of this source, or any with ``overwrite``."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        manifest = read_json(out / MANIFEST)
        kind, earlier = manifest["kind"], manifest.get("source")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        kind, earlier = "files that showtell prepare did not write", None
    if kind != KIND:
        raise DataError(f"will not overwrite {out}", found=kind, mend="Choose another directory or remove it")
    path = earlier.get("path", "") if isinstance(earlier, dict) else ""
    if path != source and not overwrite:
        raise DataError(
            f"will not overwrite {out}",
            found=f"a prepared set of {path or 'an unknown source'}",
            mend="Choose another directory, or pass --overwrite to replace it",
        )
    note(f"replacing the prepared set {out}")


def _refuse_too_many(
    path: str | Path, clean: DiskList[Example], problems: list[Problem], limit: float, *, left: int
) -> None:
    bad = {problem.key for problem in problems if problem.kind not in HARMLESS}
    total = len(clean) + sum(clean.find(key) is None for key in bad)
    if left and len(bad) <= limit * total:
        return
    mend = "Fix the dataset, or allow more with --max-problems" if left else "Fix the dataset"
    raise DataError(
        f"cannot prepare {path}",
        found=f"{len(bad):,} of {total:,} entries with problems" if total else "no images",
        expected=f"at most {limit:.1%}" if left else "at least one usable image",
        mend=mend,
        lines=report(problems, examples=10),
    )

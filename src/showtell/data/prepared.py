"""The prepared set: a captioned set that has been checked once, so that nothing later meets a surprise.

A directory with ``manifest.json``, ``examples.parquet`` (key, path, sha256, width, height, split, captions) and
``problems.jsonl``; the pictures stay where they are, but for those that their set held as bytes: these are in
``pictures/``. Its *fingerprint* names its content, wherever it lies.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from showtell.data.image_store import remove_unreferenced, write_embedded_images
from showtell.data.problems import HARMLESS, by_kind, printable, report
from showtell.data.sources.base import Example, Problem, Source, spilled_examples
from showtell.data.sources.registry import HUB, open_source
from showtell.data.validate import SPLITS, CheckedExample, assign_splits, check_pictures, check_texts
from showtell.errors import ConfigError, DataError
from showtell.system.atomic import (
    MANIFEST,
    atomic_directory,
    read_manifest,
    sha256_file,
    with_file_name,
    write_manifest,
    write_text,
)
from showtell.system.disk_store import DiskList
from showtell.system.mmap import ROWS_AT_ONCE, read_table_mmap

KIND, FORMAT = "prepared set", 1
EXAMPLES, PROBLEMS = "examples.parquet", "problems.jsonl"

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("split", pa.string()),
        ("captions", pa.list_(pa.string())),
    ]
)


class PreparedSet:
    """A prepared set, read: rows are pictures, in a fixed order that features and batches refer to."""

    def __init__(self, directory: Path, manifest: dict[str, Any], table: pa.Table) -> None:
        self.directory = directory
        self.manifest = manifest
        self.fingerprint: str = manifest["fingerprint"]
        # Columns stay as Arrow holds them: as Python objects a set of COCO's size would take five times as much.
        self._keys, self._paths, self._sha256 = table["key"], table["path"], table["sha256"]
        self._captions = table["captions"]
        self._splits: npt.NDArray[np.int8] = np.concatenate(
            [np.empty(0, np.int8), *map(_split_codes, table["split"].chunks)]
        )

    @classmethod
    def load(cls, directory: str | Path) -> PreparedSet:
        """Read a prepared set.

        Raises:
            DataError: there is none, or it is of another format, or it was cut short or changed.
        """
        directory = with_file_name(Path(directory)).absolute()
        manifest = read_manifest(directory, KIND, FORMAT)
        path = directory / EXAMPLES
        try:
            if sha256_file(path) != manifest["examples_sha256"]:
                raise DataError(
                    f"cannot read {path}",
                    found="a file that was cut short or changed",
                    mend="Run showtell prepare again",
                )
            # Not read_table: that (like to_numpy) imports pandas, where it is installed, for nothing.
            # Nor read ahead, which would hold the whole file until its end.
            with pq.ParquetFile(path, pre_buffer=False) as file:
                return cls(directory, manifest, read_table_mmap(file))
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise DataError(
                f"cannot read {path}",
                found=f"{type(error).__name__}: {error}",
                mend="Run showtell prepare again",
            ) from error

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def keys(self) -> list[str]:
        """What the pictures are called, in order; a new list each time."""
        return [str(key) for key in self._keys.to_pylist()]

    def split_rows(self, split: str, *, subset: int = 0, seed: int = 0) -> npt.NDArray[np.int64]:
        """Return the row numbers of a split, ascending.

        Args:
            split: Its name.
            subset: This many of them at most; 0: all. A smaller subset lies within a larger one of the same seed.
            seed: Of the choice.

        Raises:
            ConfigError: no such split, or it has no pictures.
        """
        rows = np.flatnonzero(self._splits == SPLITS.index(split)) if split in SPLITS else np.empty(0)
        if len(rows) == 0:
            there = ", ".join(
                f"{name} ({count['pictures']:,})" for name, count in self.manifest["splits"].items()
            )
            raise ConfigError(
                f"{self.directory} has no pictures in split '{split}'", expected=f"one of {there}"
            )
        rows = rows.astype(np.int64)
        if not subset:
            return rows
        return np.sort(np.random.default_rng(seed).permutation(rows)[:subset])

    def key(self, row: int) -> str:
        """Return what the picture is called in its set."""
        return str(self._keys[row])

    def captions(self, row: int) -> list[str]:
        """Return the references of a picture."""
        return list(self._captions[row].as_py())

    def image_path(self, row: int) -> Path:
        """Return where the picture was when the set was prepared; if it moved, prepare again."""
        return self.directory / str(self._paths[row])

    def sha256(self, row: int) -> str:
        """Return the SHA-256 of the picture file's bytes."""
        return str(self._sha256[row])

    def split(self, row: int) -> str:
        """Return the split a picture belongs to."""
        return SPLITS[self._splits[row]]


def _split_codes(names: pa.Array) -> npt.NDArray[np.int8]:
    """Return the place of each name in `SPLITS`."""
    splits = names.dictionary_encode()
    codes = np.array([SPLITS.index(name) for name in splits.dictionary.to_pylist()], np.int8)
    found: npt.NDArray[np.int8] = codes[np.from_dlpack(splits.indices)]
    return found


def prepare(
    source_path: str | Path,
    out: str | Path,
    *,
    format: str | None = None,
    max_problem_share: float = 0.05,
    dev_share: float = 0.1,
    test_share: float = 0.0,
    make_split: Literal["none", "all", "train"] = "none",
    seed: int = 42,
) -> PreparedSet:
    """Check a published set, picture by picture, and write what is right with it.

    Args:
        source_path: A folder or file in one of the formats of `showtell.data.sources.registry`, or
            ``hf:OWNER/NAME`` for a set on the Hugging Face hub.
        out: Where the prepared set goes; one that stands there already is replaced.
        format: A reader's name; None lets the readers matches.
        max_problem_share: Of all pictures; above it nothing is written.
        dev_share: Where the source has no split: the share of pictures held out for development.
        test_share: The same for the test split.
        make_split: ``all``: cut the shares as if the source had no split; ``train``: cut them off its training split
            (shares of that), and leave the others as published.
        seed: Of the split that is made.

    Raises:
        ConfigError: an option is out of range, or names an unknown format.
        DataError: the source cannot be read, too much of it is wrong, or ``out`` cannot be (over)written.
    """
    out = with_file_name(Path(out)).absolute()
    _check_shares(max_problem_share=max_problem_share, dev_share=dev_share, test_share=test_share)
    _check_place(out)
    source = open_source(source_path, format)
    with atomic_directory(out) as temporary:
        found, problems = _check(source, temporary, source_path, max_problem_share, anew=make_split == "all")
        checked: Iterable[CheckedExample] = found
        published = bool(found[0].example.split)
        if not published or make_split == "train":
            checked = assign_splits(found, dev_share=dev_share, test_share=test_share, seed=seed)
        made: dict[str, Any] = {"dev_share": dev_share, "test_share": test_share, "seed": seed}
        if make_split != "none":
            made["make_split"] = make_split
        on_hub = str(source_path).startswith(HUB)
        content = {
            "source": {
                "path": str(source_path) if on_hub else str(Path(source_path).absolute()),
                "format": source.name,
            },
            "options": {"max_problem_share": max_problem_share},
            "generated_split": made if make_split == "train" or not published else None,
            "notes": source.notes,
        }
        _write(temporary, checked, problems, content)
    return PreparedSet.load(out)


def _check(
    source: Source, directory: Path, path: str | Path, limit: float, *, anew: bool
) -> tuple[DiskList[CheckedExample], list[Problem]]:
    """Return what is right with a source and all that is wrong with it.

    Args:
        source: Its examples are gone through once.
        directory: Where pictures that are no files yet become files.
        path: What the source is called.
        limit: Share of entries that may have problems.
        anew: Set the source's own splits aside.

    Raises:
        DataError: too much is wrong.
    """
    examples = source.examples
    if not isinstance(examples, Sequence):
        examples = spilled_examples(write_embedded_images(examples, directory))
    found: list[Problem] = []
    clean = check_texts(examples, found, anew=anew)
    checked = check_pictures(clean, found)
    problems = [printable(problem) for problem in [*source.problems, *found]]
    _refuse_too_many(path, clean, problems, limit, left=len(checked))
    remove_unreferenced(directory, _UsedImages(checked))
    return checked, problems


class _UsedImages(Container[Path]):
    """The pictures of examples; those that a set held as bytes are called by their SHA-256, as examples are."""

    def __init__(self, checked: DiskList[CheckedExample]) -> None:
        self._checked = checked

    def __contains__(self, path: object) -> bool:
        found = self._checked.find(path.stem) if isinstance(path, Path) else None
        return found is not None and found.example.image == path


def _write(
    directory: Path, checked: Iterable[CheckedExample], problems: Sequence[Problem], content: dict[str, Any]
) -> None:
    """Write a prepared set, some thousand rows at a time.

    The fingerprint is the SHA-256 over keys, picture hashes, splits and captions, in order; paths do not count.
    """
    digest, counts = hashlib.sha256(), {split: _Count() for split in SPLITS}
    with pq.ParquetWriter(directory / EXAMPLES, SCHEMA, compression="zstd") as writer:
        for rows in _row_groups(checked, directory):
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
            for row in rows:
                line = json.dumps(
                    [row["key"], row["sha256"], row["split"], row["captions"]], ensure_ascii=False
                )
                digest.update(line.encode() + b"\n")
                counts[row["split"]].add(row["captions"])
    lines = [
        json.dumps({"kind": one.kind, "key": one.key, "detail": one.detail}, ensure_ascii=False)
        for one in problems
    ]
    write_text(directory / PROBLEMS, "".join(line + "\n" for line in lines))
    counted = {
        "fingerprint": digest.hexdigest(),
        "examples_sha256": sha256_file(directory / EXAMPLES),
        "splits": {split: count.summary() for split, count in counts.items() if count.pictures},
        "problems": {kind: len(group) for kind, group in by_kind(problems).items()},
    }
    write_manifest(directory, KIND, FORMAT, counted | content)


def _row_groups(checked: Iterable[CheckedExample], directory: Path) -> Iterator[list[dict[str, Any]]]:
    rows = (_row(one, directory) for one in checked)
    while group := list(islice(rows, ROWS_AT_ONCE)):
        yield group


def _row(one: CheckedExample, directory: Path) -> dict[str, Any]:
    image = one.example.image
    stored = image.is_relative_to(directory)
    return {
        "key": one.example.key,
        # Relative where the picture moves with the set.
        "path": image.relative_to(directory).as_posix() if stored else os.path.abspath(image),  # noqa: PTH100 - unlike absolute() it drops '..'
        "sha256": one.facts.sha256,
        "width": one.facts.width,
        "height": one.facts.height,
        "split": one.example.split,
        "captions": list(one.example.captions),
    }


class _Count:
    """Pictures of a split, and the lengths of their captions in words."""

    def __init__(self) -> None:
        self.pictures = 0
        self._lengths: Counter[int] = Counter()

    def add(self, captions: Sequence[str]) -> None:
        self.pictures += 1
        self._lengths.update(len(caption.split()) for caption in captions)

    def summary(self) -> dict[str, Any]:
        return {
            "pictures": self.pictures,
            "captions": self._lengths.total(),
            "caption_len_median": self._quantile(0.5),
            "caption_len_p95": self._quantile(0.95),
        }

    def _quantile(self, share: float) -> float:
        """Return what ``np.quantile`` would of all lengths; the two around its place are enough."""
        lengths = sorted(self._lengths)
        up_to = np.cumsum([self._lengths[length] for length in lengths])
        place = (up_to[-1] - 1) * share
        below, above = (
            lengths[np.searchsorted(up_to, at, side="right")] for at in (int(place), math.ceil(place))
        )
        return float(np.quantile((below, above), place - int(place)))


OPTIONS = {"max_problem_share": "--max-problems", "dev_share": "--dev-share", "test_share": "--test-share"}


def _check_shares(**shares: float) -> None:
    for name, share in shares.items():
        if not 0.0 <= share <= 1.0:
            raise ConfigError(
                f"'{name}' ({OPTIONS[name]}) is out of range", found=str(share), expected="0 to 1"
            )
    if shares["dev_share"] + shares["test_share"] >= 1.0:
        found = f"{shares['dev_share']} + {shares['test_share']}"
        raise ConfigError(
            "dev_share and test_share (--dev-share, --test-share) leave nothing to train on",
            found=found,
            expected="below 1",
        )


def _check_place(out: Path) -> None:
    """Refuse a place that holds something that is not a prepared set.

    Raises:
        DataError: it does.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        kind = json.loads((out / MANIFEST).read_text(encoding="utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        kind = "something that showtell prepare did not make"
    if kind != KIND:
        raise DataError(
            f"will not write over {out}", found=kind, mend="Choose another place, or remove it first"
        )


def _refuse_too_many(
    path: str | Path, clean: DiskList[Example], problems: list[Problem], limit: float, *, left: int
) -> None:
    """Refuse a set of which too much is wrong, telling all of it."""
    bad = {problem.key for problem in problems if problem.kind not in HARMLESS}
    total = len(clean) + sum(clean.find(key) is None for key in bad)
    if left and len(bad) <= limit * total:
        return
    mend = "Mend the set, or allow more with --max-problems" if left else "Mend the set"
    raise DataError(
        f"cannot prepare {path}",
        found=f"{len(bad):,} of {total:,} entries with problems" if total else "no pictures",
        expected=f"at most {limit:.1%}" if left else "at least one picture that can be used",
        mend="\n".join([mend, *report(problems, examples=10)]),
    )

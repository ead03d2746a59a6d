"""The cleaned set lacks what was found in the training split, says so, and is a prepared set like any other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from showtell.config.recipe import Recipe
from showtell.data.description import describe
from showtell.data.prepared import PreparedSet, prepare
from showtell.data.sources.table import MACHINE_CAPTION
from showtell.errors import DataError
from showtell.inspection.checks import inspect_set
from showtell.inspection.findings import Finding
from showtell.inspection.fix import LEFT_OUT, write_fixed
from showtell.system.atomic import sha256_file
from showtell.system.reading import read_json_lines
from showtell.training.trainer import train

LONG = "A brown dog runs through the tall grass near a fence ."
SLOW = ["leaked-image", "near-duplicate", "unreadable-image", "language"]


@pytest.fixture
def faulty(caption_set: Callable[..., PreparedSet]) -> PreparedSet:
    return caption_set(
        train=[[LONG, "A dog ."], ["n/a", "untitled"], ["A cat .", "A cat ."], ["A hen ."], ["A fox ."]],
        dev=[[LONG, "n/a"], ["A cow ."]],
    )


def test_training_captions_and_images_go_and_dev_stays(faulty: PreparedSet, tmp_path: Path) -> None:
    before = {path.name: sha256_file(path) for path in faulty.directory.iterdir()}
    inspection = inspect_set(faulty.directory, ignore=SLOW)
    inspection.findings["near-duplicate"] = [Finding("near-duplicate", 3, "3 bits", 0.9, other=2)]
    inspection.findings["leaked-image"] = [Finding("leaked-image", 6, "3 bits", 0.9, other=5)]
    inspection.findings["mismatch"] = [Finding("mismatch", 4, "no margin", 0.1, "A fox .")]
    fixed, counts = write_fixed(inspection, tmp_path / "fixed")
    assert [(fixed.key(row), fixed.captions(row)) for row in range(len(fixed))] == [
        ("0.png", ["A dog ."]),
        ("2.png", ["A cat .", "A cat ."]),
        ("4.png", ["A fox ."]),
        ("5.png", [LONG, "n/a"]),
        ("6.png", ["A cow ."]),
    ]
    assert counts == {"images": 2, "captions": 3}
    records = read_json_lines(tmp_path / "fixed" / LEFT_OUT)
    assert [(one["image"], one["caption"], one["kind"]) for one in records] == [
        ("0.png", LONG, "leaked-caption"),
        ("1.png", "n/a", "boilerplate"),
        ("1.png", "untitled", "boilerplate"),
        ("1.png", None, "boilerplate"),
        ("3.png", None, "near-duplicate"),
    ]
    assert records[0]["other"] == "5.png"
    assert {path.name: sha256_file(path) for path in faulty.directory.iterdir()} == before


def test_the_cleaned_set_is_clean_and_described_like_others(faulty: PreparedSet, tmp_path: Path) -> None:
    fixed, _ = write_fixed(inspect_set(faulty.directory, ignore=SLOW), tmp_path / "fixed")
    assert fixed.fingerprint != faulty.fingerprint
    assert fixed.image_path(0) == faulty.image_path(0)
    assert fixed.file_status(0) == faulty.file_status(0)
    assert any("cleaned by showtell inspect" in line for line in describe(fixed, width=100))
    again = inspect_set(fixed.directory, ignore=SLOW)
    assert [
        one.row for group in again.findings.values() for one in group if fixed.split(one.row) == "train"
    ] == []


@pytest.mark.thorough
def test_a_set_without_findings_keeps_its_fingerprint(
    caption_set: Callable[..., PreparedSet], tmp_path: Path
) -> None:
    prepared = caption_set(train=[["A dog ."], ["A cat ."]], dev=[["A hen ."]])
    fixed, counts = write_fixed(inspect_set(prepared.directory, ignore=SLOW), tmp_path / "fixed")
    assert fixed.fingerprint == prepared.fingerprint
    assert not counts


def test_a_cleaned_set_replaces_one_of_the_same_set_only(faulty: PreparedSet, tmp_path: Path) -> None:
    inspection = inspect_set(faulty.directory, ignore=SLOW)
    for _ in range(2):
        write_fixed(inspection, tmp_path / "fixed")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    for taken in (tmp_path / "mine", faulty.directory):
        with pytest.raises(DataError, match="will not overwrite"):
            write_fixed(inspection, taken)


def test_a_set_that_would_lose_its_training_images_is_not_written(
    caption_set: Callable[..., PreparedSet], tmp_path: Path
) -> None:
    prepared = caption_set(train=[["n/a"], ["untitled"]], dev=[["A hen ."]])
    with pytest.raises(DataError, match="no training image"):
        write_fixed(inspect_set(prepared.directory, ignore=SLOW), tmp_path / "fixed")
    assert not (tmp_path / "fixed").exists()


def test_corrections_keep_their_provenance_where_their_image_stays(
    tmp_path: Path, write_images: Callable[[Path, Iterable[str]], None]
) -> None:
    write_images(tmp_path / "source", ["0.png", "1.png"])
    rows = [
        {"image": f"{number}.png", "caption": caption, MACHINE_CAPTION: "a dog", "split": "train"}
        for number, caption in enumerate(("n/a", "a cat"))
    ]
    source = tmp_path / "source" / "set.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    prepared = prepare(source, tmp_path / "set")
    fixed, _ = write_fixed(inspect_set(prepared.directory, ignore=SLOW), tmp_path / "fixed")
    [origin] = read_json_lines(tmp_path / "fixed" / "provenance.jsonl")
    assert (origin["key"], origin["caption"], origin[MACHINE_CAPTION]) == ("1.png", "a cat", "a dog")
    assert [text for text in fixed.manifest["notes"] if "provenance" in text] == [
        "1 captions are corrections, of what provenance.jsonl says"
    ]


@pytest.mark.slow
def test_a_cleaned_set_can_be_trained_on(toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path) -> None:
    inspection = inspect_set(toy_set.directory, ignore=SLOW)
    inspection.findings["near-duplicate"] = [
        Finding("near-duplicate", row, "", 1.0, other=0) for row in (3, 4)
    ]
    inspection.findings["boilerplate"] = [Finding("boilerplate", 5, "", 1.0, toy_set.captions(5)[0])]
    fixed, _ = write_fixed(inspection, tmp_path / "fixed")
    train(toy_recipe, data=fixed.directory, out=tmp_path / "run")
    assert (tmp_path / "run" / "best" / "decoder.safetensors").exists()

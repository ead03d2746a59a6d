"""Examples that pass the checks are clean, decodable, and in one split by name and by bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.data import validate as checking
from showtell.data.problems import KINDS
from showtell.data.sources.base import Example, Problem
from showtell.data.validate import CheckedExample, assign_splits, check_images, check_texts
from showtell.images.load import ImageInfo

WritePictures = Callable[[Path, Iterable[str]], None]
NOWHERE = Path("nowhere")


def texts(*examples: tuple[str, str, tuple[str, ...]]) -> tuple[list[Example], list[Problem]]:
    problems: list[Problem] = []
    made = [Example(key, NOWHERE / key, captions, split) for key, split, captions in examples]
    return check_texts(made, problems), problems


def test_captions_keep_their_wording_on_one_line() -> None:
    checked, problems = texts(("a", "", ("  Two\r\ndogs,\u2028 one  Cat ! ", "Été 犬\n")))
    assert checked[0].captions == ("Two dogs,  one  Cat !", "Été 犬")
    assert problems == []


def test_empty_captions_are_dropped_and_a_image_without_any_is_left_out() -> None:
    checked, problems = texts(("a", "", ("Fine.", " \n")), ("b", "", ("",)), ("c", "", ()))
    assert [(example.key, example.captions) for example in checked] == [("a", ("Fine.",))]
    assert problems == [
        Problem("empty-caption", "a", "caption 1"),
        Problem("empty-caption", "b", "caption 0"),
        Problem("no-captions", "b", "left out"),
        Problem("no-captions", "c", "left out"),
    ]


@pytest.mark.parametrize("text", ["nan", "NaN", "None", "<NA>", "#N/A", " null "])
def test_the_text_of_a_missing_value_is_no_caption(text: str) -> None:
    problems: list[Problem] = []
    [checked] = check_texts([Example("a", Path("a"), ("A dog.", text))], problems)
    assert checked.captions == ("A dog.",)
    assert [problem.kind for problem in problems] == ["empty-caption"]


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", ("train", "Training")),
        ("dev", ("dev", "val", "valid", "Validation")),
        ("test", ("TEST", "testing")),
    ],
)
def test_splits_have_several_names(split: str, names: tuple[str, ...]) -> None:
    checked, problems = texts(*((name, name, ("x",)) for name in names))
    assert [example.split for example in checked] == [split] * len(names)
    assert problems == []


def test_unknown_splits_are_left_out_and_so_are_empty_ones_where_others_have_one() -> None:
    checked, problems = texts(("a", "train", ("x",)), ("b", "holdout", ("x",)), ("c", "", ("x",)))
    assert [example.key for example in checked] == ["a"]
    assert problems == [
        Problem("unknown-split", "b", "'holdout', expected train, dev (val) or test"),
        Problem("unknown-split", "c", "'', expected train, dev (val) or test"),
    ]


def test_a_name_in_two_splits_is_kept_where_it_is_evaluated() -> None:
    checked, problems = texts(
        ("a", "train", ("learn",)),
        ("a", "dev", ("judge",)),
        ("b", "test", ("judge",)),
        ("b", "train", ("learn",)),
    )
    assert [(example.key, example.split, example.captions) for example in checked] == [
        ("a", "dev", ("judge",)),
        ("b", "test", ("judge",)),
    ]
    assert problems == [
        Problem("two-splits", "a", "in train and in dev; kept in dev"),
        Problem("two-splits", "b", "in test and in train; kept in test"),
    ]


def test_a_name_twice_in_one_split_keeps_all_its_captions() -> None:
    checked, problems = texts(("a", "val", ("one",)), ("a", "dev", ("two",)))
    assert [(example.split, example.captions) for example in checked] == [("dev", ("one", "two"))]
    assert problems == []


def test_a_caption_that_a_image_has_twice_is_reported_and_kept() -> None:
    checked, problems = texts(
        ("a", "", ("One.", "Two.", " One. ")), ("b", "", ("One.",)), ("b", "", ("One.",))
    )
    assert [one.captions for one in checked] == [("One.", "Two.", "One."), ("One.", "One.")]
    assert problems == [Problem("duplicate-caption", "a", "One."), Problem("duplicate-caption", "b", "One.")]


def test_text_that_is_not_unicode_is_left_out() -> None:
    checked, problems = texts(("a", "", ("bad \ud800", "Fine.")), ("b\udcff", "", ("x",)))
    assert [(example.key, example.captions) for example in checked] == [("a", ("Fine.",))]
    assert [(problem.kind, problem.key) for problem in problems] == [
        ("not-unicode", "a"),
        ("not-unicode", "b\udcff"),
    ]


def pictures(folder: Path, *entries: tuple[str, str]) -> tuple[list[tuple[str, str]], list[Problem]]:
    problems: list[Problem] = []
    examples = [Example(key, folder / key, ("x",), split) for key, split in entries]
    checked = check_images(examples, problems)
    return [(one.example.key, one.example.split) for one in checked], problems


def test_missing_and_undecodable_images_are_reported_and_the_others_keep_their_order(
    tmp_path: Path, write_images: WritePictures
) -> None:
    write_images(tmp_path, ["a.png", "b.png", "c.png"])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:45])
    (tmp_path / "folder.png").mkdir()
    names = ["c.png", "gone.png", "a.png", "text.png", "cut.png", "folder.png", "b.png"]
    kept, problems = pictures(tmp_path, *((name, "train") for name in names))
    assert [key for key, _ in kept] == ["c.png", "a.png", "b.png"]
    assert [(problem.kind, problem.key) for problem in problems] == [
        ("missing-image", "gone.png"),
        ("undecodable-image", "text.png"),
        ("undecodable-image", "cut.png"),
        ("undecodable-image", "folder.png"),
    ]
    assert problems[1].detail == "a text file"
    assert problems[2].detail.startswith("corrupt or incomplete (")
    assert problems[3].detail == "a directory"


def test_the_same_bytes_twice_in_a_split_are_kept_once(tmp_path: Path, write_images: WritePictures) -> None:
    write_images(tmp_path, ["a.png", "b.png"])
    (tmp_path / "copy.png").write_bytes((tmp_path / "a.png").read_bytes())
    kept, problems = pictures(tmp_path, ("a.png", "dev"), ("copy.png", "dev"), ("b.png", "dev"))
    assert kept == [("a.png", "dev"), ("b.png", "dev")]
    assert problems == [Problem("duplicate-image", "copy.png", "the same bytes as a.png")]


def test_the_same_bytes_in_two_splits_are_dropped_from_training(
    tmp_path: Path, write_images: WritePictures
) -> None:
    write_images(tmp_path, ["a.png", "b.png"])
    (tmp_path / "copy.png").write_bytes((tmp_path / "a.png").read_bytes())
    kept, problems = pictures(tmp_path, ("a.png", "train"), ("b.png", "train"), ("copy.png", "test"))
    assert kept == [("b.png", "train"), ("copy.png", "test")]
    assert problems == [Problem("two-splits", "a.png", "train; the same bytes as copy.png in test")]
    kept, problems = pictures(tmp_path, ("copy.png", "dev"), ("b.png", "train"), ("a.png", "train"))
    assert kept == [("copy.png", "dev"), ("b.png", "train")]


def test_images_are_decoded_a_window_ahead_and_come_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []

    def inspect(path: Path) -> ImageInfo:
        calls.append(path)
        return ImageInfo(path.name, 1, 1)

    (tmp_path / "image").touch()
    status = (tmp_path / "image").stat()
    monkeypatch.setattr(checking, "inspect_image", inspect)
    monkeypatch.setattr(checking, "IN_FLIGHT", 8)
    monkeypatch.setattr(Path, "stat", lambda self, **options: status)
    examples = [Example(str(number), tmp_path / str(number), ("x",)) for number in range(100)]
    found = checking._inspect(examples)
    assert next(found) == CheckedExample(examples[0], ImageInfo("0", 1, 1), 0, status.st_mtime_ns)
    assert len(calls) <= 8
    checked = [one for one in found if isinstance(one, CheckedExample)]
    assert [one.info.sha256 for one in checked] == [str(number) for number in range(1, 100)]


def test_an_interrupt_stops_the_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def interrupt(path: Path) -> ImageInfo:
        calls.append(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(checking, "inspect_image", interrupt)
    status = tmp_path.stat()
    monkeypatch.setattr(Path, "stat", lambda self, **options: status)
    examples = [Example(str(number), tmp_path / str(number), ("x",), "train") for number in range(5_000)]
    with pytest.raises(KeyboardInterrupt):
        check_images(examples, [])
    assert len(calls) < 5_000


splits = st.sampled_from(["train", "val", "dev", "test", "validation"])
entries = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5), splits), max_size=25)


@given(entries)
def test_no_image_is_in_two_splits_by_name_or_by_bytes(made: list[tuple[int, int, str]]) -> None:
    """Of pictures under ten names with six contents, in any splits, each name and content is kept exactly once."""
    content = {name: byte for name, byte, _ in made}
    given_examples = [Example(str(name), NOWHERE, ("x",), split) for name, _, split in made]
    problems: list[Problem] = []
    with pytest.MonkeyPatch.context() as patch:

        def inspect(examples: list[Example]) -> list[CheckedExample]:
            return [
                CheckedExample(one, ImageInfo(str(content[int(one.key)]), 1, 1), 1, 1) for one in examples
            ]

        patch.setattr(checking, "_inspect", inspect)
        checked = check_images(check_texts(given_examples, problems), problems)
    keys, hashes = [one.example.key for one in checked], [one.info.sha256 for one in checked]
    assert len(set(keys)) == len(keys)
    assert len(set(hashes)) == len(hashes)
    assert set(hashes) == {str(byte) for byte in content.values()}
    assert {example.key for example in given_examples} == set(keys) | {problem.key for problem in problems}
    assert {problem.kind for problem in problems} <= set(KINDS)
    judged = {str(content[name]) for name, _, split in made if split not in ("train", "training")}
    for one in checked:
        assert (one.example.split == "train") == (one.info.sha256 not in judged)


def unsplit(count: int, prefix: str = "") -> list[CheckedExample]:
    return [
        CheckedExample(
            Example(f"{prefix}{number}", NOWHERE, ("x",)), ImageInfo(f"bytes {number}", 1, 1), 1, 1
        )
        for number in range(count)
    ]


@given(st.integers(1, 60), st.floats(0, 0.5), st.floats(0, 0.49), st.integers(0, 9))
def test_a_generated_split_meets_its_fractions(count: int, dev: float, test: float, seed: int) -> None:
    made = list(assign_splits(unsplit(count), dev_fraction=dev, test_fraction=test, seed=seed))
    sizes = Counter(one.example.split for one in made)
    assert [one.example.key for one in made] == [str(number) for number in range(count)]
    assert sizes["train"] >= 1
    if count >= 3:
        assert sizes["dev"] == max(round(dev * count), int(dev > 0)) or sizes["train"] == 1
        assert sizes["test"] == max(round(test * count), int(test > 0))


@given(st.lists(st.sampled_from(["", "train", "dev"]), max_size=30), st.floats(0, 0.5), st.floats(0, 0.49))
def test_splits_are_assigned_in_the_order_of_ranks(splits: list[str], dev: float, test: float) -> None:
    given_ones = [
        replace(one, example=replace(one.example, split=split))
        for one, split in zip(unsplit(len(splits)), splits, strict=True)
    ]
    ranks = {one.info.sha256: sha256(f"7:{one.info.sha256}".encode()).hexdigest() for one in given_ones}
    dealt = sorted(ranks[one.info.sha256] for one in given_ones if one.example.split in ("", "train"))
    spare = max(0, len(dealt) - 1)
    tests = min(spare, max(round(test * len(dealt)), int(test > 0)))
    devs = min(spare - tests, max(round(dev * len(dealt)), int(dev > 0)))
    expected = ["test"] * tests + ["dev"] * devs + ["train"] * (len(dealt) - tests - devs)
    split_of = dict(zip(dealt, expected, strict=True))
    made = assign_splits(given_ones, dev_fraction=dev, test_fraction=test, seed=7)
    assert [one.example.split for one in made] == [
        split_of.get(ranks[one.info.sha256], one.example.split) for one in given_ones
    ]


def test_a_generated_split_depends_on_bytes_and_seed_not_on_names_or_order() -> None:
    def split_of(examples: list[CheckedExample], seed: int) -> dict[str, str]:
        made = assign_splits(examples, dev_fraction=0.3, test_fraction=0.2, seed=seed)
        return {one.info.sha256: one.example.split for one in made}

    assert split_of(unsplit(40), 1) == split_of(unsplit(40, "other")[::-1], 1)
    assert split_of(unsplit(40), 1) != split_of(unsplit(40), 2)


def test_a_image_that_is_kept_in_place_of_an_earlier_one_is_last(
    tmp_path: Path, write_images: WritePictures
) -> None:
    write_images(tmp_path, ["a.png", "b.png"])
    (tmp_path / "copy.png").write_bytes((tmp_path / "a.png").read_bytes())
    entries = (("a.png", "train"), ("b.png", "dev"), ("copy.png", "dev"))
    assert pictures(tmp_path, *entries)[0] == [("b.png", "dev"), ("copy.png", "dev")]
    assert pictures(tmp_path, *entries[::-1])[0] == [("copy.png", "dev"), ("b.png", "dev")]

"""A prepared set contains the usable examples and the problems, and is refused when it was changed."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from showtell.data.description import describe
from showtell.data.prepared import PreparedSet, prepare
from showtell.data.prepared_writer import write_embedded_images
from showtell.data.problems import read_problems
from showtell.data.sources.base import EmbeddedImageExample, Example
from showtell.errors import ConfigError, DataError
from showtell.system.atomic import sha256_file, write_summed_json
from showtell.system.locks import locked_directory
from showtell.system.reading import read_json_lines

ROOT = Path(__file__).parents[2]
WritePictures = Callable[[Path, Iterable[str]], None]


@pytest.fixture
def source(tmp_path: Path, write_images: WritePictures) -> Path:
    """A CSV of 24 training and 6 development pictures with two captions each."""
    folder = tmp_path / "source"
    names = [f"{number:02}.png" for number in range(30)]
    write_images(folder, names)
    rows = [
        f"{name},Caption {part} of {name} .,{'val' if number % 5 == 0 else 'train'}"
        for number, name in enumerate(names)
        for part in "ab"
    ]
    (folder / "set.csv").write_text("\n".join(["image,caption,split", *rows]) + "\n")
    return folder / "set.csv"


def append(source: Path, *rows: str) -> None:
    source.write_text(source.read_text() + "".join(row + "\n" for row in rows))


def test_a_prepared_set_gives_back_what_was_in_the_source(source: Path, tmp_path: Path) -> None:
    prepared = prepare(source, tmp_path / "out")
    assert len(prepared) == 30
    assert prepared.keys == [f"{number:02}.png" for number in range(30)]
    dev, train = prepared.split_rows("dev"), prepared.split_rows("train")
    assert dev.dtype == np.int64
    assert dev.tolist() == [0, 5, 10, 15, 20, 25]
    assert sorted([*dev, *train]) == list(range(30))
    assert prepared.captions(7) == ["Caption a of 07.png .", "Caption b of 07.png ."]
    assert (prepared.key(7), prepared.split(7), prepared.split(5)) == ("07.png", "train", "dev")
    assert prepared.image_path(7) == source.parent / "07.png"
    assert prepared.sha256(7) == sha256_file(source.parent / "07.png")
    assert prepared.directory == tmp_path / "out"


def test_the_directory_says_what_it_is_and_of_what_it_was_made(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = prepare(source, out).manifest
    assert (manifest["kind"], manifest["format"]) == ("prepared set", 3)
    assert manifest["source"] == {"path": str(source), "format": "csv"}
    assert manifest["splits"]["train"] == {"images": 24, "captions": 48}
    assert list(manifest["splits"]) == ["train", "dev"]
    assert manifest["problems"] == {}
    assert manifest["generated_split"] is None
    assert sorted(file.name for file in out.iterdir()) == [
        "examples.arrow",
        "manifest.json",
        "problems.jsonl",
    ]
    with pa.memory_map(str(out / "examples.arrow")) as file:
        table = pa.ipc.open_file(file).read_all()
    assert table.column_names == [
        "key",
        "path",
        "sha256",
        "size",
        "mtime_ns",
        "width",
        "height",
        "split",
        "captions",
    ]
    assert (table["width"][0].as_py(), table["height"][0].as_py()) == (4, 2)


def test_what_is_bad_is_left_out_listed_and_the_rest_kept(source: Path, tmp_path: Path) -> None:
    (source.parent / "03.png").write_text("<html>")
    shutil.copy(source.parent / "00.png", source.parent / "copy.png")
    append(
        source, "gone.png,Gone .,train", "copy.png,Again .,train", "04.png,  ,train", "05.png,Twice .,train"
    )
    prepared = prepare(source, tmp_path / "out", max_problem_fraction=0.5)
    assert prepared.keys == [f"{number:02}.png" for number in range(30) if number != 3]
    assert prepared.split(prepared.keys.index("05.png")) == "dev"
    problems = read_problems(tmp_path / "out" / "problems.jsonl")
    assert [(problem.kind, problem.key) for problem in problems] == [
        ("empty-caption", "04.png"),
        ("two-splits", "05.png"),
        ("undecodable-image", "03.png"),
        ("missing-image", "gone.png"),
        ("two-splits", "copy.png"),
    ]
    assert prepared.manifest["problems"] == {
        "missing-image": 1,
        "undecodable-image": 1,
        "empty-caption": 1,
        "two-splits": 2,
    }


def test_above_the_fraction_nothing_is_written_and_everything_is_reported(
    source: Path, tmp_path: Path
) -> None:
    for number in (1, 2):
        (source.parent / f"{number:02}.png").unlink()
    with pytest.raises(DataError, match=r"found 2 of 30 entries with problems; expected at most 5") as caught:
        prepare(source, tmp_path / "out")
    told = str(caught.value)
    assert "2  missing-image: images that do not exist" in told
    assert f"01.png: no {source.parent / '01.png'}" in told
    assert "expected at most 5.0%. Fix the dataset, or allow more with --max-problems\n" in told
    assert not (tmp_path / "out").exists()
    assert len(prepare(source, tmp_path / "out", max_problem_fraction=2 / 30)) == 28


def test_a_set_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("image,caption\ngone.png,Gone .\n")
    with pytest.raises(
        DataError, match=r"expected at least one usable image\. Fix the dataset\n +1  missing"
    ):
        prepare(tmp_path / "set.csv", tmp_path / "out", max_problem_fraction=1.0)
    (tmp_path / "set.csv").write_text("image,caption\n")
    with pytest.raises(DataError, match=r"set\.csv: found no images; expected at least one"):
        prepare(tmp_path / "set.csv", tmp_path / "out", max_problem_fraction=1.0)


def test_images_of_a_source_without_splits_are_held_out_by_seed(source: Path, tmp_path: Path) -> None:
    lines = [line.rsplit(",", 1)[0] for line in source.read_text().splitlines()]
    source.write_text("\n".join(lines))
    prepared = prepare(source, tmp_path / "one", dev_fraction=0.2, test_fraction=0.1)
    sizes = [len(prepared.split_rows(split)) for split in ("train", "dev", "test")]
    assert sizes == [21, 6, 3]
    assert prepared.manifest["generated_split"] == {"dev_fraction": 0.2, "test_fraction": 0.1, "seed": 42}
    again = prepare(source, tmp_path / "two", dev_fraction=0.2, test_fraction=0.1)
    assert again.fingerprint == prepared.fingerprint
    other = prepare(source, tmp_path / "three", dev_fraction=0.2, test_fraction=0.1, seed=7)
    assert other.split_rows("dev").tolist() != prepared.split_rows("dev").tolist()


def test_a_published_split_can_be_made_again_or_its_training_split_be_cut(
    source: Path, tmp_path: Path
) -> None:
    def keys_of(prepared: PreparedSet, split: str) -> set[str]:
        return {prepared.key(int(row)) for row in prepared.split_rows(split)}

    published = prepare(source, tmp_path / "published")
    anew = prepare(source, tmp_path / "anew", dev_fraction=0.1, make_split="all")
    assert [len(anew.split_rows(split)) for split in ("train", "dev")] == [27, 3]
    assert anew.manifest["generated_split"]["make_split"] == "all"
    cut = prepare(source, tmp_path / "cut", dev_fraction=0.0, test_fraction=0.2, make_split="train")
    assert keys_of(cut, "dev") == keys_of(published, "dev")
    assert keys_of(cut, "train") | keys_of(cut, "test") == keys_of(published, "train")
    assert len(keys_of(cut, "test")) == round(0.2 * len(keys_of(published, "train")))
    assert "training split were assigned" in "\n".join(describe(cut, width=80))
    assert "was ignored" in "\n".join(describe(anew, width=80))


def test_the_fingerprint_names_content_not_place(source: Path, tmp_path: Path) -> None:
    first = prepare(source, tmp_path / "out").fingerprint
    shutil.copytree(source.parent, tmp_path / "moved")
    assert prepare(tmp_path / "moved" / "set.csv", tmp_path / "other").fingerprint == first
    text = source.read_text()
    changes = [
        text.replace("Caption a of 07", "Caption c of 07"),
        text.replace("07.png .,train", "07.png .,val"),
        text.replace("\n07.png,", "\n./new/../07.png,"),
    ]
    (source.parent / "new").mkdir()
    for changed in changes:
        assert changed != text
        source.write_text(changed)
        assert prepare(source, tmp_path / "out").fingerprint != first
    source.write_text(text)
    shutil.copy(source.parent / "07.png", source.parent / "x.png")
    (source.parent / "07.png").write_bytes((source.parent / "07.png").read_bytes() + b"\0")
    assert prepare(source, tmp_path / "out").fingerprint != first


def test_loading_gives_the_set_that_prepare_returned(source: Path, tmp_path: Path) -> None:
    made = prepare(source, tmp_path / "out")
    loaded = PreparedSet.load(str(tmp_path / "out"))
    assert (loaded.keys, loaded.fingerprint, loaded.manifest) == (made.keys, made.fingerprint, made.manifest)
    assert [loaded.captions(row) for row in range(30)] == [made.captions(row) for row in range(30)]


def test_captions_of_any_script_survive_the_disk(source: Path, tmp_path: Path) -> None:
    append(source, '30.png,"Ünïcödé 犬 \u2028🙂, «quoted» ""so"" ",train')
    shutil.copy(source.parent / "00.png", source.parent / "30.png")
    (source.parent / "30.png").write_bytes((source.parent / "30.png").read_bytes() + b"\0")
    assert prepare(source, tmp_path / "out").captions(30) == ['Ünïcödé 犬  🙂, «quoted» "so"']


def test_an_absent_split_is_misuse_that_names_those_there(source: Path, tmp_path: Path) -> None:
    prepared = prepare(source, tmp_path / "out")
    with pytest.raises(
        ConfigError, match=r"no images in split 'test': expected one of train \(24\), dev \(6\)"
    ):
        prepared.split_rows("test")


@pytest.mark.parametrize(
    "fractions",
    [{"max_problem_fraction": 1.1}, {"dev_fraction": -0.1}, {"test_fraction": float("nan")}],
)
def test_fractions_out_of_range_are_misuse(source: Path, tmp_path: Path, fractions: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"^--[a-z]+-[a-z]+ is out of range: found .*; expected 0 to 1"):
        prepare(source, tmp_path / "out", **fractions)
    with pytest.raises(
        ConfigError, match=r"leave no training images: found 0\.6 \+ 0\.4; expected a sum below 1"
    ):
        prepare(source, tmp_path / "out", dev_fraction=0.6, test_fraction=0.4)


def test_what_costs_nothing_is_reported_but_not_counted(source: Path, tmp_path: Path) -> None:
    append(source, "00.png,Caption a of 00.png .,val")
    prepared = prepare(source, tmp_path / "out", max_problem_fraction=0.0)
    assert prepared.captions(0) == ["Caption a of 00.png .", "Caption b of 00.png .", "Caption a of 00.png ."]
    assert prepared.manifest["problems"] == {"duplicate-caption": 1}
    told = "\n".join(describe(prepared, width=80))
    assert "1  duplicate-caption: captions that an image has twice (kept)" in told
    assert "00.png: Caption a of 00.png ." in told


def test_a_table_of_several_batches_is_one_set(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = prepare(source, tmp_path / "whole")
    monkeypatch.setattr("showtell.data.prepared_writer.ROWS_PER_BATCH", 7)
    parts = prepare(source, tmp_path / "parts")
    with pa.memory_map(str(tmp_path / "parts" / "examples.arrow")) as file:
        assert pa.ipc.open_file(file).num_record_batches == 5
    assert parts.fingerprint == whole.fingerprint
    assert parts.manifest["splits"] == whole.manifest["splits"]
    assert parts.keys == whole.keys
    for row in range(30):
        assert parts.captions(row) == whole.captions(row)
        assert (parts.split(row), parts.sha256(row)) == (whole.split(row), whole.sha256(row))
        assert parts.image_path(row) == whole.image_path(row)


MEASURE = """
import sys
from pathlib import Path
from showtell.data import prepared
from showtell.images.load import ImageInfo
import showtell.data.validate as validate
from tests.memory import peak_bytes
validate.inspect_image = lambda path: ImageInfo(path.stem.rjust(64, "0"), 640, 480)
before = peak_bytes()
made = prepared.prepare(sys.argv[1], sys.argv[2])
print(len(made), peak_bytes() - before)
"""


@pytest.mark.slow
def test_memory_grows_by_little_more_than_a_kilobyte_an_image(tmp_path: Path) -> None:
    """A hundred thousand pictures of COCO must fit where ten thousand do; files are empty, facts made up."""
    grown = {}
    for count in (3_000, 30_000):
        folder = tmp_path / str(count)
        (folder / "annotations").mkdir(parents=True)
        names = [f"{number:012d}.jpg" for number in range(count)]
        for name in names:
            (folder / name).touch()
        images = [
            {"id": number, "file_name": name, "height": 1, "width": 1} for number, name in enumerate(names)
        ]
        captions = [
            {
                "image_id": number,
                "id": 5 * number + k,
                "caption": f"A dog number {number} runs over a field of {k}.",
            }
            for number in range(count)
            for k in range(5)
        ]
        file = folder / "annotations" / "captions_train2017.json"
        file.write_text(json.dumps({"images": images, "annotations": captions}))
        command = [sys.executable, "-c", MEASURE, str(folder), str(tmp_path / f"set{count}")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        rows, grown[count] = done.stdout.split()
        assert int(rows) == count
    kilobytes = (float(grown[30_000]) - float(grown[3_000])) / 1024 / 27_000
    assert kilobytes < 1.5


# ---- places


def test_its_own_directory_may_be_written_again(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(source, tmp_path / "out")
    assert "replacing" not in capsys.readouterr().err
    append(source, "00.png,More .,val")
    assert prepare(source, tmp_path / "out").captions(0)[-1] == "More ."
    assert f"replacing the prepared set {tmp_path / 'out'}\n" in capsys.readouterr().err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out", "source"]


def test_a_set_of_another_source_is_replaced_only_on_request(source: Path, tmp_path: Path) -> None:
    first = prepare(source, tmp_path / "out").fingerprint
    other = tmp_path / "other.csv"
    other.write_text(f"image,caption\n{source.parent / '00.png'},Alone .\n")
    with pytest.raises(DataError, match=r"will not overwrite .*out: found a prepared set of .*set\.csv\. "):
        prepare(other, tmp_path / "out")
    assert PreparedSet.load(tmp_path / "out").fingerprint == first
    assert len(prepare(other, tmp_path / "out", overwrite=True)) == 1


def test_two_processes_never_write_the_same_set(source: Path, tmp_path: Path) -> None:
    with (
        locked_directory(tmp_path / "set"),
        pytest.raises(DataError, match="set is in use by another process"),
    ):
        prepare(source, tmp_path / "set")
    assert not (tmp_path / "set").exists()
    prepare(source, tmp_path / "set")


def test_an_empty_directory_may_be_written(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert len(prepare(source, tmp_path / "out")) == 30


@pytest.mark.parametrize("content", [None, "[]", "not json", '{"kind": "feature cache", "format": 1}'])
def test_a_place_of_something_else_is_refused_before_any_work(
    source: Path, tmp_path: Path, content: str | None
) -> None:
    out = tmp_path / "precious"
    out.mkdir()
    (out / "thesis.tex").touch()
    if content is not None:
        (out / "manifest.json").write_text(content)
    with pytest.raises(
        DataError, match=r"will not overwrite .*precious: found .*Choose another directory or remove it"
    ):
        prepare(tmp_path / "even before the source is looked for", out)
    assert (out / "thesis.tex").exists()
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(DataError, match="will not overwrite"):
        prepare(source, file)
    assert file.read_text() == "precious"


def test_a_full_disk_leaves_the_earlier_set_whole(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = prepare(source, tmp_path / "out").fingerprint
    append(source, "00.png,More .,val")

    def full(place: str, schema: Any) -> None:
        Path(place).write_bytes(b"half a fi")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pa.ipc, "new_file", full)
    with pytest.raises(
        DataError, match=r"cannot write .*out: found No space left on device\. Free some space"
    ):
        prepare(source, tmp_path / "out")
    assert PreparedSet.load(tmp_path / "out").fingerprint == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out", "source"]


def test_other_directories_are_refused(source: Path, tmp_path: Path) -> None:
    unprepared = rf"{source.parent} is not a prepared set: found no manifest\.json\. Run `showtell prepare "
    with pytest.raises(DataError, match=unprepared + rf"{source.parent} -o SET` first"):
        PreparedSet.load(source.parent)
    with pytest.raises(DataError, match=r"found no such directory\. Check the path"):
        PreparedSet.load(source.parent / "nowhere")
    out = tmp_path / "out"
    prepare(source, out)
    manifest = json.loads((out / "manifest.json").read_text())
    write_summed_json(out / "manifest.json", manifest | {"kind": "feature cache"})
    with pytest.raises(DataError, match="is not a prepared set: found a feature cache"):
        PreparedSet.load(out)
    write_summed_json(out / "manifest.json", manifest | {"format": 2})
    with pytest.raises(DataError, match=r"format 2; expected format 3\. Run showtell prepare again"):
        PreparedSet.load(out)
    del manifest["examples_sha256"]
    write_summed_json(out / "manifest.json", manifest)
    with pytest.raises(DataError, match=r"examples\.arrow: found KeyError.*Run showtell prepare again"):
        PreparedSet.load(out)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_file_cut_short_is_refused(source: Path, tmp_path: Path, share: float) -> None:
    prepare(source, tmp_path / "out")
    table = tmp_path / "out" / "examples.arrow"
    table.write_bytes(table.read_bytes()[: int(share * table.stat().st_size)])
    with pytest.raises(DataError, match=r"examples\.arrow: found a truncated or changed file\. Run"):
        PreparedSet.load(tmp_path / "out")
    table.unlink()
    with pytest.raises(
        DataError, match=r"examples\.arrow: found FileNotFoundError.*Run showtell prepare again"
    ):
        PreparedSet.load(tmp_path / "out")


@pytest.mark.slow
def test_flickr8k_is_prepared_as_published(shared_data: Path, tmp_path: Path) -> None:
    prepared = prepare(shared_data / "data" / "flickr8k", tmp_path / "out")
    assert len(prepared.split_rows("dev")) == 1_000
    assert len(prepared.split_rows("train")) == 5_999
    assert all(len(prepared.captions(row)) == 5 for row in range(len(prepared)))
    problems = {problem.key: problem for problem in read_problems(tmp_path / "out" / "problems.jsonl")}
    assert problems["2258277193_586949ec62.jpg.1"].kind == "captions-without-image"
    assert problems["2851198725_37b6027625.jpg"].kind == "duplicate-image"
    assert sum(problem.kind == "duplicate-caption" for problem in problems.values()) == 9
    assert len(problems) == 2 + 9


@pytest.mark.parametrize("form", ["json", "split-tables", "caption-list"])
def test_equal_names_in_the_folders_of_two_splits_are_two_images(
    tmp_path: Path, write_images: WritePictures, form: str
) -> None:
    for split in ("train", "val"):
        name, text = {
            "json": (f"{split}.json", json.dumps([{"image": "1.png", "caption": "A dog."}])),
            "split-tables": (f"{split}.csv", "image,caption\n1.png,A dog.\n"),
            "caption-list": (f"{split}/captions.txt", "1.png\tA dog.\n"),
        }[form]
        write_images(tmp_path / "set", [f"{split}/1.png"])
        (tmp_path / "set" / name).write_text(text)
    prepared = prepare(tmp_path / "set", tmp_path / "out")
    assert prepared.manifest["source"]["format"] == form
    assert prepared.keys == ["train/1.png", "val/1.png"]
    assert prepared.manifest["problems"] == {}


def test_a_set_may_be_made_and_read_where_one_is(
    toy_set: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, place = toy_set.directory.parent / "captions.jsonl", tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    made = prepare(source, ".")
    assert made.directory == place
    monkeypatch.chdir(place)
    read = PreparedSet.load(".")
    assert read.directory == place
    assert read.fingerprint == toy_set.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_a_smaller_subset_is_within_a_larger_one_and_depends_on_the_seed_alone(
    toy_set: PreparedSet,
) -> None:
    def choose(count: int, seed: int = 3) -> list[int]:
        return toy_set.split_rows("train", subset=count, seed=seed).tolist()

    whole = toy_set.split_rows("train").tolist()
    assert choose(5) == choose(5) == sorted(choose(5))
    assert set(choose(5)) < set(choose(9)) < set(whole)
    assert choose(5) != choose(5, seed=4)
    assert choose(0) == choose(16) == choose(1000) == whole


# ---- embedded images


@pytest.mark.parametrize(
    ("data", "suffix"),
    [(b"\xff\xd8\xff\xe0", ".jpg"), (b"\x89PNG", ".png"), (b"RIFF..WEBP", ".webp"), (b"", ""), (b"?", "")],
)
def test_bytes_become_a_file_named_by_them(tmp_path: Path, data: bytes, suffix: str) -> None:
    [example] = write_embedded_images([EmbeddedImageExample("a", data, ("x",), "train")], tmp_path)
    digest = hashlib.sha256(data).hexdigest()
    path = tmp_path / "images" / digest[:2] / (digest + suffix)
    assert example == Example("a", path, ("x",), "train")
    assert path.read_bytes() == data


def test_equal_bytes_are_one_file_and_files_stay_where_they_are(tmp_path: Path) -> None:
    file = Example("b", Path("elsewhere/b.jpg"), ("x",))
    stored = list(
        write_embedded_images(
            [EmbeddedImageExample("a", b"1", ("x",)), file, EmbeddedImageExample("c", b"1", ("y",))], tmp_path
        )
    )
    assert stored[0].image == stored[2].image
    assert stored[1] is file
    assert [example.key for example in stored] == ["a", "b", "c"]


def test_one_image_is_checked_for_at_a_time(tmp_path: Path) -> None:
    asked = []

    def held() -> object:
        for number in range(3):
            asked.append(number)
            yield EmbeddedImageExample(str(number), bytes([number]), ("x",))

    stored = write_embedded_images(held(), tmp_path)
    next(stored)
    assert asked == [0]


def test_training_images_are_held_out_by_their_content_alone(toy_set: PreparedSet) -> None:
    held = toy_set.hold_out(5)
    rows = held.split_rows("holdout").tolist()
    train = toy_set.split_rows("train").tolist()
    assert rows == sorted(sorted(train, key=toy_set.sha256)[:5])
    assert held.split_rows("train").tolist() == [row for row in train if row not in rows]
    assert held.split_rows("dev").tolist() == toy_set.split_rows("dev").tolist()
    assert held.split(rows[0]) == "holdout"
    assert held.fingerprint == toy_set.fingerprint
    with pytest.raises(ConfigError, match=r"one of train \(11\), dev \(8\), holdout \(5\)"):
        held.split_rows("test")
    assert set(held.hold_out(0).split_rows("holdout").tolist()) == set(rows)
    with pytest.raises(ConfigError, match="no images in split 'holdout'"):
        toy_set.split_rows("holdout")


def test_not_all_training_images_are_held_out(toy_set: PreparedSet) -> None:
    with pytest.raises(ConfigError, match="found 16; expected less than the 16 training images"):
        toy_set.hold_out(16)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "imagefolder"])
def test_corrected_captions_keep_what_they_correct_and_others_of_a_machine_are_left_out(
    tmp_path: Path, write_images: Callable[[Path, Iterable[str]], None], kind: str
) -> None:
    folder = tmp_path / "photos"
    write_images(folder, ["a.png", "b.png", "c.png"])
    origin = {"machine_caption": "a dog", "model": "flickr8k", "edited_at": "2026-12-01T00:00:00Z"}
    unedited = {"machine_caption": "" if kind == "csv" else "a bus", "model": "", "edited_at": ""}
    rows = [
        {"path": "a.png", "caption": "a cat", **origin},
        {"path": "b.png", "caption": "a bus", **unedited},
        {"path": "c.png", "caption": "two cats", **origin},
    ]
    lines = [json.dumps(row) for row in rows]
    if kind == "csv":
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    source = folder / ("captions.csv" if kind == "csv" else "captions.jsonl")
    if kind == "imagefolder":
        lines = [json.dumps({"file_name": row["path"], "text": row.pop("caption"), **row}) for row in rows]
        source = folder / "metadata.jsonl"
        (folder / "b.png").unlink()
    source.write_text("\n".join(lines))
    prepared = prepare(folder if kind == "imagefolder" else source, tmp_path / "set", dev_fraction=0.0)
    assert {prepared.key(row): prepared.captions(row) for row in range(2)} == {
        "a.png": ["a cat"],
        "c.png": ["two cats"],
    }
    assert prepared.manifest["problems"] == {"not-edited": 1}
    found = read_json_lines(tmp_path / "set" / "provenance.jsonl")
    assert [(row["key"], row["split"], row.get("caption", row.get("text"))) for row in found] == [
        ("a.png", "train", "a cat"),
        ("c.png", "train", "two cats"),
    ]
    assert all(origin.items() <= row.items() for row in found)
    assert any("2 captions are corrections" in line for line in describe(prepared, width=100))


def test_a_set_without_corrections_has_no_provenance(toy_set: PreparedSet) -> None:
    assert not (toy_set.directory / "provenance.jsonl").exists()

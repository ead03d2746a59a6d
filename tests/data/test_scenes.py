"""Drawn scenes: the same bytes from the same seed, and kept compositions kept."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.data.prepared import prepare
from showtell.data.scene_captions import COLORS, KINDS, Scene, SceneObject, check_caption
from showtell.data.scenes import SIZE_PX, draw, draw_scenes, held_out, make_scene, pair_split
from showtell.errors import DataError


def bytes_of(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_the_same_seed_draws_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        draw_scenes(tmp_path / name, train=5, dev=2, test=2, seed=seed)
    first = bytes_of(tmp_path / "a")
    assert first == bytes_of(tmp_path / "b")
    assert first["captions.jsonl"] != bytes_of(tmp_path / "c")["captions.jsonl"]
    assert len({content for name, content in first.items() if name.endswith(".png")}) == 9


def test_more_training_scenes_leave_the_others_as_they_are(tmp_path: Path) -> None:
    draw_scenes(tmp_path / "few", train=2, dev=1, test=3, seed=0)
    draw_scenes(tmp_path / "many", train=6, dev=1, test=3, seed=0)
    few, many = bytes_of(tmp_path / "few"), bytes_of(tmp_path / "many")
    pictures = [name for name in few if name.endswith(".png")]
    assert len(pictures) == 6
    assert all(few[name] == many[name] for name in pictures)


@given(st.sampled_from(["train", "dev", "test"]), st.integers(0, 100_000))
def test_kept_pairs_never_meet_in_training_and_always_in_their_own_split(split: str, seed: int) -> None:
    scene = make_scene("scene", split, random.Random(seed))
    assert bool(held_out(scene, "dev")) == (split == "dev")
    assert bool(held_out(scene, "test")) == (split == "test")


@given(st.integers(0, 100_000))
def test_objects_of_a_scene_differ_in_cell_and_in_name(seed: int) -> None:
    objects = make_scene("scene", "train", random.Random(seed)).objects
    assert len(objects) in (2, 3)
    assert len({(thing.row, thing.column) for thing in objects}) == len(objects)
    assert len({thing.name for thing in objects}) == len(objects)


def test_every_object_is_seen_in_training_though_not_in_every_company() -> None:
    scenes = [make_scene(str(seed), "train", random.Random(seed)) for seed in range(400)]
    assert len({thing.name for scene in scenes for thing in scene.objects}) == len(COLORS) * len(KINDS)


def test_three_in_ten_pairs_are_kept_whatever_their_order() -> None:
    names = [f"{color} {kind}" for color in COLORS for kind in KINDS]
    kept = [pair_split(first, second) for first, second in combinations(names, 2)]
    assert kept == [pair_split(second, first) for first, second in combinations(names, 2)]
    assert 0.15 < kept.count("test") / len(kept) < 0.25
    assert 0.06 < kept.count("dev") / len(kept) < 0.14


def test_a_kept_pair_is_reported_in_words() -> None:
    scene = make_scene("scene", "test", random.Random(0))
    first, second = held_out(scene, "test")[0].split(" with ")
    assert {first, second} <= {thing.name for thing in scene.objects}
    assert pair_split(first, second) == "test"


def test_an_object_is_drawn_in_its_cell_and_in_its_color() -> None:
    for row, column in ((0, 0), (1, 2), (2, 1)):
        scene = Scene("one", (SceneObject("square", "blue", "large", row, column),))
        pixels = np.asarray(draw(scene, random.Random(0)), dtype=np.int16)
        assert pixels.shape == (SIZE_PX, SIZE_PX, 3)
        is_blue = pixels[:, :, 2] - pixels[:, :, 0] > 90
        rows, columns = np.nonzero(is_blue)
        assert (int(rows.mean() // 32), int(columns.mean() // 32)) == (row, column)
        assert is_blue.sum() > 300


@pytest.mark.parametrize("kind", KINDS)
def test_large_objects_cover_more_than_small_ones(kind: str) -> None:
    covered = {}
    for size in ("small", "large"):
        scene = Scene("one", (SceneObject(kind, "red", size, 1, 1),))
        pixels = np.asarray(draw(scene, random.Random(0)), dtype=np.int16)
        covered[size] = (pixels[:, :, 0] - pixels[:, :, 1] > 90).sum()
    assert covered["large"] > 1.5 * covered["small"] > 60


def test_the_set_is_read_by_prepare_and_its_truth_by_key(tmp_path: Path) -> None:
    scenes = draw_scenes(tmp_path / "scenes", train=4, dev=2, test=3, seed=0)
    prepared = prepare(tmp_path / "scenes" / "captions.jsonl", tmp_path / "set")
    assert [len(prepared.split_rows(split)) for split in ("train", "dev", "test")] == [4, 2, 3]
    truth = json.loads((tmp_path / "scenes" / "scenes.json").read_text())
    assert truth == [json.loads(json.dumps(asdict(scene))) for scene in scenes.values()]
    for row in range(len(prepared)):
        scene = scenes[prepared.image_path(row).stem]
        assert len(prepared.captions(row)) == 5
        assert all(check_caption(caption, scene) == [] for caption in prepared.captions(row))


def test_drawn_scenes_are_replaced_but_nothing_else_is(tmp_path: Path) -> None:
    draw_scenes(tmp_path / "scenes", train=3, dev=1, test=1, seed=0)
    draw_scenes(tmp_path / "scenes", train=1, dev=1, test=1, seed=0)
    assert len(list((tmp_path / "scenes" / "pictures").iterdir())) == 3
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match=r"mine is not a set of drawn scenes: found no manifest\.json"):
        draw_scenes(tmp_path / "mine", train=1, dev=1, test=1, seed=0)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"
    with pytest.raises(
        DataError, match=r"cannot draw scenes into .*letter\.txt: found a file; expected a directory"
    ):
        draw_scenes(tmp_path / "mine" / "letter.txt", train=1, dev=1, test=1, seed=0)

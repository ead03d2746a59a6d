"""The datastore: its projection, its exact search, and its file."""

from __future__ import annotations

import hashlib
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from showtell.errors import CheckpointError
from showtell.retrieval.datastore import Datastore, Projection

GENERATOR = np.random.default_rng(0)
SPREAD = np.linspace(3.0, 0.1, 24)
POOLED = (GENERATOR.normal(size=(50, 24)) * SPREAD + 1.0).astype(np.float16)


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def make(pooled: Any = POOLED, projection: Projection | None = None, word: str = "dog") -> Datastore:
    keys = [f"{word}-{number}.jpg" for number in range(len(pooled))]
    captions = [[["a", word, str(number)], ["the", word]] for number in range(len(pooled))]
    return Datastore.of(
        projection or Projection.fit(pooled), pooled, keys, [digest(key) for key in keys], captions
    )


def test_components_are_principal_axes_half_way_to_whitening() -> None:
    projection = Projection.fit(POOLED, components=5)
    centered = POOLED.astype(np.float64) - POOLED.astype(np.float64).mean(axis=0)
    _, singular, axes = np.linalg.svd(centered, full_matrices=False)
    deviations = singular[:5] / np.sqrt(len(POOLED))
    expected = axes[:5].T / np.sqrt(deviations)
    signs = np.sign((projection.components * expected).sum(axis=0))
    assert projection.components * signs == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("count", [1, 2, 10, 30, 50])
def test_few_images_have_few_components(count: int) -> None:
    projection = Projection.fit(POOLED[:count])
    assert projection.components.shape == (24, min(24, count - 1))
    assert np.isfinite(projection(POOLED)).all()


def test_an_image_is_nearest_to_itself_and_order_is_that_of_the_cosine() -> None:
    datastore = make()
    order, cosines = datastore.nearest(POOLED, 7)
    assert order.shape == cosines.shape == (50, 7)
    assert order[:, 0].tolist() == list(range(50))
    assert (np.diff(cosines, axis=1) <= 0).all()
    vectors = datastore.projection(POOLED)
    assert cosines == pytest.approx(np.take_along_axis(vectors @ vectors.T, order, axis=1), abs=0.02)


def test_neighbours_do_not_depend_on_the_batch() -> None:
    datastore = make()
    whole = datastore.nearest(POOLED, 5)
    for row in range(0, 50, 7):
        alone = datastore.nearest(POOLED[row : row + 1], 5)
        assert (alone[0] == whole[0][row]).all()
        assert (alone[1] == whole[1][row]).all()


def test_equally_near_images_are_in_the_order_of_the_datastore_and_all_are_few() -> None:
    twice = np.concatenate((POOLED[:3], POOLED[:3]))
    order, _ = make(twice, Projection.fit(POOLED)).nearest(POOLED[1:2], 60)
    assert order.shape == (1, 6)
    assert order[0, :2].tolist() == [1, 4]


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    datastore = make()
    datastore.save(tmp_path / "datastore.safetensors")
    loaded = Datastore.load(tmp_path / "datastore.safetensors")
    assert loaded.keys == datastore.keys
    assert [loaded.captions[image] for image in range(50)] == [
        [["a", "dog", str(image)], ["the", "dog"]] for image in range(50)
    ]
    assert (loaded.vectors == datastore.vectors).all()
    assert (loaded.projection.components == datastore.projection.components).all()
    assert loaded.holding([digest("x"), digest("dog-3.jpg")]) == [1]
    for one, other in zip(loaded.nearest(POOLED, 9), datastore.nearest(POOLED, 9), strict=True):
        assert (one == other).all()


def test_its_size_is_told_before_it_is_written(tmp_path: Path) -> None:
    datastore = make()
    datastore.save(tmp_path / "x")
    size = (tmp_path / "x").stat().st_size
    assert datastore.describe() == f"datastore: 50 images, 100 captions, {size / 1e6:.1f} MB"


def test_an_image_in_both_has_the_newer_captions() -> None:
    old = make(POOLED[:4])
    new = make(POOLED[2:4], old.projection, word="cat")
    renamed = Datastore(new.projection, new.vectors, new.keys, old.digests[2:4], new.captions)
    both = old.merged(renamed)
    assert both.keys == ["dog-0.jpg", "dog-1.jpg", "cat-0.jpg", "cat-1.jpg"]
    assert [both.captions[image][1] for image in range(4)] == [["the", "dog"]] * 2 + [["the", "cat"]] * 2
    assert both.nearest(POOLED[2:3], 1)[0].tolist() == [[2]]


@pytest.mark.parametrize("damage", ["missing", "cut", "foreign", "other format"])
def test_a_file_that_is_no_datastore_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "datastore.safetensors"
    make().save(path)
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "foreign":
        save_file({"weight": np.zeros(3)}, path)
    else:
        save_file({"weight": np.zeros(3)}, path, metadata={"kind": "showtell datastore", "format": "99"})
    with pytest.raises(CheckpointError, match=r"datastore\.safetensors.*showtell index"):
        Datastore.load(path)


def apply_damage(tensors: dict[str, Any], damage: str) -> None:
    if damage == "many zeros":
        tensors["tokens"] = np.frombuffer(lzma.compress(bytes(2**28), preset=0), np.uint8)
    elif damage == "cut array":
        tensors["tokens"] = tensors["tokens"][:-20]
    elif damage == "fewer captions":
        tensors["per_image"] = np.frombuffer(lzma.compress(np.ones(50, "<i4").tobytes()), np.uint8)
    elif damage == "unknown words":
        tensors["tokens"] = np.frombuffer(lzma.compress(np.full(250, 2**30, "<i4").tobytes()), np.uint8)
    elif damage == "nested":
        tensors["texts"] = np.frombuffer(lzma.compress(b"[" * 10**6), np.uint8)
    elif damage == "other texts":
        tensors["texts"] = np.frombuffer(lzma.compress(b"[1]"), np.uint8)
    else:
        tensors["vectors"] = tensors["vectors"][:-1]


@pytest.mark.parametrize(
    "damage",
    ["many zeros", "cut array", "fewer captions", "unknown words", "nested", "other texts", "fewer vectors"],
)
def test_arrays_that_do_not_fit_each_other_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "datastore.safetensors"
    make().save(path)
    with safe_open(path, "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    apply_damage(tensors, damage)
    save_file({name: np.ascontiguousarray(each) for name, each in tensors.items()}, path, metadata=metadata)
    with pytest.raises(CheckpointError, match=r"cannot read the datastore .*datastore\.safetensors"):
        Datastore.load(path)


@pytest.mark.parametrize("count", [1, 3])
def test_equal_images_are_equally_near(count: int, tmp_path: Path) -> None:
    made = make(np.repeat(POOLED[:1], count, axis=0))
    made.save(tmp_path / "store")
    order, cosines = Datastore.load(tmp_path / "store").nearest(POOLED[:4], 2)
    assert order.tolist() == [list(range(min(2, count)))] * 4
    assert not cosines.any()

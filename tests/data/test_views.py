"""Feature sources: whole views for validation, crops for training, decoded again or from caches."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d
from torch.utils._python_dispatch import TorchDispatchMode

from showtell.config.preprocessing import Preprocessing
from showtell.data import views
from showtell.data.prepared import PreparedSet
from showtell.data.views import CachedFeatures, ImageSource, WindowedFeatureSource, window_weights
from showtell.errors import ImageError
from showtell.images.load import load_image
from showtell.images.preprocess import preprocess_image

CROPPED = Preprocessing(size=16, resize="crop", crop=0.5)
NOBODY = np.zeros(4, dtype=bool)


class StoredFeatures(SimpleNamespace):
    """Arrays in the place of a cache."""

    def read(self, name: str, row: int) -> np.ndarray:
        return getattr(self, name)[row]


@pytest.fixture
def rows(toy_set: PreparedSet) -> npt.NDArray[np.int64]:
    return toy_set.split_rows("train")[[3, 0, 7, 7]]


def test_without_places_the_view_that_is_evaluated_is_shown(
    toy_set: PreparedSet, rows: npt.NDArray[np.int64]
) -> None:
    live = ImageSource(toy_set, CROPPED, crop=0.5)
    expected = [preprocess_image(load_image(toy_set.image_path(row)), CROPPED) for row in rows.tolist()]
    assert np.array_equal(live.load(rows, NOBODY).numpy(), np.stack(expected))


def test_places_change_nothing_where_no_window_is_checked_for(
    toy_set: PreparedSet, rows: npt.NDArray[np.int64]
) -> None:
    live = ImageSource(toy_set, CROPPED)
    places = np.random.default_rng(0).random((4, 2))
    assert np.array_equal(live.load(rows, NOBODY, places), live.load(rows, NOBODY))


def test_windows_are_where_they_are_placed_and_are_mirrored_after(
    toy_set: PreparedSet, rows: npt.NDArray[np.int64]
) -> None:
    live = ImageSource(toy_set, CROPPED, crop=0.5, threads=3)
    places = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    mirrored = np.array([False, False, False, True])
    shown = live.load(rows, mirrored, places).numpy()
    whole = [load_image(toy_set.image_path(row)) for row in rows.tolist()]  # 32 x 32 pixels
    # Half of 32 pixels is the encoder's 16: windows at the corners are cut without resizing.
    assert np.array_equal(shown[0], whole[0][:16, :16])
    assert np.array_equal(shown[1], whole[1][16:, 16:])
    assert np.array_equal(shown[2], whole[2][:16, 16:])
    assert np.array_equal(shown[3], shown[2][:, ::-1])


def test_a_image_that_is_gone_is_named(
    toy_set: PreparedSet, rows: npt.NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PreparedSet, "image_path", lambda self, row: Path(f"gone/{row}.jpg"))
    with pytest.raises(ImageError, match=r"cannot read gone/\d+\.jpg: found no such file"):
        ImageSource(toy_set, CROPPED).load(rows, NOBODY)


def test_several_images_are_decoded_at_once(
    toy_set: PreparedSet, rows: npt.NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(4, timeout=10)

    def load_with_the_others(path: Path) -> npt.NDArray[np.uint8]:
        together.wait()
        return load_image(path)

    monkeypatch.setattr(views, "load_image", load_with_the_others)
    live = ImageSource(toy_set, CROPPED, threads=4)
    assert live.load(rows, NOBODY).shape == (4, 16, 16, 3)


class CountOperations(TorchDispatchMode):
    """Counts torch's operations on tensors."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Taking over numpy's memory is no work.
        self.count += func is not torch.ops.aten.lift_fresh.default
        return func(*args, **(kwargs or {}))


def test_kept_features_are_loaded_without_torchs_threads() -> None:
    """Theirs would go on spinning beside those of the network, which then takes twice as long."""
    plain, mirrored = (
        StoredFeatures(
            regions=np.full((3, 4, 5), value, np.float16), pooled=np.full((3, 5), value, np.float16)
        )
        for value in (0.5, 2.0)
    )
    kept = CachedFeatures([plain, mirrored])  # type: ignore[list-item]
    with CountOperations() as operations:
        features = kept.load(np.array([2, 0]), np.array([False, True]))
    assert operations.count == 0
    assert features.regions.dtype == features.pooled.dtype == torch.float16
    assert features.regions[:, 0, 0].tolist() == features.pooled[:, 0].tolist() == [0.5, 2.0]
    assert features.mask.shape == (2, 4)


def test_places_choose_the_nearest_kept_view() -> None:
    def cache(value: float) -> StoredFeatures:
        return StoredFeatures(
            regions=np.full((1, 4, 5), value, np.float16), pooled=np.full((1, 5), value, np.float16)
        )

    views = [[cache(view), cache(10 + view)] for view in range(5)]
    kept = CachedFeatures(*views)  # type: ignore[arg-type]
    places = np.array([[0.5, 0.5], [0.1, 0.2], [0.2, 0.9], [0.9, 0.2], [0.9, 0.9], [0.26, 0.26]])
    rows, nobody = np.zeros(6, np.int64), np.zeros(6, bool)
    assert kept.load(rows, nobody, places).pooled[:, 0].tolist() == [0, 1, 2, 3, 4, 0]
    assert kept.load(rows, ~nobody, places).pooled[:, 0].tolist() == [10, 11, 12, 13, 14, 10]
    assert kept.load(rows, nobody).pooled[:, 0].tolist() == [0] * 6
    many = np.random.default_rng(0).random((4000, 2))
    whole = kept.load(np.zeros(4000, np.int64), np.zeros(4000, bool), many).pooled[:, 0] == 0
    assert 0.47 < whole.float().mean() < 0.53


def a_map(value: int) -> npt.NDArray[np.float16]:
    """Return a map of 10 x 6 regions of 3 channels, float16 [1, 60, 3]."""
    return np.random.default_rng(value).normal(size=(1, 60, 3)).astype(np.float16)


def kept_maps(*values: int, crop: float = 0.75, grid: tuple[int, int] = (4, 3)) -> WindowedFeatureSource:
    views = [StoredFeatures(manifest={"grid": [10, 6]}, regions=a_map(value)) for value in values]
    return WindowedFeatureSource(views, grid=grid, crop=crop)  # type: ignore[arg-type]


def pooled(value: int, top: int, left: int, height: int, width: int) -> Tensor:
    """Return a window of `a_map`, pooled by PyTorch to 4 x 3, float32 [12, 3]."""
    whole = torch.from_numpy(a_map(value)).float().view(10, 6, 3).permute(2, 0, 1)  # [3, 10, 6]
    return adaptive_avg_pool2d(whole[:, top : top + height, left : left + width], (4, 3)).flatten(1).T


@pytest.mark.thorough
def test_whole_maps_are_pooled_as_the_encoder_pools_them() -> None:
    for places in (None, np.array([[0.0, 0.49], [0.2, 0.3]])):
        rows, mirrored = np.zeros(2, np.int64), np.array([False, True])
        features = kept_maps(1, 2).load(rows, mirrored, places).float()
        expected = torch.stack([pooled(1, 0, 0, 10, 6), pooled(2, 0, 0, 10, 6)])
        torch.testing.assert_close(features.regions, expected)
        torch.testing.assert_close(features.pooled, expected.mean(1))
        assert features.mask.shape == (2, 12)
        assert features.mask.all()


def test_windows_are_pooled_like_maps_of_their_own() -> None:
    """Of 10 rows those of 9 (two places) and 8 (three) are left, of 6 columns those of 5 (two)."""
    rows, nobody = np.zeros(3, np.int64), np.zeros(3, np.bool_)
    places = np.array([[0.5, 0.5], [0.5 + 0.5 * 2.5 / 5, 0.3], [0.999, 0.999]])
    features = kept_maps(1).load(rows, nobody, places).float()
    expected = [pooled(1, 0, 0, 9, 5), pooled(1, 0, 0, 8, 6), pooled(1, 2, 1, 8, 5)]
    torch.testing.assert_close(features.regions, torch.stack(expected))


def test_half_of_the_sides_are_whole_and_every_window_comes() -> None:
    places = np.random.default_rng(0).random((4000, 2))
    memory = kept_maps(1).load(np.zeros(4000, np.int64), np.zeros(4000, np.bool_), places)
    windows, counts = np.unique(memory.rows.numpy(), axis=0, return_counts=True)
    assert len(windows) == 1 + 2 + 3
    assert sorted(counts)[-1] == pytest.approx(2000, abs=120)
    assert all(count == pytest.approx(400, abs=80) for count in sorted(counts)[:-1])


@pytest.mark.parametrize(("cells", "regions", "crop"), [(7, 7, 1.0), (1, 1, 0.5), (3, 7, 0.1)])
def test_windows_of_any_map_are_means(cells: int, regions: int, crop: float) -> None:
    weights = window_weights(cells, regions, crop)
    assert weights.shape[1:] == (regions, cells)
    assert np.allclose(weights.sum(axis=2), 1)
    everything = np.ones(4, np.int64) * 0
    places = np.array([[0.0, 0.0], [0.5, 0.5], [0.999, 0.999], [0.7, 0.2]])
    assert kept_maps(1, crop=crop).load(everything, NOBODY, places).float().regions.isfinite().all()


def test_parts_and_devices_of_windows_are_the_same_windows() -> None:
    memory = kept_maps(1).load(np.zeros(4, np.int64), NOBODY, np.random.default_rng(1).random((4, 2)))
    whole = memory.float().regions
    torch.testing.assert_close(memory[1:3].to(torch.device("cpu")).float().regions, whole[1:3])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(memory.float().regions, whole)


@pytest.mark.thorough
def test_kept_maps_are_loaded_without_torchs_threads() -> None:
    maps = kept_maps(1)
    with CountOperations() as operations:
        maps.load(np.zeros(4, np.int64), NOBODY, np.random.default_rng(1).random((4, 2)))
    assert operations.count == 0

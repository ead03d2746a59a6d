"""Where the memory of a batch comes from: a feature cache, or the pictures themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from showtell.config.preprocessing import Preprocessing
from showtell.data.features import AnyCache
from showtell.data.prepared import PreparedSet
from showtell.encoders.features import Features, WindowedFeatures
from showtell.images.load import load_image
from showtell.images.preprocess import load_and_preprocess, min_decode_size, preprocess_image, random_crop_box
from showtell.system.cpu import usable_cores

CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""How far down and right they lie."""


class CachedFeatures:
    """Reads features that were seen before.

    Args:
        views: Caches of the pictures as they are, then (only where views are mirrored) of the mirrored ones; first
            those of the whole view, then (only where there are such) of its four corners as in `CORNERS`.
    """

    def __init__(self, *views: Sequence[AnyCache]) -> None:
        self._views = views

    def load(
        self,
        rows: npt.NDArray[np.int64],
        mirrored: npt.NDArray[np.bool_],
        places: npt.NDArray[np.float64] | None = None,
    ) -> Features:
        """Return features float16 of rows int64 [P], the mirrored ones where ``mirrored`` bool [P] says so.

        Where there are corners, ``places`` float64 [P, 2] (down and right, 0 to 1) choose the nearest of the view's
        middle (the whole view: half of the square) and its corners (of the picture before it is mirrored).
        """
        chosen = np.zeros(len(rows), np.int64)
        if places is not None and len(self._views) > 1:
            in_middle = np.abs(places - 0.5).sum(axis=1) < 0.5
            down, right = (places >= 0.5).T
            chosen = np.where(in_middle, 0, 1 + 2 * down + right)
        caches = [self._views[view][int(swap)] for view, swap in zip(chosen.tolist(), mirrored, strict=True)]
        # By numpy, which keeps to this thread: torch's threads would go on spinning beside those of the network. Left
        # as half floats, which torch widens in an eighth of numpy's time, where the network runs.
        regions, pooled = (
            np.stack([getattr(cache, name)[row] for cache, row in zip(caches, rows, strict=True)])
            for name in ("regions", "pooled")
        )
        mask = np.ones(regions.shape[:2], dtype=np.bool_)
        return Features(*(torch.from_numpy(part) for part in (regions, pooled, mask)))


class WindowedFeatureSource:
    """Reads windows of maps that were seen before: views without end, none of them looked at again.

    Up and down, and from left to right, half of the views show the whole side; the others a run of its cells, at
    least ``crop`` of them, as likely to lie in one place as in another.

    Args:
        views: The cache of the maps as the encoder's last stage has them, then (only where views are mirrored) that
            of the mirrored pictures.
        grid: Rows and columns of regions that a window becomes, as the encoder itself makes them of the whole map.
        crop: Least share of a side that is shown.
    """

    def __init__(self, views: Sequence[AnyCache], *, grid: tuple[int, int], crop: float) -> None:
        self._views = views
        self._shape: tuple[int, int] = tuple(views[0].manifest["grid"])
        self._sides = [
            window_weights(cells, regions, crop) for cells, regions in zip(self._shape, grid, strict=True)
        ]

    def load(
        self,
        rows: npt.NDArray[np.int64],
        mirrored: npt.NDArray[np.bool_],
        places: npt.NDArray[np.float64] | None = None,
    ) -> WindowedFeatures:
        """Return the windows of rows int64 [P] that ``places`` float64 [P, 2] choose; without places, whole maps."""
        maps = np.stack(
            [self._views[int(swap)].regions[row] for row, swap in zip(rows, mirrored, strict=True)]
        )
        chosen = np.zeros((len(rows), 2)) if places is None else places
        down, right = (
            side[_random_window(place, len(side))] for side, place in zip(self._sides, chosen.T, strict=True)
        )
        return WindowedFeatures(
            *(torch.from_numpy(part) for part in (maps.reshape(-1, *self._shape, maps.shape[2]), down, right))
        )


def window_weights(cells: int, regions: int, crop: float) -> npt.NDArray[np.float32]:
    """Return the windows of one side of a map as means over its cells, float32 [W, regions, cells].

    The whole side first, then every run of at least ``crop`` of its cells. A window's regions are means over the
    cells that they touch, as `torch.nn.functional.adaptive_avg_pool2d` has them.
    """
    sizes = range(cells, max(1, math.ceil(crop * cells - 1e-9)) - 1, -1)
    windows = [(start, size) for size in sizes for start in range(cells - size + 1)]
    weights = np.zeros((len(windows), regions, cells), np.float32)
    for window, (start, size) in enumerate(windows):
        for region in range(regions):
            first, end = region * size // regions, -(-(region + 1) * size // regions)
            weights[window, region, start + first : start + end] = 1 / (end - first)
    return weights


def _random_window(places: npt.NDArray[np.float64], windows: int) -> npt.NDArray[np.int64]:
    """Return which window numbers in 0..1 choose: the first of them below a half, the others above."""
    parts = 1 + np.floor((2 * places - 1) * (windows - 1))
    return np.where((places < 0.5) | (windows == 1), 0, parts).astype(np.int64)


class ImageSource:
    """Decodes pictures anew each time, for an encoder that is trained along or views that are never the same.

    Args:
        prepared: The set.
        preprocessing: What the encoder wants to see.
        crop: Side of the window shown in training, see `showtell.images.preprocess.random_crop_box`; None: the whole view.
        threads: That decode at once (decoders release the interpreter's lock); None: one per core.
    """

    def __init__(
        self,
        prepared: PreparedSet,
        preprocessing: Preprocessing,
        *,
        crop: float | None = None,
        threads: int | None = None,
    ) -> None:
        self._prepared, self._preprocessing, self._crop = prepared, preprocessing, crop
        self._pool = ThreadPoolExecutor(threads or usable_cores(), thread_name_prefix="decode")

    def load(
        self,
        rows: npt.NDArray[np.int64],
        mirrored: npt.NDArray[np.bool_],
        places: npt.NDArray[np.float64] | None = None,
    ) -> Tensor:
        """Return pictures uint8 [P, S, S, 3] of rows int64 [P], or the windows at ``places`` float64 [P, 2]."""
        where = [None] * len(rows) if places is None or self._crop is None else places.tolist()
        pictures = np.stack(list(self._pool.map(self._decode, rows.tolist(), where)))  # [P, S, S, 3]
        pictures[mirrored] = pictures[mirrored][:, :, ::-1]
        return torch.from_numpy(pictures)

    def _decode(self, row: int, place: tuple[float, float] | None) -> npt.NDArray[np.uint8]:
        path = self._prepared.image_path(row)
        if place is None or self._crop is None:
            return load_and_preprocess(path, self._preprocessing)
        picture = load_image(path, at_least=min_decode_size(self._preprocessing, share=self._crop))
        height, width = picture.shape[:2]
        window = random_crop_box(*place, height, width, self._preprocessing, share=self._crop)
        return preprocess_image(picture, self._preprocessing, window=window)

"""Feature sources of batches: cached features, crops of cached feature maps, or the images themselves."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from showtell.config.preprocessing import Preprocessing
from showtell.data.feature_cache import FeatureCache
from showtell.data.prepared import PreparedSet
from showtell.encoders.features import Features, WindowedFeatures
from showtell.images.load import load_image
from showtell.images.preprocess import load_and_preprocess, min_decode_size, preprocess_image, random_crop_box
from showtell.system.cpu import usable_cores

PARTS: tuple[Literal["regions", "pooled"], ...] = ("regions", "pooled")
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Vertical and horizontal position of each corner crop."""

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.float64] | None


class CachedFeatures:
    """Reads cached features.

    Each view is the cache of the images and (only where images are flipped) that of the flipped ones: first the whole
    view, then (only where there are such) its four corner crops, as in `CORNERS`.
    """

    def __init__(self, *views: Sequence[FeatureCache]) -> None:
        self._views = views

    def load(self, rows: Rows, mirrored: Mask, positions: Positions = None) -> Features:
        """Return features float16 of rows int64 [P], the flipped ones where ``mirrored`` bool [P] is true.

        With corner crops, ``positions`` float64 [P, 2] (vertical and horizontal, 0 to 1) choose the view whose middle
        is nearest: the whole view for half of the unit square, else a corner (of the image before it is flipped).
        """
        chosen = np.zeros(len(rows), np.int64)
        if positions is not None and len(self._views) > 1:
            central = np.abs(positions - 0.5).sum(axis=1) < 0.5
            bottom, right = (positions >= 0.5).T
            chosen = np.where(central, 0, 1 + 2 * bottom + right)
        caches = [self._views[view][int(flip)] for view, flip in zip(chosen.tolist(), mirrored, strict=True)]
        # numpy stays in this thread, where torch's threads would compete with the network's. The result stays
        # float16: on the network's device, torch converts it in an eighth of numpy's time.
        regions, pooled = (
            np.stack([cache.read(name, row) for cache, row in zip(caches, rows, strict=True)])
            for name in PARTS
        )
        mask = np.ones(regions.shape[:2], dtype=np.bool_)
        return Features(*(torch.from_numpy(part) for part in (regions, pooled, mask)))


class WindowedFeatureSource:
    """Reads random windows of cached feature maps: unlimited crops without encoding again.

    Vertically and horizontally, half of the windows cover the whole side, the others a run of at least the fraction
    ``crop`` of its cells, all positions equally likely. A window is pooled to the rows and columns of ``grid``, as
    the encoder pools the whole map. ``caches`` are those of the encoder's last feature maps and (only where images
    are flipped) of the flipped ones.
    """

    def __init__(self, caches: Sequence[FeatureCache], *, grid: tuple[int, int], crop: float) -> None:
        self._caches = caches
        self._shape: tuple[int, int] = tuple(caches[0].manifest["grid"])
        self._sides = [
            window_weights(cells, regions, crop) for cells, regions in zip(self._shape, grid, strict=True)
        ]

    def load(self, rows: Rows, mirrored: Mask, positions: Positions = None) -> WindowedFeatures:
        """Return the windows of rows int64 [P] at ``positions`` float64 [P, 2], or the whole maps."""
        maps = np.stack(
            [self._caches[int(flip)].read("regions", row) for row, flip in zip(rows, mirrored, strict=True)]
        )
        chosen = np.zeros((len(rows), 2)) if positions is None else positions
        vertical, horizontal = (
            side[_random_window(numbers, len(side))]
            for side, numbers in zip(self._sides, chosen.T, strict=True)
        )
        maps = maps.reshape(-1, *self._shape, maps.shape[2])
        return WindowedFeatures(*(torch.from_numpy(part) for part in (maps, vertical, horizontal)))


def window_weights(cells: int, regions: int, crop: float) -> npt.NDArray[np.float32]:
    """Return the windows of a side as means over its cells, float32 [W, regions, cells].

    The first window is the whole side, then come all runs of at least the fraction ``crop`` of its cells. Regions are
    means over the cells that they overlap, as in `torch.nn.functional.adaptive_avg_pool2d`.
    """
    sizes = range(cells, max(1, math.ceil(crop * cells - 1e-9)) - 1, -1)
    windows = [(start, size) for size in sizes for start in range(cells - size + 1)]
    weights = np.zeros((len(windows), regions, cells), np.float32)
    for window, (start, size) in enumerate(windows):
        for region in range(regions):
            first, end = region * size // regions, -(-(region + 1) * size // regions)
            weights[window, region, start + first : start + end] = 1 / (end - first)
    return weights


def _random_window(numbers: npt.NDArray[np.float64], windows: int) -> Rows:
    """Return the windows that numbers in 0..1 choose: the first one below a half, the others above."""
    others = 1 + np.floor((2 * numbers - 1) * (windows - 1))
    return np.where((numbers < 0.5) | (windows == 1), 0, others).astype(np.int64)


class ImageSource:
    """Decodes images on each access, for trainable encoders and random crops.

    ``crop`` is the size of the training crop, see `showtell.images.preprocess.random_crop_box`; None: the whole view.
    """

    def __init__(
        self,
        prepared: PreparedSet,
        preprocessing: Preprocessing,
        *,
        crop: float | None = None,
        threads: int = 0,
    ) -> None:
        self._prepared, self._preprocessing, self._crop = prepared, preprocessing, crop
        # Decoders release the GIL.
        self._pool = ThreadPoolExecutor(threads or usable_cores(), thread_name_prefix="decode")

    def load(self, rows: Rows, mirrored: Mask, positions: Positions = None) -> Tensor:
        """Return images uint8 [P, S, S, 3] of rows int64 [P], or their crops at ``positions`` float64 [P, 2]."""
        crops = [None] * len(rows) if positions is None or self._crop is None else positions.tolist()
        images = np.stack(list(self._pool.map(self._decode, rows.tolist(), crops)))  # [P, S, S, 3]
        images[mirrored] = images[mirrored][:, :, ::-1]
        return torch.from_numpy(images)

    def _decode(self, row: int, position: tuple[float, float] | None) -> npt.NDArray[np.uint8]:
        path = self._prepared.image_path(row)
        if position is None or self._crop is None:
            return load_and_preprocess(path, self._preprocessing)
        image = load_image(path, at_least=min_decode_size(self._preprocessing, fraction=self._crop))
        height, width = image.shape[:2]
        window = random_crop_box(*position, height, width, self._preprocessing, fraction=self._crop)
        return preprocess_image(image, self._preprocessing, window=window)

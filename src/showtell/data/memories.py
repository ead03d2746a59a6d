"""Where the memory of a batch comes from: a feature cache, or the pictures themselves."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from showtell.cores import usable_cores
from showtell.data.features import FeatureCache
from showtell.data.prepared import PreparedSet
from showtell.images import load_picture
from showtell.models.features import Features
from showtell.preprocessing import Preprocessing, enough_pixels, prepare_picture, see_picture, window_at

CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""How far down and right they lie."""


class CachedFeatures:
    """Reads features that were seen before.

    Args:
        views: Caches of the pictures as they are, then (only where views are mirrored) of the mirrored ones; first
            those of the whole view, then (only where there are such) of its four corners as in `CORNERS`.
    """

    def __init__(self, *views: Sequence[FeatureCache]) -> None:
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


class LivePictures:
    """Decodes pictures anew each time, for an encoder that is trained along or views that are never the same.

    Args:
        prepared: The set.
        preprocessing: What the encoder wants to see.
        crop: Side of the window shown in training, see `showtell.preprocessing.window_at`; None: the whole view.
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
        path = self._prepared.picture_path(row)
        if place is None or self._crop is None:
            return see_picture(path, self._preprocessing)
        picture = load_picture(path, at_least=enough_pixels(self._preprocessing, share=self._crop))
        height, width = picture.shape[:2]
        window = window_at(*place, height, width, self._preprocessing, share=self._crop)
        return prepare_picture(picture, self._preprocessing, window=window)

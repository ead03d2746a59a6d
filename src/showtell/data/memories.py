"""Where the memory of a batch comes from: a feature cache, or the pictures themselves."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from showtell.data.features import FeatureCache
from showtell.data.prepared import PreparedSet
from showtell.images import Preprocessing, load_picture, prepare_picture
from showtell.models.features import Features


class CachedFeatures:
    """Reads features that were seen before.

    Args:
        caches: Of the pictures as they are, then (only where views are mirrored) of the mirrored ones.
    """

    def __init__(self, caches: Sequence[FeatureCache]) -> None:
        self._caches = caches

    def load(self, rows: npt.NDArray[np.int64], mirrored: npt.NDArray[np.bool_]) -> Features:
        """Return features float32 of rows int64 [P], the mirrored ones where ``mirrored`` bool [P] says so."""
        regions, pooled = (
            torch.from_numpy(
                np.stack(
                    [
                        getattr(self._caches[int(is_mirrored)], name)[row]
                        for row, is_mirrored in zip(rows, mirrored, strict=True)
                    ]
                )
            ).float()
            for name in ("regions", "pooled")
        )
        return Features(regions, pooled, torch.ones(regions.shape[:2], dtype=torch.bool))


class LivePictures:
    """Decodes pictures anew each time, for an encoder that is trained along or features that are not kept."""

    def __init__(self, prepared: PreparedSet, preprocessing: Preprocessing, *, threads: int = 2) -> None:
        self._prepared, self._preprocessing = prepared, preprocessing
        self._pool = ThreadPoolExecutor(max_workers=threads)

    def load(self, rows: npt.NDArray[np.int64], mirrored: npt.NDArray[np.bool_]) -> Tensor:
        """Return pictures uint8 [P, S, S, 3] of rows int64 [P]."""
        pictures = np.stack(list(self._pool.map(self._decode, rows.tolist())))  # [P, S, S, 3]
        pictures[mirrored] = pictures[mirrored][:, :, ::-1]
        return torch.from_numpy(pictures)

    def _decode(self, row: int) -> npt.NDArray[np.uint8]:
        return prepare_picture(load_picture(self._prepared.picture_path(row)), self._preprocessing)

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


class CachedFeatures:
    """Reads features that were seen before.

    Args:
        caches: Of the pictures as they are, then (only where views are mirrored) of the mirrored ones.
    """

    def __init__(self, caches: Sequence[FeatureCache]) -> None:
        self._caches = caches

    def load(
        self,
        rows: npt.NDArray[np.int64],
        mirrored: npt.NDArray[np.bool_],
        places: npt.NDArray[np.float64] | None = None,
    ) -> Features:
        """Return features float32 of rows int64 [P], the mirrored ones where ``mirrored`` bool [P] says so.

        Windows are not kept: ``places`` changes nothing.
        """
        # By numpy, which keeps to this thread: torch's threads would go on spinning beside those of the network.
        regions, pooled = (
            np.stack(
                [
                    getattr(self._caches[int(is_mirrored)], name)[row]
                    for row, is_mirrored in zip(rows, mirrored, strict=True)
                ]
            ).astype(np.float32)
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

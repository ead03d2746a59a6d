"""The noise of sampling, one stream per image and sample: a function of seed, image, sample and step alone."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from showtell.config.generation import DecodingOptions


def sampling_keys(images: npt.NDArray[Any], options: DecodingOptions) -> list[int] | None:
    """Return a key of each image, hashed from its values [P, ...]; None unless the method is sampling.

    Preprocessed pixels give the same keys to torch and onnxruntime, whose features differ in their last bits.
    """
    if options.method != "sample":
        return None
    digests = (hashlib.sha256(image.tobytes()).digest() for image in images)
    return [int.from_bytes(digest[:8], "big") for digest in digests]


def gumbel_noise(
    seed: int, keys: Sequence[int], samples: int, step: int, vocabulary: int
) -> npt.NDArray[np.float32]:
    """Return Gumbel noise float32 [P, K, V] of images with these keys, 0 or more, independent in all three axes.

    Neither the other images nor the number of samples K changes the noise of an image's sample.
    """
    streams = [(seed, key, index, step) for key in keys for index in range(samples)]
    return _gumbel(streams, vocabulary).reshape(len(keys), samples, vocabulary)


def gumbel_noise_after(
    seed: int, keys: Sequence[int], ids: npt.NDArray[np.int64], vocabulary: int
) -> npt.NDArray[np.float32]:
    """Return Gumbel noise float32 [P, K, V] of images with these keys, another one after each of ids [P, K, T]."""
    length = ids.shape[2]
    streams = [
        (seed, length, key, *prefix)
        for key, every in zip(keys, ids.tolist(), strict=True)
        for prefix in every
    ]
    return _gumbel(streams, vocabulary).reshape(*ids.shape[:2], vocabulary)


def _gumbel(streams: Sequence[tuple[int, ...]], vocabulary: int) -> npt.NDArray[np.float32]:
    rows = [np.random.default_rng(stream).standard_exponential(vocabulary) for stream in streams]
    return -np.log(np.stack(rows)).astype(np.float32)

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
    rows = [
        np.random.default_rng((seed, key, index, step)).standard_exponential(vocabulary)
        for key in keys
        for index in range(samples)
    ]
    return -np.log(np.stack(rows)).astype(np.float32).reshape(len(keys), samples, vocabulary)

"""A datastore: compact vectors of known images, and their captions, in one file. Needs no torch.

The vector of an image is its pooled feature, mean removed, on the principal components of the images that the
datastore was first made of, each divided by the square root of its standard deviation (half-way to whitening, so that
a few large components do not decide alone). Vectors are compared by their cosine, with all others: the search is
exact. (The name is that of Khandelwal et al. 2020, "Generalization through Memorization".)
"""

import json
import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_safetensors

from showtell.errors import CheckpointError
from showtell.retrieval.captions import Numbers, StoredCaptions
from showtell.system.atomic import atomic_path
from showtell.system.reading import parse_json
from showtell.system.safetensors_header import sort_metadata

KIND, FORMAT = "showtell datastore", "1"
COMPONENTS = 256
FITTED_IMAGES = 20_000  # as many as fit a projection at most, for the memory
_ARRAYS = ("tokens", "lengths", "per_image")
TOO_FEW = "no caption is reranked before it has a second image, as no word is rarer than another among one"
UNPACKED_BYTES, UNPACKED_RATIO = 2**26, 100
INDEX_AGAIN = "Make it again: showtell index"

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Projection:
    """Maps pooled features of D channels to unit vectors of C components."""

    mean: Floats  # [D]
    components: Floats  # scaled, [D, C]

    @classmethod
    def fit(cls, pooled: npt.NDArray[Any], *, components: int = COMPONENTS) -> "Projection":
        """Return the projection on the principal components of pooled features, float [N, D].

        There are fewer components if the images have fewer: at most N - 1.
        """
        if len(pooled) > FITTED_IMAGES:
            pooled = pooled[np.linspace(0, len(pooled) - 1, FITTED_IMAGES).astype(np.int64)]
        features = pooled.astype(np.float64)
        mean = features.mean(axis=0)
        features -= mean
        # The smaller of the two Gram matrices has the same spectrum.
        wide = features.shape[0] < features.shape[1]
        gram = features @ features.T if wide else features.T @ features
        variances, vectors = np.linalg.eigh(gram / max(1, len(features)))
        kept = np.flatnonzero(variances > variances[-1] * 1e-6)[::-1][:components]
        variances, vectors = variances[kept], vectors[:, kept]
        if wide:
            vectors = features.T @ vectors
            vectors /= np.linalg.norm(vectors, axis=0)
        scaled = np.ascontiguousarray(vectors / variances**0.25).astype(np.float16)
        return cls(mean.astype(np.float32), scaled.astype(np.float32))

    def __call__(self, pooled: npt.NDArray[Any]) -> Floats:
        """Return unit vectors float32 [P, C] of pooled features float [P, D]."""
        # Image by image, so that the digits do not depend on the batch, and no wider copy of all is made.
        rows = [(row.astype(np.float32) - self.mean) @ self.components for row in pooled]
        return _normalize(np.stack(rows))

    @cached_property
    def _directions(self) -> npt.NDArray[np.float64]:
        """The components with length 1."""
        lengths = np.linalg.norm(self.components, axis=0)
        return np.asarray(self.components / lengths, np.float64)

    def outside(self, pooled: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return how much of each image the components do not explain: a squared length, float64 [P].

        It is large for images unlike those that the components were fitted on (Wang et al. 2022, "ViM:
        Out-Of-Distribution with Virtual-logit Matching").
        """
        rows = pooled.astype(np.float64) - self.mean
        rest = [row @ row - np.square(row @ self._directions).sum() for row in rows]
        return np.maximum(rest, 0.0)


@dataclass(frozen=True)
class Datastore:
    """N images with their captions, which are lists of tokens."""

    projection: Projection
    vectors: npt.NDArray[np.int8]  # [N, C]; only their directions matter
    keys: list[str]  # of the images, by which people know them
    digests: npt.NDArray[np.uint8]  # SHA-256 of the images' files [N, 32]
    captions: StoredCaptions  # tokens of the captioner's kind of vocabulary

    @classmethod
    def of(
        cls,
        projection: Projection,
        pooled: npt.NDArray[Any],
        keys: Sequence[str],
        digests: Sequence[str],
        captions: Sequence[Sequence[Sequence[str]]],
    ) -> "Datastore":
        """Return a datastore of images with pooled features float [N, D] and hexadecimal SHA-256."""
        vectors = projection(pooled)
        # Equal images have no components, and are equally near to all.
        largest = np.abs(vectors).max(axis=1, keepdims=True, initial=np.finfo(np.float32).tiny)
        return cls(
            projection,
            np.rint(vectors / largest * 127).astype(np.int8),
            list(keys),
            np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(-1, 32),
            StoredCaptions.of(captions),
        )

    @cached_property
    def unit_vectors(self) -> Floats:
        """The vectors with length 1, float32 [N, C]."""
        return _normalize(self.vectors.astype(np.float32))

    def __len__(self) -> int:
        return len(self.keys)

    def nearest(self, pooled: npt.NDArray[Any], count: int) -> tuple[Integers, Floats]:
        """Return the ``count`` nearest images of each, best first, int64 [P, K], and their cosines [P, K].

        Equally near ones are in the order of the datastore. All N are returned if there are fewer than ``count``.
        """
        vectors = self.projection(pooled)
        similarity = np.stack([self.unit_vectors @ vector for vector in vectors])  # [P, N]
        order = np.stack([_largest(row, min(count, len(self))) for row in similarity])
        return order, np.take_along_axis(similarity, order, axis=1)

    def merged(self, other: "Datastore") -> "Datastore":
        """Return both, which must have the same projection; an image in both keeps the captions of ``other``."""
        newer = {digest.tobytes() for digest in other.digests}
        kept = [row for row, digest in enumerate(self.digests) if digest.tobytes() not in newer]
        return Datastore(
            self.projection,
            np.concatenate((self.vectors[kept], other.vectors)),
            [self.keys[row] for row in kept] + other.keys,
            np.concatenate((self.digests[kept], other.digests)),
            StoredCaptions.of(
                chain(
                    map(self.captions.__getitem__, kept), map(other.captions.__getitem__, range(len(other)))
                )
            ),
        )

    def holding(self, digests: Sequence[str]) -> list[int]:
        """Return which of these hexadecimal SHA-256 are those of images of the datastore."""
        known = {digest.tobytes() for digest in self.digests}
        return [place for place, digest in enumerate(digests) if bytes.fromhex(digest) in known]

    def describe(self) -> str:
        """Return images, captions and size in words."""
        num_captions = len(self.captions.lengths)
        size = f"datastore: {len(self):,} images, {num_captions:,} captions, {len(self._packed) / 1e6:.1f} MB"
        return size if len(self) > 1 else f"{size}; {TOO_FEW}"

    def save(self, path: Path) -> None:
        """Write the datastore atomically."""
        with atomic_path(path) as temporary:
            temporary.write_bytes(self._packed)

    @cached_property
    def _packed(self) -> bytes:
        texts = {"keys": self.keys, "words": self.captions.words}
        text = json.dumps(texts, ensure_ascii=False, separators=(",", ":")).encode()
        tensors: dict[str, npt.NDArray[Any]] = {
            "mean": self.projection.mean,
            "components": self.projection.components.astype(np.float16),
            "vectors": self.vectors,
            "digests": self.digests,
            "texts": np.frombuffer(lzma.compress(text), np.uint8),
            **{name: _compress(getattr(self.captions, name)) for name in _ARRAYS},
        }
        # Of an array that is not in C order, safetensors 0.8.0 writes the memory as it is: other numbers, silently.
        ordered = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
        content: bytes = save_safetensors(ordered, metadata={"kind": KIND, "format": FORMAT})
        start = 8 + int.from_bytes(content[:8], "little")
        return sort_metadata(content[:start]) + content[start:]

    @classmethod
    def load(cls, path: Path) -> "Datastore":
        """Read what `save` wrote.

        Raises:
            CheckpointError: missing, broken, or of another format.
        """
        try:
            with safe_open(path, "numpy") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
            if (metadata.get("kind"), metadata.get("format")) != (KIND, FORMAT):
                found = f"{metadata.get('kind', 'another file')}, format {metadata.get('format', 'none')}"
                raise CheckpointError(
                    f"{path} cannot be used",
                    found=found,
                    expected=f"{KIND}, format {FORMAT}",
                    mend=INDEX_AGAIN,
                )
            texts = parse_json(_unpack(tensors["texts"]))
            projection = Projection(tensors["mean"], tensors["components"].astype(np.float32))
            captions = StoredCaptions(texts["words"], *(_decompress(tensors[name]) for name in _ARRAYS))
            captions.check(len(texts["keys"]))
            _check_arrays(tensors, len(texts["keys"]))
            return cls(projection, tensors["vectors"], texts["keys"], tensors["digests"], captions)
        except (OSError, SafetensorError, lzma.LZMAError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"cannot read the datastore {path}", found=str(error), mend=INDEX_AGAIN
            ) from error


def _compress(numbers: Numbers) -> npt.NDArray[np.uint8]:
    return np.frombuffer(lzma.compress(numbers.astype("<i4").tobytes()), np.uint8)


def _decompress(packed: npt.NDArray[np.uint8]) -> Numbers:
    return np.frombuffer(_unpack(packed), "<i4").astype(np.int32)


def _unpack(packed: npt.NDArray[np.uint8]) -> bytes:
    """Return decompressed bytes; a ValueError if they are far more than captions and keys take."""
    limit = UNPACKED_BYTES + UNPACKED_RATIO * packed.nbytes
    unpacker = lzma.LZMADecompressor()
    content = unpacker.decompress(packed.tobytes(), limit)
    if not unpacker.eof:
        raise ValueError(f"more than {limit:,} bytes in {packed.nbytes:,}, or cut short")
    return content


def _check_arrays(tensors: dict[str, npt.NDArray[Any]], images: int) -> None:
    width, components = tensors["components"].shape
    expected = {"mean": (width,), "vectors": (images, components), "digests": (images, 32)}
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise ValueError(f"{name} of shape {tensors[name].shape}, not {shape}")


def _largest(values: Floats, count: int) -> Integers:
    """Return the places of the largest values, float [N], largest first and equal ones in their order."""
    least = np.partition(values, len(values) - count)[len(values) - count]
    places = np.flatnonzero(values >= least)
    return places[np.argsort(-values[places], kind="stable")[:count]]


def _normalize(vectors: Floats) -> Floats:
    """Return vectors of length 1; those of length 0 stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    normalized: Floats = np.divide(vectors, lengths, out=vectors.copy(), where=lengths > 0)
    return normalized

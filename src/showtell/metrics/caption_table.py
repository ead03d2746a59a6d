"""Tokenized captions of any number of images: the token ids are on disk, only numbers per caption are in memory.

At a million images with five references the numbers take about 100 MB; the token ids, another 250 MB, are mapped
from a temporary file without a name.
"""

import tempfile
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from showtell.metrics.ngrams import Captions, Integers, ragged_arange
from showtell.metrics.ptb_tokenizer import TokenVocab
from showtell.system.atomic import cannot_write

CAPTIONS_AT_ONCE = 10_000
Array = npt.NDArray[Any]


class DiskArray:
    """Values appended to a temporary file, then read as one memory-mapped array."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self.dtype, self.length = np.dtype(dtype), 0
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as the object
        weakref.finalize(self, self._file.close)

    def append(self, values: Array) -> None:
        """Write values at the end; a full disk is a DataError."""
        rest = np.ascontiguousarray(values, self.dtype).view(np.uint8).data
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise cannot_write(Path(tempfile.gettempdir()), error) from error
        self.length += len(values)

    def array(self) -> Array:
        """Return all values; writing to them changes the file. The array outlives this object."""
        if not self.length:
            return np.empty(0, self.dtype)
        # A plain array: slices of np.memmap cost microseconds each.
        return np.asarray(np.memmap(self._file, self.dtype, "r+", shape=(self.length,)))


class CaptionTable:
    """The captions of each image, from rows of an image id and captions, in any order; a row may have no caption.

    Image ids are numbered by their first rows: ``ids`` are UTF-8 [P], ``per_image`` counts their captions, int64 [P].

    Raises:
        DataError: the disk is full.
    """

    def __init__(self, rows: Iterable[tuple[str, Sequence[str]]], vocab: TokenVocab) -> None:
        tokens, lengths = DiskArray(np.int32), []
        ids, counts = [], []
        keys: list[str] = []
        texts: list[str] = []
        numbers: list[int] = []

        def flush() -> None:
            captions = vocab.tokens(texts)
            tokens.append(captions.words)
            lengths.append(captions.lengths.astype(np.int32))
            ids.append(encode_ids(keys))
            counts.append(np.array(numbers, np.int32))
            for buffer in (keys, texts, numbers):
                buffer.clear()

        for key, captions in rows:
            if keys and keys[-1] == key:
                numbers[-1] += len(captions)
            else:
                if max(len(keys), len(texts)) >= CAPTIONS_AT_ONCE:
                    flush()
                keys.append(key)
                numbers.append(len(captions))
            texts.extend(captions)
        flush()
        # One chunk, or none
        encoded = pa.chunked_array(ids).dictionary_encode().combine_chunks()
        encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
        self.ids = encoded.dictionary
        image = np.repeat(_int32_values(encoded.indices), np.concatenate(counts))  # [captions]
        self.per_image: Integers = np.bincount(image, minlength=len(self.ids))
        self._first: Integers = np.cumsum(self.per_image) - self.per_image
        in_order = not len(image) or bool((image[1:] >= image[:-1]).all())
        self._order = None if in_order else np.argsort(image, kind="stable")
        self._tokens, self._lengths = tokens.array(), np.concatenate(lengths)
        self._starts: Integers = np.cumsum(self._lengths, dtype=np.int64) - self._lengths

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, images: Integers) -> Captions:
        """Return the captions of some images, image by image, each image's in the order of their rows."""
        captions = self._captions(images)
        lengths = self._lengths[captions].astype(np.int64)
        positions = np.repeat(self._starts[captions], lengths) + ragged_arange(lengths)
        return Captions(self._tokens[positions].astype(np.int64), lengths)

    def lengths(self, images: Integers) -> Array:
        """Return the tokens of each caption of some images. int32 [captions]"""
        return self._lengths[self._captions(images)]

    def find(self, ids: pa.Array) -> Integers:
        """Return the number of each id's image, -1 where there is none. int64 [ids]"""
        return _int32_values(pc.index_in(ids, value_set=self.ids)).astype(np.int64)

    def names(self, images: Integers) -> list[str]:
        """Return the ids of some images as text."""
        return decode_ids(self.ids_of(images))

    def ids_of(self, images: Integers) -> pa.Array:
        """Return the ids of some images."""
        numbers = np.ascontiguousarray(images, np.int64)
        return self.ids.take(pa.Array.from_buffers(pa.int64(), len(images), [None, pa.py_buffer(numbers)]))

    def _captions(self, images: Integers) -> Integers:
        counts = self.per_image[images]
        captions: Integers = np.repeat(self._first[images], counts) + ragged_arange(counts)
        return captions if self._order is None else self._order[captions]


# Where pandas is installed, pa.array(), pa.scalar() and Array.to_numpy() import it: 0.2 s and 60 MB. These do not.
def _int32_values(array: pa.Array) -> npt.NDArray[np.int32]:
    """Return the values of an int32 array, -1 for nulls."""
    validity, data = array.buffers()
    part = slice(array.offset, array.offset + len(array))
    values = np.frombuffer(data, np.int32)[part] if len(array) else np.empty(0, np.int32)
    if not array.null_count:
        return values
    is_valid = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[part]
    return np.where(is_valid, values, np.int32(-1))


def _binary_array(values: Sequence[bytes]) -> pa.Array:
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers)


def encode_ids(ids: Iterable[str]) -> pa.Array:
    """Return ids as UTF-8, for `CaptionTable.find`."""
    return _binary_array([key.encode("utf-8", "surrogatepass") for key in ids])


def decode_ids(ids: pa.Array) -> list[str]:
    """Return ids as text; names of files may hold bytes that are no Unicode."""
    return [name.decode("utf-8", "surrogatepass") for name in ids.to_pylist()]

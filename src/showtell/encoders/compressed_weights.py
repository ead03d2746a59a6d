"""Lossless compression of encoder weights, for networks that are pruned and quantized to few distinct values.

Each such tensor is stored as a bit mask of its non-zero elements, one byte per non-zero element, and a table of the
values that these bytes index. The header of the plain file is stored too, so all its bytes can be restored: a
compressed file is identified by the SHA-256 of the plain one, computed from its contents and never only trusted.
"""

import hashlib
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from showtell.errors import EncoderError
from showtell.system.atomic import atomic_path, sha256_file
from showtell.system.reading import as_object, parse_json
from showtell.system.safetensors import save_tensors
from showtell.system.safetensors_header import read_header

FORM, SOURCE = "compact", "source_sha256"
"""Metadata keys beside those of the plain file: format version, and SHA-256 of the plain file."""
VERSION = "1"
HEADER = "header"
MASK, CODES, VALUES = "mask:", "codes:", "values:"
UNCHANGED = "compressed weights as they were written"

MAX_VALUES = 256
MIN_SAVING = 512
"""Bytes that a tensor must save, for three entries in the file's own header."""

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def write_compressed(source: Path, out: Path) -> None:
    """Write a safetensors file compressed; one that is compressed already, or would not become smaller, is copied.

    Raises:
        EncoderError: the source cannot be read.
        DataError: the file cannot be written.
    """
    try:
        with safe_open(source, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            plain = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = read_header(source)
    except (SafetensorError, OSError, ValueError) as error:
        raise unreadable(source, str(error), "a complete safetensors file") from error
    with atomic_path(out) as temporary:
        if FORM not in metadata:
            tensors = {HEADER: torch.frombuffer(bytearray(header), dtype=torch.uint8)}
            for name, tensor in plain.items():
                tensors.update(_compress(name, tensor))
            save_tensors(tensors, temporary, {**metadata, FORM: VERSION, SOURCE: sha256_file(source)})
            if temporary.stat().st_size < source.stat().st_size:
                with safe_open(temporary, framework="pt") as file:
                    decompress(file, temporary)
                return
        shutil.copyfile(source, temporary)


def is_compressed(metadata: Mapping[str, str]) -> bool:
    """Return whether a safetensors file with this metadata is compressed."""
    return FORM in metadata


def decompress(file: Any, path: Path) -> tuple[dict[str, Tensor], dict[str, str], str]:
    """Return tensors, metadata and SHA-256 of the plain file that an open compressed one was made from.

    Raises:
        EncoderError: another format version, or the contents changed.
    """
    metadata = file.metadata()
    if metadata[FORM] != VERSION:
        mend = "Use the version of showtell that wrote it"
        raise unreadable(path, f"compression format {metadata[FORM]}", VERSION, mend)
    try:
        header = file.get_tensor(HEADER).numpy().tobytes()
        entries = as_object(parse_json(header[8:]))
        plain_metadata = entries.pop("__metadata__", {})
        names = frozenset(file.keys())
        digest = hashlib.sha256(header)
        tensors = {}
        for name in sorted(entries, key=lambda each: entries[each]["data_offsets"]):
            tensors[name] = _restore(file, name, entries[name]["shape"], packed=MASK + name in names)
            digest.update(_elements(tensors[name], 1).data)
    except (SafetensorError, ValueError, LookupError, TypeError, RuntimeError, MemoryError) as error:
        raise unreadable(path, " ".join(str(error).split()), UNCHANGED, "Copy the file again") from error
    if digest.hexdigest() != metadata.get(SOURCE):
        raise unreadable(path, "other values than were written", UNCHANGED, "Copy the file again")
    return tensors, plain_metadata, digest.hexdigest()


def unreadable(path: Path, found: str, expected: str, mend: str = "") -> EncoderError:
    """Return the error for a weights file that cannot be read."""
    return EncoderError(f"cannot read encoder weights {path}", found=found, expected=expected, mend=mend)


def _compress(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield a tensor's mask, codes and values; or the tensor, where that is not larger."""
    elements = _elements(tensor, tensor.element_size())
    nonzero = elements != 0
    values, codes = np.unique(elements[nonzero], return_inverse=True)
    size = len(elements) // 8 + len(codes) + values.nbytes
    if len(values) > MAX_VALUES or size + MIN_SAVING > elements.nbytes:
        yield name, tensor
        return
    yield MASK + name, torch.from_numpy(np.packbits(nonzero))
    yield CODES + name, torch.from_numpy(codes.astype(np.uint8))
    yield VALUES + name, torch.from_numpy(values).view(tensor.dtype)


def _restore(file: Any, name: str, shape: list[int], *, packed: bool) -> Tensor:
    if not packed:
        return file.get_tensor(name)  # type: ignore[no-any-return]
    values = file.get_tensor(VALUES + name)
    mask, codes = (file.get_tensor(part + name).numpy() for part in (MASK, CODES))
    # Compared before memory is taken for as many elements as the shape claims.
    size = math.prod(shape)
    if mask.dtype != np.uint8 or mask.shape != (-(-size // 8),):
        raise ValueError(f"{name} of {size:,} elements with a mask of {mask.nbytes:,} bytes")
    nonzero = np.unpackbits(mask, count=size).view(np.bool_)
    integers = _elements(values, values.element_size())
    elements = np.zeros(size, integers.dtype)
    elements[nonzero] = integers[codes]
    return torch.from_numpy(elements).view(values.dtype).reshape(shape)


def _elements(tensor: Tensor, width: int) -> npt.NDArray[Any]:
    """Return a tensor's bytes as integers of ``width`` bytes, [elements], which keeps every bit of a float."""
    return tensor.contiguous().reshape(-1).view(_INTEGERS[width]).numpy()

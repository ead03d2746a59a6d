"""Encoder weights in less room, to the bit: for networks that were pruned and rounded to few different values.

Of such a tensor are kept a bit for each element (is it other than zero?), a byte for each that is, and the values
that these bytes number. The header of the plain file is kept too, so that all its bytes can be put together again: a
compact file is known by the SHA-256 of the plain one, which is worked out from what it holds, never merely believed.
"""

from __future__ import annotations

import hashlib
import json
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
from showtell.system.safetensors import save_tensors

FORM, SOURCE = "compact", "source_sha256"
"""Keys of the metadata, beside those of the plain file: version of this form, SHA-256 of the plain file."""
VERSION = "1"
HEADER = "header"
MASK, CODES, VALUES = "mask:", "codes:", "values:"

MOST_VALUES = 256
LEAST_GAIN = 512
"""Bytes that a tensor must save, for three entries in the file's own header."""

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def write_compressed(source: Path, out: Path) -> None:
    """Write weights in the compact form; what that would not make smaller is copied as it is.

    Args:
        source: A safetensors file, plain or compact.
        out: Where to; a file there is replaced.

    Raises:
        EncoderError: the source cannot be read.
        DataError: the file cannot be written.
    """
    try:
        with safe_open(source, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            plain = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = _read_header(source)
    except (SafetensorError, OSError) as error:
        raise EncoderError(
            f"cannot read encoder weights {source}", found=str(error), expected="a whole safetensors file"
        ) from error
    with atomic_path(out) as temporary:
        if FORM not in metadata:
            tensors = {HEADER: torch.frombuffer(bytearray(header), dtype=torch.uint8)}
            for name, tensor in plain.items():
                tensors.update(_parts(name, tensor))
            digest = sha256_file(source)
            save_tensors(tensors, temporary, {**metadata, FORM: VERSION, SOURCE: digest})
            if temporary.stat().st_size < source.stat().st_size:
                with safe_open(temporary, framework="pt") as file:
                    decompress(file, temporary)
                return
        shutil.copyfile(source, temporary)


def is_compressed(metadata: Mapping[str, str]) -> bool:
    """Tell by its metadata whether a safetensors file is in the compact form."""
    return FORM in metadata


def decompress(file: Any, path: Path) -> tuple[dict[str, Tensor], dict[str, str], str]:
    """Return what the plain file held that a compact one was made from.

    Args:
        file: The compact file, open (`safetensors.safe_open`, framework ``pt``).
        path: Where it lies, for messages.

    Returns:
        Its tensors by name, bit for bit and of their own types; its metadata; the SHA-256 of its bytes.

    Raises:
        EncoderError: of another version, or not what was written.
    """
    metadata = file.metadata()
    if metadata[FORM] != VERSION:
        raise EncoderError(
            f"cannot read encoder weights {path}",
            found=f"compact form {metadata[FORM]}",
            expected=VERSION,
            mend="Use the version of showtell that wrote it",
        )
    try:
        header = file.get_tensor(HEADER).numpy().tobytes()
        described = json.loads(header[8:])
        told = described.pop("__metadata__", {})
        names = frozenset(file.keys())
        digest = hashlib.sha256(header)
        tensors = {}
        for name in sorted(described, key=lambda one: described[one]["data_offsets"]):
            tensors[name] = _restored(file, name, described[name]["shape"], packed=MASK + name in names)
            digest.update(_elements(tensors[name], 1).data)
    except (SafetensorError, ValueError, KeyError, IndexError, TypeError, RuntimeError) as error:
        raise _broken(path, " ".join(str(error).split())) from error
    if digest.hexdigest() != metadata.get(SOURCE):
        raise _broken(path, "other numbers than were put in")
    return tensors, told, digest.hexdigest()


def _broken(path: Path, found: str) -> EncoderError:
    return EncoderError(
        f"cannot read encoder weights {path}",
        found=found,
        expected="compact weights as they were written",
        mend="Copy the file again",
    )


def _read_header(path: Path) -> bytes:
    """Return all bytes of a safetensors file before its tensors: eight that count the rest, then JSON."""
    with path.open("rb") as file:
        count = file.read(8)
        return count + file.read(int.from_bytes(count, "little"))


def _parts(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield a tensor's mask, codes and values; where these take no less room, the tensor."""
    elements = _elements(tensor, tensor.element_size())
    present = elements != 0
    values, codes = np.unique(elements[present], return_inverse=True)
    packed = len(elements) // 8 + len(codes) + values.nbytes
    if len(values) > MOST_VALUES or packed + LEAST_GAIN > elements.nbytes:
        yield name, tensor
        return
    yield MASK + name, torch.from_numpy(np.packbits(present))
    yield CODES + name, torch.from_numpy(codes.astype(np.uint8))
    yield VALUES + name, torch.from_numpy(values).view(tensor.dtype)


def _restored(file: Any, name: str, shape: list[int], *, packed: bool) -> Tensor:
    if not packed:
        return file.get_tensor(name)  # type: ignore[no-any-return]
    values = file.get_tensor(VALUES + name)
    present = np.unpackbits(file.get_tensor(MASK + name).numpy(), count=math.prod(shape)).view(np.bool_)
    integers = _elements(values, values.element_size())
    elements = np.zeros(len(present), integers.dtype)
    elements[present] = integers[file.get_tensor(CODES + name).numpy()]
    return torch.from_numpy(elements).view(values.dtype).reshape(shape)


def _elements(tensor: Tensor, width: int) -> npt.NDArray[Any]:
    """Return a tensor's bytes as integers of so many bytes, [elements]: no bit of a float is lost in them."""
    return tensor.contiguous().reshape(-1).view(_INTEGERS[width]).numpy()

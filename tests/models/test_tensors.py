"""A disk that is full is told as such, and what stood before stays."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from showtell.errors import DataError
from showtell.files import atomic_path
from showtell.models.tensors import save_tensors


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_tensors_of_any_stride_are_read_back(tmp_path: Path) -> None:
    tensor = torch.arange(6.0, requires_grad=True).reshape(2, 3).T
    save_tensors({"a": tensor}, tmp_path / "a.safetensors")
    assert torch.equal(load_file(tmp_path / "a.safetensors")["a"], tensor)


def test_a_file_that_finds_no_room_is_told_and_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with atomic_path(path) as temporary:
        save_tensors({"a": torch.ones(2)}, temporary)
    with (
        pytest.raises(
            DataError, match=r"cannot write .*a\.safetensors: found File too large\. Free some space"
        ),
        largest_file(1000),
        atomic_path(path) as temporary,
    ):
        save_tensors({"a": torch.zeros(1000)}, temporary)
    assert torch.equal(load_file(path)["a"], torch.ones(2))
    assert [item.name for item in tmp_path.iterdir()] == ["a.safetensors"]

"""A disk that is full is told as such, and what stood before stays."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from showtell.errors import CheckpointError, DataError
from showtell.system.atomic import atomic_path
from showtell.system.safetensors import halve_tensors, save_tensors


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


def test_a_file_that_finds_no_room_is_reported_and_leaves_the_old_one(tmp_path: Path) -> None:
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


def test_floats_are_rounded_and_all_else_stays() -> None:
    tensors = {"weight": torch.tensor([1.0, 1.0001, 1e-9]), "steps": torch.tensor(70000)}
    halves = halve_tensors(tensors, what="it")
    assert halves["weight"].dtype == torch.float16
    assert halves["weight"].tolist() == [1.0, 1.0, 0.0]
    assert halves["steps"].dtype == torch.int64
    assert int(halves["steps"]) == 70000


@pytest.mark.parametrize("number", [65520.0, -1e9, float("nan"), float("inf")])
def test_what_half_floats_cannot_hold_is_refused(number: float) -> None:
    with pytest.raises(
        CheckpointError,
        match=r"the decoder cannot be rounded to half floats: found b, .*up to 65504\. Save it without",
    ):
        halve_tensors({"a": torch.ones(3), "b": torch.tensor([0.0, number])}, what="the decoder")

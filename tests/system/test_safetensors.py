"""A disk that is full is told as such, and what stood before stays."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from showtell.errors import CheckpointError, DataError
from showtell.system.atomic import atomic_path
from showtell.system.safetensors import halve_tensors, save_tensors
from showtell.system.safetensors_header import read_header


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


SAVE = """
import sys, torch
from pathlib import Path
from showtell.system.safetensors import save_tensors
metadata = {name: f"é {name}" for name in sys.argv[2].split()}
save_tensors({"b": torch.ones(3), "a": torch.zeros(2, 2)}, Path(sys.argv[1]), metadata)
"""


@pytest.mark.thorough
def test_equal_tensors_are_equal_bytes_in_every_process(tmp_path: Path) -> None:
    names = "format architecture mean std input stride_in source"
    for number in range(3):
        place = tmp_path / f"{number}.safetensors"
        environment = {**os.environ, "PYTHONHASHSEED": str(number)}
        subprocess.run([sys.executable, "-c", SAVE, str(place), names], env=environment, check=True)
    contents = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 1
    with safe_open(tmp_path / "0.safetensors", framework="pt") as file:
        assert file.metadata() == {name: f"é {name}" for name in names.split()}
        assert torch.equal(file.get_tensor("b"), torch.ones(3))


@pytest.mark.parametrize(
    ("content", "found"), [(b"\xff" * 8, "a header of"), (b"\x09" + bytes(7) + b"{}", "cut short")]
)
def test_a_header_is_believed_as_far_as_the_file_goes(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=found):
        read_header(tmp_path / "a.safetensors")


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

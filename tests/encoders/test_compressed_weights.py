"""The compact form: every bit comes back, and what was cut, changed or made up is refused."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from showtell.encoders.compressed_weights import is_compressed, write_compressed
from showtell.encoders.weights import read_weights
from showtell.errors import EncoderError
from showtell.system.atomic import sha256_file

METADATA = {
    "format": "pt",
    "stride": "conv1 (the first 1x1)",
    "source": "somebody, MIT",
    "mean": "0.5 0.5 0.5",
}


def pruned(*shape: int, dtype: torch.dtype = torch.float16, seed: int = 0) -> Tensor:
    """Four in five are zeros, the rest 8-bit fixed point."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randint(-128, 128, shape, generator=generator).to(dtype) / 64
    return numbers.masked_fill(torch.rand(shape, generator=generator) >= 0.2, 0.0)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A file with tensors that are made for the compact form, and with some that are not."""
    tensors = {
        "conv.weight": pruned(32, 16, 3, 3),
        "single.weight": pruned(64, 30, dtype=torch.float32, seed=1),
        "brain.weight": pruned(40, 33, dtype=torch.bfloat16, seed=2),
        "double.weight": pruned(25, 9, dtype=torch.float64, seed=3),
        "zeros": torch.zeros(1001),
        "negative_zeros": torch.full((1003,), -0.0),
        "not_numbers": torch.tensor([float("nan"), float("inf"), 0.0] * 400),
        "many.values": torch.randn(3000, generator=torch.Generator().manual_seed(4)),
        "bias": torch.randn(7, generator=torch.Generator().manual_seed(5)),
        "bytes": torch.arange(256, dtype=torch.uint8),
        "steps": torch.tensor(12345),
        "empty": torch.zeros(0, 3),
    }
    path = tmp_path / "plain.safetensors"
    save_file(tensors, path, metadata=METADATA)
    return path


@pytest.fixture
def compact(plain: Path, tmp_path: Path) -> Path:
    write_compressed(plain, tmp_path / "compact.safetensors")
    return tmp_path / "compact.safetensors"


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def test_every_bit_name_and_shape_comes_back(plain: Path, compact: Path) -> None:
    before, after = read_weights(plain), read_weights(compact)
    assert after.path == compact
    assert after.metadata == before.metadata == METADATA
    assert {name: each.shape for name, each in after.tensors.items()} == {
        name: each.shape for name, each in before.tensors.items()
    }
    for name, tensor in before.tensors.items():
        assert after.tensors[name].dtype == tensor.dtype
        assert bits(after.tensors[name]) == bits(tensor), name


def test_a_compact_file_is_known_as_the_plain_one(plain: Path, compact: Path) -> None:
    assert sha256_file(compact) != sha256_file(plain)
    assert read_weights(compact).sha256 == read_weights(plain).sha256 == sha256_file(plain)


def test_it_takes_a_bit_an_element_and_a_byte_where_that_is_not_zero(tmp_path: Path) -> None:
    weights = pruned(64, 64, 3, 3)
    save_file({"weight": weights}, tmp_path / "plain.safetensors")
    write_compressed(tmp_path / "plain.safetensors", tmp_path / "compact.safetensors")
    expected = weights.numel() / 8 + int((weights != 0).sum())
    assert (tmp_path / "compact.safetensors").stat().st_size == pytest.approx(expected, abs=1500)


def test_what_does_not_fit_the_form_stays_as_it_is(compact: Path, plain: Path) -> None:
    kept, held = load_file(plain), load_file(compact)
    for name in ("many.values", "bias", "bytes", "steps", "empty"):
        assert bits(held[name]) == bits(kept[name])
    for name in ("conv.weight", "single.weight", "brain.weight", "double.weight", "zeros", "negative_zeros"):
        assert name not in held
        assert held[f"values:{name}"].dtype == kept[name].dtype
        assert held[f"mask:{name}"].dtype == held[f"codes:{name}"].dtype == torch.uint8


def test_licence_origin_and_layout_can_be_read_from_the_file_itself(compact: Path, plain: Path) -> None:
    with safe_open(compact, framework="pt") as file:
        metadata = file.metadata()
    assert is_compressed(metadata)
    assert not is_compressed(METADATA)
    assert metadata == {**METADATA, "compact": "1", "source_sha256": sha256_file(plain)}


def test_weights_that_gain_nothing_are_copied(tmp_path: Path) -> None:
    save_file({"weight": torch.randn(40, 40)}, tmp_path / "plain.safetensors", metadata=METADATA)
    write_compressed(tmp_path / "plain.safetensors", tmp_path / "same.safetensors")
    assert (tmp_path / "same.safetensors").read_bytes() == (tmp_path / "plain.safetensors").read_bytes()


def test_a_compact_file_is_not_packed_twice(compact: Path, tmp_path: Path) -> None:
    write_compressed(compact, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == compact.read_bytes()


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.999])
def test_a_file_cut_anywhere_is_refused(compact: Path, keep: float) -> None:
    content = compact.read_bytes()
    compact.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(EncoderError, match=r"cannot read encoder weights .*compact\.safetensors"):
        read_weights(compact)


@pytest.mark.parametrize("name", ["mask:", "codes:", "values:"])
def test_one_changed_byte_is_refused(compact: Path, name: str) -> None:
    tensors = load_file(compact)
    with safe_open(compact, framework="pt") as file:
        metadata = file.metadata()
    tensors[f"{name}conv.weight"].view(torch.uint8)[5] ^= 1
    save_file(tensors, compact, metadata=metadata)
    with pytest.raises(
        EncoderError, match=r"expected compressed weights as they were written\. Copy the file again"
    ):
        read_weights(compact)


@pytest.mark.parametrize("claimed", ["4000000000", "9999999999999"])
def test_a_claimed_shape_is_compared_with_the_mask_before_memory_is_taken(
    compact: Path, claimed: str
) -> None:
    tensors = load_file(compact)
    with safe_open(compact, framework="pt") as file:
        metadata = file.metadata()
    header = bytes(tensors["header"].tolist())
    text = header[8:].replace(
        b'"zeros":{"dtype":"F32","shape":[1001]', b'"zeros":{"shape":[' + claimed.encode() + b"]"
    )
    assert text != header[8:]
    tensors["header"] = torch.frombuffer(bytearray(header[:8] + text), dtype=torch.uint8)
    save_file(tensors, compact, metadata=metadata)
    tracemalloc.start()
    with pytest.raises(EncoderError, match=r"found zeros of [\d,]+ elements with a mask of 126 bytes"):
        read_weights(compact)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_a_missing_part_is_named(compact: Path) -> None:
    tensors = load_file(compact)
    with safe_open(compact, framework="pt") as file:
        metadata = file.metadata()
    del tensors["codes:conv.weight"]
    save_file(tensors, compact, metadata=metadata)
    with pytest.raises(EncoderError, match=r"cannot read .* found .*codes:conv\.weight"):
        read_weights(compact)


def test_a_file_cannot_claim_to_be_another(compact: Path) -> None:
    tensors = load_file(compact)
    with safe_open(compact, framework="pt") as file:
        metadata = file.metadata()
    save_file(tensors, compact, metadata={**metadata, "source_sha256": "ab" * 32})
    with pytest.raises(EncoderError, match="found other values than were written"):
        read_weights(compact)


def test_another_version_is_refused(compact: Path) -> None:
    tensors = load_file(compact)
    save_file(tensors, compact, metadata={"compact": "2"})
    with pytest.raises(
        EncoderError, match=r"found compression format 2; expected 1\. Use the version of showtell"
    ):
        read_weights(compact)


def test_a_source_that_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"PK\x03\x04 a pickle")
    with pytest.raises(
        EncoderError, match=r"cannot read encoder weights .*weights\.pth.*a complete safetensors file"
    ):
        write_compressed(tmp_path / "weights.pth", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.thorough
def test_real_weights_lose_no_bit_in_a_sixth_of_their_room(shared_data: Path, tmp_path: Path) -> None:
    plain = shared_data / "weights" / "resnet50_imagenet.safetensors"
    write_compressed(plain, tmp_path / "compact.safetensors")
    assert (tmp_path / "compact.safetensors").stat().st_size < plain.stat().st_size / 6
    before, after = read_weights(plain), read_weights(tmp_path / "compact.safetensors")
    assert after.sha256 == before.sha256
    assert after.metadata == before.metadata
    assert all(torch.equal(after.tensors[name], tensor) for name, tensor in before.tensors.items())

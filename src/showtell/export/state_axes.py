"""Finds out the axes of a decoder's state by running it, so that nothing has to be declared for an export.

The decoder is run with another number of images, hypotheses, regions or steps; the axis whose size follows is that
number's. The protocol defines the rest: a state is a dataclass of tensors, ``reorder`` gathers along the hypotheses
and ``filter`` along the images, which is checked against the decoder's own methods.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from showtell.encoders.features import Features
from showtell.errors import ExportError
from showtell.inference.onnx_config import Axis, StateTensor

SIZES: dict[Axis, int] = {"images": 3, "hypotheses": 2, "regions": 5, "length": 2}
"""Sizes of a probe; at least two of each, as torch takes an axis of one for a fixed one."""

_LEADING: dict[str, int] = {"images": 0, "hypotheses": 1}


class StateProbe(NamedTuple):
    """A run of a decoder on features."""

    features: Features
    state: Any  # after some steps
    after: Any  # after one more
    tokens: Tensor  # of that step, int64 [P, K]
    attends: bool  # whether the step returned attention


def probe(decoder: Any, width: int, sizes: Mapping[Axis, int] = SIZES) -> StateProbe:
    """Run a decoder in eval mode for some steps on random features of ``width`` channels."""
    images, hypotheses, regions, steps = (sizes[axis] for axis in SIZES)
    grid = torch.rand(images, regions, width, generator=torch.Generator().manual_seed(0))
    features = Features(grid, grid.mean(1), torch.ones(images, regions, dtype=torch.bool))
    # Different tokens for each hypothesis, of those that every vocabulary has, so that their states differ.
    tokens = 1 + torch.arange(images * hypotheses).view(images, -1) % 3
    with torch.no_grad():
        state = decoder.init_state(features, hypotheses)
        for _ in range(steps):
            _, state, _ = decoder.step(tokens, state)
        _, after, attention = decoder.step(tokens, state)
    return StateProbe(features, state, after, tokens, attention is not None)


def describe_state(decoder: Any, width: int) -> tuple[StateTensor, ...]:
    """Return the tensors of the state of a decoder in eval mode, for features of ``width`` channels, with their axes.

    Raises:
        ExportError: the state is not a dataclass of tensors, or images and hypotheses are not its first axes.
    """
    name = type(decoder).__name__
    plain = probe(decoder, width)
    tensors, after = (state_tensors(state, name) for state in (plain.state, plain.after))
    others = {
        axis: state_tensors(probe(decoder, width, SIZES | {axis: size + 1}).state, name)
        for axis, size in SIZES.items()
    }
    described = tuple(
        StateTensor(
            name=field,
            axes=_axes(field, tensor, {axis: other[field] for axis, other in others.items()}, name),
            constant=after[field] is tensor,
        )
        for field, tensor in tensors.items()
    )
    _check_gathers(plain.state, described, name)
    return described


def state_tensors(state: Any, decoder: str) -> dict[str, Tensor]:
    """Return a state's tensors by the names of its fields; raise ExportError for a field that is not a tensor."""
    values = {field.name: getattr(state, field.name) for field in fields(state)}
    others = {name: type(value).__name__ for name, value in values.items() if not isinstance(value, Tensor)}
    if others:
        found = ", ".join(f"{name} ({kind})" for name, kind in others.items())
        mend = "Keep numbers as tensors, and the tensors of several layers stacked in one"
        raise _error(decoder, found, "a dataclass of tensors", mend)
    return values


def _axes(field: str, tensor: Tensor, others: dict[str, Tensor], decoder: str) -> tuple[Axis | int, ...]:
    expected = "images first, then hypotheses if it has them; each axis counts one thing"
    axes: list[Any] = list(tensor.shape)
    for axis, other in others.items():
        if other.dim() != tensor.dim():
            raise _error(decoder, f"{field}: another number of axes with more {axis}", expected)
        for index, (size, larger) in enumerate(zip(tensor.shape, other.shape, strict=True)):
            if size == larger:
                continue
            if larger != size + 1 or isinstance(axes[index], str) or index != _LEADING.get(axis, index):
                found = f"{field}: axis {index} changes from {size} to {larger} with one more of {axis}"
                raise _error(decoder, found, expected)
            axes[index] = axis
    return tuple(axes)


def _check_gathers(state: Any, described: tuple[StateTensor, ...], decoder: str) -> None:
    """Compare the decoder's own ``reorder`` and ``filter`` with gathering along the axes."""
    num_images = SIZES["images"]
    parents = torch.tensor([[1, 0, 0]] * num_images)
    kept = torch.tensor([2, 0])
    reordered = state_tensors(state.reorder(parents), decoder)
    filtered = state_tensors(state.filter(kept), decoder)
    for field in described:
        tensor = getattr(state, field.name)
        wide = tensor[torch.arange(num_images)[:, None], parents] if "hypotheses" in field.axes else tensor
        few = tensor[kept] if "images" in field.axes else tensor
        if not (torch.equal(reordered[field.name], wide) and torch.equal(filtered[field.name], few)):
            found = f"{field.name}: reorder or filter do more than gather"
            raise _error(decoder, found, "reorder gathers along the hypotheses, filter along the images")


def _error(decoder: str, found: str, expected: str, mend: str = "") -> ExportError:
    return ExportError(
        f"the state of {decoder} cannot be exported", found=found, expected=expected, mend=mend
    )

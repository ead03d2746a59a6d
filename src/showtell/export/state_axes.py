"""Finds out the axes of a decoder's state by running it, so that nothing has to be declared for an export.

The decoder is run with another number of images, hypotheses, regions or steps; the axis whose size follows is that
number's. The protocol defines the rest: a state is a dataclass of tensors, ``reorder`` gathers along the hypotheses
and ``filter`` along the images, which is checked against the decoder's own methods.
"""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from showtell.encoders.features import Features
from showtell.errors import ExportError
from showtell.inference.onnx_config import Axis, StateTensor

_LEADING: dict[str, int] = {"images": 0, "hypotheses": 1}


@dataclass(frozen=True)
class Sizes:
    """Sizes of a probe; at least two of each, as torch takes an axis of one for a fixed one."""

    images: int = 3
    hypotheses: int = 2
    regions: int = 5
    steps: int = 2


@dataclass(frozen=True)
class StateProbe:
    """A run of a decoder."""

    features: Features  # the input features
    state: Any  # the state after some steps
    after: Any  # the state after one more
    tokens: Tensor  # the tokens of that step, int64 [P, K]
    attends: bool  # whether the step returned attention


def probe(decoder: Any, width: int, sizes: Sizes | None = None) -> StateProbe:
    """Run a decoder in eval mode for some steps on random features of ``width`` channels."""
    sizes = sizes or Sizes()
    generator = torch.Generator().manual_seed(0)
    regions = torch.rand(sizes.images, sizes.regions, width, generator=generator)
    features = Features(regions, regions.mean(1), torch.ones(sizes.images, sizes.regions, dtype=torch.bool))
    # Different tokens for each hypothesis, of those that every vocabulary has, so that their states differ.
    tokens = 1 + torch.arange(sizes.images * sizes.hypotheses).view(sizes.images, -1) % 3
    with torch.no_grad():
        state = decoder.init_state(features, sizes.hypotheses)
        for _ in range(sizes.steps):
            _, state, _ = decoder.step(tokens, state)
        _, after, attention = decoder.step(tokens, state)
    return StateProbe(features, state, after, tokens, attention is not None)


def describe_state(decoder: Any, width: int) -> tuple[StateTensor, ...]:
    """Return the tensors of a decoder's state with their axes.

    Args:
        decoder: In eval mode.
        width: Channels D of its features.

    Raises:
        ExportError: the state is not a dataclass of tensors, or images and hypotheses are not its first axes.
    """
    name, base = type(decoder).__name__, Sizes()
    plain = probe(decoder, width, base)
    tensors, after = (state_tensors(state, name) for state in (plain.state, plain.after))
    larger = {
        "images": Sizes(images=base.images + 1),
        "hypotheses": Sizes(hypotheses=base.hypotheses + 1),
        "regions": Sizes(regions=base.regions + 1),
        "length": Sizes(steps=base.steps + 1),
    }
    others = {axis: state_tensors(probe(decoder, width, sizes).state, name) for axis, sizes in larger.items()}
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
    """Return a state's tensors by the names of its fields.

    Raises:
        ExportError: a field is not a tensor.
    """
    values = {field.name: getattr(state, field.name) for field in fields(state)}
    others = [
        f"{field} ({type(value).__name__})"
        for field, value in values.items()
        if not isinstance(value, Tensor)
    ]
    if others:
        raise _error(
            decoder,
            ", ".join(others),
            "a dataclass of tensors",
            "Keep numbers as tensors, and the tensors of several layers stacked in one",
        )
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
                raise _error(
                    decoder,
                    f"{field}: axis {index} changes from {size} to {larger} with one more of {axis}",
                    expected,
                )
            axes[index] = axis
    return tuple(axes)


def _check_gathers(state: Any, described: tuple[StateTensor, ...], decoder: str) -> None:
    """Compare the decoder's own ``reorder`` and ``filter`` with gathering along the axes."""
    num_images = Sizes().images
    parents = torch.tensor([[1, 0, 0]] * num_images)
    kept = torch.tensor([2, 0])
    reordered = state_tensors(state.reorder(parents), decoder)
    filtered = state_tensors(state.filter(kept), decoder)
    for one in described:
        tensor = getattr(state, one.name)
        wide = tensor[torch.arange(num_images)[:, None], parents] if "hypotheses" in one.axes else tensor
        few = tensor[kept] if "images" in one.axes else tensor
        if not (torch.equal(reordered[one.name], wide) and torch.equal(filtered[one.name], few)):
            raise _error(
                decoder,
                f"{one.name}: reorder or filter do more than gather",
                "reorder gathers along the hypotheses, filter along the images",
            )


def _error(decoder: str, found: str, expected: str, mend: str = "") -> ExportError:
    return ExportError(
        f"the state of {decoder} cannot be exported", found=found, expected=expected, mend=mend
    )

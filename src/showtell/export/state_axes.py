"""What a decoder's state is made of, found by looking at it: nothing has to be declared for an export.

The decoder is asked for states about another number of pictures, hypotheses, regions or words; the axis that follows
is that number's. The protocol says the rest: a state is a dataclass of tensors, ``reorder`` gathers along the
hypotheses, ``filter`` along the pictures, and that is compared with what the decoder's own methods do.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from showtell.encoders.features import Features
from showtell.errors import ExportError
from showtell.inference.onnx_config import Axis, StateTensor

_LEADING: dict[str, int] = {"pictures": 0, "hypotheses": 1}


@dataclass(frozen=True)
class Sizes:
    """How many of each there are in a try; two of a kind at least, for torch takes an axis of one for a fixed one."""

    pictures: int = 3
    hypotheses: int = 2
    regions: int = 5
    words: int = 2


@dataclass(frozen=True)
class StateProbe:
    """A decoder in use.

    Attributes:
        features: What it was begun with.
        state: What it holds after some words.
        after: What it holds after one more.
        tokens: That one, int64 [P, K].
        attends: Whether the step said where it looked.
    """

    features: Features
    state: Any
    after: Any
    tokens: Tensor
    attends: bool


def probe(decoder: Any, width: int, sizes: Sizes | None = None) -> StateProbe:
    """Use a decoder for some words on features that were drawn.

    Args:
        decoder: In eval mode.
        width: Channels D of its features.
        sizes: Of everything else.
    """
    sizes = sizes or Sizes()
    generator = torch.Generator().manual_seed(0)
    regions = torch.rand(sizes.pictures, sizes.regions, width, generator=generator)
    features = Features(regions, regions.mean(1), torch.ones(sizes.pictures, sizes.regions, dtype=torch.bool))
    # Other words for each hypothesis, of those that every vocabulary has: so that no two remember the same.
    tokens = 1 + torch.arange(sizes.pictures * sizes.hypotheses).view(sizes.pictures, -1) % 3
    with torch.no_grad():
        state = decoder.init_state(features, sizes.hypotheses)
        for _ in range(sizes.words):
            _, state, _ = decoder.step(tokens, state)
        _, after, attention = decoder.step(tokens, state)
    return StateProbe(features, state, after, tokens, attention is not None)


def describe_state(decoder: Any, width: int) -> tuple[StateTensor, ...]:
    """Return what the tensors of a decoder's state are.

    Args:
        decoder: In eval mode.
        width: Channels D of its features.

    Raises:
        ExportError: the state is no dataclass of tensors, or pictures and hypotheses do not lead.
    """
    name = type(decoder).__name__
    base = Sizes()
    plain = probe(decoder, width, base)
    tensors = state_tensors(plain.state, name)
    others = {
        "pictures": probe(decoder, width, Sizes(pictures=base.pictures + 1)),
        "hypotheses": probe(decoder, width, Sizes(hypotheses=base.hypotheses + 1)),
        "regions": probe(decoder, width, Sizes(regions=base.regions + 1)),
        "length": probe(decoder, width, Sizes(words=base.words + 1)),
    }
    shapes = {axis: state_tensors(other.state, name) for axis, other in others.items()}
    after = state_tensors(plain.after, name)
    described = []
    for field, tensor in tensors.items():
        axes = _axes(field, tensor, {axis: other[field] for axis, other in shapes.items()}, name)
        described.append(StateTensor(name=field, axes=axes, constant=after[field] is tensor))
    _check_moves(plain.state, tuple(described), name)
    return tuple(described)


def state_tensors(state: Any, decoder: str) -> dict[str, Tensor]:
    """Return a state's tensors by the names of its fields.

    Raises:
        ExportError: a field holds something else.
    """
    named = {field.name: getattr(state, field.name) for field in fields(state)}
    strange = [
        f"{field} ({type(value).__name__})" for field, value in named.items() if not isinstance(value, Tensor)
    ]
    if strange:
        raise ExportError(
            f"the state of {decoder} cannot be exported",
            found=", ".join(strange),
            expected="a dataclass of tensors and nothing else",
            mend="Keep numbers as tensors, and what belongs to several layers stacked in one",
        )
    return named


def _axes(field: str, tensor: Tensor, others: dict[str, Tensor], decoder: str) -> tuple[Axis | int, ...]:
    found: list[Any] = list(tensor.shape)
    for axis, other in others.items():
        if other.dim() != tensor.dim():
            raise _strange(field, decoder, f"another number of axes with more {axis}")
        for place, (size, more) in enumerate(zip(tensor.shape, other.shape, strict=True)):
            if size == more:
                continue
            if more != size + 1 or isinstance(found[place], str) or place != _LEADING.get(axis, place):
                raise _strange(
                    field, decoder, f"axis {place} goes from {size} to {more} with one more of {axis}"
                )
            found[place] = axis
    return tuple(found)


def _strange(field: str, decoder: str, found: str) -> ExportError:
    return ExportError(
        f"the state of {decoder} cannot be exported",
        found=f"{field}: {found}",
        expected="pictures first, then hypotheses where it has them; each axis counts one thing",
    )


def _check_moves(state: Any, described: tuple[StateTensor, ...], decoder: str) -> None:
    """Compare the decoder's own ``reorder`` and ``filter`` with gathering along the axes that were found."""
    sizes = Sizes()
    parents = torch.tensor([[1, 0, 0]] * sizes.pictures)
    kept = torch.tensor([2, 0])
    selected, left = (state_tensors(moved, decoder) for moved in (state.reorder(parents), state.filter(kept)))
    for one in described:
        tensor = getattr(state, one.name)
        wide = tensor[torch.arange(sizes.pictures)[:, None], parents] if "hypotheses" in one.axes else tensor
        narrow = tensor[kept] if "pictures" in one.axes else tensor
        if not (torch.equal(selected[one.name], wide) and torch.equal(left[one.name], narrow)):
            raise ExportError(
                f"the state of {decoder} cannot be exported",
                found=f"{one.name}: select or keep do more than gather",
                expected="select gathers along the hypotheses, keep along the pictures",
            )

"""What moves the states of decoders: dataclasses of tensors, some of them one for each hypothesis.

A state names those in ``OF_HYPOTHESES``; the rest is memory that all hypotheses of a picture share, and stays where
it is when hypotheses are chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from typing import Any, ClassVar, Protocol, TypeVar

from torch import Tensor

from showtell.models.decoder import select_hypotheses


class Parts(Protocol):
    """A dataclass of tensors [P, ...]."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    OF_HYPOTHESES: ClassVar[tuple[str, ...]]
    """The fields that are [P, K, ...]."""


S = TypeVar("S", bound=Parts)


def select_parents(state: S, parents: Tensor) -> S:
    """Return the states of the parents, int64 [P, K'], each an index into K."""
    return _changed(state, state.OF_HYPOTHESES, lambda part: select_hypotheses(part, parents))


def first_hypotheses(state: S, count: int) -> S:
    """Return the states of the first hypotheses of each picture alone."""
    return _changed(state, state.OF_HYPOTHESES, lambda part: part[:, :count])


def keep_pictures(state: S, pictures: Tensor) -> S:
    """Return the states of these pictures alone, int64 [P'], with their memory."""
    return _changed(state, (field.name for field in fields(state)), lambda part: part[pictures])


def _changed(state: S, names: Iterable[str], change: Callable[[Tensor], Tensor]) -> S:
    return replace(state, **{name: change(getattr(state, name)) for name in names})

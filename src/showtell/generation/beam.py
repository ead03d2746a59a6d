"""Beam search: the K likeliest beginnings about each picture go on together.

A candidate that ends counts only when it is among the K best of its step, and makes room for the next best beginning
(Wu et al. 2016, section 7, without their pruning). A picture is done when K sentences have ended or none can go on;
so a beam of one is greedy search exactly. Beginnings are ranked by their summed log-probabilities, for all have the
same length; the length rule is applied once, to whole sentences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from showtell.config.generation import DecodingOptions
from showtell.generation.array_ops import Array, like, log_softmax, top_k
from showtell.generation.constraints import apply_constraints
from showtell.generation.hypothesis import Hypothesis, SpecialTokens, ranked
from showtell.generation.sequences import RunningHypotheses, gather_attention, should_shrink_batch
from showtell.system.batch_pool import check_cancelled


@dataclass(frozen=True)
class _Candidates:
    """What may come next, best first, [P, N] each; a total of -infinity is no candidate."""

    totals: npt.NDArray[np.float64]
    log_probs: npt.NDArray[np.float64]
    parents: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]

    def first(self, wanted: npt.NDArray[np.bool_], count: int) -> _Candidates:
        """Return the first ``count`` candidates that are wanted, bool [P, N]."""
        order = np.argsort(~wanted, axis=1, kind="stable")[:, :count]
        return _Candidates(
            np.take_along_axis(np.where(wanted, self.totals, -np.inf), order, axis=1),
            np.take_along_axis(self.log_probs, order, axis=1),
            np.take_along_axis(self.parents, order, axis=1),
            np.take_along_axis(self.tokens, order, axis=1),
        )


def _candidates(totals: npt.NDArray[np.float64], allowed: Any, width: int) -> _Candidates:
    """Return the best 2K continuations of beginnings worth ``totals`` [P, K] by ``allowed`` [P, K, V].

    No beginning can have more than K tokens and the end among them, so K + 1 of each suffice.
    """
    log_probs, tokens = top_k(allowed, width + 1)  # [P, K, K + 1]
    pictures, hypotheses, each = tokens.shape
    sums = (totals[:, :, None] + log_probs).reshape(pictures, hypotheses * each)
    order = np.argsort(-sums, axis=1, kind="stable")[:, : 2 * width]
    return _Candidates(
        np.take_along_axis(sums, order, axis=1),
        np.take_along_axis(log_probs.reshape(sums.shape), order, axis=1),
        order // each,
        np.take_along_axis(tokens.reshape(sums.shape), order, axis=1),
    )


class _Beam:
    """The beginnings about the pictures that are not done, and the sentences found about all.

    Attributes:
        rows: Which picture each row is about [P].
        lines: The beginnings, P x K.
        totals: Their summed log-probabilities [P, K]; -infinity: there is none.
    """

    def __init__(self, pictures: int, options: DecodingOptions, specials: SpecialTokens) -> None:
        self.options, self.specials = options, specials
        self.rows = np.arange(pictures)
        self.lines = RunningHypotheses.empty(pictures, 1)
        self.totals = np.zeros((pictures, 1))
        self.ended: list[list[Hypothesis]] = [[] for _ in range(pictures)]
        self.cut: list[list[Hypothesis]] = [[] for _ in range(pictures)]

    @property
    def going(self) -> npt.NDArray[np.int64]:
        """The rows that have a beginning left to go on with."""
        return np.flatnonzero(np.isfinite(self.totals).any(axis=1))

    def advance(self, logits: Array, looks: Array | None) -> npt.NDArray[np.int64]:
        """Take one step by logits [P, K, V]; return which beginning each of the next ones continues [P, K]."""
        width, said = self.options.beam_size, self.lines.ids.shape[2]
        allowed = apply_constraints(log_softmax(logits), self.lines.ids, self.options, self.specials)
        choice = _candidates(self.totals, allowed, width)
        ends = choice.tokens == self.specials.eos
        self._end(choice, ends & np.isfinite(choice.totals) & (np.arange(ends.shape[1]) < width))
        going = choice.first(~ends, width)
        can_go = np.isfinite(going.totals).any(axis=1) & (said < self.options.max_tokens)
        self._cut_off(np.isfinite(self.totals) & ~can_go[:, None])
        enough = np.array([len(self.ended[row]) >= width for row in self.rows])
        self.totals = np.where((can_go & ~enough)[:, None], going.totals, -np.inf)
        seen = gather_attention(looks, going.parents)
        self.lines = self.lines.reorder(going.parents).append(going.tokens, going.log_probs, seen)
        return going.parents

    def _end(self, choice: _Candidates, ends: npt.NDArray[np.bool_]) -> None:
        for row, rank in np.argwhere(ends):
            end = float(choice.log_probs[row, rank])
            found = self.lines.hypothesis(row, choice.parents[row, rank], end, self.options.length_penalty)
            self.ended[self.rows[row]].append(found)

    def _cut_off(self, lost: npt.NDArray[np.bool_]) -> None:
        for row, place in np.argwhere(lost):
            if not self.ended[self.rows[row]]:
                found = self.lines.hypothesis(row, place, None, self.options.length_penalty)
                self.cut[self.rows[row]].append(found)

    def filter(self, rows: npt.NDArray[np.int64]) -> None:
        """Go on with these rows alone."""
        self.rows, self.lines, self.totals = self.rows[rows], self.lines.filter(rows), self.totals[rows]

    def best(self) -> list[list[Hypothesis]]:
        """Return what was found about each picture; what was cut off only where nothing ended."""
        width = self.options.beam_size
        return [ranked(whole or rest)[:width] for whole, rest in zip(self.ended, self.cut, strict=True)]


def beam_search(
    decoder: Any, features: Any, options: DecodingOptions, specials: SpecialTokens, *, attention: bool = False
) -> list[list[Hypothesis]]:
    """Return for each picture at most K different sentences, best score first.

    Sentences without an end are returned only where none ended within ``max_tokens``.
    """
    pictures = features.pooled.shape[0]
    state = decoder.init_state(features, 1)
    tokens = np.full((pictures, 1), specials.bos, np.int64)
    beam = _Beam(pictures, options, specials)
    while True:
        check_cancelled()
        logits, state, looks = decoder.step(like(tokens, features.pooled), state)
        looks = looks if attention else None
        if beam.lines.ids.shape[2] == 0:
            beam.lines = beam.lines.watching(looks)
        parents = beam.advance(logits, looks)
        going = beam.going
        if not going.size:
            return beam.best()
        state = state.reorder(like(parents, features.pooled))
        if should_shrink_batch(state, going.size, len(beam.rows)):
            state = state.filter(like(going, features.pooled))
            beam.filter(going)
        tokens = beam.lines.ids[:, :, -1]

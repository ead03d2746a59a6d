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

from showtell.options import DecodingOptions
from showtell.search.arrays import like, log_softmax, top_k
from showtell.search.hypothesis import Hypothesis, Specials, ranked
from showtell.search.rules import forbid
from showtell.search.sentences import Sentences, picked


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


def beam_search(
    decoder: Any, features: Any, options: DecodingOptions, specials: Specials, *, attention: bool = False
) -> list[list[Hypothesis]]:
    """Return for each picture at most K different sentences, best score first.

    Sentences without an end are returned only where none ended within ``max_words``.
    """
    width, penalty = options.beams, options.length_penalty
    pictures = features.pooled.shape[0]
    state = decoder.begin(features, 1)
    beam, totals = Sentences.empty(pictures, 1), np.zeros((pictures, 1))
    tokens = np.full((pictures, 1), specials.bos, np.int64)
    ended: list[list[Hypothesis]] = [[] for _ in range(pictures)]
    cut: list[list[Hypothesis]] = [[] for _ in range(pictures)]
    open_ = np.ones(pictures, bool)

    for said in range(options.max_words + 1):
        logits, state, looks = decoder.step(like(tokens, features.pooled), state)
        if attention and said == 0:
            beam = beam.watching(looks)
        allowed = forbid(log_softmax(logits), beam.ids, options, specials)
        choice = _candidates(totals, allowed, width)
        ends = choice.tokens == specials.eos
        among_best = ends & np.isfinite(choice.totals) & (np.arange(ends.shape[1]) < width)
        for picture, rank in np.argwhere(among_best):
            end = float(choice.log_probs[picture, rank])
            ended[picture].append(beam.hypothesis(picture, choice.parents[picture, rank], end, penalty))
        going = choice.first(~ends, width)
        can_go = np.isfinite(going.totals).any(axis=1) & (said < options.max_words)
        for picture, place in np.argwhere((open_ & ~can_go)[:, None] & np.isfinite(totals)):
            if not ended[picture]:
                cut[picture].append(beam.hypothesis(picture, place, None, penalty))
        open_ &= can_go & np.array([len(sentences) < width for sentences in ended])
        if not open_.any():
            break
        totals = np.where(open_[:, None], going.totals, -np.inf)
        tokens = going.tokens
        state = state.select(like(going.parents, features.pooled))
        seen = picked(looks, going.parents) if attention else None
        beam = beam.select(going.parents).append(tokens, going.log_probs, seen)
    return [ranked(whole or rest)[:width] for whole, rest in zip(ended, cut, strict=True)]

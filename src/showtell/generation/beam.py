"""Beam search: the K most likely partial captions of each image are extended together.

A candidate that ends counts only if it is among the K best of its step; the next best candidate then takes its place
in the beam (Wu et al. 2016, section 7, without their pruning). An image is done when K hypotheses are finished or
none is alive, so a beam of one equals greedy search. Running hypotheses are ranked by summed log-probability, with
the repetition penalty, as all have the same length; the length penalty is applied once, to complete hypotheses. After
``max_tokens`` only the end may follow, so every running hypothesis then ends, with the decoder's log-probability of
the end in its score.

The beam may consist of G groups of K / G hypotheses, which are searched one after the other at each step: the score
of a token is ``diversity_penalty`` less for each hypothesis of an earlier group that has just taken it (Vijayakumar
et al. 2018, "Diverse Beam Search", Hamming diversity). The first group is a plain beam. As in the paper's algorithm
penalties add up along a hypothesis, but only decide which ones a group keeps: scores of captions are without them.

Where words are required, the beam is divided among the hypotheses by how many required tokens they have (Post and
Vilar 2018, "Fast Lexically Constrained Decoding with Dynamic Beam Allocation"), and each is also extended by the next
token of every requirement.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from showtell.config.generation import DecodingOptions
from showtell.generation.array_ops import Array, like, log_softmax, take, top_k
from showtell.generation.constraints import Constraints, apply_constraints, penalize_repetition
from showtell.generation.control import Required
from showtell.generation.hypothesis import Hypothesis, RunningHypotheses, SpecialTokens, ranked, should_shrink
from showtell.system.batch_pool import check_cancelled


class _Candidates(NamedTuple):
    """Possible extensions, best first, [P, N] each; a total of -infinity is no candidate."""

    totals: npt.NDArray[np.float64]
    log_probs: npt.NDArray[np.float64]
    parents: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]

    def take(self, order: npt.NDArray[np.int64]) -> "_Candidates":
        """Return the candidates at these indices, int64 [P, N']."""
        parts: list[Any] = [np.take_along_axis(part, order, axis=1) for part in self]
        return _Candidates(*parts)

    def top_k(self, wanted: npt.NDArray[np.bool_], count: int) -> "_Candidates":
        """Return the best ``count`` of the wanted candidates, bool [P, N]."""
        order = np.argsort(~wanted, axis=1, kind="stable")[:, :count]
        return self._replace(totals=np.where(wanted, self.totals, -np.inf)).take(order)


def _candidates(
    totals: npt.NDArray[np.float64],
    allowed: Any,
    scores: Any,
    beam_size: int,
    wanted: npt.NDArray[np.int64] | None = None,
) -> _Candidates:
    """Return the best 2K extensions of hypotheses with ``totals`` [P, K] by ``scores`` [P, K, V].

    Their log-probabilities are in ``allowed`` [P, K, V]. At most K tokens and the end of one hypothesis can be among
    them, so the top K + 1 of each suffice. With ``wanted`` tokens [P, K, C] all these extensions are returned, and
    those by the wanted tokens too.
    """
    values, tokens = top_k(scores, beam_size + 1)  # [P, K, K + 1]
    count = 2 * beam_size
    if wanted is not None:
        is_new = (wanted[..., None] != tokens[:, :, None]).all(axis=-1)
        for place in range(1, wanted.shape[2]):
            is_new[..., place] &= (wanted[..., place, None] != wanted[..., :place]).all(axis=-1)
        extra = np.where(is_new, take(scores, wanted), -np.inf)
        values, tokens = np.concatenate((values, extra), 2), np.concatenate((tokens, wanted), 2)
        count = tokens.shape[1] * tokens.shape[2]
    log_probs = values if scores is allowed else take(allowed, tokens)
    sums = totals[:, :, None] + values
    parents = np.broadcast_to(np.arange(sums.shape[1])[:, None], sums.shape)
    parts: list[Any] = [part.reshape(len(sums), -1) for part in (sums, log_probs, parents, tokens)]
    flat = _Candidates(*parts)
    return flat.take(np.argsort(-flat.totals, axis=1, kind="stable")[:, :count])


def _allocate(candidates: _Candidates, met: npt.NDArray[np.int64]) -> _Candidates:
    """Return candidates by turns: the best of each number of ``met`` tokens [P, N], most first, then the second."""
    turn = np.zeros_like(met)
    for count in np.unique(met):
        has = (met == count) & np.isfinite(candidates.totals)
        turn[has] = (np.cumsum(has, axis=1) - 1)[has]
    turn[~np.isfinite(candidates.totals)] = met.shape[1]
    return candidates.take(np.lexsort((-met, turn), axis=1))


class _Beam:
    """The running hypotheses, P x K, of the images that are not done, and the finished ones of all images.

    Of a beam of several groups it is one.
    """

    def __init__(
        self, batch_size: int, options: DecodingOptions, specials: SpecialTokens, constraints: Constraints
    ) -> None:
        self.size = options.beam_size // options.beam_groups
        self.options, self.specials, self.constraints = options, specials, constraints
        self.required = next((each for each in constraints if isinstance(each, Required)), None)
        self.rows = np.arange(batch_size)  # the image of each row of the batch [P]
        self.sequences = RunningHypotheses.empty(batch_size, 1)
        self.totals = np.zeros((batch_size, 1))  # summed scores [P, K]; -infinity: none
        self.finished: list[list[Hypothesis]] = [[] for _ in range(batch_size)]
        self.truncated: list[list[Hypothesis]] = [[] for _ in range(batch_size)]

    @property
    def alive(self) -> npt.NDArray[np.bool_]:
        """The running hypotheses [P, K]."""
        return np.isfinite(self.totals)

    def advance(
        self, log_probs: Array, weights: Array | None, penalty: npt.NDArray[np.float32] | None
    ) -> npt.NDArray[np.int64]:
        """Take one step with log-probabilities [P, K, V]; return the parent of each new hypothesis [P, K].

        The scores of tokens are less by the ``penalty`` [P, V].
        """
        beam_size, sequences = self.size, self.sequences
        allowed = apply_constraints(log_probs, sequences.ids, self.options, self.specials, self.constraints)
        scores = penalize_repetition(allowed, sequences.ids, self.options)
        if penalty is not None:
            scores = scores - like(penalty[:, None], scores)
        candidates = self._extend(allowed, scores)
        ends = candidates.tokens == self.specials.eos
        self._finish(
            candidates, ends & np.isfinite(candidates.totals) & (np.arange(ends.shape[1]) < beam_size)
        )
        running = candidates.top_k(~ends, beam_size)
        extended = np.isfinite(running.totals).any(axis=1, keepdims=True)  # [P, 1]
        self._truncate(self.alive & ~extended)
        done = np.array([[len(self.finished[row]) >= beam_size] for row in self.rows])
        self.totals = np.where(extended & ~done, running.totals, -np.inf)
        self.sequences = sequences.reorder(running.parents).append(
            running.tokens, running.log_probs, weights, running.parents
        )
        return running.parents

    def _extend(self, allowed: Array, scores: Array) -> _Candidates:
        if self.required is None:
            return _candidates(self.totals, allowed, scores, self.size)
        ids = self.sequences.ids
        wanted = self.required.next_tokens(ids)
        candidates = _candidates(self.totals, allowed, scores, self.size, wanted)
        extended = np.take_along_axis(ids, candidates.parents[..., None], axis=1)  # [P, N, T]
        extended = np.concatenate((extended, candidates.tokens[..., None]), axis=2)
        return _allocate(candidates, self.required.progress(extended).sum(axis=-1))

    def _finish(self, candidates: _Candidates, ends: npt.NDArray[np.bool_]) -> None:
        for row, rank in np.argwhere(ends):
            end, parent = float(candidates.log_probs[row, rank]), candidates.parents[row, rank]
            self.finished[self.rows[row]].append(self.sequences.hypothesis(row, parent, end, self.options))

    def _truncate(self, lost: npt.NDArray[np.bool_]) -> None:
        for row, index in np.argwhere(lost):
            if not self.finished[self.rows[row]]:
                self.truncated[self.rows[row]].append(
                    self.sequences.hypothesis(row, index, None, self.options)
                )

    def filter(self, rows: npt.NDArray[np.int64]) -> None:
        """Keep only these rows."""
        self.rows, self.totals = self.rows[rows], self.totals[rows]
        self.sequences = self.sequences.filter(rows)

    def best(self) -> list[list[Hypothesis]]:
        """Return the finished hypotheses of each image, or the truncated ones if none is finished."""
        both = zip(self.finished, self.truncated, strict=True)
        return [ranked(finished or truncated)[: self.size] for finished, truncated in both]


def _taken(groups: Sequence[_Beam], vocabulary: int) -> npt.NDArray[np.float32]:
    """Return how many running hypotheses of these groups have taken each token in this step, [P, V]."""
    counts = np.zeros((len(groups[0].rows), vocabulary), np.float32)
    for group in groups:
        rows, hypotheses = np.nonzero(group.alive)
        np.add.at(counts, (rows, group.sequences.ids[rows, hypotheses, -1]), 1.0)
    return counts


def _merge(groups: Iterable[list[Hypothesis]]) -> list[Hypothesis]:
    """Return the different hypotheses of an image's groups, best score first; truncated ones if none is finished."""
    unique = {tuple(each.ids): each for hypotheses in groups for each in hypotheses}
    return ranked([each for each in unique.values() if not each.truncated] or unique.values())


def beam_search(
    decoder: Any,
    features: Any,
    options: DecodingOptions,
    specials: SpecialTokens,
    *,
    attention: bool = False,
    constraints: Constraints = (),
) -> list[list[Hypothesis]]:
    """Return at most K different hypotheses of each image, best score first.

    Truncated hypotheses are returned only if none could end.
    """
    batch_size = features.pooled.shape[0]
    state = decoder.init_state(features, 1)
    tokens = np.full((batch_size, 1), specials.bos, np.int64)
    groups = [_Beam(batch_size, options, specials, constraints) for _ in range(options.beam_groups)]
    while True:
        check_cancelled()
        logits, state, weights = decoder.step(like(tokens, features.pooled), state)
        weights = weights if attention else None
        log_probs = log_softmax(logits)
        first = tokens.shape[1] == 1  # hypothesis, the parent of all
        parents = []
        for number, group in enumerate(groups):
            if group.sequences.num_tokens == 0:
                group.sequences = group.sequences.init_attention(weights)
            start = 0 if first else number * group.size
            own = slice(start, start + (1 if first else group.size))
            penalty = None
            if number:
                penalty = options.diversity_penalty * _taken(groups[:number], log_probs.shape[-1])
            of_group = weights if weights is None else weights[:, own]
            parents.append(start + group.advance(log_probs[:, own], of_group, penalty))
        alive = np.flatnonzero(np.any([group.alive.any(axis=1) for group in groups], axis=0))
        if not alive.size:
            return list(map(_merge, zip(*(group.best() for group in groups), strict=True)))
        state = state.reorder(like(np.concatenate(parents, axis=1), features.pooled))
        if should_shrink(alive.size, len(groups[0].rows)):
            state = state.filter(like(alive, features.pooled))
            for group in groups:
                group.filter(alive)
        tokens = np.concatenate([group.sequences.ids[:, :, -1] for group in groups], axis=1)

"""Beam search as tutorials write it: one image at a time, hypotheses in Python lists.

Two of them, over the same decoder that the package searches with, so that only the search differs: one asks the
decoder about each hypothesis separately, the other about all hypotheses of an image at once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from showtell.encoders.features import Features
from showtell.generation import SpecialTokens


def list_beam(
    decoder: Any,
    features: Features,
    specials: SpecialTokens,
    *,
    beam_size: int,
    max_tokens: int,
    min_tokens: int = 0,
    length_penalty: float = 1.0,
) -> list[list[int]]:
    """Return the best caption of each image; every hypothesis is a step of its own."""
    captions = []
    for image in range(len(features.pooled)):
        state = decoder.init_state(features[image : image + 1], 1)
        alive: list[tuple[float, list[int], Any]] = [(0.0, [], state)]
        done: list[tuple[float, list[int]]] = []
        while alive:
            candidates = []
            for score, words, state in alive:
                last = torch.tensor([[words[-1] if words else specials.bos]])
                logits, new_state, _ = decoder.step(last, state)
                log_probs = functional.log_softmax(logits[0, 0], dim=0)
                _forbid(log_probs, len(words), min_tokens, max_tokens, specials)
                values, tokens = log_probs.topk(beam_size + 1)
                for value, token in zip(values.tolist(), tokens.tolist(), strict=True):
                    candidates.append((score + value, words, token, new_state))
            candidates.sort(key=lambda one: one[0], reverse=True)
            alive, done = _sort_out(candidates, alive, done, beam_size, max_tokens, specials, length_penalty)
        captions.append(max(done, key=lambda one: one[0])[1])
    return captions


def _sort_out(
    candidates: list[tuple[float, list[int], int, Any]],
    before: list[tuple[float, list[int], Any]],
    done: list[tuple[float, list[int]]],
    beam_size: int,
    max_tokens: int,
    specials: SpecialTokens,
    length_penalty: float,
) -> tuple[list[tuple[float, list[int], Any]], list[tuple[float, list[int]]]]:
    """Return the hypotheses that continue and those that are done."""
    alive: list[tuple[float, list[int], Any]] = []
    for rank, (score, words, token, state) in enumerate(candidates):
        if token == specials.eos:
            if rank < beam_size:
                done.append((score / (len(words) + 1) ** length_penalty, words))
        elif len(words) < max_tokens and len(alive) < beam_size:
            alive.append((score, [*words, token], state))
    if len(done) >= beam_size:
        alive = []
    if not alive and not done:
        done = [(score / max(1, len(words)) ** length_penalty, words) for score, words, _ in before]
    return alive, done


def batched_beam(
    decoder: Any,
    features: Features,
    specials: SpecialTokens,
    *,
    beam_size: int,
    max_tokens: int,
    min_tokens: int = 0,
    length_penalty: float = 1.0,
) -> list[list[int]]:
    """Return the best caption of each image; an image's hypotheses are one step."""
    captions = []
    for image in range(len(features.pooled)):
        state = decoder.init_state(features[image : image + 1], 1)
        scores, sentences = torch.zeros(1), [[specials.bos]]
        done: list[tuple[float, list[int]]] = []
        while True:
            num_tokens = len(sentences[0]) - 1
            logits, state, _ = decoder.step(torch.tensor([[words[-1] for words in sentences]]), state)
            log_probs = functional.log_softmax(logits[0], dim=1)  # [K, V]
            _forbid(log_probs, num_tokens, min_tokens, max_tokens, specials)
            vocabulary = log_probs.shape[1]
            values, places = (scores[:, None] + log_probs).flatten().topk(2 * beam_size)
            parents, tokens = (places // vocabulary).tolist(), (places % vocabulary).tolist()
            kept: list[int] = []
            for rank, (value, parent, token) in enumerate(zip(values.tolist(), parents, tokens, strict=True)):
                if token == specials.eos:
                    if rank < beam_size:
                        done.append((value / (num_tokens + 1) ** length_penalty, sentences[parent][1:]))
                elif len(kept) < beam_size:
                    kept.append(rank)
            if len(done) >= beam_size or num_tokens == max_tokens:
                break
            sentences = [[*sentences[parents[rank]], tokens[rank]] for rank in kept]
            scores = values[kept]
            state = state.reorder(torch.tensor([[parents[rank] for rank in kept]]))
        cut = [
            (score / max(1, num_tokens) ** length_penalty, words[1:])
            for score, words in zip(scores.tolist(), sentences, strict=True)
        ]
        captions.append(max(done or cut, key=lambda one: one[0])[1])
    return captions


def _forbid(
    log_probs: Tensor, num_tokens: int, min_tokens: int, max_tokens: int, specials: SpecialTokens
) -> None:
    """Forbid tokens that may not follow [..., V]: the end too early, and all but the end after ``max_tokens``."""
    end = log_probs[..., specials.eos].clone()
    for index in specials.banned_ids:
        log_probs[..., index] = -torch.inf
    if num_tokens < max(1, min_tokens):
        log_probs[..., specials.eos] = -torch.inf
    elif num_tokens == max_tokens:
        log_probs[:] = -torch.inf
        log_probs[..., specials.eos] = end

"""Constraints that a user sets: a beginning, required and forbidden words, no bad endings; each one class."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from showtell.config.generation import DecodingOptions
from showtell.errors import ConfigError
from showtell.generation.array_ops import Array, like
from showtell.generation.constraints import Constraint, repeated_ngrams
from showtell.generation.hypothesis import SpecialTokens
from showtell.text.bad_endings import BAD_ENDINGS
from showtell.tokenizer import Tokenizer

Ids = npt.NDArray[np.int64]
Phrase = tuple[int, ...]


@dataclass(frozen=True)
class Beginning:
    """The first tokens of each caption."""

    tokens: Phrase

    def __call__(self, log_probs: Array, ids: Ids) -> Array:
        """Ban all tokens but the next one of the beginning."""
        if ids.shape[2] < len(self.tokens):
            token = self.tokens[ids.shape[2]]
            log_probs[..., :token] = -math.inf
            log_probs[..., token + 1 :] = -math.inf
        return log_probs


@dataclass(frozen=True)
class Forbidden:
    """Words and phrases that never occur.

    ``joins`` bool [V] marks the tokens that continue a word: after those of a forbidden one only they may follow, so
    that "cat" forbids no "cattle". No token joins in a vocabulary of whole words.
    """

    phrases: tuple[Phrase, ...]
    joins: npt.NDArray[np.bool_]
    max_tokens: int

    @cached_property
    def _may_join(self) -> bool:
        return bool(self.joins.any())

    @cached_property
    def _words(self) -> Ids:
        return np.array([phrase[0] for phrase in self.phrases if len(phrase) == 1], np.int64)

    @cached_property
    def _starts(self) -> Ids:
        return np.flatnonzero(~self.joins)

    def __call__(self, log_probs: Array, ids: Ids) -> Array:
        """Ban the last token of each phrase after the others, or what may not follow a whole one."""
        if not self._may_join:
            log_probs[..., like(self._words, log_probs)] = -math.inf
        for phrase in self.phrases:
            if not self._may_join and len(phrase) == 1:
                continue
            if self._may_join:
                _ban(log_probs, _ends_with(ids, phrase, self.joins), self._starts)
            if (
                not self._may_join or ids.shape[2] == self.max_tokens - 1
            ):  # nothing can continue the last token
                _ban(log_probs, _ends_with(ids, phrase[:-1], self.joins), np.array([phrase[-1]]))
        return log_probs


@dataclass(frozen=True)
class NoBadEnding:
    """A caption does not end on one of these tokens."""

    tokens: Ids
    end: int
    max_tokens: int

    def __call__(self, log_probs: Array, ids: Ids) -> Array:
        """Ban the end after them, and them where only the end can follow."""
        if ids.shape[2]:
            _ban(log_probs, np.isin(ids[:, :, -1], self.tokens), np.array([self.end]))
        if ids.shape[2] == self.max_tokens - 1:
            log_probs[..., like(self.tokens, log_probs)] = -math.inf
        return log_probs


@dataclass(frozen=True)
class Required:
    """Words and phrases that occur in each caption; beam search keeps hypotheses that have come further apart."""

    phrases: tuple[Phrase, ...]
    joins: npt.NDArray[np.bool_]
    end: int

    def __call__(self, log_probs: Array, ids: Ids) -> Array:
        """Ban the end of captions that lack any of them."""
        lacking = self.progress(ids).sum(axis=-1) < sum(map(len, self.phrases))
        _ban(log_probs, lacking, np.array([self.end]))
        return log_probs

    def progress(self, ids: Ids) -> Ids:
        """Return how many tokens of each phrase ids [P, K, T] have: all, or those that they end with, [P, K, C]."""
        found = np.zeros((*ids.shape[:2], len(self.phrases)), np.int64)
        for place, phrase in enumerate(self.phrases):
            size = len(phrase)
            for count in range(1, size):
                found[..., place][_ends_with(ids, phrase[:count], self.joins)] = count
            for stop in range(size, ids.shape[2] + 1):
                whole = _ends_with(ids[:, :, :stop], phrase, self.joins)
                if stop < ids.shape[2]:
                    whole &= ~self.joins[ids[:, :, stop]]
                found[..., place][whole] = size
        return found

    def next_tokens(self, ids: Ids) -> Ids:
        """Return the next token of each phrase, [P, K, C]; of a complete one its first again."""
        progress = self.progress(ids)
        columns = [
            np.array([*phrase, phrase[0]])[progress[..., place]] for place, phrase in enumerate(self.phrases)
        ]
        return np.stack(columns, axis=-1)


def _ban(log_probs: Array, hypotheses: npt.NDArray[np.bool_], tokens: Ids) -> None:
    """Set log-probabilities [P, K, V] of tokens [N] after some hypotheses, bool [P, K], to -infinity, in place."""
    rows = np.nonzero(hypotheses)
    if rows[0].size:
        index = (rows[0][:, None], rows[1][:, None], tokens[None, :])
        log_probs[tuple(like(part, log_probs) for part in index)] = -math.inf


def _ends_with(ids: Ids, phrase: Phrase, joins: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which ids [P, K, T] end with a phrase that begins a word, bool [P, K]."""
    start = ids.shape[2] - len(phrase)
    if start < 0:
        return np.zeros(ids.shape[:2], bool)
    matches: npt.NDArray[np.bool_] = (ids[:, :, start:] == np.array(phrase, np.int64)).all(axis=-1)
    # The first token of a phrase may itself be one that joins only at the start of a caption.
    return matches & ~joins[phrase[0]] if start and phrase else matches


def build_constraints(options: DecodingOptions, tokenizer: Tokenizer) -> tuple[Constraint, ...]:
    """Return the constraints that options set.

    Raises:
        ConfigError: words that the vocabulary lacks, or that contradict each other or the length.
    """
    are_words_given = options.beginning.strip() or _phrases(options.required) or _phrases(options.forbidden)
    if options.bad_endings and not are_words_given:
        return ()
    specials = SpecialTokens.of(tokenizer)
    joins = np.zeros(tokenizer.size, bool)
    if tokenizer.kind == "bpe":
        joins[:] = [not token.startswith("\u0120") for token in tokenizer.tokens]
        joins[[specials.pad, specials.bos, specials.eos, specials.unk]] = False
    beginning = _known(options.beginning, "beginning", tokenizer) if options.beginning.strip() else ()
    required = tuple(_known(text, "required", tokenizer) for text in _phrases(options.required))
    forbidden = tuple(
        ids
        for text in _phrases(options.forbidden)
        if (ids := tuple(tokenizer.encode(text))) and tokenizer.unk_id not in ids
    )
    made: list[Constraint] = []
    if beginning:
        made.append(Beginning(beginning))
    if required:
        made.append(Required(required, joins, specials.eos))
    if forbidden:
        made.append(Forbidden(forbidden, joins, options.max_tokens))
    endings: list[int] = []
    if not options.bad_endings:
        encoded = [tokenizer.encode(word) for word in sorted(BAD_ENDINGS)]
        endings = [ids[0] for ids in encoded if len(ids) == 1 and ids[0] != specials.unk]
        made.append(NoBadEnding(np.array(endings, np.int64), specials.eos, options.max_tokens))
    _check_possible(beginning, required, forbidden, endings, joins, options)
    return tuple(made)


def describe_unused(options: DecodingOptions, tokenizer: Tokenizer) -> str:
    """Return the warning that some forbidden words could not occur anyway; empty if all of them could.

    They are no error, so that one list of words serves captioners with different vocabularies.
    """
    unknown = [text for text in _phrases(options.forbidden) if tokenizer.unk_id in tokenizer.encode(text)]
    if not unknown:
        return ""
    return f"'forbidden': the vocabulary lacks {', '.join(map(repr, unknown))}, which can never occur"


def _phrases(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _known(text: str, option: str, tokenizer: Tokenizer) -> Phrase:
    ids = tuple(tokenizer.encode(text))
    if tokenizer.unk_id in ids or not ids:
        unknown = [word for word in tokenizer.split(text) if tokenizer.unk_id in tokenizer.encode(word)]
        raise ConfigError(
            f"'{option}' cannot be used",
            found=", ".join(map(repr, unknown)) or f"no word in {text!r}",
            expected="words of the captioner's vocabulary",
        )
    return ids


def _check_possible(
    beginning: Phrase,
    required: Sequence[Phrase],
    forbidden: Sequence[Phrase],
    endings: Sequence[int],
    joins: npt.NDArray[np.bool_],
    options: DecodingOptions,
) -> None:
    def has(tokens: Phrase, phrase: Phrase) -> bool:
        ids = np.array(tokens, np.int64)[None, None]
        return bool((Required((phrase,), joins, 0).progress(ids) == len(phrase)).all())

    def refuse(why: str) -> ConfigError:
        return ConfigError("the constraints cannot be met together", found=why, mend="Omit one of them")

    if any(has(text, phrase) for phrase in forbidden for text in (beginning, *required) if text):
        raise refuse("words that are required, or in the beginning, and forbidden")
    missing = [phrase for phrase in required if not beginning or not has(beginning, phrase)]
    room = options.max_tokens - len(beginning) - sum(map(len, missing))
    if room < 0:
        raise refuse(
            f"more tokens in the beginning and the required words than max_tokens, {options.max_tokens}"
        )
    if not room and all(phrase[-1] in endings for phrase in missing or [beginning]):
        raise refuse(f"a bad ending after the {options.max_tokens} tokens of max_tokens")
    size = options.no_repeat_ngram_size
    for text in (beginning, *required):
        ids = np.array(text, np.int64)[None, None]
        if size and any(
            text[stop] in repeated_ngrams(ids[:, :, :stop], size)[2] for stop in range(size, len(text))
        ):
            raise refuse(f"words that repeat {size} tokens, which no_repeat_ngram_size forbids")

"""Captions to token ids and back, in the file format of the ``tokenizers`` library.

A caption is first normalized (`showtell.text.normal_form`), and ``decode(encode(caption))`` returns the normalized
caption. Kinds of vocabularies differ in how they split it. The normalized text cannot contain the four special
tokens, so user text never becomes one of them.

==============  =======================================================================================
``words``       words between spaces; ``'s`` is a token, as in Penn Treebank, and ``%`` after a number
``icu``         the same; text of scripts without spaces is split into words with ICU's dictionaries
``characters``  one character as a reader sees it (grapheme cluster), spaces included
``tags``        a tag of a list: ``1girl, long hair, saber (fate)``
``bpe``         byte-level pieces of words, of any text
==============  =======================================================================================

Encoding with ``icu`` needs the extra ``languages``; decoding does not.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from showtell.config.tokenizer import CasingLanguage, TokenizerKind
from showtell.errors import CheckpointError, ConfigError, DataError
from showtell.system.atomic import write_text
from showtell.system.reading import parse_json, read_bytes, sha256_json
from showtell.text.caption_form import KNOWN_FORMS, CaptionForm

MAX_TOKENS = 500_000
"""Of a vocabulary; ten times as many as the largest in use."""
MAX_FILE_BYTES = 64 * 2**20
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")

_MIN_BPE_SIZE = len(SPECIALS) + 256
_DEFAULT_BPE_SIZE = 4000


class Tokenizer:
    """A fitted vocabulary; the ids of ``<pad>``, ``<bos>``, ``<eos>`` and ``<unk>`` are 0, 1, 2 and 3."""

    pad_id, bos_id, eos_id, unk_id = range(4)

    def __init__(self, model: models.Model, form: CaptionForm) -> None:
        self._tokenizer = form.pipeline(model)
        self._form = form
        self.kind: TokenizerKind = form.kind

    @classmethod
    def fit(
        cls,
        captions: Iterable[str],
        *,
        kind: TokenizerKind = "words",
        language: CasingLanguage | None = None,
        min_count: int = 5,
        max_size: int | None = None,
    ) -> "Tokenizer":
        """Learn a vocabulary of words, or of byte-level pieces of any text (``bpe``, Sennrich et al. 2016).

        The order of the captions does not matter, ties are broken alphabetically. ``min_count`` is that of a token or
        a merge; ``max_size`` includes the specials, None means 4,000 for ``bpe`` and `MAX_TOKENS` for the others;
        ``language`` has its own lower case.

        Raises:
            ConfigError: an argument is out of range.
            DataError: no token is frequent enough.
            MissingExtraError: ``icu`` needs the extra ``languages``.
        """
        kinds = get_args(TokenizerKind)
        if kind not in kinds:
            raise ConfigError(f"unknown tokenizer kind '{kind}'", expected=f"one of {', '.join(kinds)}")
        if language not in {None, *get_args(CasingLanguage)}:
            what = f"unknown tokenizer language '{language}'"
            raise ConfigError(what, expected=f"{', '.join(get_args(CasingLanguage))}, or none")
        if min_count < 1:
            what = "tokenizer min_count is out of range"
            raise ConfigError(what, found=str(min_count), expected="1 or more")
        min_size = _MIN_BPE_SIZE if kind == "bpe" else len(SPECIALS) + 1
        if max_size is not None and max_size < min_size:
            expected = f"{min_size} or more for kind '{kind}'"
            raise ConfigError("tokenizer max_size is out of range", found=str(max_size), expected=expected)
        form = CaptionForm(kind, language)
        fit = _fit_pieces if kind == "bpe" else _fit_words
        return cls(fit(captions, form, min_count, max_size), form)

    @property
    def size(self) -> int:
        """Number of tokens V, specials included."""
        return int(self._tokenizer.get_vocab_size())

    @cached_property
    def _ids(self) -> dict[str, int]:
        return self._tokenizer.get_vocab()

    @cached_property
    def _tokens(self) -> list[str]:
        return sorted(self._ids, key=self._ids.__getitem__)

    @property
    def tokens(self) -> list[str]:
        """All tokens in the order of their ids, specials included."""
        return list(self._tokens)

    def extended(self, words: Iterable[str]) -> "Tokenizer":
        """Return a word vocabulary with more words; the ids of the present tokens stay."""
        vocabulary = {token: index for index, token in enumerate((*self._tokens, *words))}
        return Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIALS[3]), self._form)

    def split(self, text: str) -> list[str]:
        """Return the tokens of a caption, also those that the vocabulary lacks."""
        if self.kind == "bpe":
            return [self._tokens[index] for index in self.encode(text)]
        return self._form.split(self.normalize(text))

    @property
    def language(self) -> CasingLanguage | None:
        """The language of its lower case."""
        return self._form.language

    @property
    def sha256(self) -> str:
        """Hash of the meaning of the ids: kind, tokens in order of their ids, merges."""
        model = json.loads(self._tokenizer.to_str())["model"]
        return sha256_json([self.kind, self._tokens, model.get("merges", [])])

    def normalize(self, text: str) -> str:
        """Return the normal form of a caption, that of its kind; never fails, and is idempotent."""
        return self._form.normalize(text)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a caption, without specials.

        Raises:
            MissingExtraError: ``icu`` needs the extra ``languages``, and the caption has text to segment.
        """
        normalized = self.normalize(text)
        if self.kind == "bpe":
            ids: list[int] = self._tokenizer.encode(normalized, add_special_tokens=False).ids
            return ids
        return [self._ids.get(token, self.unk_id) for token in self._form.split(normalized)]

    def word_groups(self, ids: Iterable[int]) -> list[list[int]]:
        """Return the positions in ``ids`` of each word of `words`; specials belong to none."""
        ids = list(ids)
        positions = [place for place, index in enumerate(ids) if index >= len(SPECIALS)]
        if self.kind != "bpe":
            groups = self._form.group_words([self._tokens[ids[place]] for place in positions])
            return [[positions[place] for place in group] for group in groups]
        groups = []
        for place in positions:
            if self._tokens[ids[place]].startswith("Ġ") or not groups:
                groups.append([place])
            else:
                groups[-1].append(place)
        return groups

    def words(self, ids: Iterable[int]) -> list[str]:
        """Return the words of a caption without specials (``'s`` is a word in a word vocabulary)."""
        ids = list(ids)
        return [self._to_text([ids[position] for position in group]) for group in self.word_groups(ids)]

    def _to_text(self, ids: list[int]) -> str:
        if self.kind != "bpe":
            return "".join(self._tokens[index] for index in ids)
        # A model may generate half a character, which becomes U+FFFD; normalized text never contains it.
        return str(self._tokenizer.decode(ids)).replace("\ufffd", "").strip()

    def decode(self, ids: Iterable[int]) -> str:
        """Return the caption of token ids, without specials."""
        ids = [index for index in ids if index >= len(SPECIALS)]
        return (
            self._to_text(ids)
            if self.kind == "bpe"
            else self._form.join([self._tokens[index] for index in ids])
        )

    def join(self, tokens: Sequence[str]) -> str:
        """Return the caption of the tokens that `split` returns."""
        return (
            self.decode(self._ids[token] for token in tokens)
            if self.kind == "bpe"
            else self._form.join(tokens)
        )

    def save(self, path: Path) -> None:
        """Write ``tokenizer.json`` in the library's own format, atomically."""
        write_text(path, self._tokenizer.to_str(pretty=True) + "\n")

    @classmethod
    def load(cls, path: Path, *, size: int | None = None) -> "Tokenizer":
        """Read what `save` wrote; it has ``size`` tokens, if that is known.

        Raises:
            CheckpointError: the file is missing, incomplete, of another size, or not from showtell.
        """
        try:
            text = read_bytes(path, MAX_FILE_BYTES).decode()
            # Counted before the library builds its tables, which take ten times the memory of the text.
            _check_size(parse_json(text), path, size)
            tokenizer = tokenizers.Tokenizer.from_str(text)
        except FileNotFoundError as error:
            raise CheckpointError(f"cannot read the tokenizer {path}", found="no such file") from error
        except CheckpointError:
            raise
        except Exception as error:  # the library raises bare Exception
            mend = "Copy the checkpoint again"
            raise CheckpointError(f"cannot read the tokenizer {path}", found=str(error), mend=mend) from error
        return cls(tokenizer.model, _check(tokenizer, path))


def _check_size(parts: Any, path: Path, size: int | None) -> None:
    found = len(parts["model"]["vocab"])
    if found > MAX_TOKENS or size not in (None, found):
        raise CheckpointError(
            f"{path} does not fit the decoder",
            found=f"{found:,} tokens",
            expected=f"at most {MAX_TOKENS:,}" if size is None else f"{size:,}",
            mend="Copy the whole checkpoint again",
        )


def _fit_words(
    captions: Iterable[str], form: CaptionForm, min_count: int, max_size: int | None
) -> models.Model:
    counts = Counter(token for text in captions for token in form.split(form.normalize(text)))
    by_frequency = sorted(counts, key=lambda token: (-counts[token], token))
    tokens = [token for token in by_frequency if counts[token] >= min_count]
    if not tokens:
        raise DataError(
            "cannot fit a vocabulary",
            found=f"{len(counts)} distinct {'words' if form.kind in {'words', 'icu'} else form.kind}, none of them "
            f"{min_count} times",
            mend="Use more captions, or lower min_count",
        )
    kept = tokens[: (max_size or MAX_TOKENS) - len(SPECIALS)]
    vocabulary = {token: index for index, token in enumerate((*SPECIALS, *kept))}
    return models.WordLevel(vocabulary, unk_token=SPECIALS[3])


def _fit_pieces(
    captions: Iterable[str], form: CaptionForm, min_count: int, max_size: int | None
) -> models.Model:
    trainer = trainers.BpeTrainer(
        vocab_size=max_size or _DEFAULT_BPE_SIZE,
        min_frequency=min_count,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    trained = form.pipeline(models.BPE())
    trained.train_from_iterator(sorted(form.normalize(text) for text in captions), trainer)
    # The trainer also makes the specials match inside user text; only its pieces and merges are used.
    learned = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) for pair in learned["merges"]]
    return models.BPE(learned["vocab"], merges)


def _check(tokenizer: tokenizers.Tokenizer, path: Path) -> CaptionForm:
    """Return the form of a tokenizer after checking that showtell wrote all its parts."""

    def refuse(found: str, expected: str) -> CheckpointError:
        mend = "Use the tokenizer.json that was saved with the checkpoint"
        return CheckpointError(
            f"{path} is not a showtell tokenizer", found=found, expected=expected, mend=mend
        )

    parts: dict[str, Any] = json.loads(tokenizer.to_str())
    forms = KNOWN_FORMS.get(parts["model"]["type"])
    if forms is None:
        raise refuse(f"model {parts['model']['type']}", " or ".join(KNOWN_FORMS))
    vocabulary: dict[str, int] = parts["model"]["vocab"]
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise refuse("ids with gaps or duplicates", "the ids 0, 1, 2 and so on")
    first = sorted(vocabulary, key=vocabulary.__getitem__)[: len(SPECIALS)]
    if tuple(first) != SPECIALS:
        raise refuse(f"first tokens {first}", f"{list(SPECIALS)}")
    compared = ("normalizer", "pre_tokenizer", "decoder", "added_tokens")
    different = []
    for form in forms:
        expected = json.loads(form.pipeline(type(tokenizer.model)()).to_str())
        different.append([part for part in compared if parts[part] != expected[part]])
        if not different[-1]:
            return form
    part = min(different, key=len)[0]
    raise refuse(f"another {part}", "one that this version of showtell writes or knows")

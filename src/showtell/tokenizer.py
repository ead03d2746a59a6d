"""Captions to token ids and back, on the ``tokenizers`` library.

The one idea: a caption is first brought to a normal form (lower case, no punctuation, single spaces), and
``decode(encode(caption))`` gives that form back. Vocabularies of words and of byte-level pieces differ only
in how the normal form is cut. The four special tokens live in the vocabulary under spellings that the normal
form cannot contain, so nothing a user types can become one of them.

The normal form is chosen so that the Penn Treebank tokenizer of the scoring code finds in it the words it
finds in the original: hyphens and apostrophes inside words stay (``t-shirt``, ``man's``), and ``man 's``, as
captions often have it, is joined. A vocabulary of words holds ``'s`` as a word of its own, as Penn Treebank
does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from showtell.errors import CheckpointError, ConfigError, DataError
from showtell.system.atomic import sha256_json, write_text

Kind = Literal["words", "bpe"]
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")

_MODELS = {"WordLevel": "words", "BPE": "bpe"}
_SMALLEST_BPE = len(SPECIALS) + 256
_DEFAULT_BPE = 4000
_WORD = r"[\p{L}\p{M}\p{N}]"
_CLITIC = r"'(?:s|m|d|re|ll|ve)"


def _normalizer() -> normalizers.Normalizer:
    def replace(pattern: str, content: str) -> normalizers.Normalizer:
        return normalizers.Replace(Regex(pattern), content)

    return normalizers.Sequence(
        [
            # Before NFKC, which makes a space and an accent of an accent that was typed as an apostrophe.
            replace(r"[\u2018\u2019\u201B\u0060\u00B4]", "'"),
            replace(r"[\u2010\u2011]", "-"),
            # Soft hyphens and joiners inside a word; variation selectors and keycaps of emoji.
            replace(r"[\p{Cf}\p{Me}\x{FE00}-\x{FE0F}\x{E0100}-\x{E01EF}]+", ""),
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.NFKC(),
            replace(r"[^\p{L}\p{M}\p{N}'-]+", " "),
            replace(r"['-]{2,}", " "),
            replace(rf"(?<={_WORD}) (?={_CLITIC}(?![\p{{L}}\p{{M}}\p{{N}}'-]))", ""),
            replace(rf"(?<!{_WORD})['-]|['-](?!{_WORD})", " "),
            replace(rf"(?<!{_WORD})\p{{M}}+", ""),
            replace(r" +", " "),
            normalizers.Strip(),
        ]
    )


def _word_cutter() -> pre_tokenizers.PreTokenizer:
    clitic = pre_tokenizers.Split(Regex(rf"{_CLITIC}(?!.)"), "isolated")
    return pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), clitic])


def _piece_cutter() -> pre_tokenizers.PreTokenizer:
    words = pre_tokenizers.Split(Regex(" ?[^ ]+"), "isolated")
    return pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)])


def _well_formed(text: str) -> str:
    """Replace lone surrogates, which no encoding holds, by U+FFFD, which the normal form drops."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_NORMALIZER = _normalizer()


def normalize(text: str) -> str:
    """Return the normal form of a caption; never fails, and a normal form is its own normal form."""
    return str(_NORMALIZER.normalize_str(_well_formed(text)))


def _library_for(model: models.Model, kind: Kind) -> tokenizers.Tokenizer:
    library = tokenizers.Tokenizer(model)
    library.normalizer = _normalizer()
    library.pre_tokenizer = _word_cutter() if kind == "words" else _piece_cutter()
    if kind == "bpe":
        library.decoder = decoders.ByteLevel()
    return library


def _fit_words(captions: Iterable[str], min_count: int, max_size: int | None) -> tokenizers.Tokenizer:
    cutter = _word_cutter()
    counts = Counter(word for text in captions for word, _ in cutter.pre_tokenize_str(normalize(text)))
    by_frequency = sorted(counts, key=lambda word: (-counts[word], word))
    words = [word for word in by_frequency if counts[word] >= min_count]
    if not words:
        raise DataError(
            "a vocabulary cannot be fitted",
            found=f"{len(counts)} different words, none seen {min_count} times",
            mend="Give more captions, or lower min_count",
        )
    kept = words if max_size is None else words[: max_size - len(SPECIALS)]
    vocabulary = {word: index for index, word in enumerate((*SPECIALS, *kept))}
    return _library_for(models.WordLevel(vocabulary, unk_token=SPECIALS[3]), "words")


def _fit_pieces(captions: Iterable[str], min_count: int, max_size: int | None) -> tokenizers.Tokenizer:
    trainer = trainers.BpeTrainer(
        vocab_size=max_size or _DEFAULT_BPE,
        min_frequency=min_count,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    draft = _library_for(models.BPE(), "bpe")
    texts = sorted(normalize(text) for text in captions)
    draft.train_from_iterator(texts, trainer)
    # The trainer also makes the specials match inside user text; only its pieces and merges are kept.
    learned = json.loads(draft.to_str())["model"]
    merges = [tuple(pair) for pair in learned["merges"]]
    return _library_for(models.BPE(learned["vocab"], merges), "bpe")


class Tokenizer:
    """A fitted vocabulary; the ids of ``<pad>``, ``<bos>``, ``<eos>`` and ``<unk>`` are 0, 1, 2 and 3."""

    pad_id, bos_id, eos_id, unk_id = range(4)

    def __init__(self, library: tokenizers.Tokenizer, kind: Kind) -> None:
        self._library = library
        self.kind = kind

    @classmethod
    def fit(
        cls, captions: Iterable[str], *, kind: Kind = "words", min_count: int = 5, max_size: int | None = None
    ) -> Tokenizer:
        """Learn a vocabulary; the order of the captions does not matter, ties are broken by spelling.

        Args:
            captions: The captions of the training split, and of no other.
            kind: ``words``, or ``bpe``: byte-level pieces (Sennrich et al. 2016), which know every text.
            min_count: Words (merges of pieces) seen less often are left out.
            max_size: Tokens at most, specials included; ``bpe`` takes 4,000 when not told.

        Raises:
            ConfigError: an argument is out of range.
            DataError: no word is frequent enough.
        """
        smallest = _SMALLEST_BPE if kind == "bpe" else len(SPECIALS) + 1
        if kind not in _MODELS.values():
            raise ConfigError(f"unknown kind of tokenizer '{kind}'", expected="'words' or 'bpe'")
        if min_count < 1:
            raise ConfigError(
                "tokenizer min_count is out of range", found=str(min_count), expected="1 or more"
            )
        if max_size is not None and max_size < smallest:
            expected = f"{smallest} or more for kind '{kind}'"
            raise ConfigError("tokenizer max_size is out of range", found=str(max_size), expected=expected)
        fit = _fit_words if kind == "words" else _fit_pieces
        return cls(fit(captions, min_count, max_size), kind)

    @property
    def size(self) -> int:
        """How many tokens there are, specials included: the width V of the logits."""
        return int(self._library.get_vocab_size())

    @cached_property
    def _tokens(self) -> list[str]:
        vocabulary = self._library.get_vocab()
        return sorted(vocabulary, key=vocabulary.__getitem__)

    @property
    def sha256(self) -> str:
        """Hash of what decides every encoding: kind, tokens in order of their ids, merges."""
        model = json.loads(self._library.to_str())["model"]
        return sha256_json([self.kind, self._tokens, model.get("merges", [])])

    def encode(self, text: str) -> list[int]:
        """Return the ids of a caption's tokens without specials."""
        ids: list[int] = self._library.encode(_well_formed(text), add_special_tokens=False).ids
        return ids

    def word_groups(self, ids: Iterable[int]) -> list[list[int]]:
        """Return for each word of `words` the positions in ``ids`` it is made of; specials belong to none."""
        groups: list[list[int]] = []
        for position, index in enumerate(ids):
            if index < len(SPECIALS):
                continue
            begins = self.kind == "words" or self._tokens[index].startswith("Ġ") or not groups
            if begins:
                groups.append([position])
            else:
                groups[-1].append(position)
        return groups

    def words(self, ids: Iterable[int]) -> list[str]:
        """Return the words of a caption, specials skipped (``'s`` is one in a vocabulary of words)."""
        listed = list(ids)
        return [self._spell([listed[place] for place in group]) for group in self.word_groups(listed)]

    def _spell(self, ids: list[int]) -> str:
        if self.kind == "words":
            return self._tokens[ids[0]]
        # A model may say half a character; U+FFFD, which stands for it, is in no normal form.
        return str(self._library.decode(ids)).replace("\ufffd", "").strip()

    def decode(self, ids: Iterable[int]) -> str:
        """Return the caption of these ids, specials skipped."""
        if self.kind == "words":
            return " ".join(self.words(ids)).replace(" '", "'").lstrip("'")
        return self._spell([index for index in ids if index >= len(SPECIALS)])

    def save(self, path: Path) -> None:
        """Write ``tokenizer.json`` in the library's own form, atomically."""
        write_text(path, self._library.to_str(pretty=True) + "\n")

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read what `save` wrote.

        Raises:
            CheckpointError: the file is missing, cut short, or not a tokenizer of showtell.
        """
        try:
            text = path.read_text(encoding="utf-8")
            library = tokenizers.Tokenizer.from_str(text)
        except FileNotFoundError as error:
            raise CheckpointError(f"cannot read the tokenizer {path}", found="no such file") from error
        except Exception as error:  # the library raises bare Exception
            mend = "Copy the checkpoint again"
            raise CheckpointError(f"cannot read the tokenizer {path}", found=str(error), mend=mend) from error
        return cls(library, _check(library, path))


def _check(library: tokenizers.Tokenizer, path: Path) -> Kind:
    """Return the kind of a tokenizer that is ours in every part."""

    def refuse(found: str, expected: str) -> CheckpointError:
        mend = "Use the tokenizer.json that was saved with the checkpoint"
        return CheckpointError(
            f"{path} is not a tokenizer of showtell", found=found, expected=expected, mend=mend
        )

    parts: dict[str, Any] = json.loads(library.to_str())
    kind = _MODELS.get(parts["model"]["type"])
    if kind is None:
        raise refuse(f"model {parts['model']['type']}", "WordLevel or BPE")
    vocabulary: dict[str, int] = parts["model"]["vocab"]
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise refuse("ids with gaps or repeats", "the ids 0, 1, 2 and so on")
    first = sorted(vocabulary, key=vocabulary.__getitem__)[: len(SPECIALS)]
    if tuple(first) != SPECIALS:
        raise refuse(f"first tokens {first}", f"{list(SPECIALS)}")
    expected_kind: Kind = "words" if kind == "words" else "bpe"
    ours = json.loads(_library_for(library.model, expected_kind).to_str())
    for part in ("normalizer", "pre_tokenizer", "decoder", "added_tokens"):
        if parts[part] != ours[part]:
            raise refuse(f"another {part}", "the one that this version of showtell writes")
    return expected_kind

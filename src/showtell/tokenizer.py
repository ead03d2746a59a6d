"""Captions to token ids and back, with the ``tokenizers`` library.

A caption is first normalized (lower case, no punctuation, single spaces), and ``decode(encode(caption))`` returns the
normalized caption. Vocabularies of words and of byte-level pieces differ only in how it is split. The normalized text
cannot contain the four special tokens, so user text never becomes one of them.

The Penn Treebank tokenizer of the metrics finds the same words in the normalized and the original caption: hyphens
and apostrophes inside words stay (``t-shirt``, ``man's``), and ``man 's``, as captions often have it, is joined. In a
word vocabulary ``'s`` is a token, as in Penn Treebank.
"""

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

_MODELS: dict[str, Kind] = {"WordLevel": "words", "BPE": "bpe"}
_MIN_BPE_SIZE = len(SPECIALS) + 256
_DEFAULT_BPE_SIZE = 4000
_WORD = r"[\p{L}\p{M}\p{N}]"
_CLITIC = r"'(?:s|m|d|re|ll|ve)"


def _normalizer() -> normalizers.Normalizer:
    def replace(pattern: str, content: str) -> normalizers.Normalizer:
        return normalizers.Replace(Regex(pattern), content)

    return normalizers.Sequence(
        [
            # Before NFKC, which turns an accent typed as an apostrophe into a space and an accent.
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


def _word_splitter() -> pre_tokenizers.PreTokenizer:
    clitic = pre_tokenizers.Split(Regex(rf"{_CLITIC}(?!.)"), "isolated")
    return pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), clitic])


def _piece_splitter() -> pre_tokenizers.PreTokenizer:
    words = pre_tokenizers.Split(Regex(" ?[^ ]+"), "isolated")
    return pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)])


def _replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which no encoding represents, by U+FFFD, which normalization drops."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_NORMALIZER = _normalizer()


def normalize(text: str) -> str:
    """Return the normalized caption; never fails, and is idempotent."""
    return str(_NORMALIZER.normalize_str(_replace_surrogates(text)))


def _build(model: models.Model, kind: Kind) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = _normalizer()
    tokenizer.pre_tokenizer = _word_splitter() if kind == "words" else _piece_splitter()
    if kind == "bpe":
        tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _fit_words(captions: Iterable[str], min_count: int, max_size: int | None) -> tokenizers.Tokenizer:
    splitter = _word_splitter()
    counts = Counter(word for text in captions for word, _ in splitter.pre_tokenize_str(normalize(text)))
    by_frequency = sorted(counts, key=lambda word: (-counts[word], word))
    words = [word for word in by_frequency if counts[word] >= min_count]
    if not words:
        raise DataError(
            "cannot fit a vocabulary",
            found=f"{len(counts)} distinct words, none of them {min_count} times",
            mend="Use more captions, or lower min_count",
        )
    kept = words if max_size is None else words[: max_size - len(SPECIALS)]
    vocabulary = {word: index for index, word in enumerate((*SPECIALS, *kept))}
    return _build(models.WordLevel(vocabulary, unk_token=SPECIALS[3]), "words")


def _fit_pieces(captions: Iterable[str], min_count: int, max_size: int | None) -> tokenizers.Tokenizer:
    trainer = trainers.BpeTrainer(
        vocab_size=max_size or _DEFAULT_BPE_SIZE,
        min_frequency=min_count,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    trained = _build(models.BPE(), "bpe")
    trained.train_from_iterator(sorted(normalize(text) for text in captions), trainer)
    # The trainer also makes the specials match inside user text; only its pieces and merges are used.
    learned = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) for pair in learned["merges"]]
    return _build(models.BPE(learned["vocab"], merges), "bpe")


class Tokenizer:
    """A fitted vocabulary; the ids of ``<pad>``, ``<bos>``, ``<eos>`` and ``<unk>`` are 0, 1, 2 and 3."""

    pad_id, bos_id, eos_id, unk_id = range(4)

    def __init__(self, tokenizer: tokenizers.Tokenizer, kind: Kind) -> None:
        self._tokenizer = tokenizer
        self.kind = kind

    @classmethod
    def fit(
        cls, captions: Iterable[str], *, kind: Kind = "words", min_count: int = 5, max_size: int | None = None
    ) -> "Tokenizer":
        """Learn a vocabulary of words, or of byte-level pieces of any text (``bpe``, Sennrich et al. 2016).

        The order of the captions does not matter, ties are broken alphabetically. ``min_count`` is that of a word or
        a merge; ``max_size`` includes the specials, None means no limit for words and 4,000 for ``bpe``.

        Raises:
            ConfigError: an argument is out of range.
            DataError: no word is frequent enough.
        """
        min_size = _MIN_BPE_SIZE if kind == "bpe" else len(SPECIALS) + 1
        if kind not in _MODELS.values():
            raise ConfigError(f"unknown tokenizer kind '{kind}'", expected="'words' or 'bpe'")
        if min_count < 1:
            what = "tokenizer min_count is out of range"
            raise ConfigError(what, found=str(min_count), expected="1 or more")
        if max_size is not None and max_size < min_size:
            expected = f"{min_size} or more for kind '{kind}'"
            raise ConfigError("tokenizer max_size is out of range", found=str(max_size), expected=expected)
        fit = _fit_words if kind == "words" else _fit_pieces
        return cls(fit(captions, min_count, max_size), kind)

    @property
    def size(self) -> int:
        """Number of tokens V, specials included."""
        return int(self._tokenizer.get_vocab_size())

    @cached_property
    def _tokens(self) -> list[str]:
        vocabulary = self._tokenizer.get_vocab()
        return sorted(vocabulary, key=vocabulary.__getitem__)

    @property
    def sha256(self) -> str:
        """Hash of everything that determines the encoding: kind, tokens in order of their ids, merges."""
        model = json.loads(self._tokenizer.to_str())["model"]
        return sha256_json([self.kind, self._tokens, model.get("merges", [])])

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a caption, without specials."""
        ids: list[int] = self._tokenizer.encode(_replace_surrogates(text), add_special_tokens=False).ids
        return ids

    def word_groups(self, ids: Iterable[int]) -> list[list[int]]:
        """Return the positions in ``ids`` of each word of `words`; specials belong to none."""
        groups: list[list[int]] = []
        for position, index in enumerate(ids):
            if index < len(SPECIALS):
                continue
            if self.kind == "words" or self._tokens[index].startswith("Ġ") or not groups:
                groups.append([position])
            else:
                groups[-1].append(position)
        return groups

    def words(self, ids: Iterable[int]) -> list[str]:
        """Return the words of a caption without specials (``'s`` is a word in a word vocabulary)."""
        ids = list(ids)
        return [self._to_text([ids[position] for position in group]) for group in self.word_groups(ids)]

    def _to_text(self, ids: list[int]) -> str:
        if self.kind == "words":
            return self._tokens[ids[0]]
        # A model may generate half a character, which becomes U+FFFD; normalized text never contains it.
        return str(self._tokenizer.decode(ids)).replace("\ufffd", "").strip()

    def decode(self, ids: Iterable[int]) -> str:
        """Return the caption of token ids, without specials."""
        if self.kind == "words":
            return " ".join(self.words(ids)).replace(" '", "'").lstrip("'")
        return self._to_text([index for index in ids if index >= len(SPECIALS)])

    def save(self, path: Path) -> None:
        """Write ``tokenizer.json`` in the library's own format, atomically."""
        write_text(path, self._tokenizer.to_str(pretty=True) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Read what `save` wrote.

        Raises:
            CheckpointError: the file is missing, incomplete, or not from showtell.
        """
        try:
            tokenizer = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise CheckpointError(f"cannot read the tokenizer {path}", found="no such file") from error
        except Exception as error:  # the library raises bare Exception
            mend = "Copy the checkpoint again"
            raise CheckpointError(f"cannot read the tokenizer {path}", found=str(error), mend=mend) from error
        return cls(tokenizer, _check(tokenizer, path))


def _check(tokenizer: tokenizers.Tokenizer, path: Path) -> Kind:
    """Return the kind of a tokenizer after checking that showtell wrote all its parts."""

    def refuse(found: str, expected: str) -> CheckpointError:
        mend = "Use the tokenizer.json that was saved with the checkpoint"
        return CheckpointError(
            f"{path} is not a showtell tokenizer", found=found, expected=expected, mend=mend
        )

    parts: dict[str, Any] = json.loads(tokenizer.to_str())
    kind = _MODELS.get(parts["model"]["type"])
    if kind is None:
        raise refuse(f"model {parts['model']['type']}", "WordLevel or BPE")
    vocabulary: dict[str, int] = parts["model"]["vocab"]
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise refuse("ids with gaps or duplicates", "the ids 0, 1, 2 and so on")
    first = sorted(vocabulary, key=vocabulary.__getitem__)[: len(SPECIALS)]
    if tuple(first) != SPECIALS:
        raise refuse(f"first tokens {first}", f"{list(SPECIALS)}")
    expected = json.loads(_build(tokenizer.model, kind).to_str())
    for part in ("normalizer", "pre_tokenizer", "decoder", "added_tokens"):
        if parts[part] != expected[part]:
            raise refuse(f"another {part}", "the one that this version of showtell writes")
    return kind

"""Penn Treebank tokens exactly as coco-caption makes them, without Java.

Line breaks inside a caption become spaces first, so that no caption shifts its neighbors; the reference loses count
there. The text between two spaces, a chunk, is tokenized once and cached, unless its context could matter. So a batch
of captions is split at its spaces at once, and is numbers afterwards.
"""

import re
from array import array
from collections.abc import Callable, Sequence

import numpy as np

from showtell.metrics.ngrams import Captions, Integers, ragged_arange
from showtell.metrics.ptb_rules import CONTEXT, PLAIN, PLAIN_OWNER, SPECIAL_WORDS, rules

VERSION = "ptb-3.4.1"
_BREAKS = "\n\r\x0b\x0c\u2028\u2029"
_BREAK = re.compile(f"[{_BREAKS}]")
_DROPPED = frozenset(["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", *".?!,:-;", "--", "..."])
MAX_CHUNKS = 1 << 15
_END = "\n"
# Marks of chunks whose caption must be tokenized as a whole: alone, or where one ends in a full stop and the next
# begins with one
_CONTEXT, _BEGINS, _ENDS = 1, 2, 4


def tokenize(captions: Sequence[str]) -> list[list[str]]:
    """Return the tokens of each caption: lower-case, punctuation dropped. Each is tokenized on its own."""
    vocab = TokenVocab()
    return vocab.detokenize_ids(vocab.tokens(captions))


class TokenVocab:
    """Numbers of tokens, in the order of their first occurrence; 0 is the empty token.

    ``tokenize`` returns the tokens of a caption, without spaces inside; None: Penn Treebank tokens.
    """

    def __init__(self, tokenize: Callable[[str], list[str]] | None = None) -> None:
        self._tokenize = tokenize
        self.texts = [""]  # the token of each number
        self._numbers = {"": 0}
        self._words: dict[int, list[int]] = {}
        self._chunks = _Chunks(self)

    def tokens(self, captions: Sequence[str]) -> Captions:
        """Return the numbers of each caption's tokens."""
        if self._tokenize is not None:
            return Captions.of([list(map(self.number, self._tokenize(caption))) for caption in captions])
        if len(self._chunks) > MAX_CHUNKS:
            self._chunks = _Chunks(self)
        return self._chunks.tokens(captions)

    def words(self, tokens: Captions) -> Captions:
        """Split tokens at spaces inside them: "2 1/2" is two words to BLEU and CIDEr and one to ROUGE-L."""
        odd = np.flatnonzero(np.isin(tokens.words, list(self._words)))
        if not len(odd):
            return tokens
        parts = [self._words[number] for number in tokens.words[odd].tolist()]
        many = np.ones(len(tokens.words), np.int64)
        many[odd] = [len(part) for part in parts]
        words = np.repeat(tokens.words, many)
        words[np.isin(words, list(self._words))] = [number for part in parts for number in part]
        caption = np.repeat(np.arange(len(tokens)), tokens.lengths)
        return Captions(words, np.bincount(caption, many, len(tokens)).astype(np.int64))

    def detokenize_ids(self, tokens: Captions) -> list[list[str]]:
        """Return the tokens as text."""
        words = [self.texts[number] for number in tokens.words.tolist()]
        ends = np.cumsum(tokens.lengths).tolist()
        return [words[end - length : end] for end, length in zip(ends, tokens.lengths.tolist(), strict=True)]

    def number(self, token: str) -> int:
        """Return the number of a token, a new one for a new token."""
        number = self._numbers.setdefault(token, len(self.texts))
        if number == len(self.texts):
            self.texts.append(token)
            words = token.split()
            if words != [token]:
                self._words[number] = [self.number(word) for word in words]
        return number


class _Chunks(dict[str, int]):
    """Chunks, numbered, with the tokens of each."""

    def __init__(self, vocab: TokenVocab) -> None:
        super().__init__({_END: 0})
        self._vocab = vocab
        # For each chunk: where its tokens begin, their number, and its marks
        self._pieces, self._start, self._many = array("q"), array("q", [0]), array("q", [0])
        self._marks = array("b", [0])

    def __missing__(self, chunk: str) -> int:
        word = chunk[:-1] if chunk[-1:] in (".", ",") else chunk
        owner = PLAIN_OWNER.fullmatch(chunk)
        marks = _ENDS * (chunk[-1:] == ".")
        if owner and owner[1].lower() not in SPECIAL_WORDS:
            tokens = [owner[1].lower(), "'s"]
        elif PLAIN.fullmatch(word) and word.lower() not in SPECIAL_WORDS:
            tokens = [word.lower()]
        else:
            tokens = _lex(chunk)
            marks |= _BEGINS * (chunk[:1] == ".") | _CONTEXT * (CONTEXT.search(chunk) is not None)
        number = self[chunk] = len(self._start)
        self._start.append(len(self._pieces))
        self._many.append(len(tokens))
        self._marks.append(marks)
        self._pieces.extend(map(self._vocab.number, tokens))
        return number

    def tokens(self, captions: Sequence[str]) -> Captions:
        """Return the tokens of each caption."""
        text = _END.join(captions)
        if sum(map(text.count, _BREAKS)) >= max(len(captions), 1):
            captions = [_BREAK.sub(" ", caption) for caption in captions]
            text = _END.join(captions)
        split = text.replace(_END, f" {_END} ").split(" ")
        chunks = np.fromiter(map(self.__getitem__, split), np.int64, len(split))
        del split
        caption = np.cumsum(chunks == 0)
        many, pieces = np.array(self._many)[chunks], np.array(self._pieces)
        start = np.array(self._start)[chunks]
        marks = np.array(self._marks)[chunks]
        context = marks & _CONTEXT != 0
        context[1:] |= (marks[:-1] & _ENDS != 0) & (marks[1:] & _BEGINS != 0)
        if context.any():
            # All tokens of these captions are those of their first chunk
            apart = np.unique(caption[context])
            many[np.isin(caption, apart)] = 0
            wholes = [[self._vocab.number(token) for token in _lex(captions[at])] for at in apart.tolist()]
            first = np.searchsorted(caption, apart)
            whole = Captions.of(wholes)
            start[first] = len(pieces) + np.cumsum(whole.lengths) - whole.lengths
            many[first] = whole.lengths
            pieces = np.concatenate((pieces, whole.words))
        tokens: Integers = pieces[np.repeat(start, many) + ragged_arange(many)]
        return Captions(tokens, np.bincount(caption, many, len(captions)).astype(np.int64)[: len(captions)])


def _lex(text: str) -> list[str]:
    tokens: list[str] = []
    start, end = 0, len(text)
    text += "\n"
    while start < end:
        longest, token, normal = 0, text[start], None
        for pattern, normalize in rules():
            match = pattern.match(text, start)
            if match and match.end() - start > longest:
                longest, token, normal = match.end() - start, match["token"], normalize
        start += len(token)
        if normal and (normalized := normal(token).lower()):
            tokens.append(normalized)
    if tokens:
        # The reference's wrapper strips its line, and a token may end in a space that is not plain
        tokens[-1] = tokens[-1].rstrip()
    return [token for token in tokens if token and token not in _DROPPED]

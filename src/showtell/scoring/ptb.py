"""Penn Treebank tokens exactly as coco-caption makes them, without Java.

Line breaks inside a caption become spaces before anything else, so that no caption can shift its neighbours; the
reference loses count there. Most captions are words between spaces, and few words are new: what stands between two
spaces is tokenised once and remembered, unless the text around it could matter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from showtell.scoring.ptb_rules import CONTEXT, PLAIN, RULES, SPECIAL_WORDS

_BREAKS = re.compile("[\n\r\x0b\x0c\u2028\u2029]")
_DROPPED = frozenset(["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", *".?!,:-;", "--", "..."])


def tokenize(captions: Sequence[str]) -> list[list[str]]:
    """Return the tokens of each caption: lower-case, punctuation dropped. Each is tokenised on its own."""
    return [_tokenize(_BREAKS.sub(" ", caption)) for caption in captions]


def _tokenize(text: str) -> list[str]:
    if CONTEXT.search(text):
        return _lex(text)
    return [token for chunk in text.split(" ") for token in _lex_chunk(chunk)]


@lru_cache(maxsize=1 << 17)
def _lex_chunk(chunk: str) -> tuple[str, ...]:
    word = chunk[:-1] if chunk[-1:] in (".", ",") else chunk
    if PLAIN.fullmatch(word) and word.lower() not in SPECIAL_WORDS:
        return (word.lower(),)
    return tuple(_lex(chunk))


def _lex(text: str) -> list[str]:
    tokens: list[str] = []
    place, end = 0, len(text)
    text += "\n"
    while place < end:
        longest, token, normal = 0, text[place], None
        for rule in RULES:
            match = rule.token.match(text, place)
            if match and match.end() - place > longest:
                longest, token, normal = match.end() - place, match["token"], rule.normal
        place += len(token)
        text_of_token = normal(token).lower() if normal else ""
        if text_of_token:
            tokens.append(text_of_token)
    if tokens:
        # The reference's wrapper strips its line, and a token may end in a space that is not plain
        tokens[-1] = tokens[-1].rstrip()
    return [token for token in tokens if token and token not in _DROPPED]

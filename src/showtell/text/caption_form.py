"""How each kind of tokenizer normalizes a caption, splits it into tokens, and joins tokens to text again."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from showtell.config.tokenizer import CasingLanguage, TokenizerKind
from showtell.errors import import_extra
from showtell.text.normal_form import (
    CLITIC,
    CURRENCY,
    NO_SPACES,
    PERCENT,
    UNSPACED,
    apply_normalizer,
    caption_normalizer,
    earlier_normalizer,
    plain_normal_form,
    tag_normalizer,
)

_MAY_SPLIT = re.compile("['%‰$€£¥]")
_UNSPACED = re.compile(f"[{UNSPACED}]")
_JOINED = re.compile(rf" (?=')|(?<=\d) (?={PERCENT}(?![^ {UNSPACED}]))|(?<={CURRENCY}) (?=\d)")
_NO_SPACES = re.compile(NO_SPACES)
_EMOTICON = re.compile(r"[^\s,_]_[^\s,_]")  # such as ^_^


@dataclass(frozen=True)
class CaptionForm:
    """The text side of a tokenizer; ``earlier`` is that of captioners whose normal form drops signs."""

    kind: TokenizerKind
    language: CasingLanguage | None = None
    earlier: bool = False

    @cached_property
    def _normalizer(self) -> normalizers.Normalizer:
        if self.earlier:
            return earlier_normalizer()
        if self.kind == "tags":
            return tag_normalizer(self.language)
        return caption_normalizer(self.language, spaced=self.kind in {"words", "bpe"})

    @cached_property
    def _pre_tokenizer(self) -> pre_tokenizers.PreTokenizer:
        def isolate(pattern: str) -> pre_tokenizers.PreTokenizer:
            return pre_tokenizers.Split(Regex(pattern), "isolated")

        if self.kind == "bpe":
            pieces = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)
            return pre_tokenizers.Sequence([isolate(" ?[^ ]+"), pieces])
        if self.kind == "characters":
            return isolate(r"\X")
        if self.kind == "tags":
            return pre_tokenizers.Split(Regex(", "), "removed")
        unspaced = [isolate(f"[{UNSPACED}]+")] if self.kind == "icu" else []
        parts = [pre_tokenizers.WhitespaceSplit(), *unspaced, isolate(f"{CLITIC}(?!.)")]
        if not self.earlier:
            parts.append(isolate(rf"(?<=\p{{Nd}}){PERCENT}(?!.)|(?<!.){CURRENCY}(?=\p{{Nd}})"))
        return pre_tokenizers.Sequence(parts)

    def pipeline(self, model: models.Model) -> tokenizers.Tokenizer:
        """Return the library's tokenizer with this form; splitting into words is ours (`split`), but for ``bpe``."""
        pipeline = tokenizers.Tokenizer(model)
        pipeline.normalizer, pipeline.pre_tokenizer = self._normalizer, self._pre_tokenizer
        if self.kind == "bpe":
            pipeline.decoder = decoders.ByteLevel()
        return pipeline

    def normalize(self, text: str) -> str:
        """Return the normal form; never fails, and is idempotent."""
        if self.kind == "tags":
            return ", ".join(_split_tags(apply_normalizer(self._normalizer, text)))
        plain = plain_normal_form(text) if self.language is None else None
        if plain is not None:
            return plain
        once = apply_normalizer(self._normalizer, text)
        # The earlier form keeps an apostrophe or hyphen for the accent before it, and then drops the accent.
        return apply_normalizer(self._normalizer, once) if self.earlier and not text.isascii() else once

    def split(self, normalized: str) -> list[str]:
        """Return the tokens of normalized text (not of ``bpe``); `join` gives the text again.

        Raises:
            MissingExtraError: ``icu`` needs the extra ``languages``, and there is text to segment.
        """
        if self.kind == "words" and not _MAY_SPLIT.search(normalized):
            return normalized.split()
        parts = [part for part, _ in self._pre_tokenizer.pre_tokenize_str(normalized)]
        if self.kind != "icu":
            return parts
        return [word for part in parts for word in (_segment(part) if _UNSPACED.match(part) else (part,))]

    def join(self, tokens: Sequence[str]) -> str:
        """Return the text of tokens; needs no segmenter."""
        if self.kind == "tags":
            return ", ".join(tokens)
        if self.kind == "characters":
            return "".join(tokens).strip()
        text = _JOINED.sub("", " ".join(tokens)).lstrip("'")
        return _NO_SPACES.sub("", text) if self.kind == "icu" else text

    def group_words(self, tokens: Sequence[str]) -> list[list[int]]:
        """Return the positions of the tokens of each word (not of ``bpe``): one each, but for ``characters``."""
        if self.kind != "characters":
            return [[position] for position in range(len(tokens))]
        groups: list[list[int]] = []
        in_word = False
        for position, token in enumerate(tokens):
            if token.isspace():
                in_word = False
                continue
            unspaced = _UNSPACED.match(token) is not None
            if in_word and not unspaced:
                groups[-1].append(position)
            else:
                groups.append([position])
            in_word = not unspaced
        return groups


_WORD_KINDS: tuple[TokenizerKind, ...] = ("words", "icu", "characters", "tags")
_LANGUAGES: tuple[CasingLanguage | None, ...] = (None, "tr")
KNOWN_FORMS: dict[str, list[CaptionForm]] = {
    "WordLevel": [
        *(CaptionForm(kind, language) for kind in _WORD_KINDS for language in _LANGUAGES),
        CaptionForm("words", earlier=True),
    ],
    "BPE": [*(CaptionForm("bpe", language) for language in _LANGUAGES), CaptionForm("bpe", earlier=True)],
}
"""The forms that a tokenizer.json can have, by its model; their stored parts differ."""


def _segment(text: str) -> list[str]:
    breaker: Callable[[str, str], Any] = import_extra(
        "icu4py.breakers", extra="languages", need="the tokenizer kind icu"
    ).WordBreaker
    return list(breaker(text, "und"))


def _split_tags(text: str) -> list[str]:
    """Return the tags of a list: separated by commas, or by spaces where it has underscores and no comma."""
    tags = text.split("," if "," in text or "_" not in text else None)
    spaced = (
        tag.strip() if _EMOTICON.fullmatch(tag.strip()) else " ".join(tag.replace("_", " ").split())
        for tag in tags
    )
    return [tag for tag in spaced if tag]

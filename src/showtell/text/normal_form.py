"""The normal form of captions: lower case, no punctuation, single spaces; letters, numbers and signs are kept.

It drops the punctuation that the Penn Treebank tokenizer of the metrics drops, so that this tokenizer finds the same
tokens in the normalized and in the original caption, but for those with punctuation of their own: abbreviations
(``Mr.``, ``D.C.``), web addresses, ``'n'``, an apostrophe and hyphens in one word (``'s-eye-view``), and the
parentheses that the tokenizer keeps. These are in 24 of 35,005 captions of Flickr8k; in the earlier form, which drops
signs, 40 captions differ. Composed characters stay as they are typed (NFC, not NFKC: ``½`` and ``m²`` are not ``1⁄2``
and ``m2``), but those that are letters of another width or shape are folded to the plain ones.

=======================================  =====================================
``A man 's T-shirt , don’t -- "quoted"``  ``a man's t-shirt don't quoted``
``50 % of $ 5, 2.3 m², 20°C, 1/2 & ½``    ``50% of $5 2.3 m² 20 °c 1/2 & ½``
``O | ||``                                ``o | ||``
=======================================  =====================================
"""

import re
import unicodedata
from functools import cache

from tokenizers import Regex, normalizers

from showtell.config.tokenizer import CasingLanguage

LETTER = r"\p{L}\p{M}\p{N}"
CLITIC = r"'(?:s|m|d|re|ll|ve)"
_WORD = rf"[{LETTER}]"
SIGNS = "%&#@*/\\_"
"""Signs that Unicode counts as punctuation."""
_KEPT = rf"{LETTER}\p{{S}}'\-{re.escape(SIGNS)}"
_SIGN = r"[[\p{So}\p{Sk}\p{Sm}]&&[^+°]]"
# Letters, marks and digits of scripts without spaces between words: Han, kana, bopomofo, Thai, Lao, Burmese, Khmer
UNSPACED = (
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303b\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u312f"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e01-\u0e3a\u0e40-\u0eff\u1000-\u109d"
    "\u1780-\u17da\u17dc-\u17ff\ua9e0-\ua9ff\uaa60-\uaa76\uaa7a-\uaa7f\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
PERCENT, CURRENCY = "[%‰]", "[$€£¥]"
# Angle brackets next to a letter would be dropped, see BRACKETS.
NO_SPACES = f"(?<=[{UNSPACED}]) (?![<>])|(?<![<>]) (?=[{UNSPACED}])"
_UNITS = rf"(?<=\p{{Nd}}) (?={PERCENT}(?![^ {UNSPACED}]))|(?<={CURRENCY}) (?=\p{{Nd}})"

# Letters and digits of another width or shape. The other compatibility characters, such as ½ ² ℃ ①, are signs of
# their own. A full-width comma or colon between digits separates them, a plain one would join them.
_FOLDED_BLOCKS = (
    range(0x2F00, 0x2FE0),  # radicals
    range(0xFB00, 0xFE00),  # ligatures, Arabic forms
    range(0xFE70, 0xFF00),
    range(0xFF01, 0xFFEF),  # full and half width
    range(0x1D400, 0x1D800),  # mathematical letters
)
_FOLDED = {
    code: unicodedata.normalize("NFKC", chr(code))
    for block in _FOLDED_BLOCKS
    for code in block
    if chr(code) not in "，："
}
# Greek accents; NFC makes them ` and ´, which are apostrophes here.
_FOLDED |= dict.fromkeys((0x1FEF, 0x1FFD), "'")
# A caption whose normal form needs no more than lower case and its words
_PLAIN = re.compile("[A-Za-z ,]*[ .]*")
_SENTENCE_MARK = re.compile(r"[.,!?;:…。，、！？；：·]+")
_WORD_OF_TWO = re.compile(r"[^\W\d_]{2}")
_DASH = re.compile("[-–—―~]+")
_QUOTE = re.compile(r"['\"`´‘-‟«»‹›「」『』〈〉《》【】()\[\]{}（）]+")


def fold(text: str) -> str:
    """Return text without other widths and shapes of letters, and without lone surrogates (U+FFFD instead)."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").translate(_FOLDED)


def replace(pattern: str, content: str) -> normalizers.Normalizer:
    """Return a normalizer that replaces the matches of a regular expression."""
    return normalizers.Replace(Regex(pattern), content)


def lower_case(language: CasingLanguage | None) -> list[normalizers.Normalizer]:
    """Return normalizers to composed lower case. The library's İ becomes two characters, i and a dot."""
    turkish = [replace("I", "ı")] if language else []
    return [normalizers.NFC(), *turkish, replace("İ", "i"), normalizers.Lowercase(), normalizers.NFC()]


# Without the brackets of text such as <unk>, which could be a special token
BRACKETS = r"</?(?=\p{L})|(?<=[\p{L}\p{M}])/?>"
# Soft hyphens and joiners inside a word; variation selectors and keycaps of emoji
INVISIBLE = r"[\p{Cf}\p{Me}\x{FE00}-\x{FE0F}\x{E0100}-\x{E01EF}]+"


def _plain_signs() -> list[normalizers.Normalizer]:
    """Return the steps that make apostrophes and hyphens plain, and drop invisible characters."""
    return [
        replace(r"[\u2018\u2019\u201B\u0060\u00B4]", "'"),
        replace(r"[\u2010\u2011]", "-"),
        replace(INVISIBLE, ""),
    ]


@cache
def caption_normalizer(language: CasingLanguage | None, *, spaced: bool) -> normalizers.Normalizer:
    """Return the normalizer of `fold`ed captions; ``spaced`` keeps the spaces within scripts that need none."""
    in_number = r"(?<!\p{N})[.,:]|[.,:](?!\p{N})"
    return normalizers.Sequence(
        [
            *_plain_signs(),
            *lower_case(language),
            replace(rf"(?<!{_WORD})\p{{M}}+", ""),
            replace(rf"(?:[^{_KEPT}.,:]|[\x{{FFFC}}\x{{FFFD}}]|{in_number}|{BRACKETS})+", " "),
            replace(rf"(?<={_WORD})(?={_SIGN})|(?<={_SIGN})(?={_WORD})|(?<=\p{{Nd}})(?=°)", " "),
            replace(r"(?<=[<>])(?=/)|(?<=/)(?=[<>])", " "),
            replace(r"['-]{2,}", " "),
            replace(rf"(?<={_WORD}) (?={CLITIC}(?![{LETTER}'-]))", ""),
            # A hyphen stays within a word, or as the minus of a number.
            replace(rf"(?<!{_WORD})'|['-](?!{_WORD})|(?<=[^{LETTER} ])-|(?<!{_WORD})-(?!\p{{Nd}})", " "),
            replace(r" +", " "),
            replace(_UNITS, ""),
            *([] if spaced else [replace(NO_SPACES, "")]),
            normalizers.Strip(),
        ]
    )


@cache
def tag_normalizer(language: CasingLanguage | None) -> normalizers.Normalizer:
    """Return the normalizer of `fold`ed lists of tags, before `split_tags`."""
    return normalizers.Sequence(
        [
            replace(INVISIBLE, ""),
            *lower_case(language),
            replace(r"[\n\r\x{FF0C}\x{3001}]+", ","),
            replace(r"\\+(?=[()])", ""),
            replace(rf"(?:[\p{{C}}\s\x{{FFFC}}\x{{FFFD}}]|{BRACKETS})+", " "),
            normalizers.Strip(),
        ]
    )


@cache
def earlier_normalizer() -> normalizers.Normalizer:
    """Return the normalizer of earlier captioners: NFKC, and no signs."""
    return normalizers.Sequence(
        [
            # Before NFKC, which turns an accent typed as an apostrophe into a space and an accent.
            *_plain_signs(),
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.NFKC(),
            replace(r"[^\p{L}\p{M}\p{N}'-]+", " "),
            replace(r"['-]{2,}", " "),
            replace(rf"(?<={_WORD}) (?={CLITIC}(?![\p{{L}}\p{{M}}\p{{N}}'-]))", ""),
            replace(rf"(?<!{_WORD})['-]|['-](?!{_WORD})", " "),
            replace(rf"(?<!{_WORD})\p{{M}}+", ""),
            replace(r" +", " "),
            normalizers.Strip(),
        ]
    )


def normalize(text: str) -> str:
    """Return the normal form of a caption with spaces between words; never fails, and is idempotent."""
    return apply_normalizer(caption_normalizer(None, spaced=True), text)


def apply_normalizer(normalizer: normalizers.Normalizer, text: str) -> str:
    """Return normalized text; never fails."""
    return str(normalizer.normalize_str(fold(text)))


def plain_normal_form(text: str) -> str | None:
    """Return the normal form of a caption of plain words (not Turkish ones); None if it needs the normalizer."""
    if not _PLAIN.fullmatch(text):
        return None
    return " ".join(text.lower().replace(",", " ").rstrip(" .").split())


def dropped_tokens(text: str) -> list[str]:
    """Return the parts of a caption, split at spaces, that its normal form drops, in their order.

    The usual punctuation of a sentence does not count: marks after a word, dashes between words, quotation marks and
    brackets. In a caption without a word of two letters, such as one of codes, all counts.
    """
    parts = text.split()
    if not _WORD_OF_TWO.search(text):
        return [part for part in parts if not normalize(part)]
    last = len(parts) - 1
    return [
        part
        for place, part in enumerate(parts)
        if not _QUOTE.fullmatch(part)
        and not (place > 0 and _SENTENCE_MARK.fullmatch(part))
        and not (0 < place < last and _DASH.fullmatch(part))
        and any(unicodedata.category(character)[0] in "PS" for character in part)
        and not normalize(part)
    ]

"""Tokenizers of scores beside Penn Treebank's: sacreBLEU's own, and none for text that is already tokenized.

As with Penn Treebank, tokens are lower case, and tokens of punctuation alone do not count: captioners generate none.
The Turkish letters ``ı`` and ``İ`` count as ``i``, so that the lower case of a language does not matter.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import partial
from importlib import metadata
from itertools import islice
from typing import get_args

from showtell.config.tokenizer import ScoreTokenizer
from showtell.errors import ConfigError, did_you_mean, import_extra
from showtell.metrics.ptb_tokenizer import VERSION
from showtell.text.normal_form import SIGNS, UNSPACED

SCORE_TOKENIZERS: tuple[ScoreTokenizer, ...] = get_args(ScoreTokenizer)
Tokenize = Callable[[str], list[str]]

_CLASSES = {
    "intl": ("tokenizer_intl", "TokenizerV14International"),
    "zh": ("tokenizer_zh", "TokenizerZh"),
    "ja": ("tokenizer_ja_mecab", "TokenizerJaMecab"),
    "char": ("tokenizer_char", "TokenizerChar"),
}
_UNSPACED_LETTER = re.compile(f"[{UNSPACED}]")
_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa]")
_HAN = re.compile("[\u4e00-\u9fff]")
_SAMPLE = 2_000
_LONG_TOKEN = 5


def load_tokenizer(name: str) -> tuple[Tokenize | None, str]:
    """Return the function of a tokenizer, None for ``ptb``, and its name and version for the signature.

    Raises:
        ConfigError: an unknown name.
        MissingExtraError: the tokenizer needs the extra ``languages``.
    """
    if name not in SCORE_TOKENIZERS:
        raise ConfigError(f"unknown tokenizer '{name}'", mend=did_you_mean(name, SCORE_TOKENIZERS))
    if name == "ptb":
        return None, VERSION
    if name == "none":
        return str.split, "none"
    need = f"the tokenizer {name}"
    if name == "ja":
        for package in ("MeCab", "ipadic"):
            import_extra(package, extra="languages", need=need)
    module, class_name = _CLASSES[name]
    library = import_extra(f"sacrebleu.tokenizers.{module}", extra="languages", need=need)
    call = getattr(library, class_name)()
    return partial(_tokens, call), f"{name}-sacrebleu-{metadata.version('sacrebleu')}"


def fitting_tokenizer(captions: Iterable[str]) -> ScoreTokenizer:
    """Return ``zh``, ``ja``, ``char`` or ``ptb``, by the script of most letters of the first captions."""
    text = "".join(islice(captions, _SAMPLE))
    unspaced, letters = len(_UNSPACED_LETTER.findall(text)), sum(map(str.isalpha, text))
    if 2 * unspaced < letters or not unspaced:
        return "ptb"
    if 10 * len(_KANA.findall(text)) > unspaced:
        return "ja"
    return "zh" if 2 * len(_HAN.findall(text)) > unspaced else "char"


def resolve_tokenizer(name: str, captions: Iterable[str]) -> str:
    """Return a tokenizer's name; for ``auto`` the fitting one."""
    return fitting_tokenizer(captions) if name == "auto" else name


def note_unspaced(name: str, tokens: Iterable[str]) -> str | None:
    """Return a note if most distinct tokens of a tokenizer are phrases of a script without spaces, else None."""
    some = [token for token in islice(tokens, _SAMPLE) if token]
    long = sum(len(_UNSPACED_LETTER.findall(token)) > _LONG_TOKEN for token in some)
    if 2 * long <= len(some):
        return None
    return (
        f"the captions have no spaces between words, so that the tokenizer {name} takes whole phrases for one word "
        f"and scores are near 0: choose --tokenizer {fitting_tokenizer(some)}"
    )


def _tokens(call: Callable[[str], str], caption: str) -> list[str]:
    lower = unicodedata.normalize("NFC", caption).replace("İ", "i").lower().replace("ı", "i")
    return [token for token in call(lower).split() if not all(map(_is_punctuation, token))]


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] == "P" and character not in SIGNS

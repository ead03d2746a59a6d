"""How captions become tokens: the ``tokenizer`` part of a recipe, and the tokenizers of scores."""

from typing import Literal

from pydantic import Field

from showtell.config.base import StrictModel

TokenizerKind = Literal["words", "bpe", "icu", "characters", "tags"]
CasingLanguage = Literal["tr"]
ScoreTokenizer = Literal["ptb", "intl", "zh", "ja", "char", "none"]


class TokenizerOptions(StrictModel):
    """How captions become tokens."""

    kind: TokenizerKind = Field(
        "words",
        description="words: separated by spaces; bpe: byte-pair encoding; icu: words, those of scripts without "
        "spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) found with ICU's dictionaries; characters: each one "
        "a token; tags: separated by commas",
    )
    language: CasingLanguage | None = Field(
        None,
        description="tr: lower case of Turkish and Azerbaijani (I becomes ı); null: of all other languages",
    )
    min_count: int = Field(
        5, ge=1, description="minimum occurrences of a token in the vocabulary, or of a merged pair (bpe)"
    )
    max_size: int | None = Field(
        None,
        ge=5,
        le=500_000,
        description="maximum vocabulary size in tokens; null: 4,000 for bpe, otherwise 500,000",
    )

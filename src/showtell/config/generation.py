"""Decoding options: the same class behind Python, the command line and whatever serves captions."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from showtell.config.base import StrictModel, describe_problems
from showtell.errors import ConfigError


class DecodingOptions(StrictModel):
    """How captions are chosen from what the decoder says."""

    method: Literal["beam", "greedy", "sample"] = Field("beam", description="how words are chosen")
    beam_size: int = Field(3, ge=1, le=64, description="beam width (method beam)")
    max_tokens: int = Field(20, ge=1, le=200, description="tokens at most, end of sentence not counted")
    min_tokens: int = Field(0, ge=0, le=200, description="tokens at least before the sentence may end")
    length_penalty: float = Field(
        1.0,
        ge=0.0,
        le=2.0,
        description="scores are divided by length**this; 0: sum, 1: mean of log-probabilities",
    )
    no_repeat_ngram_size: int = Field(0, ge=0, le=10, description="n-grams of this size never repeat; 0: off")
    samples: int = Field(1, ge=1, le=64, description="captions per picture (method sample)")
    temperature: float = Field(1.0, gt=0.0, le=10.0, description="divides the logits (method sample)")
    top_k: int = Field(0, ge=0, description="sample among the k likeliest tokens; 0: all")
    top_p: float = Field(1.0, gt=0.0, le=1.0, description="sample among the likeliest tokens of this mass")
    seed: int = Field(42, ge=0, description="seed of the sampling generator")

    @field_validator("min_tokens")
    @classmethod
    def _fits_max_words(cls, value: int, info: ValidationInfo) -> int:
        if value > info.data.get("max_tokens", value):
            raise ValueError(f"more than max_tokens, {info.data['max_tokens']}")
        return value


_BEAM_ONLY = frozenset({"beam_size"})
_SAMPLE_ONLY = frozenset({"samples", "temperature", "top_k", "top_p", "seed"})


def build_options(**values: Any) -> DecodingOptions:
    """Return decoding options from keywords.

    Raises:
        ConfigError: a keyword is unknown, of the wrong type or out of range; all problems in one message.
    """
    try:
        return DecodingOptions(**values)
    except ValidationError as error:
        raise describe_problems(error, DecodingOptions, "the decoding options") from error


def override(defaults: DecodingOptions, **values: Any) -> DecodingOptions:
    """Return ``defaults`` with some options replaced; an option of one method alone implies that method.

    Args:
        defaults: As a checkpoint has them.
        values: What is asked for now; ``beam_size=5`` implies beam search, ``temperature=0.7`` sampling.

    Raises:
        ConfigError: a keyword is unknown, of the wrong type or out of range, or the method is not clear.
    """
    implied = {
        method: sorted(names & values.keys())
        for method, names in (("beam", _BEAM_ONLY), ("sample", _SAMPLE_ONLY))
        if names & values.keys()
    }
    if "method" not in values and len(implied) > 1:
        found = "; ".join(f"{', '.join(names)} (method {method})" for method, names in implied.items())
        raise ConfigError(
            "the decoding options do not say one method", found=found, mend="Say which: method='sample'"
        )
    method = next(iter(implied), defaults.method)
    return build_options(**{**defaults.model_dump(), "method": method, **values})

"""Decoding options: one class behind Python, the command line and recipes."""

from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from showtell.config.base import Count, Fraction, StrictModel, Weight, describe_problems
from showtell.config.renamed import RENAMED_OPTIONS
from showtell.errors import ConfigError


class DecodingOptions(StrictModel):
    """How captions are generated from the decoder's predictions."""

    method: Literal["beam", "greedy", "sample"] = Field("beam", description="how each token is selected")
    beam_size: int = Field(3, ge=1, le=64, description="hypotheses kept at each step (method beam)")
    beam_groups: int = Field(
        1,
        ge=1,
        le=64,
        description="groups of the beam, each with beam_size / beam_groups hypotheses that differ from those of the "
        "groups before it (method beam)",
    )
    diversity_penalty: float = Field(
        0.5,
        ge=0.0,
        le=100.0,
        description="what a token's log-probability loses for each hypothesis of an earlier group that has it at "
        "this place (beam_groups)",
    )
    max_tokens: int = Field(
        20,
        ge=1,
        le=200,
        description="maximum tokens of a caption, without the end-of-caption token, which alone may follow then",
    )
    min_tokens: int = Field(
        0,
        ge=0,
        le=200,
        description="minimum tokens before a caption may end; 0: one, unless no token is allowed",
    )
    length_penalty: float = Field(
        1.0,
        ge=0.0,
        le=2.0,
        description="a caption's score is its log-probability divided by its length to this power; 0: the sum, "
        "1: the mean",
    )
    no_repeat_ngram_size: int = Field(
        0, ge=0, le=10, description="no n-gram of this many tokens occurs twice in a caption; 0: off"
    )
    repetition_penalty: float = Field(
        1.0,
        ge=1.0,
        le=10.0,
        description="the log-probability of a token that the caption has already counts this many times; 1: off",
    )
    beginning: str = Field("", max_length=500, description="words that each caption begins with")
    required: str = Field(
        "",
        max_length=500,
        description="words and phrases that occur in each caption, with commas between (beam)",
    )
    forbidden: str = Field(
        "", max_length=5000, description="words and phrases that never occur, with commas between"
    )
    bad_endings: bool = Field(
        True, description="captions may end on a word that needs another, such as a, of or with"
    )
    samples: int = Field(1, ge=1, le=64, description="captions drawn per image (method sample)")
    without_replacement: bool = Field(
        False, description="no caption is drawn twice, by stochastic beam search (method sample)"
    )
    temperature: float = Field(1.0, gt=0.0, le=10.0, description="divisor of the logits (method sample)")
    top_k: Count = Field(0, description="sample among this many most likely tokens; 0: all")
    top_p: Fraction = Field(1.0, description="nucleus sampling: smallest set of tokens with this probability")
    seed: Count = Field(42, description="seed of the sampling generator")
    retrieval: Literal["off", "rerank"] = Field(
        "off",
        description="rerank: order the captions by those of similar images in the captioner's datastore too",
    )
    retrieval_weight: float = Field(
        64.0, ge=0.0, le=1000.0, description="weight of the similarity to their captions, which is 0 to 1"
    )
    neighbours: int = Field(
        60, ge=1, le=1000, description="images of the datastore whose captions are compared"
    )
    retrieve_caption: bool = Field(
        True, description="the best of their captions competes with the generated ones (retrieval rerank)"
    )

    unsure_below: Weight = Field(
        0.0,
        description="a caption with less confidence than this is not given, but that the captioner is unsure",
    )

    @field_validator("retrieval", mode="before")
    @classmethod
    def _read_off(cls, value: object) -> object:
        return "off" if value is False else value  # as YAML reads it

    @field_validator("required", "forbidden", mode="before")
    @classmethod
    def _joined(cls, value: Any) -> Any:
        words = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
        return ", ".join(value) if words else value

    @field_validator("required")
    @classmethod
    def _fits_method(cls, value: str, info: ValidationInfo) -> str:
        if value and info.data.get("method", "beam") != "beam":
            raise ValueError("only beam search can require words")
        return value

    @field_validator("beam_groups")
    @classmethod
    def _divides_the_beam(cls, value: int, info: ValidationInfo) -> int:
        if info.data.get("method", "beam") == "beam" and info.data.get("beam_size", value) % value:
            raise ValueError(f"beam_size, {info.data['beam_size']}, is no multiple of it")
        return value

    @field_validator("min_tokens")
    @classmethod
    def _fits_max_tokens(cls, value: int, info: ValidationInfo) -> int:
        if value > info.data.get("max_tokens", value):
            raise ValueError(f"more than max_tokens, {info.data['max_tokens']}")
        return value

    @property
    def has_constraints(self) -> bool:
        """Whether there are words that captions must have or must not have."""
        return bool(self.beginning or self.required or self.forbidden or not self.bad_endings)


_METHOD_OF = dict.fromkeys(
    ("beam_size", "beam_groups", "diversity_penalty", "required"), "beam"
) | dict.fromkeys(("samples", "seed", "temperature", "top_k", "top_p", "without_replacement"), "sample")
"""Method by option, for options of a single method."""
_OF_RETRIEVAL = ("retrieval_weight", "neighbours", "retrieve_caption")


def build_options(**values: Any) -> DecodingOptions:
    """Return decoding options from keywords.

    Raises:
        ConfigError: a keyword is unknown, of the wrong type or out of range; all problems in one message.
    """
    try:
        return DecodingOptions(**values)
    except ValidationError as error:
        raise describe_problems(error, DecodingOptions, "the decoding options", RENAMED_OPTIONS) from error


def override(defaults: DecodingOptions, **values: Any) -> DecodingOptions:
    """Return ``defaults`` with some options replaced.

    An option of a single method implies it: ``beam_size=5`` beam search, ``temperature=0.7`` sampling.

    Raises:
        ConfigError: a keyword is unknown, of the wrong type or out of range, the method is ambiguous, or the keyword
            is one of another method, or of retrieval or beam groups, which are off.
    """
    implied: dict[str, list[str]] = {}
    for name, method in _METHOD_OF.items():
        if values.get(name, "") != "":
            implied.setdefault(method, []).append(name)
    if "method" not in values and len(implied) > 1:
        found = "; ".join(f"{', '.join(names)} (method {method})" for method, names in implied.items())
        raise ConfigError(
            "conflicting decoding options", found=found, mend="Pass method=..., such as method='sample'"
        )
    chosen = next(iter(implied), defaults.method)
    options = build_options(**{**defaults.model_dump(), "method": chosen, **values})
    others = [
        name
        for name, method in _METHOD_OF.items()
        # A seed does no harm, and those who send every option with its usual value change nothing.
        if name in values and method != options.method and getattr(options, name) != getattr(defaults, name)
    ]
    if set(others) - {"seed"}:
        found = f"{', '.join(others)}, with method '{options.method}'"
        raise ConfigError("conflicting decoding options", found=found, mend="Omit them, or the method")
    ignored = [name for name in _OF_RETRIEVAL if name in values]
    if options.retrieval == "off" and ignored:
        raise ConfigError(
            "conflicting decoding options",
            found=f"{', '.join(ignored)}, with retrieval 'off'",
            mend="Omit them; or add retrieval 'rerank', with a captioner that has a datastore (showtell index)",
        )
    if options.beam_groups == 1 and "diversity_penalty" in values:
        mend = "Omit it; or add beam_groups, a divisor of beam_size"
        raise ConfigError("conflicting decoding options", found="diversity_penalty of one group", mend=mend)
    return options


def without_retrieval(options: DecodingOptions) -> DecodingOptions:
    """Return the options of a captioner that has no datastore, or none yet."""
    return options.model_copy(update={"retrieval": "off"})

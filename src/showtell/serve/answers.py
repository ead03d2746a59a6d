"""The JSON of answers: models for the API's description, and captions in their form."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field

from showtell.config.preprocessing import Preprocessing
from showtell.inference.caption import Caption
from showtell.inference.captioner import Captioner
from showtell.serve.decoding import DecodedImage
from showtell.serve.problems import ImageProblem, Problem

_DIGITS = 6


class Word(BaseModel):
    """A word and its log-probability."""

    text: str
    log_prob: float | None


class Alternative(BaseModel):
    """Another hypothesis of the beam, or another sample."""

    text: str
    score: float | None
    log_prob: float | None


class Attention(BaseModel):
    """Where the decoder attended to for each word."""

    grid: list[int] = Field(description="rows and columns of the regions", min_length=2, max_length=2)
    window: list[float] = Field(
        description="left, top, right, bottom: the part of the upright image that the regions cover, as fractions",
        min_length=4,
        max_length=4,
    )
    weights: list[list[float]] = Field(description="for each word the weights of the regions, row by row")


class NeighbourImage(BaseModel):
    """An image of the datastore whose captions spoke for the caption."""

    key: str
    similarity: float = Field(description="cosine of the images")
    fraction: float = Field(description="of what all neighbours added to the score")
    captions: list[str]


class CaptionAnswer(BaseModel):
    """The caption of an image."""

    text: str
    score: float | None = Field(
        description="log-probability with the length penalty, and the weight of retrieval"
    )
    log_prob: float | None
    words: list[Word]
    truncated: bool = Field(description="no token was allowed any more, and no end")
    alternatives: list[Alternative] | None = Field(
        None, description="on request; best first, this one included"
    )
    attention: Attention | None = Field(None, description="on request")
    neighbours: list[NeighbourImage] | None = Field(
        None, description="on request, from a captioner with a datastore"
    )


class FailedCaption(BaseModel):
    """In place of a caption: one image of several that cannot be captioned."""

    error: ImageProblem


class Timings(BaseModel):
    """Milliseconds, of the slowest image of the request."""

    queue_ms: float = Field(description="decoded, and waiting for the batch before")
    decode_ms: float
    generate_ms: float
    total_ms: float


class CaptionsAnswer(BaseModel):
    """The captions of a request's images, in their order."""

    model: str
    captions: list[CaptionAnswer | FailedCaption]
    timings: Timings


@dataclass
class Outcome:
    """The caption of one image, or its problem, and the seconds it took."""

    caption: Caption | None = None
    image: DecodedImage | None = None
    problem: Problem | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def caption_json(outcome: Outcome, captioner: Captioner, flags: Sequence[str]) -> dict[str, Any]:
    """Return a `CaptionAnswer` with the parts that the flags name, or a `FailedCaption`."""
    if outcome.problem is not None:
        return {"error": outcome.problem.of_image()}
    assert outcome.caption is not None
    assert outcome.image is not None
    caption = outcome.caption
    answer: dict[str, Any] = {
        "text": caption.text,
        "score": number(caption.score),
        "log_prob": number(caption.log_prob),
        "words": [
            {"text": text, "log_prob": number(log_prob)}
            for text, log_prob in zip(caption.words, caption.word_log_probs, strict=True)
        ],
        "truncated": caption.truncated,
    }
    if "alternatives" in flags:
        answer["alternatives"] = [
            {"text": other.text, "score": number(other.score), "log_prob": number(other.log_prob)}
            for other in caption.alternatives
        ]
    if "attention" in flags and caption.attention is not None:
        answer["attention"] = {
            "grid": list(captioner.grid),
            "window": _window(outcome.image, captioner.preprocessing),
            "weights": [[round(weight, _DIGITS) for weight in row] for row in caption.attention.tolist()],
        }
    if "neighbours" in flags and captioner.datastore is not None:
        answer["neighbours"] = [neighbour.as_json() for neighbour in caption.neighbours]
    return answer


def timings_json(outcomes: Sequence[Outcome], total: float) -> dict[str, float]:
    """Return `Timings` of a request."""
    names = ("queue", "decode", "generate")
    slowest = {name: max((each.seconds.get(name, 0.0) for each in outcomes), default=0.0) for name in names}
    return {f"{name}_ms": round(1000 * seconds, 1) for name, seconds in {**slowest, "total": total}.items()}


def number(value: float) -> float | None:
    """Return a number that JSON can hold, or None."""
    return round(value, _DIGITS) if math.isfinite(value) else None


def _window(image: DecodedImage, preprocessing: Preprocessing) -> list[float]:
    return [round(side, _DIGITS) for side in image.window(preprocessing)]

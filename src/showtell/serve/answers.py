"""The JSON of answers, as `openapi.yaml` describes it."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from showtell.inference.caption import Caption
from showtell.inference.captioner_process import CaptionerProcess
from showtell.inference.decode_pool import DecodedImage
from showtell.serve.problems import Problem

_DIGITS = 6


@dataclass
class Outcome:
    """The caption of one image, or its problem, and the seconds it took."""

    caption: Caption | None = None
    image: DecodedImage | None = None
    problem: Problem | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def caption_json(outcome: Outcome, captioner: CaptionerProcess, flags: Collection[str]) -> dict[str, Any]:
    """Return a caption with the parts that the flags name, or the problem of its image."""
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
    if caption.confidence is not None:
        answer |= {"confidence": round(caption.confidence, 4), "unsure": caption.unsure}
        for word, confidence in zip(answer["words"], caption.word_confidences, strict=True):
            word["confidence"] = round(confidence, 4)
    if "alternatives" in flags:
        answer["alternatives"] = [
            {"text": other.text, "score": number(other.score), "log_prob": number(other.log_prob)}
            for other in caption.alternatives
        ]
    if "attention" in flags and caption.attention is not None:
        answer["attention"] = {
            "grid": list(captioner.grid),
            "window": [round(side, _DIGITS) for side in outcome.image.window(captioner.preprocessing)],
            "weights": [[round(weight, _DIGITS) for weight in row] for row in caption.attention.tolist()],
        }
    if "neighbours" in flags and captioner.datastore_size is not None:
        answer["neighbours"] = [neighbour.as_json() for neighbour in caption.neighbours]
    return answer


def timings_json(outcomes: Sequence[Outcome], total: float) -> dict[str, float]:
    """Return the milliseconds of the slowest image in each phase, and of the request."""
    names = ("queue", "decode", "generate")
    slowest = {name: max((each.seconds.get(name, 0.0) for each in outcomes), default=0.0) for name in names}
    return {f"{name}_ms": round(1000 * seconds, 1) for name, seconds in {**slowest, "total": total}.items()}


def number(value: float) -> float | None:
    """Return a number that JSON can hold, or None."""
    return round(value, _DIGITS) if math.isfinite(value) else None

"""The calibration of a captioner, as its ``config.json`` holds it: what `showtell calibrate` fitted and measured."""

from typing import Annotated, Literal

from pydantic import Field

from showtell.config.base import Count, StrictModel, Weight

Finite = Annotated[float, Field(allow_inf_nan=False)]
WordFeature = Literal["log_prob", "neighbours", "neighbour_captions", "distance"]
CaptionFeature = Literal["words", "consensus", "log_prob"]


class WordWeights(StrictModel):
    """Logit of the probability that a word is right: a bias, and a weight of each feature."""

    bias: Finite
    weights: dict[WordFeature, Finite]


class CaptionWeights(StrictModel):
    """Logit of the probability that a caption is right."""

    bias: Finite
    weights: dict[CaptionFeature, Finite]


class ConfidenceWeights(StrictModel):
    """The weights of both."""

    words: WordWeights
    caption: CaptionWeights


class ReliabilityBin(StrictModel):
    """Predictions between two bounds."""

    confidence: Weight = Field(description="their mean")
    right: Weight = Field(description="the fraction of them that was right")
    count: Count


class MeasuredConfidence(StrictModel):
    """How well the calibration does on images that it was not fitted on."""

    data: str
    split: str
    images: Count
    cross_fitted: bool = Field(
        description="each half of the images by a calibration that was fitted on the others"
    )
    word_error: Weight = Field(description="expected calibration error of words")
    caption_error: Weight = Field(description="expected calibration error of captions")
    words: list[ReliabilityBin]
    captions: list[ReliabilityBin]


class Calibration(StrictModel):
    """The weights of a captioner with its datastore (``rerank``) and without (``off``), and what was measured."""

    rerank: ConfidenceWeights | None = Field(description="none without a datastore")
    off: ConfidenceWeights
    measured: tuple[MeasuredConfidence, ...] = ()

    def weights(self, retrieval: str) -> ConfidenceWeights | None:
        """Return the weights for a choice of the option ``retrieval``; None if there are none."""
        return self.off if retrieval == "off" else self.rerank

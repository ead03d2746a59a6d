"""The caption of an image: text, scores, alternatives and attention."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from showtell.config.preprocessing import Preprocessing
from showtell.errors import ConfigError, ImageError
from showtell.images.load import ImageSource, load_image
from showtell.images.preprocess import crop_box

if TYPE_CHECKING:
    from PIL.Image import Image

    from showtell.retrieval.rerank import Neighbour


UNSURE = "(unsure)"
"""The text in place of a caption with less confidence than ``unsure_below``."""


@dataclass(frozen=True)
class View:
    """The image of a caption with attention, and the part of it that the regions cover."""

    source: ImageSource
    preprocessing: Preprocessing
    grid: tuple[int, int]


@dataclass(frozen=True, repr=False)
class Caption:
    """The caption of an image, or the error that prevented it.

    Attributes:
        text: The caption.
        score: Log-probability with the length penalty, natural logarithm, plus, where retrieval reranks it, the
            weighted similarity to the captions of similar images; -infinity for an error.
        words: The words.
        word_log_probs: Log-probability of each word.
        alternatives: All hypotheses of the beam, or all samples, best first, this one included.
        attention: Attention weights of each word, float32 [T, R], regions row by row; None unless requested.
        path: The image's path or name, if it was given with one.
        error: The reason for a missing caption; None if there is one.
        neighbours: Images of the captioner's datastore that spoke for it, the one with most weight first, and the
            nearest; of the best caption alone, none without retrieval.
        log_prob: Sum of the log-probabilities of the words, and of the end if it was generated.
        truncated: No token was allowed any more, and no end.
        confidence: Calibrated probability that at least half of its words with meaning are right, 0..1; of the best
            caption alone, and None from a captioner without a calibration (`showtell calibrate`).
        word_confidences: Calibrated probability of each word that a human caption of the image has it; likewise.
        unsure: The confidence is below the option ``unsure_below``: the text is ``(unsure)``. The words are those of
            the caption that was not given.
    """

    text: str
    score: float
    words: list[str] = field(default_factory=list)
    word_log_probs: list[float] = field(default_factory=list)
    alternatives: list[Caption] = field(default_factory=list)
    attention: npt.NDArray[np.float32] | None = field(default=None, compare=False)
    path: str | None = None
    error: str | None = None
    log_prob: float = -math.inf
    truncated: bool = False
    neighbours: list[Neighbour] = field(default_factory=list)
    confidence: float | None = None
    word_confidences: list[float] = field(default_factory=list)
    unsure: bool = False
    _view: View | None = field(default=None, compare=False)

    @property
    def attention_entropy(self) -> list[float] | None:
        """Entropy of each word's attention in nats: 0 is one region, log R all equally; None without attention."""
        if self.attention is None:
            return None
        weights = self.attention.astype(np.float64)
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
        logs = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
        entropy: list[float] = (np.abs(weights * logs)).sum(axis=1).tolist()
        return entropy

    def __repr__(self) -> str:
        if self.error is not None:
            return f"Caption(error={self.error!r})"
        confidence = "" if self.confidence is None else f", confidence={self.confidence:.2f}"
        return f"Caption({self.text!r}, log_prob={self.log_prob:.2f}{confidence})"

    def _repr_html_(self) -> str:
        import html  # only notebooks need it, and its table of entities takes time at a cold start

        if self.error is not None:
            return f"<p><b>error:</b> {html.escape(self.error)}</p>"
        ranked = self.alternatives or [self]
        rows = [f"<tr><td>{html.escape(each.text)}</td><td>{each.log_prob:.2f}</td></tr>" for each in ranked]
        table = f"<table><tr><th>caption</th><th>log-probability</th></tr>{''.join(rows)}</table>"
        if self.attention is None:
            return table
        buffer = io.BytesIO()
        try:
            self.draw_attention().save(buffer, "PNG")
        except ImageError:  # the file is no longer there
            return table
        return f'{table}<img src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'

    def draw_attention(self) -> Image:
        """Draw the image and, for each word, its attention map.

        Raises:
            ConfigError: the caption has no attention.
            ImageError: the image can no longer be read.
        """
        from showtell.images.attention_overlay import TILE, draw_attention

        if self.attention is None or self._view is None:
            raise ConfigError(
                "attention cannot be drawn",
                found="a caption without attention",
                mend="Request it: captioner.caption(image, attention=True)",
            )
        image, view = load_image(self._view.source, at_least=2 * TILE), self._view
        window = crop_box(image.shape[0], image.shape[1], view.preprocessing)
        return draw_attention(
            image, self.words, self.attention, grid=view.grid, window=window, title=self.text
        )

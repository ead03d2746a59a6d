"""The captioner of a server: loaded in the background, in a process of its own, with what it knows about itself."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from showtell.checkpoints.model_card import card_fields, describe_limits
from showtell.config.generation import DecodingOptions
from showtell.errors import ConfigError
from showtell.inference.captioner import Captioner
from showtell.inference.captioner_process import CaptionerProcess
from showtell.serve.settings import ServeSettings
from showtell.system.reading import sha256_json

_FORMATS = ("jpeg", "png", "gif", "webp", "bmp", "tiff", "avif")
_EXTRA_FORMATS = {"heic": "pillow_heif", "jxl": "pillow_jxl"}


@dataclass(frozen=True)
class Model:
    """A captioner that is ready to use."""

    captioner: CaptionerProcess
    name: str
    attends: bool  # its decoder attends to regions

    @classmethod
    def load(cls, settings: ServeSettings, directory: Path) -> "Model":
        """Load a captioner and caption one blank image, so that the first request is as fast as the next."""
        options = settings.model_dump(include={"encoder_weights", "ensemble_with", "device", "threads"})
        captioner = CaptionerProcess(partial(Captioner.load, directory, **options))
        size = captioner.preprocessing.size
        blank = np.zeros((1, size, size, 3), np.uint8)
        try:
            captioner.caption_preprocessed(blank, captioner.options, attention=True)
        except ConfigError:
            return cls(captioner, _name(settings.checkpoint), attends=False)
        return cls(captioner, _name(settings.checkpoint), attends=True)

    def describe(self, settings: ServeSettings) -> dict[str, Any]:
        """Return what ``GET /v1/model`` answers."""
        captioner = self.captioner
        # Not the default of model cards: a wrong language is worse for screen readers than none.
        language = captioner.facts.get("card", {}).get("language")
        return {
            "id": self.name,
            "name": self.name,
            "fingerprint": sha256_json(captioner.facts),
            "description": f"Describes an image in one sentence: {captioner.networks}.",
            "lang": language if isinstance(language, str) else None,
            "vocabulary_size": captioner.tokenizer.size,
            "backend": captioner.place,
            "options": captioner.options.model_dump(mode="json"),
            "schema": DecodingOptions.model_json_schema(),
            "attention": self.attends,
            "confidence": captioner.is_calibrated,
            "datastore": captioner.datastore_size,
            "grid": list(captioner.grid),
            "preprocessing": captioner.preprocessing.model_dump(mode="json"),
            "limits": settings.model_dump(include={"max_bytes", "max_pixels", "max_images", "max_seconds"}),
            "formats": formats(),
            "trained_on": _trained_on(captioner.facts),
        }


def _trained_on(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data, the scores and the limits of a checkpoint; exports do not know them."""
    data, scores = facts.get("data") or {}, facts.get("scores") or {}
    is_checkpoint = "spec" in facts["encoder"]
    return {
        "data": data.get("name"),
        "images": data.get("pictures"),
        "scores": scores.get("values", {}),
        "split": scores.get("split"),
        "limits": describe_limits(facts, card_fields(facts.get("card", {}))) if is_checkpoint else [],
    }


def formats() -> list[str]:
    """Return the media types of images that this installation reads."""
    extra = [name for name, package in _EXTRA_FORMATS.items() if importlib.util.find_spec(package)]
    return [f"image/{name}" for name in (*_FORMATS, *extra)]


def _name(checkpoint: Path) -> str:
    """Return the name of a checkpoint's directory; that of a run's best checkpoint is the run's."""
    parts = [part for part in checkpoint.resolve().parts if part not in ("best", "last")]
    return parts[-1] if checkpoint.is_dir() else str(checkpoint)

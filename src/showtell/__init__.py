"""showtell: image captioning in PyTorch.

    import showtell

    captioner = showtell.Captioner.load("models/flickr8k")
    print(captioner.caption("photo.jpg").text)

All names are imported on first use, so ``import showtell`` (and ``showtell --help``) never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from showtell.config.decoders import list_decoders
    from showtell.config.generation import DecodingOptions
    from showtell.config.recipe import list_recipes, load_recipe
    from showtell.data.prepared import prepare
    from showtell.export.evaluate import evaluate
    from showtell.inference.caption import Caption
    from showtell.inference.captioner import Captioner
    from showtell.metrics.evaluate import evaluate as score
    from showtell.training.trainer import train
    from showtell.version import __version__

_MODULES = {
    "Caption": "showtell.inference.caption",
    "Captioner": "showtell.inference.captioner",
    "DecodingOptions": "showtell.config.generation",
    "__version__": "showtell.version",
    "evaluate": "showtell.export.evaluate",
    "list_decoders": "showtell.config.decoders",
    "list_recipes": "showtell.config.recipe",
    "load_recipe": "showtell.config.recipe",
    "prepare": "showtell.data.prepared",
    "score": "showtell.metrics.evaluate:evaluate",
    "train": "showtell.training.trainer",
}

__all__ = [
    "Caption",
    "Captioner",
    "DecodingOptions",
    "__version__",
    "evaluate",
    "list_decoders",
    "list_recipes",
    "load_recipe",
    "prepare",
    "score",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'showtell' has no attribute '{name}'")
    module, _, attribute = _MODULES[name].partition(":")
    return getattr(importlib.import_module(module), attribute or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""showtell: image captioning in PyTorch.

    import showtell

    captioner = showtell.Captioner.load("models/flickr8k")
    print(captioner.caption("photo.jpg").text)

All names are imported on first use, so ``import showtell`` (and ``showtell --help``) never imports torch.

Threads of torch that wait for another one keep their core busy for a millisecond or more (libgomp). Beside other
processes that takes the core from the one they wait for, and training becomes many times slower. So they wait for
microseconds here, unless the environment says otherwise; torch has to be imported after this package.
"""

from __future__ import annotations

import importlib
import os
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

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

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

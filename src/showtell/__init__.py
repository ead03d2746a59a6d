"""showtell: photographs in, sentences out.

``Captioner`` is loaded on first use, so that ``import showtell`` (and ``showtell --help``) never imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from showtell.inference.captioner import Captioner

__all__ = ["Captioner", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Captioner":
        from showtell.inference.captioner import Captioner

        return Captioner
    if name == "__version__":
        from showtell.version import __version__

        return __version__
    raise AttributeError(f"module 'showtell' has no attribute '{name}'")

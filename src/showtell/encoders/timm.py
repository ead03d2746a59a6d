"""All other backbones, as ``timm:NAME``. timm is imported here only, and only on demand.

timm imports torchvision, and a torchvision binary that does not fit the installed torch fails with RuntimeError
(``operator torchvision::nms does not exist``), not ImportError. The error names cause and fix of both.
"""

import difflib
import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from showtell.encoders.weights import (
    EncoderWeights,
    fetch_from_hub,
    hub_metadata,
    load_state_dict_strict,
    read_weights,
)
from showtell.errors import EncoderError, MissingExtraError


class TimmNetwork(nn.Module):
    """A timm model with output [P, D, h, w], whether its own is channels first, channels last or tokens."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.width: int = model.num_features  # type: ignore[assignment]

    def forward(self, images: Tensor) -> Tensor:
        """Return the last map [P, D, h, w] of normalized images float [P, 3, S, S]."""
        output = self.model.forward_features(images)  # type: ignore[operator]
        if output.ndim == 3:  # [P, prefix + h*w, D]
            tokens = output[:, getattr(self.model, "num_prefix_tokens", 0) :].transpose(1, 2)  # [P, D, h*w]
            side = math.isqrt(tokens.shape[2])
            is_square = side * side == tokens.shape[2]
            return tokens.unflatten(2, (side, side) if is_square else (1, -1))  # type: ignore[no-any-return]
        if output.shape[1] != self.width:  # [P, h, w, D]
            output = output.permute(0, 3, 1, 2)
        return output  # type: ignore[no-any-return]


def import_timm() -> Any:
    """Return the module timm.

    Raises:
        MissingExtraError: timm or torchvision is not installed, or they do not fit the installed torch.
    """
    try:
        import timm
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        if not isinstance(error, ImportError):
            cause += (
                " (timm imports torchvision, whose binary must be built for the installed torch "
                f"{torch.__version__}: install torch and torchvision together, from one index)"
            )
        raise MissingExtraError("timm, for timm: encoders,", extra="timm", cause=cause) from error
    return timm


def build_timm_network(name: str, source: EncoderWeights | None) -> tuple[TimmNetwork, EncoderWeights]:
    """Build a timm model, optionally named with a tag ("densenet169.tv_in1k"), and load its weights.

    Without local ones, timm's own come from the hub.

    Raises:
        MissingExtraError: timm does not work.
        EncoderError: no such model, weights of another network, or the hub cannot be reached.
    """
    timm = import_timm()
    known = timm.list_models()
    if name.split(".", maxsplit=1)[0] not in known:
        near = difflib.get_close_matches(name, known, n=3)
        mend = f"Did you mean {' or '.join(near)}?" if near else "timm.list_models() lists them all"
        raise EncoderError(f"timm has no model '{name}'", found=f"timm {timm.__version__}", mend=mend)
    model = timm.create_model(name, pretrained=False, num_classes=0)
    config = dict(model.pretrained_cfg)
    classifier = config.get("classifier") or "head"
    prefix = classifier if isinstance(classifier, str) else classifier[0]
    repository = None
    if source is None:
        repository = config.get("hf_hub_id")
        if not repository:
            mend = "Use a local file: --encoder-weights FILE (encoder_weights= in Python)"
            raise EncoderError(f"timm has no weights for '{name}' on the hub", mend=mend)
        source = read_weights(fetch_from_hub(repository, "model.safetensors", name=f"timm:{name}"))
    load_state_dict_strict(model, source, name=f"timm:{name}", classifier=f"{prefix}.")
    source.set_norm_epsilon(model)
    return TimmNetwork(model), replace(source, metadata=hub_metadata(config, repository) | source.metadata)

"""Several captioners made one: the mean of their decoders' weights, at the cost of one.

Wortsman et al. 2022, "Model soups" and "Robust fine-tuning of zero-shot models" (section 3): weights trained on from
the same ones lie in one valley, and what lies between them often does better than either end. Captioners that were
trained apart from different first weights do not: their mean says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.checkpoints.checkpoint import Checkpoint
from showtell.checkpoints.ensemble import check_compatible
from showtell.checkpoints.hub import DECODER
from showtell.decoders.registry import build_decoder
from showtell.errors import CheckpointError, ConfigError


def average_checkpoints(
    checkpoints: Sequence[Checkpoint], shares: Sequence[float] | None = None
) -> Checkpoint:
    """Return the captioner whose decoder has the mean weights.

    It has the first one's encoder and, for what is not weights, the last one's configuration without its scores.

    Args:
        checkpoints: At least two, of one decoder, vocabulary and encoder.
        shares: How much each counts, not negative, divided by their sum; None: all the same.

    Raises:
        CheckpointError: decoders, vocabularies or encoders differ, or an encoder was trained along.
        ConfigError: shares that are no shares of these.
    """
    portions = _portions(shares, len(checkpoints))
    first, last = checkpoints[0], checkpoints[-1]
    check_compatible(checkpoints, what="be averaged with the first")
    for number, one in enumerate(checkpoints, start=1):
        _check_decoder(one, first, number)
    decoder = build_decoder(
        first.model.decoder.spec,
        vocabulary=first.tokenizer.size,
        encoder_width=first.config["encoder"]["width"],
        pad_id=first.tokenizer.pad_id,
    )
    decoder.load_state_dict(
        average_state_dicts([one.model.decoder.state_dict() for one in checkpoints], portions)
    )
    averaged = [
        {"decoder": one.config["files"][DECODER], "share": share}
        for one, share in zip(checkpoints, portions, strict=True)
    ]
    config = {key: value for key, value in last.config.items() if key not in {"scores", "rounded", "card"}}
    config["encoder"] = first.config["encoder"]
    model = CaptioningModel(decoder, first.model.encoder).eval()
    return replace(last, model=model, config={**config, "averaged": averaged})


def average_state_dicts(states: Sequence[dict[str, Tensor]], portions: Sequence[float]) -> dict[str, Tensor]:
    """Return the weighted mean of tensors of the same names and shapes; counters are the first one's."""
    mean = {}
    for name, value in states[0].items():
        if not value.is_floating_point():
            mean[name] = value
            continue
        each = torch.stack(
            [state[name].double() * part for state, part in zip(states, portions, strict=True)]
        )
        mean[name] = each.sum(dim=0).to(value.dtype)
    return mean


def _portions(shares: Sequence[float] | None, count: int) -> list[float]:
    if count < 2:
        raise ValueError("the mean of one captioner is itself")
    given = [1.0] * count if shares is None else [float(share) for share in shares]
    if len(given) != count or min(given) < 0.0 or not 0.0 < sum(given) < float("inf"):
        raise ConfigError(
            "the captioners cannot be averaged",
            found=f"the shares {', '.join(f'{share:g}' for share in given)}",
            expected=f"{count} numbers, none negative and not all 0",
        )
    return [share / sum(given) for share in given]


def _check_decoder(one: Checkpoint, first: Checkpoint, number: int) -> None:
    where = f"captioner {number} cannot be averaged with the first"
    mine, its = (_sizes(checkpoint.config) for checkpoint in (first, one))
    if its != mine:
        raise CheckpointError(where, found=f"the decoder {its}", expected=f"{mine}, as the first has")
    if one.config["encoder"]["spec"]["trainable"]:
        raise CheckpointError(
            where,
            found="an encoder that was trained along",
            expected="a frozen one, the same for all",
        )


def _sizes(config: dict[str, Any]) -> dict[str, Any]:
    """Return what a decoder is built from, without what only training reads."""
    return {key: value for key, value in config["decoder"].items() if "dropout" not in key}

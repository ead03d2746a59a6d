"""Weight averaging of several captioners' decoders, at the inference cost of one.

Wortsman et al. 2022, "Model soups" and "Robust fine-tuning of zero-shot models" (section 3): the average of weights
fine-tuned from the same checkpoint is often better than each of them. The average of captioners trained from
different initial weights is useless.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.checkpoints.checkpoint import Checkpoint, common_holdout
from showtell.checkpoints.config import CALIBRATION
from showtell.checkpoints.ensemble import check_compatible
from showtell.checkpoints.hub import DATASTORE, DECODER
from showtell.decoders.registry import build_decoder
from showtell.errors import CheckpointError, ConfigError
from showtell.system.console import note
from showtell.system.skip_init import SkipRandomInit


def average_checkpoints(
    checkpoints: Sequence[Checkpoint], weights: Sequence[float] | None = None
) -> Checkpoint:
    """Return the captioner with the weighted mean of the decoders.

    It has the first one's encoder, and the last one's datastore and configuration without its scores; held-out images
    are those of all. Weights are not negative and are divided by their sum; None: equal.

    Raises:
        CheckpointError: decoders, vocabularies or encoders differ, or an encoder was fine-tuned.
        ConfigError: wrong number of weights, or weights negative or all zero.
    """
    weights = _normalized(weights, len(checkpoints))
    first, last = checkpoints[0], checkpoints[-1]
    check_compatible(checkpoints, action="be averaged with the first")
    for number, checkpoint in enumerate(checkpoints, start=1):
        _check_decoder(checkpoint, first, number)
    with SkipRandomInit():
        decoder = build_decoder(
            first.model.decoder.spec,
            vocabulary=first.tokenizer.size,
            encoder_width=first.config["encoder"]["width"],
            pad_id=first.tokenizer.pad_id,
        )
    states = [checkpoint.model.decoder.state_dict() for checkpoint in checkpoints]
    decoder.load_state_dict(average_state_dicts(states, weights))
    left_out = {"scores", "dtype", "card", CALIBRATION}
    config = {key: value for key, value in last.config.items() if key not in left_out}
    config["encoder"] = first.config["encoder"]
    config["merged_from"] = [
        {"decoder": checkpoint.config["files"][DECODER], "weight": weight}
        for checkpoint, weight in zip(checkpoints, weights, strict=True)
    ]
    if "recipe" in config and "data" in config:
        holdout = common_holdout((each.config for each in checkpoints), config["data"]["fingerprint"])
        config["recipe"] = {**config["recipe"], "data": {**config["recipe"]["data"], "holdout": holdout}}
    datastores = {each.config["files"].get(DATASTORE) for each in checkpoints}
    if not datastores <= {last.config["files"].get(DATASTORE), None}:
        note("the mean has no datastore but that of the last captioner: showtell index makes another")
    model = CaptioningModel(decoder, first.model.encoder).eval()
    return replace(last, model=model, config=config, calibration=None)


def average_state_dicts(states: Sequence[dict[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    """Return the weighted mean of tensors of the same names and shapes; integer counters are the first one's."""
    mean = {}
    for name, value in states[0].items():
        if value.is_floating_point():
            terms = [state[name].double() * weight for state, weight in zip(states, weights, strict=True)]
            mean[name] = torch.stack(terms).sum(dim=0).to(value.dtype)
        else:
            mean[name] = value
    return mean


def _normalized(weights: Sequence[float] | None, count: int) -> list[float]:
    if count < 2:
        raise ValueError("averaging needs at least two captioners")
    given = [1.0] * count if weights is None else [float(weight) for weight in weights]
    if len(given) != count or min(given) < 0.0 or not 0.0 < sum(given) < float("inf"):
        raise ConfigError(
            "the captioners cannot be averaged",
            found=f"the weights {', '.join(f'{weight:g}' for weight in given)}",
            expected=f"{count} numbers, none negative and not all 0",
        )
    return [weight / sum(given) for weight in given]


def _check_decoder(checkpoint: Checkpoint, first: Checkpoint, number: int) -> None:
    failed = f"captioner {number} cannot be averaged with the first"
    expected, found = (_sizes(each.config) for each in (first, checkpoint))
    if found != expected:
        raise CheckpointError(failed, found=f"the decoder {found}", expected=f"{expected}, as the first has")
    if checkpoint.config["encoder"]["spec"]["trainable"]:
        raise CheckpointError(failed, found="a fine-tuned encoder", expected="a frozen one, the same for all")


def _sizes(config: dict[str, Any]) -> dict[str, Any]:
    """Return the decoder's spec without the options that only training reads."""
    return {key: value for key, value in config["decoder"].items() if "dropout" not in key}

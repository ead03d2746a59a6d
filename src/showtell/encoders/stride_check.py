"""Tells from pictures in which layout a ResNet's weights were trained, where their numbers give it away.

The two layouts run the same weights on the same photographs and are compared in one of two ways:

- *Statistics*: the batch norms remember each channel's variance in training. Let v1 and v2 be a channel's variance on
  these pictures in the two layouts and v the remembered one. Over the channels of the norm after each moved stride,
  log v - log v2 is projected on log v1 - log v2 (both less their mean): about 1 if the weights are of layout conv1,
  about 0 if of conv2. What the pictures themselves change is common to both layouts and falls out.
- *Classifier*, where the batch norms are folded and remember nothing: in the right layout the network recognises
  more, so that the spread of a photograph's logits is larger (a paired t statistic over the photographs).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from showtell.config.encoder import Layout
from showtell.encoders.resnet import ResNet
from showtell.encoders.weights import EncoderWeights, load_state_dict_strict

LAYOUTS: tuple[Layout, Layout] = ("conv1", "conv2")

TELLING_NORMS = ("layer2.0.bn2", "layer3.0.bn2", "layer4.0.bn2")
"""The norms right after the convolutions whose grid the layout changes."""

VARIANCE_FLOOR = 1e-4
"""Added to variances before the logarithm, so that dead channels do not decide."""


SURE_SHARE = 0.7
"""Projections above it mean conv1, below 1 minus it conv2."""

SURE_T = 4.0
"""Paired t statistics beyond it decide."""


@dataclass(frozen=True)
class StrideEvidence:
    """What the pictures say of the layout.

    Attributes:
        layout: The layout they speak for; None where they do not decide.
        reason: The figures, in words.
    """

    layout: Layout | None
    reason: str


@dataclass
class _StrideStats:
    variances: list[Tensor]  # of the inputs of TELLING_NORMS, each [C]
    spreads: Tensor | None  # [P], standard deviation of a picture's logits; None without classifier


def compare_strides(depth: int, weights: EncoderWeights, pictures: Tensor) -> StrideEvidence:
    """Ask which layout weights belong to.

    Args:
        depth: Of the ResNet, 50 or more; 18 and 34 have one layout.
        weights: Theirs, with the classifier if the file has it.
        pictures: Normalised photographs float [P, 3, S, S], some tens of them.
    """
    remembered = [weights.tensors[f"{name}.running_var"] for name in TELLING_NORMS]
    first, second = (_run_layout(depth, layout, weights, pictures) for layout in LAYOUTS)
    if all(float(variance.std()) > 0 for variance in remembered):
        return _by_statistics(remembered, first.variances, second.variances)
    if first.spreads is not None and second.spreads is not None:
        return _by_classifier(first.spreads, second.spreads)
    return StrideEvidence(None, "the batch norms are folded and there is no classifier")


def _run_layout(depth: int, layout: Layout, weights: EncoderWeights, pictures: Tensor) -> _StrideStats:
    """Run one layout and keep what tells."""
    network = ResNet(depth, layout).eval()
    load_state_dict_strict(network, weights, name=f"resnet{depth}", classifier="fc.")
    variances: list[Tensor] = []

    def remember(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variances.append(inputs[0].float().var((0, 2, 3)))

    for name in TELLING_NORMS:
        network.get_submodule(name).register_forward_pre_hook(remember)
    network.to(pictures.device, pictures.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.inference_mode():
        pooled = network(pictures).float().mean((2, 3)).cpu()  # [P, D]
        classifier = weights.tensors.get("fc.weight")
        spreads = None if classifier is None else (pooled @ classifier.T).std(1)
    return _StrideStats([variance.cpu() for variance in variances], spreads)


def _by_statistics(
    remembered: Sequence[Tensor], first: Sequence[Tensor], second: Sequence[Tensor]
) -> StrideEvidence:
    shares = []
    for trained, conv1, conv2 in zip(remembered, first, second, strict=True):
        logs = [(variance + VARIANCE_FLOOR).log() for variance in (trained, conv1, conv2)]
        centred = [log - log.mean() for log in logs]
        moved, away = centred[1] - centred[2], centred[0] - centred[2]
        shares.append(float((away @ moved) / (moved @ moved)))
    share = sum(shares) / len(shares)
    reason = f"batch-norm statistics put it at {share:.2f} between conv2 (0) and conv1 (1)"
    sure = abs(share - 0.5) > SURE_SHARE - 0.5
    return StrideEvidence(("conv1" if share > 0.5 else "conv2") if sure else None, reason)


def _by_classifier(first: Tensor, second: Tensor) -> StrideEvidence:
    difference = first - second  # [P]
    t = float(difference.mean() / (difference.std() + 1e-12) * len(difference) ** 0.5)
    reason = f"the classifier is surer in layout {'conv1' if t > 0 else 'conv2'} (paired t = {abs(t):.1f})"
    return StrideEvidence(("conv1" if t > 0 else "conv2") if abs(t) > SURE_T else None, reason)

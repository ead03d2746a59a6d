"""Detect from images in which stride layout a ResNet's weights were trained.

Both layouts run the same weights on the same photographs and are compared in one of two ways:

- *Statistics*: the batch norms hold each channel's variance in training. Let v1 and v2 be a channel's variance on
  these images in the two layouts, and v the stored one. Over the channels of the norm after each moved stride,
  log v - log v2 is projected on log v1 - log v2 (both minus their mean): about 1 if the weights have layout conv1,
  about 0 if conv2. The effect of the images themselves is common to both layouts and cancels.
- *Classifier*, where the batch norms are folded and hold nothing: in the right layout the network recognizes more, so
  the logits of a photograph have a larger spread (a paired t statistic over the photographs).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from showtell.config.encoder import StrideIn
from showtell.encoders.resnet import ResNet
from showtell.encoders.weights import EncoderWeights, load_state_dict_strict
from showtell.system.skip_init import SkipRandomInit

NORMS = ("layer2.0.bn2", "layer3.0.bn2", "layer4.0.bn2")
"""The norms right after the convolutions whose output grid depends on the layout."""

MIN_VARIANCE = 1e-4
"""Added to variances before the logarithm, so that dead channels do not decide."""

MIN_PROJECTION = 0.7
"""A projection above it decides for conv1; below 1 minus it, for conv2."""

MIN_T = 4.0
"""A paired t statistic beyond it decides."""


class StrideEvidence(NamedTuple):
    """The stride layout that the images indicate, None if they do not decide, and the figures."""

    stride_in: StrideIn | None
    reason: str


class _StrideStats(NamedTuple):
    variances: list[Tensor]  # of the inputs of NORMS, each [C]
    spreads: Tensor | None  # [P], standard deviation of an image's logits; None without classifier


def compare_strides(depth: int, weights: EncoderWeights, images: Tensor) -> StrideEvidence:
    """Return the stride layout of weights of a ResNet with bottlenecks (``depth`` 50 or more).

    The weights keep their classifier, if the file has it; images are a few dozen normalized photographs, float
    [P, 3, S, S].
    """
    stored = [weights.tensors[f"{name}.running_var"] for name in NORMS]
    conv1, conv2 = (_run_layout(depth, layout, weights, images) for layout in ("conv1", "conv2"))
    if all(float(variance.std()) > 0 for variance in stored):
        return _by_statistics(stored, conv1.variances, conv2.variances)
    if conv1.spreads is not None and conv2.spreads is not None:
        return _by_classifier(conv1.spreads, conv2.spreads)
    return StrideEvidence(None, "the batch norms are folded and there is no classifier")


def _run_layout(depth: int, layout: StrideIn, weights: EncoderWeights, images: Tensor) -> _StrideStats:
    with SkipRandomInit():
        network = ResNet(depth, layout).eval()
    load_state_dict_strict(network, weights, name=f"resnet{depth}", classifier="fc.")
    variances: list[Tensor] = []

    def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variances.append(inputs[0].float().var((0, 2, 3)).cpu())

    for name in NORMS:
        network.get_submodule(name).register_forward_pre_hook(record)
    network.to(images.device, images.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.inference_mode():
        pooled = network(images).float().mean((2, 3)).cpu()  # [P, D]
        classifier = weights.tensors.get("fc.weight")
        return _StrideStats(variances, None if classifier is None else (pooled @ classifier.T).std(1))


def _by_statistics(
    stored: Sequence[Tensor], conv1: Sequence[Tensor], conv2: Sequence[Tensor]
) -> StrideEvidence:
    projections = []
    for variances in zip(stored, conv1, conv2, strict=True):
        logs = [(variance + MIN_VARIANCE).log() for variance in variances]
        trained, first, second = (log - log.mean() for log in logs)
        direction = first - second
        projections.append(float(((trained - second) @ direction) / (direction @ direction)))
    projection = sum(projections) / len(projections)
    reason = f"batch-norm statistics put it at {projection:.2f} between conv2 (0) and conv1 (1)"
    decides = abs(projection - 0.5) > MIN_PROJECTION - 0.5
    return StrideEvidence(("conv1" if projection > 0.5 else "conv2") if decides else None, reason)


def _by_classifier(conv1: Tensor, conv2: Tensor) -> StrideEvidence:
    difference = conv1 - conv2  # [P]
    t = float(difference.mean() / (difference.std() + 1e-12) * len(difference) ** 0.5)
    better: StrideIn = "conv1" if t > 0 else "conv2"
    reason = f"the classifier is more confident in layout {better} (paired t = {abs(t):.1f})"
    return StrideEvidence(better if abs(t) > MIN_T else None, reason)

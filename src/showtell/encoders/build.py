"""Builds the network of an encoder, loads its weights, and completes its spec from their metadata."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from showtell.config.encoder import RESNETS, SMALL, TIMM_PREFIX, EncoderSpec
from showtell.config.preprocessing import Preprocessing
from showtell.encoders.densenet import DenseNet, FusedDenseNet
from showtell.encoders.joined import download_default, join_networks
from showtell.encoders.onednn_resnet import FusedResNet
from showtell.encoders.resnet import ResNet
from showtell.encoders.small_cnn import SmallCnn
from showtell.encoders.weights import EncoderWeights, load_state_dict_strict
from showtell.errors import EncoderError
from showtell.system.console import note
from showtell.system.skip_init import SkipRandomInit


@dataclass(frozen=True)
class BuiltNetwork:
    """A network in float32 on the CPU, its weights loaded, and what spec and weights together say of it."""

    spec: EncoderSpec  # with its stride layout
    network: nn.Module  # normalized images float [P, 3, S, S] to a map [P, D, h, w]
    weights: EncoderWeights | None  # None: not trained yet
    preprocessing: Preprocessing
    stride_known: bool = True  # False: neither the spec nor the metadata named the layout


def build_network(spec: EncoderSpec, weights: EncoderWeights | None) -> BuiltNetwork:
    """Build the network of a spec with these weights; None: new ones for ``small``, else the hub's.

    Raises:
        EncoderError: weights are missing, of another network, or contradict the spec.
        MissingExtraError: a ``timm:`` encoder without a working timm.
    """
    if spec.name == SMALL:
        return BuiltNetwork(spec, _build_small(spec, weights), weights, _resolve_preprocessing(spec, weights))
    if spec.name.startswith(TIMM_PREFIX):
        from showtell.encoders.timm import build_timm_network  # timm is an extra

        network, weights = build_timm_network(spec.name.removeprefix(TIMM_PREFIX), weights)
        return BuiltNetwork(spec, network, weights, _resolve_preprocessing(spec, weights))
    weights = weights or download_default(spec.names)
    parts = weights.by_network(spec.names)
    spec, stride_known = _resolve_stride(spec, parts)
    joined = join_networks([_build_convolutional(name, spec, part) for name, part in parts.items()])
    return BuiltNetwork(spec, joined, weights, _resolve_preprocessing(spec, weights), stride_known)


def _build_small(spec: EncoderSpec, weights: EncoderWeights | None) -> SmallCnn:
    if weights is None and not spec.trainable:
        raise EncoderError(
            "the encoder small cannot be frozen",
            found="no weights: its features would be random",
            mend="Set encoder.trainable to true, or name trained weights: --encoder-weights FILE",
        )
    network = SmallCnn(spec.width)
    if weights is not None:
        load_state_dict_strict(network, weights, name=spec.name, classifier="fc.")
    return network


def _build_convolutional(name: str, spec: EncoderSpec, weights: EncoderWeights) -> nn.Module:
    """Return a ResNet or DenseNet with its weights; a frozen one with folded batch norms."""
    network: ResNet | DenseNet
    is_resnet = name in RESNETS
    depth = int(name.removeprefix("resnet" if is_resnet else "densenet"))
    with SkipRandomInit():
        if is_resnet:
            network = ResNet(depth, spec.stride_in or "conv2", stages=spec.out_stages, grid=spec.region_grid)
        else:
            network = DenseNet(depth, grid=spec.region_grid)
    load_state_dict_strict(network, weights, name=name, classifier="fc." if is_resnet else "classifier.")
    weights.set_norm_epsilon(network)
    if spec.trainable:
        return network
    network.eval()
    with torch.no_grad():
        network.fold_batch_norms()
    return FusedResNet(network) if isinstance(network, ResNet) else FusedDenseNet(network)


def _resolve_stride(spec: EncoderSpec, weights: Mapping[str, EncoderWeights]) -> tuple[EncoderSpec, bool]:
    """Return the spec with the stride layout of spec or metadata, and whether one of them named it; else conv2."""
    if spec.bottlenecked is None:
        return spec, True
    source = weights[spec.bottlenecked]
    if spec.stride_in and source.stride_in and spec.stride_in != source.stride_in:
        expected = f"{spec.stride_in} (encoder.stride_in)"
        raise _contradiction(source, "another stride layout", source.stride_in, expected)
    named = spec.stride_in or source.stride_in
    if named is None:
        note(
            f"{source.path} does not name its stride layout: assuming conv2 (torchvision, timm). "
            "For weights from Caffe, Keras or MSRA, set encoder.stride_in to conv1."
        )
    return spec.model_copy(update={"stride_in": named or "conv2"}), named is not None


def _resolve_preprocessing(spec: EncoderSpec, source: EncoderWeights | None) -> Preprocessing:
    """Return the spec's preprocessing, completed from the weights' metadata."""
    metadata = source.preprocessing if source else {}
    if spec.preprocessing is None:
        default = Preprocessing() if spec.name != SMALL else SmallCnn.preprocessing
        return default.model_copy(update=metadata)
    requested = spec.preprocessing.model_fields_set
    for name in ("mean", "std"):
        value = getattr(spec.preprocessing, name)
        if source and name in requested and value != metadata.get(name, value):
            expected = f"{value} (encoder.preprocessing.{name})"
            raise _contradiction(source, "other preprocessing", f"{name} {metadata[name]}", expected)
    return spec.preprocessing.model_copy(
        update={name: value for name, value in metadata.items() if name not in requested}
    )


def _contradiction(source: EncoderWeights, differs: str, found: str, expected: str) -> EncoderError:
    return EncoderError(
        f"{source.path} has {differs} than requested",
        found=f"{found} in the weights' metadata",
        expected=expected,
        mend="Leave the key out",
    )

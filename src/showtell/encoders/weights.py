"""Encoder weights: safetensors files with what they say of themselves, loaded strictly or refused.

A file is known by the SHA-256 of its bytes, a compact one (`showtell.encoders.compressed_weights`) by that of the plain file it
gives back. What a network must know to use it (layout, mean and standard deviation, picture size, batch-norm epsilon)
is read from its metadata, so that it cannot drift from the numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from showtell.config.encoder import Layout
from showtell.encoders.compressed_weights import decompress, is_compressed
from showtell.errors import EncoderError, reason
from showtell.system.atomic import sha256_file

SHOWN_KEYS = 5

HUB_REPOSITORIES = {
    "resnet18": "timm/resnet18.tv_in1k",
    "resnet34": "timm/resnet34.tv_in1k",
    "resnet50": "timm/resnet50.tv_in1k",
    "resnet101": "timm/resnet101.tv_in1k",
    "resnet152": "timm/resnet152.tv_in1k",
}
LOCAL_FILE = "Name a local file: --encoder-weights FILE (encoder_weights= in Python)"


@dataclass(frozen=True)
class EncoderWeights:
    """The tensors of a safetensors file and what it says of them.

    Attributes:
        path: Where it was read.
        sha256: Of the plain file's bytes, hexadecimal.
        tensors: By name; floating ones are float32 whatever the file holds.
        metadata: What the file says of itself; values are text.
    """

    path: Path
    sha256: str
    tensors: dict[str, Tensor]
    metadata: dict[str, str]

    @property
    def layout(self) -> Layout | None:
        """The layout named by the metadata key ``stride`` or ``layout``, None where neither is there.

        Raises:
            EncoderError: the key is there but names no layout.
        """
        text = self.metadata.get("layout", self.metadata.get("stride"))
        if text is None:
            return None
        match = re.match(r"(conv1|conv2)\b", text.strip())
        if match is None:
            raise EncoderError(
                f"the metadata of {self.path} name no layout",
                found=f"'{text}'",
                expected="conv1 or conv2 first",
                mend="Name it with the key encoder.stride_in in a file without this metadata key",
            )
        return "conv1" if match[1] == "conv1" else "conv2"

    @property
    def preprocessing(self) -> dict[str, Any]:
        """The fields of `showtell.config.preprocessing.Preprocessing` that the metadata name: mean, std, size."""
        fields: dict[str, Any] = {}
        for name in ("mean", "std"):
            if name in self.metadata:
                fields[name] = self._three_numbers(name)
        size = re.search(r"(\d+)x(\d+)", self.metadata.get("input", ""))
        if size and size[1] == size[2]:
            fields["size"] = int(size[1])
        return fields

    @property
    def origin(self) -> str | None:
        """Where the weights came from and under which licence, as far as the metadata say it."""
        said = [self.metadata.get("source"), self.metadata.get("license")]
        return ", ".join(part for part in said if part) or None

    @property
    def norm_epsilon(self) -> float | None:
        """The epsilon of the batch norms, where the metadata name one that is not the framework's default."""
        match = re.search(r"batch norm eps ([\d.e-]+)", self.metadata.get("note", ""))
        return float(match[1]) if match else None

    def _three_numbers(self, name: str) -> tuple[float, float, float]:
        try:
            first, second, third = (float(part) for part in self.metadata[name].replace(",", " ").split())
        except ValueError as error:
            raise EncoderError(
                f"the metadata of {self.path} cannot be used",
                found=f"{name} = '{self.metadata[name]}'",
                expected="three numbers, red green blue",
                mend="Convert the weights again",
            ) from error
        return first, second, third


def read_weights(path: Path) -> EncoderWeights:
    """Read a safetensors file, plain or compact.

    Raises:
        EncoderError: no such file, a directory, another format, or cut short; a compact one also: changed.
    """
    if not path.is_file():
        raise EncoderError(
            f"cannot read encoder weights {path}",
            found="a directory" if path.is_dir() else "no such file",
            expected="a safetensors file",
            mend="Check the path",
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            if is_compressed(metadata):
                tensors, metadata, sha256 = decompress(file, path)
            else:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                sha256 = sha256_file(path)
        return EncoderWeights(
            path, sha256, {name: _as_float32(each) for name, each in tensors.items()}, metadata
        )
    except (SafetensorError, OSError) as error:
        raise EncoderError(
            f"cannot read encoder weights {path}",
            found=str(error),
            expected="a whole safetensors file",
            mend="Download it again; convert other formats (.pth, .bin, .h5) to safetensors first",
        ) from error


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float32) if tensor.is_floating_point() else tensor


def load_state_dict_strict(
    network: nn.Module, weights: EncoderWeights, *, name: str, classifier: str
) -> None:
    """Copy the weights into a network: every key there, none left over, every shape right.

    Args:
        network: Receives the weights.
        weights: Its classifier's keys are dropped; ``num_batches_tracked`` may be missing.
        name: The network's name, for the message.
        classifier: First part of the classifier's keys ("fc.").

    Raises:
        EncoderError: anything else is missing, left over or of another shape; says what network it seems to be.
    """
    wanted = network.state_dict()
    given = {key: value for key, value in weights.tensors.items() if not key.startswith(classifier)}
    for key, value in wanted.items():
        if key.endswith("num_batches_tracked"):
            given.setdefault(key, value)
    problems = [f"{key} is missing" for key in wanted if key not in given]
    problems += [f"{key} is unexpected" for key in given if key not in wanted]
    problems += [
        f"{key} is {list(given[key].shape)}, not {list(wanted[key].shape)}"
        for key in wanted
        if key in given and given[key].shape != wanted[key].shape
    ]
    if problems:
        more = f" and {len(problems) - SHOWN_KEYS} more" if len(problems) > SHOWN_KEYS else ""
        seems = detect_network(weights.tensors)
        raise EncoderError(
            f"{weights.path} does not hold the weights of {name}",
            found="; ".join(problems[:SHOWN_KEYS]) + more,
            mend=f"They seem to be of {seems}: name that encoder"
            if seems
            else "Name the encoder they belong to",
        )
    network.load_state_dict(given)


def detect_network(tensors: Mapping[str, Tensor]) -> str | None:
    """Guess from names and counts which network weights belong to; None where nothing fits."""
    names = tensors.keys()
    if "features.conv0.weight" in names:
        layer = re.compile(r"features\.denseblock\d+\.denselayer\d+\.conv1\.weight")
        count = sum(bool(layer.fullmatch(key)) for key in names)
        # The number counts two convolutions a layer, three transitions, the first one and the classifier.
        return f"timm:densenet{2 * count + 5}"
    if any(key.startswith("blocks.0.attn.") for key in names) or "patch_embed.proj.weight" in names:
        return "a vision transformer (timm:NAME)"
    if any(key.startswith("encoder.layers.encoder_layer_0") for key in names):
        return "torchvision's vision transformer"
    if "layer1.0.conv1.weight" in names:
        return _detect_resnet(tensors)
    return None


def _detect_resnet(tensors: Mapping[str, Tensor]) -> str:
    blocks = sum(bool(re.fullmatch(r"layer\d\.\d+\.conv1\.weight", key)) for key in tensors)
    has_bottleneck = "layer1.0.conv3.weight" in tensors
    depth = (3 if has_bottleneck else 2) * blocks + 2
    grouped = tensors.get("layer1.0.conv2.weight")
    if has_bottleneck and grouped is not None and grouped.shape[0] != grouped.shape[1]:
        return f"a ResNeXt of {depth} layers (timm:NAME)"
    if grouped is not None and grouped.shape[0] != 64:
        return f"a wide ResNet of {depth} layers (timm:NAME)"
    return f"resnet{depth}"


def download_weights(name: str) -> EncoderWeights:
    """Fetch the default weights of one of our ResNets from the hub (once; kept in the hub's own cache).

    Their metadata are completed from the repository's ``config.json``; timm's files say nothing themselves.

    Raises:
        EncoderError: they are not here and the hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download

    repository = HUB_REPOSITORIES[name]
    try:
        path = Path(hf_hub_download(repository, "model.safetensors"))
        config = json.loads(Path(hf_hub_download(repository, "config.json")).read_text(encoding="utf-8"))
    except Exception as error:  # the hub's client passes on errors of whatever HTTP library it uses
        raise hub_refused(name, repository, error) from error
    weights = read_weights(path)
    return replace(
        weights,
        metadata=weights.metadata
        | {"layout": "conv2"}
        | hub_metadata(config.get("pretrained_cfg", {}), repository),
    )


def hub_refused(name: str, repository: str, error: Exception) -> EncoderError:
    """Say that the hub did not give an encoder's weights, why, and what else can be done."""
    return EncoderError(
        f"cannot get the weights of {name} from the hub ({repository})",
        found=reason(error),
        mend=f"Check the network. {LOCAL_FILE}",
    )


def hub_metadata(config: Mapping[str, Any], repository: str | None) -> dict[str, str]:
    """Put timm's ``pretrained_cfg``, and the repository the weights came from, into the words of our metadata."""
    size = config.get("input_size", (3, 224, 224))[-1]
    metadata = {"input": f"RGB 0..1 {size}x{size}"}
    if repository is not None:
        origin = [f"{repository} on the Hugging Face hub", config.get("origin_url")]
        metadata["source"] = ", ".join(part for part in origin if part)
        if config.get("license"):
            metadata["license"] = config["license"]
    for name in ("mean", "std"):
        if name in config:
            metadata[name] = " ".join(str(number) for number in config[name])
    return metadata

"""Encoder weights: safetensors files, loaded strictly.

A file is identified by the SHA-256 of its bytes; a compressed one (`showtell.encoders.compressed_weights`) by that of
the plain file that it decompresses to. The file's metadata hold stride layout, mean, standard deviation, image size
and batch-norm epsilon, so that they cannot drift from the weights.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from showtell.config.encoder import BOTTLENECKED, DENSENETS, JOIN, RESNETS, StrideIn
from showtell.encoders.compressed_weights import decompress, is_compressed, unreadable
from showtell.errors import EncoderError, reason
from showtell.system.atomic import sha256_file
from showtell.system.reading import read_json_object

MAX_KEYS_SHOWN = 5
HUB_TIMEOUT = 10.0
HUB_REPOSITORIES = {name: f"timm/{name}.tv_in1k" for name in (*RESNETS, *DENSENETS)}


@dataclass(frozen=True)
class EncoderWeights:
    """The tensors and metadata of a safetensors file."""

    path: Path
    sha256: str  # of the plain file's bytes, hexadecimal
    tensors: dict[str, Tensor]  # floating-point tensors are float32, whatever the file holds
    metadata: dict[str, str]

    @property
    def stride_in(self) -> StrideIn | None:
        """The stride layout in the metadata (``stride_in``, ``layout`` or ``stride``), None if there is none.

        Raises:
            EncoderError: the key is there but names no layout.
        """
        texts = [self.metadata[key] for key in ("stride_in", "layout", "stride") if key in self.metadata]
        if not texts:
            return None
        match = re.match(r"(conv1|conv2)\b", texts[0].strip())
        if match is None:
            raise EncoderError(
                f"the metadata of {self.path} has no valid stride layout",
                found=f"'{texts[0]}'",
                expected="conv1 or conv2 first",
                mend="Remove this metadata from the file, and set encoder.stride_in",
            )
        return "conv1" if match[1] == "conv1" else "conv2"

    @property
    def preprocessing(self) -> dict[str, Any]:
        """The fields of `showtell.config.preprocessing.Preprocessing` in the metadata: mean, std, size."""
        fields: dict[str, Any] = {
            name: self._three_numbers(name) for name in ("mean", "std") if name in self.metadata
        }
        size = re.search(r"(\d+)x(\d+)", self.metadata.get("input", ""))
        if size and size[1] == size[2]:
            fields["size"] = int(size[1])
        return fields

    @property
    def origin(self) -> str | None:
        """Source and license of the weights, as far as the metadata name them."""
        parts = [self.metadata.get("source"), self.metadata.get("license")]
        return ", ".join(part for part in parts if part) or None

    @property
    def norm_epsilon(self) -> float | None:
        """The epsilon of the batch norms, if the metadata name one that is not the framework's default."""
        match = re.search(r"batch norm eps ([\d.e-]+)", self.metadata.get("note", ""))
        return float(match[1]) if match else None

    def set_norm_epsilon(self, network: nn.Module) -> None:
        """Give a network's batch norms the epsilon that the metadata name, if they name one."""
        if self.norm_epsilon is not None:
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eps = self.norm_epsilon

    def by_network(self, names: Sequence[str]) -> dict[str, "EncoderWeights"]:
        """Return the weights of each network of an encoder; of two in one file (`showtell.encoders.joined`), its own.

        Raises:
            EncoderError: the file does not hold one of two networks.
        """
        return {name: self._of_network(name) for name in names} if len(names) > 1 else {names[0]: self}

    def _of_network(self, name: str) -> "EncoderWeights":
        prefix = f"{name}."
        tensors = {
            key.removeprefix(prefix): each for key, each in self.tensors.items() if key.startswith(prefix)
        }
        metadata = {
            key.removeprefix(prefix): each for key, each in self.metadata.items() if key.startswith(prefix)
        }
        if not tensors:
            raise EncoderError(
                f"{self.path} does not hold the weights of {name} under that name",
                found=f"weights of {detect_network(self.tensors) or 'nothing known'}",
                mend="Write those of both networks to one file: showtell join-encoders",
            )
        return replace(self, tensors=tensors, metadata=metadata)

    def _three_numbers(self, name: str) -> tuple[float, float, float]:
        try:
            red, green, blue = (float(part) for part in self.metadata[name].replace(",", " ").split())
        except ValueError as error:
            raise EncoderError(
                f"the metadata of {self.path} cannot be used",
                found=f"{name} = '{self.metadata[name]}'",
                expected="three numbers: red, green, blue",
                mend="Convert the weights again",
            ) from error
        return red, green, blue


def read_weights(path: Path) -> EncoderWeights:
    """Read a safetensors file, plain or compressed.

    Raises:
        EncoderError: the file is missing, a directory, of another format, or incomplete; a compressed file also if
            its contents changed.
    """
    if not path.is_file():
        found = "a directory" if path.is_dir() else "no such file"
        raise unreadable(path, found, "a safetensors file", "Check the path")
    try:
        tensors, metadata, sha256 = read_stored(path)
        tensors = {name: each.float() if each.is_floating_point() else each for name, each in tensors.items()}
        return EncoderWeights(path, sha256, tensors, metadata)
    except (SafetensorError, OSError) as error:
        mend = "Download it again; convert other formats (.pth, .bin, .h5) to safetensors first"
        raise unreadable(path, str(error), "a complete safetensors file", mend) from error


def read_stored(path: Path) -> tuple[dict[str, Tensor], dict[str, str], str]:
    """Return tensors in the dtypes of a safetensors file, plain or compressed, with metadata and SHA-256.

    Raises:
        EncoderError: a compressed file whose contents changed.
        SafetensorError, OSError: it is missing or no such file.
    """
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata() or {})
        if is_compressed(metadata):
            return decompress(file, path)
        return {name: file.get_tensor(name) for name in file.keys()}, metadata, sha256_file(path)  # noqa: SIM118


def load_state_dict_strict(
    network: nn.Module, weights: EncoderWeights, *, name: str, classifier: str
) -> None:
    """Copy weights into the network ``name``; all keys and shapes must match.

    Keys with the prefix ``classifier`` ("fc.") are dropped; ``num_batches_tracked`` may be missing.

    Raises:
        EncoderError: keys are missing or unexpected, or shapes differ; names the network that the weights fit.
    """
    wanted = network.state_dict()
    given = {key: value for key, value in wanted.items() if key.endswith("num_batches_tracked")}
    given |= {key: value for key, value in weights.tensors.items() if not key.startswith(classifier)}
    problems = [f"{key} is missing" for key in wanted if key not in given]
    problems += [f"{key} is unexpected" for key in given if key not in wanted]
    problems += [
        f"{key} is {list(given[key].shape)}, not {list(wanted[key].shape)}"
        for key in wanted
        if key in given and given[key].shape != wanted[key].shape
    ]
    if problems:
        more = f" and {len(problems) - MAX_KEYS_SHOWN} more" if len(problems) > MAX_KEYS_SHOWN else ""
        guess = detect_network(weights.tensors)
        raise EncoderError(
            f"{weights.path} does not hold the weights of {name}",
            found="; ".join(problems[:MAX_KEYS_SHOWN]) + more,
            mend=f"They seem to be of {guess}: use that encoder"
            if guess
            else "Use the encoder they belong to",
        )
    network.load_state_dict(given)


def detect_network(tensors: Mapping[str, Tensor]) -> str | None:
    """Guess from names and counts which network weights belong to; None if nothing fits."""
    names = tensors.keys()
    prefixes = {key.split(".", 1)[0] for key in names}
    if networks := [network for network in (*RESNETS, *DENSENETS) if network in prefixes]:
        return JOIN.join(networks)
    if "features.conv0.weight" in names:
        layer = re.compile(r"features\.denseblock\d+\.denselayer\d+\.conv1\.weight")
        count = sum(bool(layer.fullmatch(key)) for key in names)
        # The number counts two convolutions per layer, three transitions, the first convolution, the classifier.
        return f"densenet{2 * count + 5}"
    if any(key.startswith("blocks.0.attn.") for key in names) or "patch_embed.proj.weight" in names:
        return "a vision transformer (timm:NAME)"
    if any(key.startswith("encoder.layers.encoder_layer_0") for key in names):
        return "torchvision's vision transformer"
    if "layer1.0.conv1.weight" not in names:
        return None
    blocks = sum(bool(re.fullmatch(r"layer\d\.\d+\.conv1\.weight", key)) for key in names)
    has_bottleneck = "layer1.0.conv3.weight" in names
    depth = (3 if has_bottleneck else 2) * blocks + 2
    second = tensors.get("layer1.0.conv2.weight")
    kind = None
    if second is not None and has_bottleneck and second.shape[0] != second.shape[1]:
        kind = "a ResNeXt"
    elif second is not None and second.shape[0] != 64:
        kind = "a wide ResNet"
    return f"{kind} of {depth} layers (timm:NAME)" if kind else f"resnet{depth}"


def download_weights(name: str) -> EncoderWeights:
    """Return the default weights of a ResNet or DenseNet, downloaded once and then read from the hub's cache.

    The metadata come from the repository's ``config.json``, since timm's weight files carry none.

    Raises:
        EncoderError: the weights are not cached and the hub cannot be reached.
    """
    repository = HUB_REPOSITORIES[name]
    path = fetch_from_hub(repository, "model.safetensors", name=name)
    config = read_json_object(fetch_from_hub(repository, "config.json", name=name))
    weights = read_weights(path)
    described = hub_metadata(config.get("pretrained_cfg", {}), repository)
    if name in BOTTLENECKED:
        described["stride_in"] = "conv2"
    return replace(weights, metadata=weights.metadata | described)


def fetch_from_hub(repository: str, file: str, *, name: str) -> Path:
    """Return a file of a hub repository of the encoder ``name``, from the hub's cache or by downloading it.

    Raises:
        EncoderError: the file is not cached and the hub does not answer; at the first failed request.
    """
    import huggingface_hub as hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        try:
            return Path(hub.hf_hub_download(repository, file, local_files_only=True))
        except LocalEntryNotFoundError:
            # A single request, since the download would retry for 20 seconds, with a warning each time.
            hub.get_hf_file_metadata(hub.hf_hub_url(repository, file), timeout=HUB_TIMEOUT)
            return Path(hub.hf_hub_download(repository, file))
    except Exception as error:  # the hub's client passes on the errors of its HTTP library
        local = "models/resnet50.safetensors" if name == "resnet50" else "FILE"
        raise EncoderError(
            f"cannot download the weights of {name} from the Hugging Face hub ({repository})",
            found=reason(error),
            mend=f"Check the network, or use a local file: --encoder-weights {local} (encoder_weights= in Python)",
        ) from error


def hub_metadata(config: Mapping[str, Any], repository: str | None) -> dict[str, str]:
    """Convert timm's ``pretrained_cfg``, and the weights' repository, to our metadata."""
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

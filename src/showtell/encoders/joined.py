"""Two frozen networks side by side: the channels of both in each region, and their weights in one file.

One file, so that an encoder of two networks has one SHA-256, one path and one option, like any other. Names of
tensors and metadata keys start with their network's name and a dot.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from showtell.config.encoder import DENSENETS, JOIN, MAX_NETWORKS, RESNETS
from showtell.encoders.onednn_network import FusedNetwork
from showtell.encoders.resnet import adaptive_avg_pool
from showtell.encoders.weights import (
    EncoderWeights,
    detect_network,
    download_weights,
    read_stored,
    read_weights,
)
from showtell.errors import EncoderError
from showtell.system.atomic import atomic_path
from showtell.system.reading import sha256_json
from showtell.system.safetensors import save_tensors


class JoinedNetworks(nn.Module):
    """Concatenates the channels of networks, on the first one's grid."""

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        """Return the map [P, D, h, w] of normalized images float [P, 3, S, S]."""
        maps = [network(images) for network in self.networks]
        rows, columns = maps[0].shape[2:]
        return torch.cat([adaptive_avg_pool(each, rows, columns) for each in maps], dim=1)


def join_networks(networks: Sequence[nn.Module]) -> nn.Module:
    """Return one network of several; a single one is itself."""
    return JoinedNetworks(networks) if len(networks) > 1 else networks[0]


def without_fusion(network: nn.Module) -> nn.Module:
    """Return a frozen network without operators that no exporter knows."""
    if isinstance(network, JoinedNetworks):
        return JoinedNetworks([without_fusion(each) for each in network.networks])
    return network.plain if isinstance(network, FusedNetwork) else network


def join_weights(sources: Sequence[EncoderWeights], out: Path) -> str:
    """Write the weights of two networks to one safetensors file; return the name of an encoder that has both.

    Raises:
        EncoderError: other than two ResNets or DenseNets, networks whose input differs in mean or standard deviation,
            or a file that cannot be read.
        DataError: the file cannot be written.
    """
    networks = [str(detect_network(source.tensors)) for source in sources]
    name = JOIN.join(networks)
    if len(set(networks)) != MAX_NETWORKS or not set(networks) <= {*RESNETS, *DENSENETS}:
        raise EncoderError(
            f"{' and '.join(str(source.path) for source in sources)} cannot be joined",
            found=name,
            expected="two different networks, ResNets or DenseNets",
        )
    metadata = {"format": "pt", "architecture": name}
    tensors: dict[str, Tensor] = {}
    for network, source in zip(networks, sources, strict=True):
        for key in ("mean", "std"):
            value = source.metadata.get(key, "")
            if metadata.setdefault(key, value) != value:
                raise EncoderError(
                    f"{name} cannot have one input",
                    found=f"{key} {value or 'missing'} in {source.path}",
                    expected=metadata[key] or "none",
                    mend="Join networks of one normalization",
                )
        metadata |= {f"{network}.{key}": value for key, value in source.metadata.items()}
        tensors |= {f"{network}.{key}": tensor for key, tensor in read_stored(source.path)[0].items()}
    origins = [
        f"{network}: {each.origin}" for network, each in zip(networks, sources, strict=True) if each.origin
    ]
    metadata["source"] = "; ".join(origins)
    with atomic_path(out) as temporary:
        save_tensors(tensors, temporary, {key: value for key, value in metadata.items() if value})
    return name


def download_default(names: Sequence[str]) -> EncoderWeights:
    """Return the default weights of an encoder; those of two networks in one file, made once in the hub's cache.

    Raises:
        EncoderError: weights are not cached and the hub cannot be reached.
    """
    sources = [download_weights(name) for name in names]
    if len(sources) == 1:
        return sources[0]
    from huggingface_hub.constants import HF_HUB_CACHE

    digest = sha256_json([source.sha256 for source in sources])[:8]
    out = Path(HF_HUB_CACHE) / "showtell" / f"{JOIN.join(names)}-{digest}.safetensors"
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        join_weights(sources, out)
    return read_weights(out)

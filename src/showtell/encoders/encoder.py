"""Images in, `Features` out: a frozen pretrained network, or a small one that trains together with its decoder.

An encoder's identity is its name, stride layout, weights' SHA-256 and preprocessing (`Encoder.identity`). Caches and
checkpoints store it, so features never meet another encoder. A frozen encoder takes no gradients, runs in inference
mode, and stays in eval mode when its parent trains, since batch-norm statistics move without any gradient.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from showtell.config.encoder import SMALL, EncoderSpec
from showtell.config.preprocessing import Preprocessing
from showtell.encoders.build import build_network
from showtell.encoders.features import Features
from showtell.encoders.stride_check import compare_strides
from showtell.encoders.weights import EncoderWeights, read_weights
from showtell.errors import EncoderError
from showtell.system.atomic import atomic_path
from showtell.system.batch_pool import cancellable
from showtell.system.console import note
from showtell.system.safetensors import save_tensors

__all__ = ["Encoder", "EncoderSpec", "build_encoder", "fast_dtype", "identity_differences", "save_encoder"]

PIXELS_PER_CORE = 8 * 224 * 224
"""Pixels that one core encodes at a time, so that activations stay in its cache: 8 images of 224 x 224."""


class Encoder(nn.Module):
    """A network with its preprocessing. Build one with `build_encoder`.

    Its ``spec`` has stride layout and preprocessing filled in; ``grid`` is the number of rows and columns of regions,
    ``width`` the channels D of a region. ``weights`` is the file that the weights came from, with its SHA-256 and
    ``origin`` (source and license, where it names them); None for a network that is not trained yet. ``stride_known``
    is False if neither the spec nor the file named the stride layout.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        network: nn.Module,
        weights: EncoderWeights | None,
        preprocessing: Preprocessing,
        *,
        stride_known: bool = True,
    ):
        super().__init__()
        self.spec = spec.model_copy(update={"preprocessing": preprocessing})
        self.preprocessing = preprocessing
        self.weights = None if weights is None else weights.path
        self.weights_sha256 = None if weights is None else weights.sha256
        self.origin = None if weights is None else weights.origin
        self.stride_known = stride_known
        self.network = network
        # On the network's device: `_probe_shape` runs it before the whole encoder can be moved.
        device = next(network.parameters()).device
        for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
            self.register_buffer(name, 255 * torch.tensor(values, device=device), persistent=False)
        self.mean: Tensor
        self.std: Tensor
        if not spec.trainable:
            self.requires_grad_(False)
        self.train(spec.trainable)
        self.grid, self.width = self._probe_shape()

    @property
    def regions(self) -> int:
        """Number of regions R of an image."""
        return self.grid[0] * self.grid[1]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the network computes in."""
        return next(self.network.parameters()).dtype

    @property
    def has_stride_variants(self) -> bool:
        """Whether `verify_stride_layout` has anything to check."""
        return self.spec.bottlenecked is not None and self.weights is not None

    def identity(self) -> dict[str, Any]:
        """Return everything that determines the features, as JSON values.

        `EncoderSpec.identity_fields` adds stages, grid and flips only where they differ from the defaults.
        """
        return {
            "name": self.spec.name,
            "stride_in": self.spec.stride_in,
            "weights": self.weights_sha256,
            "preprocessing": self.preprocessing.model_dump(mode="json"),
            **self.spec.identity_fields,
        }

    def train(self, mode: bool = True) -> Self:
        """Set train or eval mode; a frozen encoder stays in eval mode."""
        return super().train(mode and self.spec.trainable)

    def forward(self, images: Tensor) -> Features:
        """Encode images: uint8 [P, S, S, 3] from `preprocess_image`, or normalized float [P, 3, S, S].

        Regions are float32 [P, R, D], row by row from the top left, and their mean float32 [P, D]. In eval mode both
        are rounded to float16, so live features equal cached ones.

        Raises:
            EncoderError: wrong shape, or values outside the range of float16 (broken weights).
        """
        if self.spec.trainable:
            regions, pooled = self._encode(self.normalize(images))
        else:
            with torch.inference_mode():
                parts = [self._encode(self.normalize(part)) for part in self._split(images)]
                regions, pooled = (  # [P, R, D] and [P, D]
                    parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts, strict=True))
                )
        mask = torch.ones(regions.shape[:2], dtype=torch.bool, device=regions.device)
        # Converted outside inference mode: tensors made inside cannot enter a graph that is trained.
        return Features(regions.float(), pooled.float(), mask)

    def verify_stride_layout(self, images: Tensor) -> None:
        """Check on a few dozen photographs that a ResNet runs its weights in their stride layout.

        See `showtell.encoders.stride_check`. Where spec or metadata named the layout, doubt is only a warning.

        Raises:
            EncoderError: the weights have the other layout, and neither spec nor metadata named one.
        """
        if self.spec.bottlenecked is None or self.weights is None:
            return
        weights = read_weights(self.weights).by_network(self.spec.names)[self.spec.bottlenecked]
        depth = int(self.spec.bottlenecked.removeprefix("resnet"))
        evidence = compare_strides(depth, weights, self.normalize(images))
        if evidence.stride_in in (None, self.spec.stride_in):
            return
        what = f"{self.weights} seems to have stride layout {evidence.stride_in}, not {self.spec.stride_in}"
        if not self.stride_known:
            raise EncoderError(
                what, found=evidence.reason, mend=f"Set encoder.stride_in to {evidence.stride_in}"
            )
        note(f"warning: {what}: {evidence.reason}")

    def normalize(self, images: Tensor) -> Tensor:
        """Return the network's input: float [P, 3, S, S], channels last in memory."""
        size = self.preprocessing.size
        if images.dtype == torch.uint8:
            if images.ndim != 4 or images.shape[1:] != (size, size, 3):
                raise _wrong_shape(images, f"uint8 [P, {size}, {size}, 3]")
            # Whole rows at once: PyTorch does not vectorize over a last dimension of three channels.
            rows = images.to(self.mean.device).reshape(-1, size, 3 * size).to(self.mean.dtype)
            scaled = rows.sub_(self.mean.repeat(size)).div_(self.std.repeat(size))
            return scaled.to(self.dtype).view(-1, size, size, 3).permute(0, 3, 1, 2)  # [P, 3, S, S]
        if images.ndim != 4 or images.shape[1:] != (3, size, size):
            raise _wrong_shape(images, f"float [P, 3, {size}, {size}]")
        return images.to(self.mean.device, self.dtype, memory_format=torch.channels_last)

    def _split(self, images: Tensor) -> Iterable[Tensor]:
        """Split a batch to fit a CPU's cache; features do not depend on the split."""
        if self.mean.device.type != "cpu" or torch.compiler.is_exporting() or images.ndim != 4:
            return (images,)
        pixels = (1 + self.spec.flip_average) * self.preprocessing.size**2
        return cancellable(torch.split(images, max(1, PIXELS_PER_CORE * torch.get_num_threads() // pixels)))

    def _encode(self, normalized: Tensor) -> tuple[Tensor, Tensor]:
        """Return regions [P, R, D] and their mean [P, D]; float16 in eval mode."""
        maps = flip_averaged_features(self.network, normalized, flip_average=self.spec.flip_average)
        regions = maps.flatten(2).transpose(1, 2)  # [P, R, D]
        pooled = regions.mean(1, dtype=torch.float32)  # [P, D]
        return (regions, pooled) if self.training else (self._to_half(regions), self._to_half(pooled))

    def _to_half(self, values: Tensor) -> Tensor:
        halves = values.to(torch.float16)
        # The extremes are NaN where any value is; this is faster than isfinite() on every value.
        if halves.numel() and not all(bool(end.isfinite()) for end in torch.aminmax(halves)):
            raise EncoderError(
                f"the features of {self.spec.name} do not fit float16",
                found="values that are not finite or too large",
                expected=f"magnitudes up to {torch.finfo(torch.float16).max:.0f}",
                mend="Check that the weights belong to this encoder",
            )
        return halves

    def _probe_shape(self) -> tuple[tuple[int, int], int]:
        """Return grid and width, from one pass over a blank image."""
        size, mode = self.preprocessing.size, self.training
        self.eval()
        with torch.no_grad():
            maps = self.network(self.normalize(torch.zeros(1, size, size, 3, dtype=torch.uint8)))
        self.train(mode)
        return (maps.shape[2], maps.shape[3]), maps.shape[1]


def flip_averaged_features(network: nn.Module, images: Tensor, *, flip_average: bool) -> Tensor:
    """Return a network's feature maps [P, D, h, w] of normalized images float [P, 3, S, S].

    With ``flip_average``, the mean over each image and its horizontal flip, in float32 (Simonyan & Zisserman 2015,
    section 3.2, average a classifier's predictions in the same way). The flip's map is flipped back, so every region
    keeps its position, and mirrored images have mirrored maps, to the bit.
    """
    if not flip_average:
        return network(images)  # type: ignore[no-any-return]
    batch_size = images.shape[0]
    both = network(torch.cat([images, images.flip(3)])).float()  # [2P, D, h, w]
    return torch.stack([both[:batch_size], both[batch_size:].flip(3)]).mean(0)


def _wrong_shape(images: Tensor, expected: str) -> EncoderError:
    found = f"{str(images.dtype).removeprefix('torch.')} {list(images.shape)}"
    return EncoderError(
        "cannot encode these images", found=found, expected=expected, mend="Use preprocess_image"
    )


def fast_dtype(device: torch.device | str = "cpu") -> torch.dtype:
    """Return the fastest dtype for a frozen network on a device.

    bfloat16 where the hardware multiplies it (CPUs with AMX or AVX512-BF16, recent GPUs), float16 on older GPUs,
    float32 elsewhere.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    # PyTorch has no public names for these two queries yet.
    queries = (
        getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    )
    if kind == "cpu" and any(query is not None and query() for query in queries):
        return torch.bfloat16
    return torch.float32


def build_encoder(
    spec: EncoderSpec,
    *,
    weights: Path | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Encoder:
    """Build an encoder and load its weights.

    Args:
        spec: Stride layout and preprocessing may be left to the weights' metadata.
        weights: A local safetensors file, which overrides ``spec.weights``; with neither, the hub's weights.
        device: Where it runs.
        dtype: Of a frozen network; None: `fast_dtype`, but float32 for ``small``, as in its training. Trainable
            networks are float32.

    Raises:
        EncoderError: weights are missing, broken, of another network, or contradict the spec.
        MissingExtraError: a ``timm:`` encoder without a working timm.
    """
    path = weights or (Path(spec.weights) if spec.weights else None)
    built = build_network(spec, read_weights(path) if path else None)
    network = built.network.eval()
    if not spec.trainable:
        network = network.to(dtype or (torch.float32 if spec.name == SMALL else fast_dtype(device)))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Encoder(
        built.spec, network.to(device), built.weights, built.preprocessing, stride_known=built.stride_known
    )


def identity_differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Return one line for each field of two encoder identities, nested ones dotted, whose values differ."""
    lines = []
    for name in sorted(found.keys() | expected.keys()):
        old, new = found.get(name), expected.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += [f"{name}.{line}" for line in identity_differences(old, new)]
        elif old != new:
            lines.append(f"{name} is {old}, not {new}")
    return lines


def save_encoder(encoder: Encoder, path: Path) -> None:
    """Write an encoder's weights with their metadata; a frozen encoder's file is copied, which keeps its identity.

    Raises:
        DataError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        if encoder.weights is not None and not encoder.spec.trainable:
            temporary.write_bytes(encoder.weights.read_bytes())
            return
        preprocessing = encoder.preprocessing
        metadata = {
            "format": "pt",
            "architecture": encoder.spec.name,
            "mean": " ".join(str(number) for number in preprocessing.mean),
            "std": " ".join(str(number) for number in preprocessing.std),
            "input": f"RGB 0..1 {preprocessing.size}x{preprocessing.size}",
        }
        if encoder.spec.stride_in:
            metadata["stride_in"] = encoder.spec.stride_in
        save_tensors(encoder.network.state_dict(), temporary, metadata)

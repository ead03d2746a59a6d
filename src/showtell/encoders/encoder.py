"""Pictures in, `Features` out: a frozen pretrained network (or a small one that is trained along).

An encoder is its name, its layout, the SHA-256 of its weights and its preprocessing; all four travel
together (`Encoder.identity`), so that features, checkpoints and pictures never meet the wrong one. Frozen means
three things: no parameter takes a gradient, every pass runs in inference mode, and the network stays in eval mode
when its parent goes to train mode (batch-norm statistics move without any gradient).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from showtell.config.encoder import SMALL, TIMM_PREFIX, EncoderSpec, Layout
from showtell.config.preprocessing import Preprocessing
from showtell.encoders.features import Features
from showtell.encoders.flip_average import flip_averaged_features
from showtell.encoders.onednn_resnet import FusedResNet
from showtell.encoders.resnet import ResNet, fold_batch_norms
from showtell.encoders.small_cnn import SmallCnn
from showtell.encoders.stride_check import compare_strides
from showtell.encoders.weights import EncoderWeights, download_weights, load_state_dict_strict, read_weights
from showtell.errors import EncoderError
from showtell.system.atomic import atomic_path
from showtell.system.batch_pool import cancellable
from showtell.system.console import note
from showtell.system.safetensors import save_tensors

__all__ = ["Encoder", "EncoderSpec", "build_encoder", "check_identity", "fast_dtype", "save_encoder"]

LARGEST_HALF = 65504.0

PART_PIXELS = 8 * 224 * 224
"""Pixels that a core looks at at once, so that maps stay in its cache: 8 pictures of 224."""


class Encoder(nn.Module):
    """A network with its preprocessing. Build one with `build_encoder`.

    Attributes:
        spec: What it is, with layout and preprocessing filled in.
        preprocessing: What pictures must look like.
        width: Channels D of a region.
        grid: Rows and columns of regions.
        weights: The file its weights came from; None for a network not yet trained.
        weights_sha256: Of that file.
        origin: Where they came from and under which licence, where that file says it.
        layout_was_told: Whether a key or the weights' metadata named the layout.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        network: nn.Module,
        weights: EncoderWeights | None,
        preprocessing: Preprocessing,
        *,
        layout_was_told: bool = True,
    ):
        super().__init__()
        self.spec = spec
        self.preprocessing = preprocessing
        self.weights = None if weights is None else weights.path
        self.weights_sha256 = None if weights is None else weights.sha256
        self.origin = None if weights is None else weights.origin
        self.layout_was_told = layout_was_told
        self.network = network
        # Where the network is: it looks once before the whole encoder could be moved.
        place = next(network.parameters()).device
        for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
            self.register_buffer(name, 255 * torch.tensor(values, device=place), persistent=False)
        self.mean: Tensor
        self.std: Tensor
        if not spec.trainable:
            self.requires_grad_(False)
        self.train(spec.trainable)
        self.grid, self.width = self._measure()

    @property
    def regions(self) -> int:
        """How many regions R a picture has."""
        return self.grid[0] * self.grid[1]

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in."""
        return next(self.network.parameters()).dtype

    @property
    def may_have_other_layout(self) -> bool:
        """Whether `check_layout` has anything to ask."""
        return self.spec.has_layouts and self.weights is not None

    def identity(self) -> dict[str, Any]:
        """Return what makes its features its own, as JSON values: name, layout, weights, preprocessing...

        Stages, grid and flips are told only where they are not the usual, so that earlier features stay known.
        """
        return {
            "name": self.spec.name,
            "layout": self.spec.stride_in,
            "weights": self.weights_sha256,
            "preprocessing": self.preprocessing.model_dump(mode="json"),
            **self.spec.identity_fields,
        }

    def train(self, mode: bool = True) -> Self:
        """Set train or eval mode; a frozen encoder stays in eval mode."""
        return super().train(mode and self.spec.trainable)

    def forward(self, pictures: Tensor) -> Features:
        """Look at pictures.

        Args:
            pictures: uint8 [P, S, S, 3] as `showtell.images.preprocess.preprocess_image` gives them, or normalised
                float [P, 3, S, S].

        Returns:
            Regions float32 [P, R, D], row by row from the top left, and their mean float32 [P, D]. In eval mode
            they are rounded to half floats, so that live and cached ones are the same numbers.

        Raises:
            EncoderError: pictures of another size, or numbers that half floats cannot hold (broken weights).
        """
        if self.spec.trainable:
            regions, pooled = self._look(self.normalise(pictures))
        else:
            with torch.inference_mode():
                looks = [self._look(self.normalise(part)) for part in self._parts(pictures)]
                # [P, R, D] and [P, D]
                regions, pooled = (
                    looks[0] if len(looks) == 1 else (torch.cat(each) for each in zip(*looks, strict=True))
                )
        # Converted outside inference mode: tensors made inside cannot enter a graph that is trained.
        return Features(regions.float(), pooled.float(), self._mask(regions))

    def check_layout(self, pictures: Tensor) -> None:
        """Ask photographs whether a ResNet's weights are in the layout they were trained in.

        See `showtell.encoders.stride_check` for what can be told. Where key or metadata named the layout, doubts are
        noted on stderr; where it was only assumed, they are an error.

        Args:
            pictures: As for `forward`; some tens of photographs.

        Raises:
            EncoderError: the weights are of the other layout, and nothing said which one to use.
        """
        if not self.may_have_other_layout or self.weights is None:
            return
        depth = int(self.spec.name.removeprefix("resnet"))
        evidence = compare_strides(depth, read_weights(self.weights), self.normalise(pictures))
        if evidence.layout in (None, self.spec.stride_in):
            return
        what = f"{self.weights} seem to be weights of layout {evidence.layout}, not {self.spec.stride_in}"
        if not self.layout_was_told:
            raise EncoderError(
                what, found=evidence.reason, mend=f"Set encoder.stride_in to {evidence.layout}"
            )
        note(f"warning: {what}: {evidence.reason}")

    def normalise(self, pictures: Tensor) -> Tensor:
        """Return pictures as the network wants them: float [P, 3, S, S], channels last in memory."""
        size = self.preprocessing.size
        if pictures.dtype == torch.uint8:
            if pictures.ndim != 4 or pictures.shape[1:] != (size, size, 3):
                raise _wrong_shape(pictures, f"uint8 [P, {size}, {size}, 3]")
            # Whole rows at once: over a last dimension of three channels nothing is vectorised.
            rows = pictures.to(self.mean.device).reshape(-1, size, 3 * size).to(self.mean.dtype)
            scaled = rows.sub_(self.mean.repeat(size)).div_(self.std.repeat(size))
            return scaled.to(self.dtype).view(-1, size, size, 3).permute(0, 3, 1, 2)  # [P, 3, S, S]
        if pictures.ndim != 4 or pictures.shape[1:] != (3, size, size):
            raise _wrong_shape(pictures, f"float [P, 3, {size}, {size}]")
        return pictures.to(self.mean.device, self.dtype, memory_format=torch.channels_last)

    def _parts(self, pictures: Tensor) -> Iterable[Tensor]:
        """Return the batch in parts that suit a CPU's cache; a picture's features do not depend on its part."""
        if self.mean.device.type != "cpu" or torch.compiler.is_exporting() or pictures.ndim != 4:
            return (pictures,)
        pixels = (1 + self.spec.flip_average) * self.preprocessing.size**2
        part = max(1, PART_PIXELS * torch.get_num_threads() // pixels)
        return cancellable(torch.split(pictures, part))

    def _look(self, normalised: Tensor) -> tuple[Tensor, Tensor]:
        """Return regions [P, R, D] and their mean [P, D]; half floats in eval mode."""
        maps = flip_averaged_features(
            self.network, normalised, flip_average=self.spec.flip_average
        )  # [P, D, h, w]
        seen = maps.flatten(2).transpose(1, 2)  # [P, R, D]
        pooled = seen.mean(1, dtype=torch.float32)  # [P, D]
        return (seen, pooled) if self.training else (self._halve(seen), self._halve(pooled))

    def _halve(self, seen: Tensor) -> Tensor:
        halves = seen.to(torch.float16)
        # Least and greatest are NaN where any number is, and quicker found than each is asked.
        if halves.numel() and not all(bool(end.isfinite()) for end in torch.aminmax(halves)):
            raise EncoderError(
                f"the features of {self.spec.name} cannot be kept",
                found="numbers that are not finite or too large",
                expected=f"magnitudes up to {LARGEST_HALF:.0f}",
                mend="Check that the weights belong to this encoder",
            )
        return halves

    @staticmethod
    def _mask(regions: Tensor) -> Tensor:
        return torch.ones(regions.shape[:2], dtype=torch.bool, device=regions.device)

    def _measure(self) -> tuple[tuple[int, int], int]:
        """Return the grid and the width, from one look at a blank picture."""
        size, mode = self.preprocessing.size, self.training
        self.eval()
        with torch.no_grad():
            seen = self.network(self.normalise(torch.zeros(1, size, size, 3, dtype=torch.uint8)))
        self.train(mode)
        return (seen.shape[2], seen.shape[3]), seen.shape[1]


def _wrong_shape(pictures: Tensor, expected: str) -> EncoderError:
    found = f"{str(pictures.dtype).removeprefix('torch.')} {list(pictures.shape)}"
    return EncoderError(
        "cannot look at these pictures",
        found=found,
        expected=expected,
        mend="Prepare them with prepare_picture",
    )


def fast_dtype(device: torch.device | str = "cpu") -> torch.dtype:
    """Return the fastest dtype a frozen network may use on a device.

    bfloat16 where the processor multiplies it in hardware (AMX, AVX512-BF16) and on graphics cards that have
    it, float16 on older ones, float32 elsewhere.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    # These two questions have no public name yet.
    questions = (
        getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    )
    if kind == "cpu" and any(question is not None and question() for question in questions):
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
        spec: What is wanted; layout and preprocessing may be left to the weights' metadata.
        weights: A local safetensors file; goes before ``spec.weights``; neither: the hub's.
        device: Where it shall run.
        dtype: What a frozen network computes in; None: `fast_dtype`, but float32 for ``small``, so that it sees
            what it saw in training. Trainable ones are float32.

    Raises:
        EncoderError: weights missing, broken, of another network, or contradicting the spec.
        MissingExtraError: a ``timm:`` encoder without a working timm.
    """
    layout_was_told = True
    path = weights or (Path(spec.weights) if spec.weights else None)
    source = read_weights(path) if path else None
    if spec.name == SMALL:
        if source is None and not spec.trainable:
            raise EncoderError(
                "the encoder small cannot be frozen",
                found="no weights: it would see at random",
                mend="Set encoder.trainable to true, or name weights it was trained to: --encoder-weights FILE",
            )
        network: nn.Module = SmallCnn(spec.width)
        if source is not None:
            load_state_dict_strict(network, source, name=spec.name, classifier="fc.")
    elif spec.name.startswith(TIMM_PREFIX):
        from showtell.encoders.timm import build_timm_network

        network, source = build_timm_network(spec.name.removeprefix(TIMM_PREFIX), source)
    else:
        source = source or download_weights(spec.name)
        if spec.has_layouts:
            layout_was_told = (spec.stride_in or source.layout) is not None
            spec = spec.model_copy(update={"layout": _settle_layout(spec, source)})
        network = ResNet(
            int(spec.name.removeprefix("resnet")),
            spec.stride_in or "conv2",
            stages=spec.out_stages,
            grid=spec.region_grid,
        )
        load_state_dict_strict(network, source, name=spec.name, classifier="fc.")
        if not layout_was_told:
            note(
                f"{source.path} does not say its layout: taken as conv2 (torchvision, timm). "
                "For weights of Caffe, Keras or MSRA origin set encoder.stride_in to conv1."
            )
    preprocessing = _settle_preprocessing(spec, source)
    spec = spec.model_copy(update={"preprocessing": preprocessing})
    network.eval()
    if not spec.trainable:
        if isinstance(network, ResNet):
            with torch.no_grad():
                fold_batch_norms(network)
            network = FusedResNet(network)
        network = network.to(dtype or (torch.float32 if spec.name == SMALL else fast_dtype(device)))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Encoder(spec, network.to(device), source, preprocessing, layout_was_told=layout_was_told)


def _settle_layout(spec: EncoderSpec, source: EncoderWeights) -> Layout:
    """Return the layout that metadata and key agree on."""
    if spec.stride_in and source.layout and spec.stride_in != source.layout:
        raise EncoderError(
            f"the layout of {source.path} is not the one asked for",
            found=f"{source.layout} in the weights' metadata",
            expected=f"{spec.stride_in} (encoder.stride_in)",
            mend="Leave the key out",
        )
    return spec.stride_in or source.layout or "conv2"


def _settle_preprocessing(spec: EncoderSpec, source: EncoderWeights | None) -> Preprocessing:
    """Return the spec's preprocessing, completed by what the weights say."""
    told = source.preprocessing if source else {}
    if spec.preprocessing is None:
        default = Preprocessing() if spec.name != SMALL else SmallCnn.preprocessing
        return default.model_copy(update=told)
    wanted = {name: getattr(spec.preprocessing, name) for name in spec.preprocessing.model_fields_set}
    for name in ("mean", "std"):
        if name in wanted and name in told and wanted[name] != told[name]:
            raise EncoderError(
                f"the preprocessing of {source.path if source else spec.name} is not the one asked for",
                found=f"{name} {told[name]} in the weights' metadata",
                expected=f"{wanted[name]} (encoder.preprocessing.{name})",
                mend="Leave the key out",
            )
    return spec.preprocessing.model_copy(
        update={name: value for name, value in told.items() if name not in wanted}
    )


def check_identity(found: Mapping[str, Any], expected: Mapping[str, Any], *, what: str, mend: str) -> None:
    """Compare two encoder identities.

    Raises:
        EncoderError: they differ; names each field with both values.
    """
    differences = identity_differences(found, expected)
    if differences:
        raise EncoderError(f"{what} belongs to another encoder", found="; ".join(differences), mend=mend)


def identity_differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Return one line for each field, nested ones dotted, that two mappings do not share."""
    lines = []
    for name in sorted(found.keys() | expected.keys()):
        old, new = found.get(name), expected.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += [f"{name}.{line}" for line in identity_differences(old, new)]
        elif old != new and list(_items(old)) != list(_items(new)):
            lines.append(f"{name} is {old}, not {new}")
    return lines


def _items(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def save_encoder(encoder: Encoder, path: Path) -> None:
    """Write an encoder's weights so that `build_encoder` reads them back with layout and preprocessing.

    A frozen one is copied byte for byte, so that its SHA-256, and with it its identity, stays.

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
            metadata["layout"] = encoder.spec.stride_in
        save_tensors(encoder.network.state_dict(), temporary, metadata)

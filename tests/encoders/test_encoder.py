"""Encoders: frozen three times, named by what they are, refused with a reason where the weights do not fit."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from showtell.config.encoder import StrideIn
from showtell.config.preprocessing import Preprocessing
from showtell.config.recipe import dump_recipe, parse_recipe
from showtell.encoders import encoder as encoder_module
from showtell.encoders import weights as weights_module
from showtell.encoders.encoder import (
    Encoder,
    EncoderSpec,
    build_encoder,
    fast_dtype,
    identity_differences,
    save_encoder,
)
from showtell.encoders.resnet import ResNet
from showtell.encoders.stride_check import StrideEvidence, compare_strides
from showtell.encoders.weights import fetch_from_hub, read_weights
from showtell.errors import ConfigError, EncoderError
from showtell.images.load import load_image
from showtell.images.preprocess import preprocess_image

SMALL_IMAGES = Preprocessing(size=64)
Write = Callable[..., Path]


@functools.cache
def random_tensors(depth: int) -> dict[str, Tensor]:
    """Weights as a ResNet begins with them."""
    torch.manual_seed(depth)
    return dict(ResNet(depth).state_dict())


@pytest.fixture
def write_weights(tmp_path: Path) -> Write:
    """Write the weights of an untrained ResNet: depth, metadata, and a change to make first."""

    def write(
        depth: int = 18,
        *,
        change: Callable[[dict[str, Tensor]], object] = lambda tensors: None,
        name: str = "weights.safetensors",
        **metadata: str,
    ) -> Path:
        tensors = copy.deepcopy(random_tensors(depth))
        change(tensors)
        save_file(tensors, tmp_path / name, metadata={"format": "pt", **metadata})
        return tmp_path / name

    return write


@pytest.fixture
def images() -> Tensor:
    return torch.randint(
        0, 256, (3, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def resnet18(path: Path, **options: object) -> Encoder:
    return build_encoder(EncoderSpec(name="resnet18", preprocessing=SMALL_IMAGES), weights=path, **options)


@pytest.fixture(scope="module")
def exact(resnet18_weights: Path) -> Encoder:
    """A frozen ResNet-18 in float32, which no test changes."""
    return resnet18(resnet18_weights, dtype=torch.float32)


def test_regions_pooled_and_mask_have_their_shapes(write_weights: Write, images: Tensor) -> None:
    encoder = resnet18(write_weights())
    features = encoder(images)
    assert (encoder.grid, encoder.regions, encoder.width) == ((2, 2), 4, 512)
    assert features.regions.shape == (3, 4, 512)
    assert features.pooled.shape == (3, 512)
    assert features.mask.shape == (3, 4)
    assert features.mask.all()
    assert features.regions.dtype == features.pooled.dtype == torch.float32
    torch.testing.assert_close(features.pooled, features.regions.mean(1), rtol=1e-2, atol=1e-3)


def test_regions_run_row_by_row_from_the_top_left(exact: Encoder) -> None:
    image = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    image[:, :24, 40:] = 255  # top right
    change = (exact(image).regions - exact(torch.zeros_like(image)).regions).abs().sum(2)
    assert int(change.argmax()) == 1


def test_bytes_and_normalized_floats_give_the_same(exact: Encoder, images: Tensor) -> None:
    mean, std = (torch.tensor(getattr(SMALL_IMAGES, name)) for name in ("mean", "std"))
    floats = ((images.float() / 255 - mean) / std).permute(0, 3, 1, 2)
    torch.testing.assert_close(exact(floats).regions, exact(images).regions, rtol=1e-3, atol=1e-3)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_image_is_seen_the_same_alone_and_in_any_batch(write_weights: Write, dtype: torch.dtype) -> None:
    encoder = resnet18(write_weights(), dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    batch = torch.randint(0, 256, (33, 64, 64, 3), dtype=torch.uint8, generator=generator)
    together = encoder(batch).regions
    for count in (1, 2, 7, 32):
        torch.testing.assert_close(encoder(batch[-count:]).regions, together[-count:], rtol=2e-3, atol=1e-3)


@pytest.mark.thorough
def test_a_batch_larger_than_a_part_is_seen_in_parts_with_the_same_bits(
    write_weights: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = resnet18(write_weights())
    batch = torch.randint(
        0, 256, (7, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    together = encoder(batch)
    sizes = []
    encoder.network.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    monkeypatch.setattr(encoder_module, "PIXELS_PER_CORE", 3 * 64 * 64 // torch.get_num_threads())
    in_parts = encoder(batch)
    assert sizes == [3, 3, 1]
    assert torch.equal(in_parts.regions, together.regions)
    assert torch.equal(in_parts.pooled, together.pooled)
    assert in_parts.mask.shape == together.mask.shape


def test_bytes_are_normalized_as_the_formula_says_to_the_bit(exact: Encoder, images: Tensor) -> None:
    expected = (images - exact.mean) / exact.std
    assert torch.equal(exact.normalize(images), expected.permute(0, 3, 1, 2))
    assert torch.equal(exact.normalize(images.flip(2)), expected.flip(2).permute(0, 3, 1, 2))


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf"), 70000.0])
def test_one_number_that_half_floats_cannot_hold_is_refused(exact: Encoder, broken: float) -> None:
    seen = torch.zeros(2, 4, 512)
    seen[1, 2, 3] = broken
    with pytest.raises(EncoderError, match="not finite or too large"):
        exact._to_half(seen)


def test_features_are_half_floats_held_as_float32(exact: Encoder, images: Tensor) -> None:
    features = exact(images)
    for values in (features.regions, features.pooled):
        assert torch.equal(values.half().float(), values)


def test_frozen_encoder_stays_as_it_is_while_its_parent_trains(write_weights: Write, images: Tensor) -> None:
    encoder = resnet18(write_weights())
    head = nn.Linear(512, 2)
    model = nn.ModuleList([encoder, head])
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    assert before
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, weight_decay=0.1)
    for _ in range(3):
        model.train()
        head(encoder(images).regions).sum().backward()
        optimizer.step()
    assert not encoder.training
    assert not any(module.training for module in encoder.modules())
    assert head.weight.grad is not None
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_trainable_encoder_takes_gradients_and_moves_its_statistics(
    write_weights: Write, images: Tensor
) -> None:
    spec = EncoderSpec(name="resnet18", preprocessing=SMALL_IMAGES, trainable=True)
    encoder = build_encoder(spec, weights=write_weights())
    encoder.train()
    encoder(images).regions.sum().backward()
    assert encoder.training
    assert encoder.dtype == torch.float32
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    assert float(encoder.network.bn1.running_mean.abs().max()) > 0


@pytest.mark.thorough
def test_layout_and_preprocessing_come_from_the_metadata(write_weights: Write) -> None:
    path = write_weights(
        50, stride="conv1 (He et al.)", mean="0.4 0.5 0.6", std="0.1 0.2 0.3", input="RGB 0..1 96x96"
    )
    encoder = build_encoder(EncoderSpec(name="resnet50"), weights=path)
    assert encoder.spec.stride_in == "conv1"
    assert encoder.preprocessing == Preprocessing(size=96, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))
    assert encoder.grid == (3, 3)


def test_a_stored_recipe_leaves_the_normalization_to_the_weights(write_weights: Write) -> None:
    recipe = parse_recipe({"encoder": {"name": "resnet18", "preprocessing": {"size": 64}}}, "the recipe")
    stored = parse_recipe(yaml.safe_load(dump_recipe(recipe)), "the stored recipe")
    encoder = build_encoder(stored.encoder, weights=write_weights(mean="0.4 0.5 0.6"))
    assert (encoder.preprocessing.size, encoder.preprocessing.mean) == (64, (0.4, 0.5, 0.6))


def test_named_preprocessing_is_completed_by_the_metadata(write_weights: Write) -> None:
    path = write_weights(mean="0.4 0.5 0.6", std="0.1 0.2 0.3", input="RGB 0..1 224x224")
    encoder = resnet18(path)
    assert encoder.preprocessing == Preprocessing(size=64, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))


@pytest.mark.thorough
def test_resolved_spec_builds_the_same_encoder_again(write_weights: Write) -> None:
    path = write_weights(50, stride="conv1", mean="0.4 0.5 0.6", input="RGB 0..1 64x64")
    first = build_encoder(EncoderSpec(name="resnet50"), weights=path)
    again = EncoderSpec.model_validate_json(first.spec.model_dump_json())
    assert build_encoder(again, weights=path).identity() == first.identity()


def test_layout_that_contradicts_the_metadata_is_refused(write_weights: Write) -> None:
    with pytest.raises(
        EncoderError, match=r"conv1 in the weights' metadata; expected conv2 \(encoder.stride_in\)"
    ):
        build_encoder(
            EncoderSpec(name="resnet50", stride_in="conv2"), weights=write_weights(50, stride="conv1 (He)")
        )


def test_mean_that_contradicts_the_metadata_is_refused(write_weights: Write) -> None:
    with pytest.raises(EncoderError, match=r"mean \(0.4, 0.5, 0.6\) in the weights' metadata"):
        build_encoder(
            EncoderSpec(name="resnet18", preprocessing=Preprocessing(mean=(0.0, 0.0, 0.0))),
            weights=write_weights(mean="0.4 0.5 0.6"),
        )


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"stride": "in the 3x3"}, "no valid stride layout: found 'in the 3x3'"),
        ({"mean": "0.4 0.5"}, "mean = '0.4 0.5'; expected three numbers"),
    ],
)
def test_metadata_that_make_no_sense_are_refused(
    write_weights: Write, metadata: dict[str, str], message: str
) -> None:
    with pytest.raises(EncoderError, match=re.escape(message)):
        build_encoder(EncoderSpec(name="resnet50"), weights=write_weights(50, **metadata))


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "small", "timm:densenet169"])
def test_a_layout_is_refused_where_there_is_no_choice(name: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"'encoder\.stride_in': .*{name} has a single layout; leave the key out"
    ):
        parse_recipe({"encoder": {"name": name, "stride_in": "conv2"}}, "the recipe")


@pytest.mark.thorough
def test_a_network_with_one_layout_has_none_in_its_spec(write_weights: Write) -> None:
    encoder = resnet18(write_weights(stride="conv1 (said of a file that has none)"))
    assert encoder.spec.stride_in is encoder.identity()["stride_in"] is None
    assert not encoder.has_stride_variants


@pytest.mark.thorough
def test_layout_that_nobody_told_is_said_on_stderr(
    write_weights: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_weights(50)
    encoder = build_encoder(EncoderSpec(preprocessing=SMALL_IMAGES), weights=path)
    assert (encoder.spec.stride_in, encoder.stride_known) == ("conv2", False)
    assert "does not name its stride layout: assuming conv2" in capsys.readouterr().err
    build_encoder(EncoderSpec(preprocessing=SMALL_IMAGES, stride_in="conv1"), weights=path)
    resnet18(write_weights())  # has a single layout
    assert capsys.readouterr().err == ""


@pytest.mark.thorough
def test_identity_changes_with_name_weights_and_preprocessing(write_weights: Write) -> None:
    path = write_weights()
    other = write_weights(name="other.safetensors", note="one more word")

    def identity(weights: Path = path, **preprocessing: object) -> str:
        fields = Preprocessing(**{"size": 32, **preprocessing})
        spec = EncoderSpec(name="resnet18", preprocessing=fields)
        return str(build_encoder(spec, weights=weights).identity())

    identities = [
        identity(),
        identity(other),
        identity(size=64),
        identity(resize="crop"),
        identity(crop=0.9),
        identity(interpolation="bilinear"),
        identity(mean=(0.0, 0.0, 0.0)),
        identity(std=(1.0, 1.0, 1.0)),
    ]
    assert len(set(identities)) == len(identities)
    assert identity() == identities[0]


@pytest.mark.thorough
def test_stages_and_grid_are_told_where_they_are_not_the_usual(write_weights: Write, images: Tensor) -> None:
    weights = write_weights()
    usual = build_encoder(
        EncoderSpec(name="resnet18", preprocessing=SMALL_IMAGES, out_stages=(4,)), weights=weights
    )
    assert usual.identity().keys() == {"name", "stride_in", "weights", "preprocessing"}
    finer = build_encoder(
        EncoderSpec(name="resnet18", preprocessing=SMALL_IMAGES, out_stages=(3, 4), region_grid=3),
        weights=weights,
    )
    assert finer.identity() == usual.identity() | {"out_stages": [3, 4], "region_grid": 3}
    assert (finer.grid, finer.width) == ((3, 3), 256 + 512)
    assert finer(images).regions.shape == (3, 9, 768)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"out_stages": [3]}, "out_stages must ascend and end with 4"),
        ({"out_stages": [4, 3]}, "out_stages must ascend and end with 4"),
        ({"out_stages": []}, "out_stages must ascend and end with 4"),
        (
            {"name": "small", "out_stages": [3, 4]},
            "out_stages is for ResNets, not for small",
        ),
        (
            {"name": "timm:densenet169", "region_grid": 7},
            "region_grid is for ResNets and DenseNets, not for timm:densenet169",
        ),
    ],
)
def test_stages_that_cannot_be_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_recipe({"encoder": values}, "recipe")


@pytest.mark.thorough
def test_identity_changes_with_the_layout(write_weights: Write) -> None:
    path = write_weights(50)
    identities = [
        build_encoder(EncoderSpec(stride_in=layout, preprocessing=SMALL_IMAGES), weights=path).identity()
        for layout in ("conv1", "conv2")
    ]
    assert identity_differences(*identities) == ["stride_in is conv1, not conv2"]


def test_other_encoders_are_told_apart_by_field(exact: Encoder) -> None:
    found = exact.identity()
    expected = {**found, "weights": "abc", "preprocessing": {**found["preprocessing"], "size": 224}}
    assert identity_differences(found, found) == []
    assert identity_differences(found, expected) == [
        "preprocessing.size is 64, not 224",
        f"weights is {found['weights']}, not abc",
    ]


@pytest.mark.thorough
def test_half_weights_and_a_classifier_are_taken_as_they_come(write_weights: Write, images: Tensor) -> None:
    def halve(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            if name.endswith("num_batches_tracked"):
                del tensors[name]
            else:
                tensors[name] = tensors[name].half()
        tensors["fc.weight"] = torch.zeros(1000, 512).half()

    whole, half = (
        resnet18(write_weights(name=f"{name}.safetensors", change=change), dtype=torch.float32)(images)
        for name, change in (("whole", lambda tensors: None), ("half", halve))
    )
    torch.testing.assert_close(half.regions, whole.regions, rtol=0.02, atol=0.02)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("layer2.0.conv1.weight"), "layer2.0.conv1.weight is missing"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), "extra is unexpected"),
        (
            lambda tensors: tensors.update({"bn1.weight": torch.zeros(7)}),
            "bn1.weight is [7], not [64]",
        ),
    ],
)
def test_keys_and_shapes_must_fit(
    write_weights: Write, change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    with pytest.raises(EncoderError, match=re.escape(message)):
        resnet18(write_weights(change=change))


@pytest.mark.thorough
@pytest.mark.parametrize(("depth", "asked"), [(18, "resnet50"), (34, "resnet18")])
def test_weights_of_another_resnet_are_recognized(write_weights: Write, depth: int, asked: str) -> None:
    with pytest.raises(
        EncoderError, match=f"does not hold the weights of {asked}.*seem to be of resnet{depth}"
    ):
        build_encoder(EncoderSpec(name=asked), weights=write_weights(depth))


@pytest.mark.parametrize(
    ("names", "seems"),
    [
        (
            ["features.conv0.weight"]
            + [f"features.denseblock1.denselayer{n}.conv1.weight" for n in range(1, 83)],
            "densenet169",
        ),
        (["patch_embed.proj.weight", "blocks.0.attn.qkv.weight"], "a vision transformer"),
        (["encoder.layers.encoder_layer_0.ln_1.weight"], "torchvision's vision transformer"),
    ],
)
def test_weights_of_other_networks_are_recognized(tmp_path: Path, names: list[str], seems: str) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({name: torch.zeros(1) for name in names}, path)
    with pytest.raises(EncoderError, match=f"seem to be of {seems}"):
        build_encoder(EncoderSpec(), weights=path)


def test_weights_of_nothing_known_are_refused_without_a_guess(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(EncoderError, match="Use the encoder they belong to"):
        build_encoder(EncoderSpec(), weights=tmp_path / "weights.safetensors")


def test_weights_cut_anywhere_are_refused(write_weights: Write) -> None:
    path = write_weights()
    content = path.read_bytes()
    for length in (0, 4, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(EncoderError, match=r"cannot read encoder weights .*a complete safetensors file"):
            resnet18(path)


def test_missing_and_foreign_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="no such file"):
        resnet18(tmp_path / "nothing")
    with pytest.raises(EncoderError, match="a directory"):
        resnet18(tmp_path)
    pickle = tmp_path / "weights.pth"
    pickle.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(EncoderError, match="convert other formats"):
        resnet18(pickle)


@pytest.mark.thorough
def test_broken_numbers_are_refused(write_weights: Write, images: Tensor) -> None:
    huge = write_weights(change=lambda tensors: tensors["layer4.1.bn2.weight"].fill_(1e9))
    with pytest.raises(EncoderError, match="not finite or too large; expected magnitudes up to 65504"):
        resnet18(huge)(images)


def test_images_of_another_size_are_refused(exact: Encoder) -> None:
    with pytest.raises(EncoderError, match=r"uint8 \[1, 32, 32, 3\]; expected uint8 \[P, 64, 64, 3\]"):
        exact(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))
    with pytest.raises(EncoderError, match=r"float32 \[1, 64, 64, 3\]; expected float \[P, 3, 64, 64\]"):
        exact(torch.zeros(1, 64, 64, 3))


@pytest.mark.parametrize(
    ("name", "mend"),
    [("resnet50", "--encoder-weights models/resnet50.safetensors"), ("resnet34", "--encoder-weights FILE")],
)
def test_a_hub_that_cannot_be_reached_fails_at_the_first_request_in_one_line(
    name: str,
    mend: str,
    monkeypatch: pytest.MonkeyPatch,
    no_network: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("the client waits to retry"))
    with pytest.raises(EncoderError, match=f"{name} from the Hugging Face hub .*{mend}") as caught:
        build_encoder(EncoderSpec(name=name))
    assert "\n" not in str(caught.value)
    assert caplog.records == []
    assert 1 <= len(no_network) <= 2
    no_network.clear()


@pytest.mark.thorough
def test_cached_hub_weights_need_no_request(
    monkeypatch: pytest.MonkeyPatch, write_weights: Write, no_network: list[str]
) -> None:
    def download(repository: str, file: str, *, local_files_only: bool) -> str:
        assert local_files_only
        return str(write_weights(50))

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    fetch_from_hub("timm/resnet50.tv_in1k", "model.safetensors", name="resnet50")
    assert no_network == []


def test_hub_weights_bring_timms_preprocessing(
    monkeypatch: pytest.MonkeyPatch, write_weights: Write, tmp_path: Path
) -> None:
    import huggingface_hub

    (tmp_path / "config.json").write_text(
        '{"pretrained_cfg": {"input_size": [3, 96, 96], "mean": [0.1, 0.2, 0.3], "std": [1, 1, 1],'
        ' "license": "bsd-3-clause", "origin_url": "https://example.org/vision"}}'
    )
    files = {"model.safetensors": write_weights(50), "config.json": tmp_path / "config.json"}
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repository, file, **_: str(files[file]))
    encoder = build_encoder(EncoderSpec(name="resnet50"))
    assert encoder.spec.stride_in == "conv2"
    assert encoder.origin == (
        "timm/resnet50.tv_in1k on the Hugging Face hub, https://example.org/vision, bsd-3-clause"
    )
    assert encoder.preprocessing == Preprocessing(size=96, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))


@pytest.mark.thorough
def test_frozen_encoder_is_saved_byte_for_byte(write_weights: Write, tmp_path: Path) -> None:
    path = write_weights()
    encoder = resnet18(path)
    save_encoder(encoder, tmp_path / "encoder.safetensors")
    assert (tmp_path / "encoder.safetensors").read_bytes() == path.read_bytes()


def test_trained_encoder_sees_the_same_after_saving(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(EncoderSpec(name="small", trainable=True, width=32)).train()
    images = torch.randint(0, 256, (4, 96, 96, 3), dtype=torch.uint8)
    encoder(images)  # moves the batch-norm statistics
    save_encoder(encoder, tmp_path / "encoder.safetensors")
    frozen = encoder.spec.model_copy(update={"trainable": False})
    again = build_encoder(frozen, weights=tmp_path / "encoder.safetensors")
    assert torch.equal(again(images).regions, encoder.eval()(images).regions)
    assert again.preprocessing == encoder.preprocessing


def test_small_network_is_not_frozen_at_random(tmp_path: Path) -> None:
    frozen = EncoderSpec(name="small", width=16)
    with pytest.raises(
        EncoderError, match=r"small cannot be frozen: found no weights.*encoder\.trainable.*--encoder-weights"
    ):
        build_encoder(frozen)
    path = tmp_path / "encoder.safetensors"
    save_encoder(build_encoder(frozen.model_copy(update={"trainable": True})), path)
    assert not build_encoder(frozen, weights=path).spec.trainable


@pytest.mark.parametrize("name", ["resnet51", "timm:", "timm:a b", "vgg"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="no such encoder; known: resnet18"):
        EncoderSpec(name=name)


def test_fast_dtype_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert fast_dtype("cpu") == torch.float32
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert fast_dtype("cpu") == torch.bfloat16


# --- the layout ------------------------------------------------------------------------------------------


def smooth_images(count: int, seed: int) -> Tensor:
    """Return normalized random images whose neighbouring pixels are alike, as photographs' are."""
    noise = torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    return 2 * nn.functional.interpolate(noise, size=96, mode="bicubic")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[StrideIn], Path]:
    """ResNet-50 weights whose batch norms remember smooth images, as if trained in a layout."""
    folder = tmp_path_factory.mktemp("trained")
    for layout in ("conv1", "conv2"):
        torch.manual_seed(50)
        network = ResNet(50, layout)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # plain averages
        with torch.no_grad():
            network.train()(smooth_images(12, seed=1))
        save_file(network.state_dict(), folder / layout)
    return lambda layout: folder / layout


@pytest.mark.parametrize("layout", ["conv1", "conv2"])
def test_statistics_tell_the_layout(trained: Callable[[StrideIn], Path], layout: StrideIn) -> None:
    evidence = compare_strides(50, read_weights(trained(layout)), smooth_images(12, seed=1))
    assert evidence.stride_in == layout
    assert "batch-norm statistics put it at" in evidence.reason


def test_folded_weights_without_classifier_tell_nothing(write_weights: Write) -> None:
    evidence = compare_strides(50, read_weights(write_weights(50)), smooth_images(2, seed=2))
    assert evidence.stride_in is None
    assert "folded and there is no classifier" in evidence.reason


def test_wrong_layout_is_refused_if_assumed_and_noted_if_asked_for(
    write_weights: Write,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    images: Tensor,
) -> None:
    path = write_weights(50)
    monkeypatch.setattr(encoder_module, "compare_strides", lambda *_: StrideEvidence("conv1", "they say so"))
    assumed = build_encoder(EncoderSpec(preprocessing=SMALL_IMAGES), weights=path)
    with pytest.raises(
        EncoderError,
        match=r"stride layout conv1, not conv2: found they say so. Set encoder.stride_in to conv1",
    ):
        assumed.verify_stride_layout(images)
    capsys.readouterr()
    asked = EncoderSpec(preprocessing=SMALL_IMAGES, stride_in="conv2")
    build_encoder(asked, weights=path).verify_stride_layout(images)
    assert "seems to have stride layout conv1, not conv2: they say so" in capsys.readouterr().err
    right = asked.model_copy(update={"stride_in": "conv1"})
    build_encoder(right, weights=path).verify_stride_layout(images)
    assert capsys.readouterr().err == ""


# --- the real weights ------------------------------------------------------------------------------------


def real_images(folder: Path, names: list[str]) -> Tensor:
    loaded = [preprocess_image(load_image(folder / name), Preprocessing()) for name in names]
    return torch.from_numpy(np.stack(loaded))


@pytest.mark.slow
def test_real_weights_recognize_dogs_in_their_layout_and_miss_them_in_the_other(shared_data: Path) -> None:
    path = shared_data / "weights" / "resnet50_imagenet.safetensors"
    flickr8k = shared_data / "data" / "flickr8k"
    lines = (flickr8k / "Flickr8k.token.txt").read_text(encoding="utf-8").splitlines()
    development = set((flickr8k / "Flickr_8k.devImages.txt").read_text().split())
    dogs = {line.split("#")[0]: 0 for line in lines if line.split("#")[0] in development}
    for line in lines:
        name, caption = line.split("#")[0], line.split("\t")[1].lower()
        if name in dogs and re.search(r"\bdogs?\b", caption):
            dogs[name] += 1
    named = sorted(name for name, count in dogs.items() if count == 5)[:120]
    photographs = real_images(flickr8k / "Flicker8k_Dataset", named)
    tensors = load_file(path)
    classify, bias = tensors["fc.weight"].float(), tensors["fc.bias"].float()
    shares = {}
    for layout in ("conv1", "conv2"):
        weights = read_weights(path)
        weights.metadata.pop("stride")
        encoder = encoder_module.Encoder(
            EncoderSpec(stride_in=layout), _frozen(layout, weights), weights, Preprocessing()
        )
        pooled = torch.cat([encoder(chunk).pooled for chunk in photographs.split(30)])
        top = (pooled @ classify.T + bias).argmax(1)
        shares[layout] = float(((top >= 151) & (top <= 268)).float().mean())
    assert shares["conv1"] > 0.8
    assert shares["conv1"] - shares["conv2"] > 0.08


def _frozen(layout: StrideIn, weights: weights_module.EncoderWeights) -> nn.Module:
    network = ResNet(50, layout)
    weights_module.load_state_dict_strict(network, weights, name="resnet50", classifier="fc.")
    return network.eval().to(fast_dtype(), memory_format=torch.channels_last)


@pytest.mark.slow
def test_real_weights_stripped_of_their_metadata_do_not_go_unnoticed(
    shared_data: Path, tmp_path: Path
) -> None:
    tensors = load_file(shared_data / "weights" / "resnet50_imagenet.safetensors")
    save_file(tensors, tmp_path / "bare.safetensors")
    folder = shared_data / "data" / "coco_mini" / "val2017"
    photographs = real_images(folder, sorted(path.name for path in folder.iterdir())[:24])
    assumed = build_encoder(EncoderSpec(), weights=tmp_path / "bare.safetensors")
    with pytest.raises(EncoderError, match="seems to have stride layout conv1, not conv2"):
        assumed.verify_stride_layout(photographs)


@pytest.mark.slow
def test_real_features_are_the_same_in_every_batch(shared_data: Path) -> None:
    encoder = build_encoder(EncoderSpec(), weights=shared_data / "weights" / "resnet50_imagenet.safetensors")
    folder = shared_data / "data" / "coco_mini" / "val2017"
    photographs = real_images(folder, sorted(path.name for path in folder.iterdir())[:33])
    together = encoder(photographs).regions
    for start, stop in ((0, 1), (5, 7), (20, 33), (0, 32)):
        torch.testing.assert_close(encoder(photographs[start:stop]).regions, together[start:stop])


@pytest.mark.slow
def test_finer_images_give_a_finer_grid(shared_data: Path) -> None:
    spec = EncoderSpec(preprocessing=Preprocessing(size=448))
    encoder = build_encoder(spec, weights=shared_data / "weights" / "resnet50_imagenet.safetensors")
    assert (encoder.grid, encoder.width) == ((14, 14), 2048)


def test_a_graphics_card_sees_the_same(write_weights: Write, images: Tensor, graphics_card: str) -> None:
    spec = EncoderSpec(name="resnet18", out_stages=(3, 4), region_grid=2, preprocessing=SMALL_IMAGES)
    here, there = (
        build_encoder(spec, weights=write_weights(), device=device, dtype=torch.float32)(images)
        for device in ("cpu", graphics_card)
    )
    assert there.regions.device.type == graphics_card
    torch.testing.assert_close(there.regions.cpu(), here.regions, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(there.pooled.cpu(), here.pooled, rtol=1e-2, atol=1e-2)

"""Encoders from timm: imported only when asked for, told clearly where they cannot be."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from showtell.config.preprocessing import Preprocessing
from showtell.encoders.encoder import Encoder, EncoderSpec, build_encoder
from showtell.encoders.timm import TimmNetwork, import_timm
from showtell.errors import EncoderError, MissingExtraError
from showtell.images.load import load_image
from showtell.images.preprocess import preprocess_image

BROKEN = "raise RuntimeError('operator torchvision::nms does not exist')\n"
ABSENT = "raise ModuleNotFoundError(\"No module named 'torchvision'\")\n"


@pytest.fixture
def fake_timm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A module timm.py that is found before any other; write its source."""
    for name in [name for name in sys.modules if name.split(".", maxsplit=1)[0] in ("timm", "torchvision")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "timm.py"


def test_timm_is_not_imported_until_asked_for(fake_timm: Path) -> None:
    fake_timm.write_text("raise AssertionError('imported')")
    build_encoder(EncoderSpec(name="small", width=16, trainable=True))
    assert "timm" not in sys.modules


def test_broken_torchvision_is_told_with_cause_and_cure(fake_timm: Path) -> None:
    fake_timm.write_text(BROKEN)
    with pytest.raises(MissingExtraError) as raised:
        build_encoder(EncoderSpec(name="timm:densenet169"))
    message = str(raised.value)
    assert "RuntimeError: operator torchvision::nms does not exist" in message
    assert f"built for the installed torch {torch.__version__}" in message
    assert "install torch and torchvision together" in message
    assert "pip install -e '.[timm]'" in message


def test_absent_timm_or_torchvision_is_told_with_the_extra(fake_timm: Path) -> None:
    fake_timm.write_text(ABSENT)
    with pytest.raises(
        MissingExtraError,
        match=r"ModuleNotFoundError: No module named 'torchvision'.*install -e '\.\[timm\]'",
    ):
        build_encoder(EncoderSpec(name="timm:densenet169"))


class GivesShape(nn.Module):
    """A stand-in for a timm model: gives zeros of a shape, numbered along the regions."""

    def __init__(self, shape: tuple[int, ...], prefix: int = 0):
        super().__init__()
        self.num_features, self.num_prefix_tokens, self.shape = 8, prefix, shape

    def forward_features(self, images: Tensor) -> Tensor:
        return torch.arange(torch.Size(self.shape).numel()).float().reshape(self.shape)


@pytest.mark.parametrize(
    ("shape", "prefix", "grid"),
    [
        ((2, 8, 3, 4), 0, (3, 4)),  # convolutional: channels first
        ((2, 3, 4, 8), 0, (3, 4)),  # Swin: channels last
        ((2, 10, 8), 1, (3, 3)),  # vision transformer: tokens after a class token
        ((2, 11, 8), 0, (1, 11)),  # tokens that fill no square
    ],
)
def test_every_form_of_features_becomes_a_map(
    shape: tuple[int, ...], prefix: int, grid: tuple[int, int]
) -> None:
    model = GivesShape(shape, prefix)
    seen = TimmNetwork(model)(torch.zeros(2, 3, 32, 32))
    assert seen.shape == (2, 8, *grid)
    given = model.forward_features(torch.zeros(1))
    last = given[0, :, -1, -1] if shape[1] == 8 else given[0, -1, ..., :].reshape(-1, 8)[-1]
    assert torch.equal(seen[0, :, -1, -1], last)


def test_map_of_a_square_of_eight_is_not_turned() -> None:
    assert TimmNetwork(GivesShape((1, 8, 4, 8)))(torch.zeros(1, 3, 32, 32)).shape == (1, 8, 4, 8)


@pytest.fixture
def working_timm() -> None:
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed (pip install -e '.[timm]')")
    try:
        import_timm()
    except MissingExtraError as error:
        pytest.skip(f"timm cannot be imported: {error}")


@pytest.mark.usefixtures("working_timm")
def test_model_that_timm_does_not_have_is_refused_with_near_names() -> None:
    with pytest.raises(EncoderError, match=r"timm has no model 'densnet169'.*Did you mean .*densenet169"):
        build_encoder(EncoderSpec(name="timm:densnet169"))
    with pytest.raises(EncoderError, match=r"timm.list_models\(\) lists them all"):
        build_encoder(EncoderSpec(name="timm:zzzzqqqq"))


@pytest.fixture
def densenet(working_timm: None, shared_data: Path) -> Encoder:
    weights = shared_data / "weights" / "densenet169_imagenet.safetensors"
    return build_encoder(EncoderSpec(name="timm:densenet169"), weights=weights, dtype=torch.float32)


@pytest.mark.slow
def test_densenet_sees_what_timms_own_sees(densenet: Encoder, shared_data: Path) -> None:
    from safetensors.torch import load_file

    folder = shared_data / "data" / "coco_mini" / "val2017"
    paths = sorted(folder.iterdir())[:4]
    images = torch.stack(
        [torch.from_numpy(preprocess_image(load_image(path), Preprocessing()).copy()) for path in paths]
    )
    features = densenet(images)
    assert (densenet.grid, densenet.width) == ((7, 7), 1664)
    own = import_timm().create_model("densenet169", pretrained=False, num_classes=0).eval()
    tensors = load_file(shared_data / "weights" / "densenet169_imagenet.safetensors")
    own.load_state_dict({name: value.float() for name, value in tensors.items()})
    for module in own.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1.001e-5  # as the weights' metadata say
    with torch.inference_mode():
        expected = own.forward_features(densenet.normalize(images)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(features.regions, expected, rtol=2e-3, atol=2e-3)
    assert {module.eps for module in densenet.modules() if isinstance(module, nn.BatchNorm2d)} == {1.001e-5}


@pytest.mark.slow
@pytest.mark.usefixtures("working_timm")
def test_densenet_weights_are_refused_by_a_sister(shared_data: Path) -> None:
    weights = shared_data / "weights" / "densenet169_imagenet.safetensors"
    with pytest.raises(EncoderError, match=r"does not hold the weights of timm:densenet121.*densenet169"):
        build_encoder(EncoderSpec(name="timm:densenet121"), weights=weights)

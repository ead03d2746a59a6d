"""An export as a whole: written, compared with torch, refused where it differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import load_model, numpy_helper, save_model
from PIL import Image

from showtell.checkpoints.hub import CONFIG
from showtell.errors import ConfigError, DataError, ExportError, MissingExtraError
from showtell.export.onnx import Calibration, Exported, export_checkpoint
from showtell.images.load import load_image
from showtell.images.preprocess import preprocess_image
from showtell.inference.onnx_files import ENCODER, HASHED, INIT, STEP, weights_of

Checkpoints = Callable[[str], Path]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(6):
        coarse = generator.integers(0, 256, (5, 4, 3), np.uint8)
        Image.fromarray(coarse.repeat(8, 0).repeat(8, 1)).save(folder / f"{number}.png")
    return folder


def test_an_export_agrees_with_torch_and_says_on_what(exported: Exported) -> None:
    parity = exported.config.parity
    assert parity is not None
    assert (parity.num_images, parity.synthetic, parity.beam_size) == (5, True, 3)
    assert (parity.greedy, parity.beam) == (1.0, 1.0)
    assert 0 < parity.logits < 1e-4
    assert exported.comparison.differences == []
    assert {path.name for path in exported.directory.iterdir()} == {*HASHED, CONFIG}
    assert exported.sizes[STEP] == (exported.directory / STEP).stat().st_size


def test_an_export_names_no_folder_of_this_machine(exported: Exported) -> None:
    here = [str(Path(__file__).parents[2]), str(exported.directory.parent), "site-packages", "/tmp", "/home"]
    for path in exported.directory.iterdir():
        content = path.read_bytes()
        assert [place for place in here if place.encode() in content] == [], path.name


def test_pictures_that_are_named_are_compared_on_and_bad_ones_told(
    tiny_checkpoint: Checkpoints,
    ready_graphs: Path,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (pictures / "bad.png").write_bytes(b"")
    written = export_checkpoint(tiny_checkpoint("attention"), tmp_path / "out", images=[pictures])
    parity = written.config.parity
    assert parity is not None
    assert (parity.num_images, parity.synthetic) == (6, False)
    assert "bad.png: found an empty file" in capsys.readouterr().err
    with pytest.raises(DataError, match="no images to compare or calibrate with"):
        export_checkpoint(tiny_checkpoint("attention"), tmp_path / "none", images=[pictures / "bad.png"])
    assert not (tmp_path / "none").exists()


def test_a_prepared_set_lends_its_split(
    tiny_checkpoint: Checkpoints, ready_graphs: Path, toy_set: Any, tmp_path: Path
) -> None:
    written = export_checkpoint(
        tiny_checkpoint("attention"),
        tmp_path / "out",
        images=[toy_set.directory],
        split="dev",
        num_compare=50,
    )
    assert written.config.parity is not None
    assert written.config.parity.num_images == len(toy_set.split_rows("dev"))


def spoil(path: Path, *, words: bool) -> None:
    """Turn the weights of the words around, or add the same to every logit, which changes no caption."""
    model = load_model(path)
    (logits,) = (one.type.tensor_type.shape.dim for one in model.graph.output if one.name == "logits")
    dims = [8, logits[-1].dim_value] if words else [logits[-1].dim_value]
    weight = next(one for one in model.graph.initializer if list(one.dims) == dims)
    array = numpy_helper.to_array(weight)
    changed = array[:, ::-1].copy() if words else array + np.float32(3e-3)
    weight.CopyFrom(numpy_helper.from_array(changed, weight.name))
    save_model(model, path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            True,
            r"drawn scene \d+ \(greedy\): '.*' with torch, '.*' with the export; .*and \d+ more; logits differ",
        ),
        (False, r"logits differ by 0\.003"),
    ],
    ids=["other words", "other numbers"],
)
def test_an_export_that_differs_is_not_written_and_what_differs_is_told(
    tiny_checkpoint: Checkpoints,
    exported: Exported,
    ready_graphs: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: bool,
    message: str,
) -> None:
    def wrong(decoder: Any, width: int, state: Any, directory: Path) -> None:
        for name in (INIT, weights_of(INIT), STEP, weights_of(STEP)):
            (directory / name).write_bytes((exported.directory / name).read_bytes())
        spoil(directory / STEP, words=words)

    monkeypatch.setattr("showtell.export.onnx.write_decoder", wrong)
    with pytest.raises(
        ExportError, match=f"the export of .* does not match it; nothing was written: found {message}"
    ):
        export_checkpoint(tiny_checkpoint("attention"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_place_with_other_files_is_refused_and_an_export_replaced(
    tiny_checkpoint: Checkpoints, ready_graphs: Path, tmp_path: Path
) -> None:
    place = tmp_path / "out"
    place.mkdir()
    (place / "letter.txt").write_text("mine")
    with pytest.raises(ExportError, match=r"cannot export into .*out: found other files \(letter\.txt\)"):
        export_checkpoint(tiny_checkpoint("attention"), place)
    assert [path.name for path in place.iterdir()] == ["letter.txt"]
    (place / "letter.txt").rename(place / ENCODER)
    export_checkpoint(tiny_checkpoint("attention"), place, num_compare=1)
    export_checkpoint(tiny_checkpoint("attention"), place, num_compare=2)
    written = json.loads((place / "config.json").read_text(encoding="utf-8"))
    assert written["parity"]["num_images"] == 2
    with pytest.raises(ExportError, match="found a file"):
        export_checkpoint(tiny_checkpoint("attention"), place / ENCODER)


def test_no_pictures_at_all_is_misuse(tiny_checkpoint: Checkpoints, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the number of images is out of range"):
        export_checkpoint(tiny_checkpoint("attention"), tmp_path / "out", num_compare=0)
    with pytest.raises(ConfigError, match="the number of images is out of range"):
        export_checkpoint(
            tiny_checkpoint("attention"), tmp_path / "out", calibration=Calibration([tmp_path], 0)
        )


def test_what_writes_graphs_is_named_by_its_extra(
    tiny_checkpoint: Checkpoints, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"onnxscript, for exports.*pip install -e '\.\[export\]'"):
        export_checkpoint(tiny_checkpoint("attention"), tmp_path / "out")


def test_an_encoder_in_8_bits_sees_nearly_the_same_and_says_what_it_is(
    tiny_checkpoint: Checkpoints, ready_graphs: Path, exported: Exported, pictures: Path, tmp_path: Path
) -> None:
    from showtell.inference.onnx_backend import OnnxBackend
    from showtell.inference.onnx_sessions import OnnxSessionLoader

    written = export_checkpoint(
        tiny_checkpoint("attention"),
        tmp_path / "out",
        calibration=Calibration([pictures]),
        images=[pictures],
    )
    assert (written.config.encoder.precision, written.config.decoder.precision) == ("int8", "int8")
    kinds = {node.op_type for node in load_model(tmp_path / "out" / ENCODER).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    seen = np.stack(
        [
            preprocess_image(load_image(path), exported.config.encoder.preprocessing)
            for path in pictures.iterdir()
        ]
    )
    whole, narrow = (
        OnnxBackend(OnnxSessionLoader(place)).encode(seen).regions
        for place in (ready_graphs, tmp_path / "out")
    )
    error = np.sqrt(((whole - narrow) ** 2).sum() / (whole**2).sum())
    assert 0 < error < 0.05
    assert written.config.parity is not None
    assert written.config.parity.features == pytest.approx(np.abs(whole - narrow).max(), rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
def test_the_captioner_that_ships_says_the_same_of_photographs_when_exported(
    shared_data: Path, tmp_path: Path, int8: bool
) -> None:
    photographs = shared_data / "data" / "flickr8k" / "Flicker8k_Dataset"
    written = export_checkpoint(
        Path(__file__).parents[2] / "models" / "flickr8k",
        tmp_path / "out",
        calibration=Calibration([photographs], 64) if int8 else None,
        images=[shared_data / "data" / "coco_mini" / "val2017"],
    )
    parity = written.config.parity
    assert parity is not None
    if int8:
        assert parity.beam > 0.4
        assert written.sizes[weights_of(ENCODER)] < 25e6
    else:
        assert parity.logits < 1e-4
        assert written.comparison.differences == []

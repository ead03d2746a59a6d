"""The demo, from nothing to a report, at toy size."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.text import Text
from typer.testing import CliRunner

from showtell.cli.main import app
from showtell.config.recipe import load_recipe
from showtell.demo import run as demo
from showtell.demo.run import DemoResult, run_demo
from showtell.errors import CheckpointError, ConfigError, ImageError, ShowtellError
from showtell.experiments.bundle import make_bundle
from showtell.inference.captioner import Captioner

TOY = [
    "objective=[{name: cross-entropy, epochs: 1}]",
    "decoder.hidden=8",
    "encoder.width=16",
    "generation.max_tokens=6",
    "training.threads=1",
]


def toy_demo(out: Path, min_accuracy: float) -> DemoResult:
    return run_demo(out, num_train=8, num_dev=3, num_test=4, overrides=TOY, min_accuracy=min_accuracy)


@pytest.mark.thorough
def test_the_whole_way_from_nothing_to_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = toy_demo(tmp_path, min_accuracy=0.0)
    assert result.num_images == 4
    assert 0 <= result.complete <= result.exact <= result.right <= 4
    assert result.report == tmp_path / "run" / "report.html"
    html = result.report.read_text(encoding="utf-8")
    assert result.headline in html
    assert result.pointing in html
    assert result.pointing.startswith(("Attention points at", "No object is named rightly"))
    keys = [scene["key"] for scene in json.loads((tmp_path / "scenes" / "scenes.json").read_text())]
    assert all(key in html for key in keys if key.startswith("test-"))
    assert not any(f"{key}.png" in html for key in keys if key.startswith("train-"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == [f"test-{number:05d}.png" for number in range(4)]
    assert all(line.rstrip().endswith("right") or "  wrong: " in line for line in lines)


def test_a_second_demo_replaces_the_first_and_too_few_right_captions_fail(tmp_path: Path) -> None:
    toy_demo(tmp_path, min_accuracy=0.0)
    with pytest.raises(
        ShowtellError,
        match=r"captions are not good enough: found \d+\.\d % of 4 held-out images.*expected at least 101 %",
    ) as caught:
        toy_demo(tmp_path, min_accuracy=1.01)
    assert type(caught.value) is ShowtellError
    assert (tmp_path / "run" / "report.html").is_file()


def test_the_command_prints_the_figure_the_time_and_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {}

    def fake(out: Path, *, seed: int, **rest: object) -> DemoResult:
        arguments.update(out=out, seed=seed, **rest)
        return DemoResult(
            right=483, exact=470, complete=480, num_images=500, seconds=123.4, report=out / "report.html"
        )

    monkeypatch.setattr("showtell.cli.demo.run_demo", fake)
    result = CliRunner().invoke(app, ["demo", "-o", str(tmp_path), "--seed", "7"])
    assert result.exit_code == 0
    assert arguments == {"out": tmp_path, "seed": 7, "captioner": None, "images": None}
    told = " ".join(result.stdout.split())
    assert "96.6 % of 500 held-out images described without a wrong object, color or relation" in told
    assert "94.0 % without a wrong size or position either." in told
    assert "96.0 %" in told
    assert "123 seconds" in result.stdout
    assert str(tmp_path / "report.html") in result.stdout


def test_small_images_are_drawn_with_half_blocks(tmp_path: Path) -> None:
    Image.new("RGB", (96, 96), (10, 200, 30)).save(tmp_path / "green.png")
    text = demo._blocks(tmp_path / "green.png", demo.THUMBNAIL_COLUMNS)
    lines = text.plain.splitlines()
    assert lines == ["▀" * demo.THUMBNAIL_COLUMNS] * (demo.THUMBNAIL_COLUMNS // 2)
    assert {str(span.style) for span in text.spans} == {"#0ac81e on #0ac81e"}


def test_the_shipped_recipe_trains_its_encoder_and_fits_the_captions() -> None:
    recipe = load_recipe("demo")
    assert recipe.encoder.trainable
    assert recipe.data.max_tokens == recipe.generation.max_tokens
    assert recipe.data.max_tokens >= 28


def test_on_a_terminal_the_image_is_beside_its_caption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (96, 96), (10, 200, 30)).save(tmp_path / "green.png")
    monkeypatch.setenv("FORCE_COLOR", "1")
    demo.show_caption(tmp_path / "green.png", "a red ring", Text("wrong: there is no red ring"))
    lines = capsys.readouterr().out.splitlines()
    assert sum("▀" in line for line in lines) == demo.THUMBNAIL_COLUMNS // 2
    assert "green.png" in lines[0]
    assert any("▀" in line and "a red ring" in line for line in lines)
    assert any("wrong: there is no red ring" in line for line in lines)


def test_a_wide_image_stays_wide(tmp_path: Path) -> None:
    Image.new("RGB", (300, 150), (10, 200, 30)).save(tmp_path / "wide.png")
    assert demo._blocks(tmp_path / "wide.png", 40).plain.splitlines() == ["▀" * 40] * 10


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name, color in (("b", (200, 10, 10)), ("a", (10, 10, 200))):
        comment = f"Plain {name}. Photograph: Ann <ann@example.org>, CC0 1.0"
        Image.new("RGB", (90, 60), color).save(folder / f"{name}.jpg", comment=comment.encode())
    return folder


def test_the_demo_ends_with_photographs_captioned_by_a_bundle(
    frozen_captioner: Any,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    packed = tmp_path / "models" / "toy"
    make_bundle(frozen_captioner.directory, packed, encoder=tmp_path / "models" / "eyes.safetensors")
    run_toy = partial(run_demo, num_train=8, num_dev=3, num_test=4, overrides=TOY, min_accuracy=0.0)
    monkeypatch.setattr("showtell.cli.demo.run_demo", run_toy)
    words = ["demo", "-o", tmp_path / "demo", "--captioner", packed, "--images", images]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    captions = Captioner.load(packed, device="cpu").caption(sorted(images.glob("*.jpg")))
    told = " ".join((capsys.readouterr().out + result.stdout).split())
    html = (tmp_path / "demo" / "run" / "report.html").read_text(encoding="utf-8")
    section = html.split('<h2 id="photos">')[1].split("</section>")[0]
    assert section.count('<img src="data:image/jpeg;base64,') == 2
    for name, caption in zip("ab", captions, strict=True):
        assert f"{name}.jpg {caption.text} Plain {name}. Photograph: Ann <ann@example.org>, CC0 1.0" in told
        assert f'<p class="words">{caption.text}</p>' in section
        assert f"Plain {name}. Photograph: Ann &lt;ann@example.org&gt;, CC0 1.0" in section


def test_missing_photographs_are_an_error_before_anything_is_drawn(
    frozen_captioner: Any, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "demo"
    with pytest.raises(CheckpointError, match="gone is not a checkpoint"):
        run_demo(out, captioner=tmp_path / "gone", images=images)
    with pytest.raises(ConfigError, match=r"empty has no images: expected files that end in \.jpg"):
        run_demo(out, captioner=frozen_captioner.directory, images=tmp_path / "empty")
    with pytest.raises(ConfigError, match="go together: found --captioner alone"):
        run_demo(out, captioner=frozen_captioner.directory)
    with pytest.raises(ConfigError, match="go together: found --images alone"):
        run_demo(out, images=images)
    assert not out.exists()


def test_a_broken_photograph_is_named(frozen_captioner: Any, images: Path) -> None:
    (images / "c.jpg").write_bytes(b"no picture")
    loaded = demo._load_captioner(frozen_captioner.directory, images)
    assert loaded is not None
    with pytest.raises(ImageError, match=r"c\.jpg"):
        demo._caption_photos(*loaded)

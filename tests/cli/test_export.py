"""``showtell export``, and the commands that take what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from showtell.cli import caption, evaluate, export
from showtell.data.prepared import PreparedSet
from showtell.errors import ConfigError
from showtell.export.onnx import Calibration, Exported
from showtell.export.parity import ParityCheck
from showtell.inference.onnx_config import ParityReport

app = typer.Typer()
for name, verb in (("export", export), ("caption", caption), ("evaluate", evaluate)):
    app.command(name)(verb.command)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in arguments])


def test_the_command_tells_how_it_compared(
    tiny_checkpoint: Callable[[str], Path], ready_graphs: Path, tmp_path: Path
) -> None:
    result = run("export", tiny_checkpoint("attention"), "-o", tmp_path / "out", "--num-compare", 3)
    assert result.exit_code == 0, result.output
    assert f"{tmp_path / 'out'}: encoder small float32, decoder attention float32" in result.stdout
    assert "compared with torch (float32) on 3 drawn scenes (name photographs with" in result.stdout
    assert "same captions: greedy 100.0%, beam 3 100.0%" in result.stdout
    assert "largest difference: logits" in result.stdout


def test_an_export_is_captioned_with_and_judged_like_its_checkpoint(
    exported: Exported, tiny_checkpoint: Callable[[str], Path], toy_set: PreparedSet
) -> None:
    out = exported.directory
    pictures = [toy_set.image_path(int(row)) for row in toy_set.split_rows("dev")]
    said = [
        run("caption", place, *pictures, "--beam-size", 2) for place in (out, tiny_checkpoint("attention"))
    ]
    assert said[0].exit_code == 0, said[0].output
    assert said[0].stdout == said[1].stdout
    assert len(said[0].stdout.splitlines()) == len(pictures)
    judged = [
        run("evaluate", place, "--data", toy_set.directory, "--beam-size", 2, "--format", "json")
        for place in (out, tiny_checkpoint("attention"))
    ]
    assert judged[0].exit_code == 0, judged[0].output
    scores = [json.loads(one.stdout) for one in judged]
    for one in scores:
        del one["seconds"]
    assert scores[0] == scores[1]
    assert "CIDEr-D" in run("evaluate", out, "--data", toy_set.directory).stdout


def test_what_needs_features_cannot_be_asked_of_an_export(
    exported: Exported, toy_set: PreparedSet, tmp_path: Path
) -> None:
    result = run(
        "evaluate",
        exported.directory,
        "--data",
        toy_set.directory,
        "--features",
        tmp_path,
        "--predictions",
        "x",
    )
    assert isinstance(result.exception, ConfigError)
    assert "--features, --predictions cannot be used with" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--int8"], "--int8 and --calibrate go together: found --int8 alone"),
        (["--calibrate", "x"], "--int8 and --calibrate go together: found --calibrate alone"),
        (["--format", "tflite"], "--format tflite cannot be used: expected onnx"),
    ],
)
def test_misuse_is_told(tmp_path: Path, arguments: list[str], words: str) -> None:
    result = run("export", tmp_path, "-o", tmp_path / "out", *arguments)
    assert isinstance(result.exception, ConfigError)
    assert words in str(result.exception)


def test_options_reach_the_function_and_differences_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, exported: Exported
) -> None:
    given: dict[str, Any] = {}

    def export_checkpoint(checkpoint: Path, directory: Path, **options: Any) -> Any:
        from showtell.inference.onnx_config import read_config

        given.update(options)
        report = ParityReport(
            num_images=9, synthetic=False, greedy=0.5, beam=0.25, beam_size=3, logits=0.5, features=1.0
        )
        config = read_config(exported.directory).model_copy(update={"parity": report})
        differences = [f"{number}.jpg (beam): 'a' with torch, 'b' with the export" for number in range(7)]
        return Exported(directory, config, ParityCheck(report, 2, differences), {"step.onnx": 1_500_000})

    monkeypatch.setattr("showtell.export.onnx.export_checkpoint", export_checkpoint)
    words = ["--int8", "--calibrate", "a", "--calibrate", "b", "--calibration-images", "9"]
    result = run("export", tmp_path, "-o", "out", *words, "--images", "c", "--data", "d", "--split", "test")
    assert result.exit_code == 0, result.output
    assert given["calibration"] == Calibration([Path("a"), Path("b")], 9)
    assert given["images"] == [Path("c"), Path("d")]
    assert given["split"] == "test"
    assert "1.5 MB" in result.stdout
    assert "on 9 images\n" in result.stdout
    assert "2 captions differ where two tokens are equally likely" in result.stdout
    assert "4.jpg (beam)" in result.stdout
    assert "5.jpg (beam)" not in result.stdout
    assert "and 2 more" in result.stdout

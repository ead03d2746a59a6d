"""``showtell bundle``, and the commands that take what it writes, far from where it was made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from showtell.checkpoints.config import read_config
from showtell.cli import bundle, caption, evaluate, export
from showtell.data.prepared import PreparedSet

app = typer.Typer()
for name, verb in (("bundle", bundle), ("caption", caption), ("evaluate", evaluate), ("export", export)):
    app.command(name)(verb.command)


def run(*arguments: object) -> Any:
    result = CliRunner().invoke(app, [str(word) for word in arguments])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def clone(frozen_captioner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder somewhere else with a packed captioner in models/; what it was made from is not there."""
    making = tmp_path / "making"
    making.mkdir()
    monkeypatch.chdir(making)
    weights = shutil.copy(frozen_captioner.weights, making / "weights.safetensors")
    told = run(
        *("bundle", frozen_captioner.directory, "-o", "models/toy", "--encoder", "models/eyes.safetensors"),
        *("--encoder-weights", weights, "--recipe", "demo", "--license", "mit", "--card-note", "Drawn."),
    ).stdout
    assert [line.split(": ")[0] for line in told.splitlines()] == [
        *(
            f"models/toy/{name}"
            for name in ("config.json", "decoder.safetensors", "tokenizer.json", "README.md")
        ),
        "models/eyes.safetensors",
    ]
    (tmp_path / "clone").mkdir()
    shutil.move("models", tmp_path / "clone" / "models")
    monkeypatch.chdir(tmp_path / "clone")
    shutil.rmtree(making)
    return tmp_path / "clone"


def test_what_the_options_say_is_in_the_configuration(clone: Path) -> None:
    card = read_config(clone / "models" / "toy")[1]["card"]
    assert card["license"] == "mit"
    assert card["notes"] == ["Drawn."]
    assert card["command"].startswith("showtell train demo --data data/toy -o runs/toy --set ")


@pytest.mark.thorough
def test_a_clone_captions_and_judges_without_what_it_was_made_from(
    clone: Path, frozen_captioner: Any, toy_set: PreparedSet
) -> None:
    pictures = [toy_set.image_path(int(row)) for row in toy_set.split_rows("dev")]
    said = [run("caption", place, *pictures).stdout for place in ("models/toy", frozen_captioner.directory)]
    assert said[0] == said[1]
    assert len(said[0].splitlines()) == len(pictures)
    judged = []
    for place in (frozen_captioner.directory, "models/toy"):
        options = ("--data", toy_set.directory, "--split", "dev", "--features", clone / "features")
        judged.append(json.loads(run("evaluate", place, *options, "--format", "json").stdout))
        judged[-1].pop("seconds")
    assert judged[0] == judged[1]
    # The second one used the features that the first one kept: their encoders are one.
    assert len([path for path in (clone / "features").iterdir() if path.is_dir()]) == 1


def test_a_clone_is_exported(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def fake(checkpoint: Path, out: Path, **options: Any) -> Any:
        from showtell.checkpoints.checkpoint import load_checkpoint

        asked["encoder"] = load_checkpoint(
            checkpoint, encoder_weights=options["encoder_weights"]
        ).model.encoder
        raise typer.Exit(0)

    monkeypatch.setattr("showtell.export.onnx.export_checkpoint", fake)
    run("export", "models/toy", "-o", "out")
    assert asked["encoder"].weights == Path("models/toy/../eyes.safetensors")

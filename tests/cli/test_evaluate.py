"""``showtell evaluate`` decodes as it is told to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from showtell.cli.evaluate import command
from showtell.options import DecodingOptions

app = typer.Typer()
app.command()(command)


@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_beams_mean_beam_search_whatever_the_checkpoint_says(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    place, given = tmp_path / "checkpoint", []
    shutil.copytree(tiny_checkpoint("lstm"), place)
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    config["search"]["method"] = method
    (place / "config.json").write_text(json.dumps(config), encoding="utf-8")

    def judge(checkpoint: Path, *, options: DecodingOptions, **rest: Any) -> None:
        given.append(options)
        raise typer.Exit

    monkeypatch.setattr("showtell.training.evaluation.evaluate_checkpoint", judge)
    for more in ([], ["--beams", "5"]):
        result = CliRunner().invoke(app, [str(place), "--data", "set", *more])
        assert result.exit_code == 0, result.output
    assert [(options.method, options.max_words) for options in given] == [(method, 8), ("beam", 8)]
    assert given[1].beams == 5

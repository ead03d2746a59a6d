"""``showtell report``: the page again, or a folder to keep."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from showtell.cli.main import app
from showtell.config.recipe import Recipe
from showtell.data.prepared import PreparedSet
from showtell.training.trainer import train


def test_a_run_is_reported_again_and_summed_up(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(toy_recipe, data=toy_set.directory, out=run)
    invoke = CliRunner().invoke
    assert (
        invoke(app, ["report", str(run), "-o", str(tmp_path / "page.html"), "--title", "Toys"]).exit_code == 0
    )
    assert "<h1>Toys</h1>" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert invoke(app, ["report", str(run), "--summary", str(tmp_path / "kept")]).exit_code == 0
    kept = {path.name for path in (tmp_path / "kept").iterdir()}
    assert {"README.md", "recipe.yaml", "manifest.json", "loss.svg", "loss.png", "01.jpg"} <= kept


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert answer.exit_code == 1
    assert "is not a run" in str(answer.exception)

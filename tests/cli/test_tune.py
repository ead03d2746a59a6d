"""``showtell tune`` and ``showtell train --seeds`` at toy size: their tables, their files, their reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from showtell.cli.main import app
from showtell.config.recipe import Recipe, dump_recipe
from showtell.data.prepared import PreparedSet


@pytest.fixture
def recipe(toy_recipe: Recipe, tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(dump_recipe(toy_recipe), encoding="utf-8")
    return path


def test_a_learning_rate_table_is_printed_and_kept(
    recipe: Path, toy_set: PreparedSet, tmp_path: Path
) -> None:
    out = tmp_path / "tuned"
    arguments = ["tune", recipe, "--data", toy_set.directory, "-o", out, "--grid", "--epochs", "1"]
    arguments += ["--search", "optimizer.lr=0.03,0.001", "--subset", "8"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    head, first, second, best = result.stdout.splitlines()
    assert head.split() == ["trial", "optimizer.lr", "state", "epochs", "dev", "loss", "BLEU-4", "CIDEr-D"]
    rows = [line.replace("*", "").split() for line in (first, second)]
    assert [row[:4] for row in rows] == [["1", "0.03", "done", "1"], ["2", "0.001", "done", "1"]]
    assert best.startswith("best by CIDEr-D: --set optimizer.lr=0.0")
    html = (out / "report.html").read_text(encoding="utf-8")
    (best_run,) = [path.parent.name for path in out.glob("trial-*/best")]
    assert f'href="{best_run}/report.html"' in html
    assert (out / best_run / "report.html").is_file()
    assert (out / "trials.csv").is_file()


def test_seeds_print_mean_and_spread_and_link_their_runs(
    recipe: Path, toy_set: PreparedSet, tmp_path: Path
) -> None:
    out = tmp_path / "seeds"
    arguments = ["train", recipe, "--data", toy_set.directory, "-o", out, "--seeds", "2"]
    arguments += ["--set", "objective.0.epochs=1"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split()[:5] == ["x100", "mean", "std", "min", "max"]
    assert [line.split()[0] for line in lines[1:-1]] == [
        "BLEU-1",
        "BLEU-2",
        "BLEU-3",
        "BLEU-4",
        "ROUGE-L",
        "CIDEr-D",
    ]
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert lines[-1] == summary["signature"]
    html = (out / "report.html").read_text(encoding="utf-8")
    assert 'href="seed-0/report.html"' in html
    assert 'href="seed-1/report.html"' in html


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--search", "optimizer.lrr=1..2"], "'lr'"),
        (["--grid"], "--grid cannot be used"),
        (["--trials", "0"], "--trials"),
        (["--set", "training.batch_sizes=1"], "'batch_size'"),
    ],
)
def test_a_misspelled_search_is_told_before_anything_is_made(
    recipe: Path, toy_set: PreparedSet, tmp_path: Path, more: list[str], message: str
) -> None:
    out = tmp_path / "tuned"
    arguments = ["tune", str(recipe), "--data", str(toy_set.directory), "-o", str(out), *more]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code != 0
    assert message in result.stderr + str(result.exception)
    assert not out.exists()

"""``showtell leaderboard``: files, standard output, exit codes, and what is told before anything is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from showtell.cli.main import app
from showtell.config.recipe import Recipe
from showtell.data.prepared import PreparedSet
from showtell.errors import MissingExtraError
from showtell.training.trainer import train


@pytest.fixture(scope="module")
def run(toy_set: PreparedSet, toy_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs") / "toy run"
    train(toy_recipe, data=toy_set.directory, out=place)
    return place


@pytest.fixture
def common(toy_set: PreparedSet, tmp_path: Path) -> list[str]:
    return ["--data", str(toy_set.directory), "--evaluations", str(tmp_path / "kept")]


def test_table_and_page_are_written_and_the_command_is_in_the_table(
    run: Path, common: list[str], tmp_path: Path
) -> None:
    table, page = tmp_path / "docs" / "toys.md", tmp_path / "page.html"
    arguments = ["leaderboard", str(run), *common, "-o", str(table), "--html", str(page), "--num-images", "3"]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    assert answer.stdout == ""
    assert f"table: {table}" in " ".join(answer.stderr.split())
    text = table.read_text(encoding="utf-8")
    assert text.startswith("# set, dev\n")
    assert f"showtell leaderboard '{run}' --data {common[1]} --split dev -o {table} --html {page}" in text
    assert "--num-images 3 --seed 0\n```" in text
    assert "kept" not in text
    assert page.read_text(encoding="utf-8").count('<li class="pair">') == 3


def test_without_a_file_the_table_goes_to_standard_output(
    run: Path, common: list[str], tmp_path: Path
) -> None:
    answer = CliRunner().invoke(app, ["leaderboard", str(run), *common, "--title", "Toys"])
    assert answer.exit_code == 0
    assert answer.stdout.startswith("# Toys\n\n× 100, 8 images of dev.")
    partly = CliRunner().invoke(
        app, ["leaderboard", str(run), str(tmp_path / "no"), *common, "--title", "Toys"]
    )
    assert partly.exit_code == 3
    assert f"{tmp_path / 'no'} is left out" in " ".join(partly.stderr.split())
    assert partly.stdout.split("Reproduced")[0] == answer.stdout.split("Reproduced")[0]


@pytest.mark.parametrize("verb", ["leaderboard", "evaluate"])
def test_what_meteor_lacks_is_told_before_anything_is_decoded(
    run: Path, toy_set: PreparedSet, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def never(*arguments: Any, **rest: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("showtell.training.evaluate.Evaluator", never)
    monkeypatch.setattr("showtell.data.prepared.PreparedSet.load", never)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    answer = CliRunner().invoke(app, [verb, str(run), "--data", str(toy_set.directory), "--meteor"])
    assert isinstance(answer.exception, MissingExtraError)
    assert "no package pycocoevalcap" in str(answer.exception)

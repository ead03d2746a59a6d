"""The commands as a user types them: exit codes, one-line errors, and the whole way at toy size."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from showtell.cli.main import main
from showtell.config.recipe import Recipe, dump_recipe
from showtell.data.prepared import PreparedSet
from showtell.errors import CheckpointError


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it printed."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def showtell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line in this process."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["showtell", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    return run


def test_recipes_are_listed_and_printed(showtell: Callable[..., Outcome]) -> None:
    listed = showtell("recipes")
    assert listed.code == 0
    assert "flickr8k-attention" in listed.stdout
    printed = showtell("recipes", "flickr8k-attention")
    assert "decoder:" in printed.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["recipes", "flickr8k-atention"], 2, "Did you mean 'flickr8k-attention'?"),
        (["train", "flickr8k-attention"], 2, "--data"),
        (["trian"], 2, "trian"),
        (
            ["train", "flickr8k-attention", "--data", "nowhere", "-o", "run", "--set", "optimizer.lrr=1"],
            2,
            "'lr'?",
        ),
        (["train", "flickr8k-attention", "--data", "nowhere", "-o", "run"], 1, "nowhere"),
        (["evaluate", "nowhere", "--data", "nowhere"], 1, "nowhere is not a checkpoint"),
        (["caption", "nowhere", "a.jpg"], 1, "nowhere is not a checkpoint"),
    ],
)
def test_misuse_and_failure_have_their_codes_and_one_line(
    showtell: Callable[..., Outcome], arguments: list[str], code: int, message: str
) -> None:
    result = showtell(*arguments)
    assert result.code == code, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_debug_raises_the_error_itself(showtell: Callable[..., Outcome]) -> None:
    with pytest.raises(CheckpointError, match="nowhere is not a checkpoint"):
        showtell("--debug", "evaluate", "nowhere", "--data", "nowhere")


def test_train_evaluate_and_caption_agree(
    showtell: Callable[..., Outcome], toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path
) -> None:
    recipe, run = tmp_path / "toy.yaml", tmp_path / "run"
    recipe.write_text(dump_recipe(toy_recipe), encoding="utf-8")
    trained = showtell("train", recipe, "--data", toy_set.directory, "-o", run)
    assert trained.code == 0, trained.stderr
    assert "CIDEr-D" in trained.stdout
    assert (run / "report.html").is_file()
    written = tmp_path / "said.jsonl"
    judged = showtell(
        "evaluate", run, "--data", toy_set.directory, "--predictions", written, "--format", "json"
    )
    assert judged.code == 0, judged.stderr
    best = json.loads((run / "best" / "config.json").read_text(encoding="utf-8"))["scores"]["values"]
    assert json.loads(judged.stdout)["CIDEr-D"] == pytest.approx(best["CIDEr-D"], abs=1e-6)
    said = [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]
    pictures = [row["image"] for row in said]
    captioned = showtell("caption", run, *pictures, "--format", "jsonl", "--beam-size", "3")
    assert captioned.code == 0, captioned.stderr
    lines = [json.loads(line) for line in captioned.stdout.splitlines()]
    assert [line["path"] for line in lines] == pictures
    assert [line["caption"] for line in lines] == [row["candidate"] for row in said]

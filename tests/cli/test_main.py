"""The commands as a user types them: exit codes, one-line errors, and the whole pipeline at toy size."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from showtell.cli.main import VERBS, app, main
from showtell.config.recipe import Recipe, dump_recipe
from showtell.config.recipe_reference import sections
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


def test_every_recipe_key_is_printed_with_its_type_default_and_bounds(
    showtell: Callable[..., Outcome],
) -> None:
    printed = showtell("recipes", "--keys").stdout
    keys = [key for section in sections() for key in section.keys]
    assert {"optimizer.lr", "training.batch_size"} <= {key.name for key in keys}
    assert all(fact in printed for key in keys for fact in (key.name, key.bounds, key.description))


def interrupt(*arguments: object, **options: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("stopped", "arguments", "message"),
    [
        (
            "showtell.config.recipe.load_recipe",
            ["train", "flickr8k-attention", "--data", "set", "-o", "run"],
            "interrupted; run the same command again to resume",
        ),
        ("showtell.config.recipe.shipped_recipes", ["recipes"], "interrupted"),
        ("showtell.cli.caption_fast.run", ["caption", "run", "a.jpg"], "interrupted"),
    ],
)
def test_an_interrupt_is_reported_with_its_code(
    showtell: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    stopped: str,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(stopped, interrupt)
    result = showtell(*arguments)
    assert (result.code, result.stdout, result.stderr.strip()) == (130, "", message)


def test_every_verb_reports_an_interrupt() -> None:
    assert [command.name for command in app.registered_commands] == list(VERBS)
    assert all(hasattr(command.callback, "__wrapped__") for command in app.registered_commands)


@pytest.mark.parametrize("verb", ["train", "tune"])
def test_an_override_without_a_value_is_explained(showtell: Callable[..., Outcome], verb: str) -> None:
    result = showtell(
        verb, "flickr8k-attention", "--data", "set", "-o", "run", "--set", "optimizer.lr", "3e-4"
    )
    assert result.code == 2
    assert result.stderr.splitlines() == [
        "error: --set optimizer.lr has no value: expected KEY=VALUE, without spaces. "
        "Write: --set optimizer.lr=VALUE"
    ]


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


@pytest.mark.thorough
def test_train_evaluate_and_caption_agree(
    showtell: Callable[..., Outcome], toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path
) -> None:
    recipe, run = tmp_path / "toy.yaml", tmp_path / "run"
    recipe.write_text(dump_recipe(toy_recipe), encoding="utf-8")
    trained = showtell("train", recipe, "--data", toy_set.directory, "-o", run)
    assert trained.code == 0, trained.stderr
    assert "CIDEr-D" in trained.stdout
    assert (run / "report.html").is_file()
    written = tmp_path / "predictions.jsonl"
    evaluated = showtell(
        "evaluate", run, "--data", toy_set.directory, "--predictions", written, "--format", "json"
    )
    assert evaluated.code == 0, evaluated.stderr
    best = json.loads((run / "best" / "config.json").read_text(encoding="utf-8"))["scores"]["values"]
    assert json.loads(evaluated.stdout)["CIDEr-D"] == pytest.approx(best["CIDEr-D"], abs=1e-6)
    predicted = [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]
    images = [row["image"] for row in predicted]
    captioned = showtell("caption", run, *images, "--format", "jsonl", "--beam-size", "3")
    assert captioned.code == 0, captioned.stderr
    lines = [json.loads(line) for line in captioned.stdout.splitlines()]
    assert [line["path"] for line in lines] == images
    assert [line["caption"] for line in lines] == [row["candidate"] for row in predicted]

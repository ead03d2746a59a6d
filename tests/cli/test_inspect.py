"""``showtell inspect``: text or JSON on stdout, files where they are requested, and exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.docs import markdown
from typer.testing import CliRunner, Result

from showtell.cli.main import app
from showtell.data.prepared import PreparedSet, prepare
from showtell.errors import ConfigError, DataError


def inspect(*words: object) -> Result:
    return CliRunner().invoke(app, ["inspect", *map(str, words)])


@pytest.fixture
def faulty(caption_set: Callable[..., PreparedSet]) -> Path:
    captions = [["A dog runs ."], ["n/a", "A cat sits on a wall ."], ["Two hens walk ."]]
    return caption_set(train=captions, dev=[["A cow is in a field ."]]).directory


def test_findings_go_to_stdout_and_files_and_a_cleaned_set(faulty: Path, tmp_path: Path) -> None:
    page, findings, out = tmp_path / "page.html", tmp_path / "findings.jsonl", tmp_path / "cleaned"
    result = inspect(
        faulty, "--ignore", "leaked-image", "--html", page, "--findings", findings, "--fix", "-o", out
    )
    assert result.exit_code == 0, result.output
    assert "1  boilerplate: captions that describe no image" in result.stdout
    assert "not checked: mismatched-image, mismatch: needs --captioner" in result.stdout
    records = [json.loads(line) for line in findings.read_text(encoding="utf-8").splitlines()]
    assert [(one["kind"], one["image"], one["caption"]) for one in records] == [
        ("boilerplate", "1.png", "n/a")
    ]
    assert "<h1>Inspection of set</h1>" in page.read_text(encoding="utf-8")
    assert PreparedSet.load(out).captions(1) == ["A cat sits on a wall ."]
    assert "left out of train: 0 images and 1 captions" in result.stderr


def test_json_has_the_number_of_each_kind(faulty: Path) -> None:
    result = inspect(faulty, "--format", "json", "--ignore", "language")
    content = json.loads(result.stdout)
    assert content["findings"]["boilerplate"] == 1
    assert content["findings"]["near-duplicate"] == 0
    assert content["not_checked"]["mismatch"] == "needs --captioner"
    assert "language" not in content["findings"]


def test_exit_code_3_says_which_limit_was_passed_after_everything_was_written(
    faulty: Path, tmp_path: Path
) -> None:
    findings = tmp_path / "findings.jsonl"
    result = inspect(
        faulty, "--fail-on", "boilerplate", "--fail-on", "near-duplicate", "--findings", findings
    )
    assert result.exit_code == 3
    assert "failed: boilerplate: 1 findings, at most 0 allowed" in result.stderr
    assert findings.exists()
    assert inspect(faulty, "--fail-on", "boilerplate=1").exit_code == 0


@pytest.mark.parametrize(
    "words",
    [["--fail-on", "mismatch"], ["--ignore", "boilerplat"], ["--fix"], ["-o", "x"], ["--split", "dev"]],
)
def test_options_that_do_not_fit_are_refused(faulty: Path, words: list[str]) -> None:
    assert isinstance(inspect(faulty, *words).exception, ConfigError)


def test_what_is_no_prepared_set_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    result = inspect(tmp_path)
    assert isinstance(result.exception, DataError)
    assert "showtell prepare" in str(result.exception)


def test_a_captioner_adds_its_checks(
    toy_set: PreparedSet, tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    words = [
        "--captioner",
        tiny_checkpoint("lstm"),
        "--features",
        tmp_path,
        "--split",
        "dev",
        "--device",
        "cpu",
    ]
    result = inspect(toy_set.directory, *words, "--format", "json")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["not_checked"] == {}
    assert {"mismatch", "same-scene"} <= set(content["findings"])


@pytest.mark.slow
def test_the_findings_of_flickr8k_are_those_of_the_documentation(shared_data: Path, tmp_path: Path) -> None:
    prepare(shared_data / "data" / "flickr8k", tmp_path / "flickr8k")
    [documented] = [
        block.body
        for block in markdown.blocks(markdown.ROOT / "docs" / "data.md")
        if block.body.startswith("Found by showtell prepare:")
    ]
    printed = inspect(tmp_path / "flickr8k").stdout.splitlines()
    expected = [line for line in documented.splitlines() if line != "..."]
    assert [line for line in printed if line in expected] == expected

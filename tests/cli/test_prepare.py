"""``showtell prepare`` prints the table on stdout and refuses what it should."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from showtell.cli.prepare import command
from showtell.data.prepared import PreparedSet
from showtell.data.sources.registry import READERS
from showtell.errors import ConfigError, DataError

app = typer.Typer()
app.command()(command)


@pytest.fixture
def source(tmp_path: Path, write_images: Callable[[Path, Iterable[str]], None]) -> Path:
    folder = tmp_path / "photos"
    write_images(folder, [f"{number}.png" for number in range(10)])
    for number in range(10):
        (folder / f"{number}.txt").write_text("A dog runs .\nA brown dog is running .\n")
    return folder


def test_the_table_goes_to_stdout(source: Path, tmp_path: Path) -> None:
    (source / "lonely.txt").write_text("No picture.")
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app, [str(source), "-o", str(out), "--max-problems", "0.1", "--test-fraction", "0.2"]
    )
    assert result.exit_code == 0, result.output
    fingerprint = PreparedSet.load(out).fingerprint[:12]
    lines = result.stdout.splitlines()
    assert lines[: lines.index("Examples:")] == [
        "split   images  captions  words (median)  words (95 %)  words (most)",
        "train        7        14               3             5             5",
        "dev          1         2               3             5             5",
        "test         2         4               3             5             5",
        "The source has no split; images were assigned to splits (dev_fraction 0.1, test_fraction 0.2, seed 42).",
        "Problems (all in problems.jsonl; bad entries were left out):",
        "        1  captions-without-image: captions without an image",
        "           lonely.txt: no image of this name beside it",
    ]
    last = lines.index(f"{out}: folder, fingerprint {fingerprint}")
    assert "         A dog runs ." in lines[:last]
    assert len(lines) > last + 1
    assert all(line.startswith("warning: ") for line in lines[last + 1 :])


@pytest.mark.thorough
def test_captions_are_shown_whatever_the_encoding_and_width(source: Path, tmp_path: Path) -> None:
    for file in source.glob("*.txt"):
        file.write_text("Ein Straßenhund \u4e00 " + "läuft " * 30, encoding="utf-8")
    command = [sys.executable, "-m", "showtell", "prepare", str(source), "-o", "out"]
    for columns in (40, 140):
        environment = os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": str(columns), "NO_COLOR": "1"}
        result = subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
        )
        [shown, *_] = [line for line in result.stdout.splitlines() if "Ein " in line]
        assert shown.startswith(r"         Ein Stra\xdfenhund \u4e00 l\xe4uft")
        assert len(shown.encode().decode("unicode_escape")) <= columns


def test_too_many_problems_are_a_failure_that_names_the_option(source: Path, tmp_path: Path) -> None:
    (source / "3.png").write_text("no picture")
    result = CliRunner().invoke(app, [str(source), "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, DataError)
    assert "--max-problems" in str(result.exception)
    assert result.stdout == ""


def test_an_unknown_format_is_misuse(source: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(source), "-o", str(tmp_path / "out"), "--format", "foldr"])
    assert isinstance(result.exception, ConfigError)
    assert "Did you mean 'folder'?" in str(result.exception)


def test_the_help_names_every_format() -> None:
    told = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "400"}).stdout
    for name in READERS:
        assert re.search(rf"\b{name}\b[,. ]", told), name


def test_another_dataset_is_replaced_with_overwrite_only(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(source, other)
    (other / "0.txt").write_text("A cat sleeps .\n")
    command_line = [str(other), "-o", str(tmp_path / "out")]
    assert CliRunner().invoke(app, [str(source), *command_line[1:]]).exit_code == 0
    refused = CliRunner().invoke(app, command_line)
    assert isinstance(refused.exception, DataError)
    assert f"found a prepared set of {source}. Choose another directory, or pass --overwrite" in str(
        refused.exception
    )
    assert CliRunner().invoke(app, [*command_line, "--overwrite"]).exit_code == 0
    assert PreparedSet.load(tmp_path / "out").captions(0) == ["A cat sleeps ."]
    repeated = CliRunner().invoke(app, command_line)
    assert repeated.exit_code == 0
    assert f"replacing the prepared set {tmp_path / 'out'}\n" in repeated.stderr


def test_the_help_loads_no_reader() -> None:
    code = (
        "import sys, showtell.cli.prepare; "
        "print([name for name in sys.modules if name.startswith('showtell.data.sources.')], 'PIL' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['showtell.data.sources.registry'] False"


def test_a_fraction_out_of_range_is_misuse_that_names_the_option(source: Path, tmp_path: Path) -> None:
    for option in ("--max-problems", "--dev-fraction", "--test-fraction"):
        result = CliRunner().invoke(app, [str(source), "-o", str(tmp_path / "out"), option, "1.5"])
        assert isinstance(result.exception, ConfigError)
        assert f"{option} is out of range: found 1.5" in str(result.exception)


def test_the_place_must_be_named(source: Path) -> None:
    result = CliRunner().invoke(app, [str(source)])
    assert result.exit_code == 2

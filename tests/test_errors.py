"""An error says what could not be done, what was found, what was expected and how to mend it."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from showtell import errors
from showtell.errors import ConfigError, DataError, MissingExtraError, ShowtellError, did_you_mean


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "cannot read a.jpg"),
        ({"found": "nothing"}, "cannot read a.jpg: found nothing"),
        ({"expected": "a picture"}, "cannot read a.jpg: expected a picture"),
        (
            {"found": "nothing", "expected": "a picture"},
            "cannot read a.jpg: found nothing; expected a picture",
        ),
        ({"mend": "Leave it out"}, "cannot read a.jpg. Leave it out"),
        ({"found": "nothing", "mend": "Leave it out"}, "cannot read a.jpg: found nothing. Leave it out"),
    ],
)
def test_the_message_is_made_of_its_parts(parts: dict[str, str], message: str) -> None:
    error = ShowtellError("cannot read a.jpg", **parts)
    assert str(error) == message
    assert (error.what, error.found, error.expected, error.mend) == (
        "cannot read a.jpg",
        parts.get("found", ""),
        parts.get("expected", ""),
        parts.get("mend", ""),
    )


def test_every_kind_is_a_showtell_error() -> None:
    kinds = [kind for kind in vars(errors).values() if getattr(kind, "__module__", "") == errors.__name__]
    kinds = [kind for kind in kinds if isinstance(kind, type)]
    assert len(kinds) >= 7
    for kind in kinds:
        assert issubclass(kind, ShowtellError)


def test_a_missing_extra_names_the_command_that_brings_it() -> None:
    error = MissingExtraError("torch", extra="train", cause="No module named 'torch'")
    assert str(error) == (
        "torch is not available: found No module named 'torch'. "
        "Run in the clone of showtell: pip install -e '.[train]'"
    )


def test_near_names_are_offered_and_else_all() -> None:
    assert did_you_mean("attenton", ["lstm", "attention"]) == "Did you mean 'attention'?"
    assert did_you_mean("zzz", ["lstm", "attention"]) == "Known: attention, lstm."


def test_errors_reach_other_processes_whole() -> None:
    for error in (
        MissingExtraError("x", extra="ray", cause="y"),
        ConfigError("a", found="b", expected="c", mend="d"),
    ):
        other = pickle.loads(pickle.dumps(error))
        assert (type(other), str(other), other.__dict__) == (type(error), str(error), error.__dict__)


def test_extras_are_installed_from_the_clone_as_the_package_is_on_no_index() -> None:
    root = Path(__file__).resolve().parents[1]
    files = [*root.glob("src/**/*.py"), *root.glob("models/**/*.md")]
    found = [
        path for path in files if re.search(r"pip install ['\"]?showtell", path.read_text(encoding="utf-8"))
    ]
    assert len(files) > 100
    assert not found


@pytest.mark.thorough
def test_the_help_of_meteor_names_its_extra() -> None:
    script = "import sys; sys.argv = ['showtell', 'evaluate', '--help']; from showtell.cli.main import main; main()"
    environment = {**os.environ, "COLUMNS": "200", "TERMINAL_WIDTH": "200"}
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert "pip install -e '.[meteor]'" in run.stdout


def test_a_message_is_one_line_that_no_terminal_obeys() -> None:
    error = DataError(
        "cannot read a\x1b[31m\nb", found="\u202egpj", expected="x\x07", mend="Run: rm a\x1b[31m"
    )
    assert str(error) == r"cannot read a\x1b[31m\nb: found \u202egpj; expected x\x07. Run: rm a\x1b[31m"
    assert str(DataError("two", lines=["a\nb", "c"])) == "two\na\\nb\nc"


def test_a_message_quotes_no_whole_file() -> None:
    assert len(str(DataError("cannot read it", found="x" * 10**6))) < 10_000

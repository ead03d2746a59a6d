"""``showtell compare``: standard output, files, and the exit code for CI."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from showtell.cli.main import app
from showtell.data.prepared import PreparedSet


@pytest.fixture
def run(toy_set: PreparedSet, tmp_path: Path) -> Callable[..., Result]:
    """Compares the first reference of each image, A, with one wrong caption for all, B."""
    rows = {toy_set.key(row): toy_set.captions(row)[0] for row in toy_set.split_rows("dev").tolist()}
    for name, captions in (("a", rows), ("b", dict.fromkeys(rows, "wrong"))):
        lines = [json.dumps({"key": key, "caption": text}) for key, text in captions.items()]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))

    def run(first: str, second: str, *options: str) -> Result:
        files = [str(tmp_path / f"{name}.jsonl") for name in (first, second)]
        return CliRunner().invoke(app, ["compare", *files, "--data", str(toy_set.directory), *options])

    return run


def test_text_json_lines_and_page(run: Callable[..., Result], tmp_path: Path) -> None:
    out = [f"--changes={tmp_path / 'changes.jsonl'}", f"--html={tmp_path / 'page.html'}", "--num-images=3"]
    answer = run("a", "b", *out)
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.startswith("A: a; B: b; 8 images of dev\n")
    assert answer.stdout.count("  B   0.00  wrong") == 3
    assert len((tmp_path / "changes.jsonl").read_text().splitlines()) == 8
    assert (tmp_path / "page.html").read_text().count('<li class="pair">') == 3
    values = json.loads(run("a", "b", "--format", "json").stdout)
    assert (values["changed"], values["better"], values["worse"]) == (8, 0, 8)


@pytest.mark.parametrize(
    ("first", "second", "limit", "code"),
    [("a", "b", "0", 4), ("b", "a", "0", 0), ("a", "a", "0", 0), ("a", "b", "-999", 0)],
)
def test_the_exit_code_says_whether_b_is_worse(
    run: Callable[..., Result], first: str, second: str, limit: str, code: int
) -> None:
    answer = run(first, second, f"--fail-below={limit}")
    assert answer.exit_code == code
    assert ("is worse than --fail-below" in " ".join(answer.stderr.split())) == (code == 4)

"""Builds are compared by the benchmarks of their own commits."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks import against

BENCHMARK = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--results") + 1])
row = {{"work": "caption {word}", "details": {{"seconds": {{"ours": [{seconds}], "theirs": [9.0]}}}}}}
other = {{"work": "memory", "details": {{}}}}
(folder / "run.json").write_text(json.dumps({{"format": 1, "rows": [row, row, other]}}))
"""


def git(root: Path, *arguments: str) -> None:
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *author, *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose last commit takes 2 seconds where the first took 3."""
    root = tmp_path / "repository"
    (root / "benchmarks").mkdir(parents=True)
    git(root, "init", "--quiet")
    for seconds, word, tag in ((3.0, "10 pictures", "old"), (2.0, "10 images", "new")):
        (root / "benchmarks" / "__main__.py").write_text(BENCHMARK.format(seconds=seconds, word=word))
        git(root, "add", ".")
        git(root, "commit", "--quiet", "-m", tag)
        git(root, "tag", tag)
    monkeypatch.setattr(against, "ROOT", root)
    return root


def test_the_ratio_is_of_works_that_both_builds_have(repository: Path) -> None:
    (row,) = against.compare_builds("old", "caption", [], rounds=2)
    assert (row.work, row.against, row.figure) == ("caption 10 images", "the same at old", 1.5)
    assert row.reached
    assert row.details["seconds"] == {"this build": [2.0, 2.0], "old": [3.0, 3.0]}
    assert json.dumps(row.to_json())
    listed = subprocess.run(["git", "worktree", "list"], cwd=repository, capture_output=True, check=True)
    assert len(listed.stdout.splitlines()) == 1


def test_a_commit_that_is_not_there_is_named(repository: Path) -> None:
    with pytest.raises(RuntimeError, match="nowhere"):
        list(against.compare_builds("nowhere", "caption", [], rounds=1))


def test_a_run_that_fails_says_how(repository: Path) -> None:
    (repository / "benchmarks" / "__main__.py").write_text("raise SystemExit('no such group')")
    with pytest.raises(RuntimeError, match="no such group"):
        list(against.compare_builds("old", "caption", [], rounds=1))

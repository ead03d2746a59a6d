"""The vocabulary of the code base: identifiers, help and error texts, docstrings, comments, docs and README.

``words.toml`` lists the words that are not used and what to write instead.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "showtell"
WORDS = tomllib.loads((Path(__file__).parent / "words.toml").read_text(encoding="utf-8"))
PROSE = [(re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), mend) for pattern, mend in WORDS["prose"].items()]
QUOTED = re.compile(r"`[^`]*`|Show(?:, Attend)? and Tell|Knowing When to Look")
"""Code, and titles of papers."""
PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
PENDING = {
    "checkpoints", "cli", "config", "encoders", "export", "generation",
    "images", "inference", "metrics", "training", "errors.py", "tokenizer.py",
    "__init__.py", "README.md", "docs",
}  # fmt: skip
"""Rooms and files that are not held to the list yet."""


def banned_parts(name: str) -> list[str]:
    return [part.lower() for part in PARTS.findall(name) if part.lower() in WORDS["identifiers"]]


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the names that a module defines: its own, not those of libraries that it calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def prose_of_python(text: str) -> Iterator[tuple[int, str]]:
    """Yield comments and the strings that hold more than one word: docstrings, help and error texts."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and " " in token.string):
            for offset, line in enumerate(token.string.splitlines()):
                yield token.start[0] + offset, QUOTED.sub("", line)


def prose_of_text(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a document outside its fenced blocks and code spans."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, QUOTED.sub("", line)


def problems_of(path: Path, text: str) -> list[str]:
    """Return a line for each word of a file that is not used here."""
    if path.suffix == ".py":
        found = [
            f"{path}:{number}: name '{name}' has '{part}'; write {WORDS['identifiers'][part]}"
            for number, name in identifiers(ast.parse(text))
            for part in banned_parts(name)
        ]
        prose = prose_of_python(text)
    else:
        found, prose = [], prose_of_text(text)
    return found + [
        f"{path}:{number}: '{match.group()}'; write {mend}"
        for number, line in prose
        for pattern, mend in PROSE
        for match in pattern.finditer(line)
    ]


def checked_files() -> list[Path]:
    files = [path for path in PACKAGE.rglob("*") if path.suffix in {".py", ".yaml", ".html"}]
    files += [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").rglob("*.md"),
    ]
    return [path for path in files if path.is_file()]


def room_of(path: Path) -> str:
    base = PACKAGE if path.is_relative_to(PACKAGE) else ROOT
    return path.relative_to(base).parts[0]


@pytest.mark.parametrize("room", sorted({room_of(path) for path in checked_files()}))
def test_the_fields_words_are_used(room: str) -> None:
    if room in PENDING:
        pytest.skip("not held to the list yet")
    problems = [
        problem
        for path in checked_files()
        if room_of(path) == room
        for problem in problems_of(path.relative_to(ROOT), path.read_text(encoding="utf-8"))
    ]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.py", "def look(x):\n    return x\n", "name 'look' has 'look'"),
        ("a.py", "class LanesOfWork:\n    pass\n", "name 'LanesOfWork' has 'lanes'"),
        ("a.py", "raise ValueError('the rest is told later')\n", "'told'"),
        ("a.py", "x = 1  # begins anew\n", "'anew'"),
        ("a.md", "It looks at the image.\n", "'looks at'"),
    ],
)
def test_a_word_that_is_not_used_is_found(name: str, text: str, problem: str) -> None:
    assert problem in "\n".join(problems_of(Path(name), text))


def test_code_spans_and_fenced_blocks_may_hold_any_word() -> None:
    assert problems_of(Path("a.md"), "`told`\n\n```\nsaid\n```\n") == []

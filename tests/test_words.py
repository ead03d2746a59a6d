"""The vocabulary of the code base: identifiers, file names, help and error texts, docstrings, comments, docs, README.

``words.toml`` lists the words that are not used and what to write instead.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path("src") / "showtell"
WORDS = tomllib.loads((Path(__file__).parent / "words.toml").read_text(encoding="utf-8"))
PROSE = [
    (re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), correction)
    for pattern, correction in WORDS["prose"].items()
]
NAME_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
DOCUMENTS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
QUOTED = re.compile(r"docs/results/[^/]+/README\.md")
"""Result pages quote the captions of humans, who use any word."""


def banned_parts(name: str) -> list[str]:
    return [part.lower() for part in NAME_PARTS.findall(name) if part.lower() in WORDS["identifiers"]]


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
        elif isinstance(node, ast.ImportFrom | ast.Import):
            yield from ((node.lineno, alias.asname) for alias in node.names if alias.asname)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs) and node.name:
            yield node.lineno, node.name


def prose_of_python(text: str) -> Iterator[tuple[int, str]]:
    """Yield comments, strings of more than one word (docstrings, help, error texts), and names of options."""
    parts_of_fstrings = {
        getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)
    }  # one token each since Python 3.12
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        is_text = token.type in {tokenize.STRING, *parts_of_fstrings} and re.search(r" |--\w", token.string)
        if token.type == tokenize.COMMENT or is_text:
            for offset, line in enumerate(token.string.splitlines()):
                yield token.start[0] + offset, re.sub(r"`[^`]*`", "", line)


def prose_of_text(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a document outside its fenced blocks and code spans."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, re.sub(r"`[^`]*`", "", line)


def problems_of(path: Path, text: str) -> list[str]:
    """Return one line for each word in a file that is not used here."""
    names = []
    if path.suffix == ".py":
        names = [(1, part) for part in path.parts]
        names += identifiers(ast.parse(text))
        prose = prose_of_python(text)
    else:
        prose = prose_of_text(text)
    problems = [
        f"{path}:{number}: name '{name}' has '{part}'; write {WORDS['identifiers'][part]}"
        for number, name in names
        for part in banned_parts(name)
    ]
    return problems + [
        f"{path}:{number}: '{match.group()}'; write {correction}"
        for number, line in prose
        for pattern, correction in PROSE
        for match in pattern.finditer(line)
    ]


def rooms(root: Path) -> dict[str, list[Path]]:
    """Return the files that are held to the list, relative to the root, by room."""
    package = (
        path for path in (root / PACKAGE).rglob("*") if path.suffix in {".py", ".yaml", ".html", ".md"}
    )
    documents = (root / name for name in DOCUMENTS)
    found: dict[str, list[Path]] = {}
    others = ((root / "benchmarks").rglob("*.py"), (root / "docs").rglob("*.md"))
    for path in sorted(chain(package, documents, *others)):
        relative = path.relative_to(root)
        if path.is_file() and not QUOTED.fullmatch(relative.as_posix()):
            room = relative.relative_to(PACKAGE if relative.is_relative_to(PACKAGE) else Path()).parts[0]
            found.setdefault(room, []).append(relative)
    return found


def problems_in(root: Path, room: str) -> list[str]:
    return [
        problem
        for path in rooms(root)[room]
        for problem in problems_of(path, (root / path).read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize("room", sorted(rooms(ROOT)))
def test_the_fields_words_are_used(room: str) -> None:
    problems = problems_in(ROOT, room)
    assert not problems, "\n".join(problems)


def test_every_room_is_held_to_the_list() -> None:
    package = ROOT / PACKAGE
    expected = {
        path.name for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert expected <= rooms(ROOT).keys()
    assert rooms(ROOT).keys() >= {"README.md"}


@pytest.mark.parametrize(
    "text",
    [
        "def {}_x(): pass",
        "class X{title}Y: pass",
        "def f(*, a_{}): pass",
        "x_{} = 1",
        "x.{} = 1",
        "for {} in []: pass",
        "import a as {}",
        "try: pass\nexcept E as {}: pass",
    ],
)
def test_each_banned_name_is_found_wherever_it_is_defined(text: str) -> None:
    for word in WORDS["identifiers"]:
        problems = problems_of(Path("a.py"), text.format(word, title=word.title()))
        assert any(f"has '{word}'" in problem for problem in problems), word


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", '"""It {} here."""'),
        ("a.py", "x = 1  # {} here"),
        ("a.py", "raise E(f'{{x}} {} here')"),
        ("a.py", "Option(help='{} here')"),
        ("a.md", "- {} here"),
        ("a.yaml", "# {} here"),
        ("a.html", "<p>{} here</p>"),
    ],
)
def test_each_banned_word_is_found_in_every_kind_of_text(name: str, text: str) -> None:
    for alternative in "|".join(WORDS["prose"]).split("|"):
        word = re.sub(r"\\w\+", "ed", alternative).replace("?", "")
        assert problems_of(Path(name), text.format(word)), word


def test_a_bad_word_in_any_room_fails_that_room(tmp_path: Path) -> None:
    package = tmp_path / PACKAGE
    files = {
        package / "a" / "__init__.py": "def look(): pass",
        package / "b" / "lanes.py": "",
        package / "c" / "x.yaml": "# begins anew",
        package / "d.py": "OPTION = '--anew'",
        tmp_path / "docs" / "x.md": "It looks at the image.",
        tmp_path / "README.md": "It was told.",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert rooms(tmp_path).keys() == {"a", "b", "c", "d.py", "docs", "README.md"}
    assert [len(problems_in(tmp_path, room)) for room in rooms(tmp_path)] == [1] * len(files)


def test_code_spans_and_fenced_blocks_may_hold_any_word() -> None:
    assert problems_of(Path("a.md"), "`told`\n\n```\nsaid\n```\n") == []
    assert problems_of(Path("a.py"), '"""The key `told` of old files."""') == []

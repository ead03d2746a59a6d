"""The documents of the repository, taken apart: fenced blocks, the commands in them, inline code, links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SHELLS = {"", "sh", "bash", "shell", "console"}
_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^`\n]*)\n(?P<body>.*?)^(?P=indent)```$", re.M | re.S)
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        path: The document.
        line: The line of its opening fence.
        info: The language after the fence; empty where there is none.
        body: Its text.
    """

    path: Path
    line: int
    info: str
    body: str

    @property
    def place(self) -> str:
        """Where it is, for messages and test names."""
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def documents() -> list[Path]:
    """Return all documents that users read."""
    found = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
    for folder in ("docs", "examples", "models"):
        found += sorted((ROOT / folder).rglob("*.md"))
    return found


def blocks(path: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a document."""
    text = path.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(path, line, match["info"].strip(), match["body"])


def commands(body: str) -> list[list[str]]:
    """Return the commands of a shell block as words: continued lines joined, comments and settings left out."""
    joined = re.sub(r"\\\n\s*", " ", body)
    found = []
    for line in joined.splitlines():
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words:
                found.append(words)
    return found


def inline_code(path: Path) -> Iterator[str]:
    """Yield the inline code of a document, outside of fenced blocks, with line breaks as spaces."""
    prose = _FENCE.sub("", path.read_text(encoding="utf-8"))
    for match in _INLINE.finditer(prose):
        yield " ".join(match[1].split())


def links(path: Path) -> Iterator[str]:
    """Yield the targets of a document's links and images that are not addresses."""
    prose = _FENCE.sub("", path.read_text(encoding="utf-8"))
    targets = _LINK.findall(prose) + re.findall(r'(?:src|srcset)="([^"]+)"', prose)
    yield from (target for target in targets if not re.match(r"[a-z]+:", target))


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as repository browsers and the site make them."""
    prose = _FENCE.sub("", path.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.+)$", prose, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}

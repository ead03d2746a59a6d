"""METEOR 1.5 by Java's own program, for those who have it: the one score that is not ours.

Its synonyms and paraphrases are megabytes of tables, so that no small pure Python could have its digits. The package
pycocoevalcap brings the program, Java runs it, and it reads our Penn Treebank tokens. Java is started once, when it
is first needed, and then asked line by line. Language and encoding are set, for in a locale with a decimal comma it
writes numbers that nobody can read.

Denkowski and Lavie 2014, "Meteor Universal: Language Specific Translation Evaluation for Any Target Language".
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

from showtell.errors import MissingExtraError, ScoreError
from showtell.system.console import progress

NAME, VERSION = "METEOR", "meteor-1.5"
PROGRAM = "meteor-1.5.jar"
_SEPARATOR = "|||"
_SETTINGS = ("-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US")


class MeteorScorer(Protocol):
    """Whatever gives METEOR of tokens."""

    def score(
        self, references: Sequence[Sequence[Sequence[str]]], candidates: Sequence[Sequence[str]]
    ) -> tuple[float, list[float]]:
        """Return the score of the corpus and of each picture, 0..1; the former is not the mean of the latter."""


def find_program() -> tuple[str, Path]:
    """Return where Java and METEOR's program are.

    Raises:
        MissingExtraError: pycocoevalcap is not installed, or has no METEOR.
        ScoreError: there is no Java.
    """
    package = importlib.util.find_spec("pycocoevalcap")
    places = [
        Path(place) / "meteor" / PROGRAM for place in (package and package.submodule_search_locations) or []
    ]
    program = next((place for place in places if place.is_file()), None)
    if program is None:
        cause = "no package pycocoevalcap" if package is None else f"a pycocoevalcap without {PROGRAM}"
        raise MissingExtraError("METEOR's program", extra="meteor", cause=cause)
    java = shutil.which("java")
    if java is None:
        raise ScoreError(
            "METEOR cannot be computed",
            found="no java on the PATH",
            mend="Install Java 8 or newer (Debian: apt install default-jre-headless), or leave --meteor out",
        )
    return java, program


class Meteor:
    """METEOR's program, kept running until it is closed.

    Raises:
        MissingExtraError: pycocoevalcap is not installed.
        ScoreError: there is no Java.
    """

    def __init__(self) -> None:
        self._java, self._program = find_program()
        self._process: subprocess.Popen[bytes] | None = None
        self._complaints: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start Java, unless it runs, and see that it answers: seconds that are best spent before anything else.

        Raises:
            ScoreError: it does not start.
        """
        if self._process is not None:
            return
        # A file, not a pipe: a pipe that nobody reads fills up, and then the program stands still.
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        command = [self._java, *_SETTINGS, "-Xmx2G", "-jar", str(self._program)]
        self._process = subprocess.Popen(
            [*command, "-", "-", "-stdio", "-l", "en", "-norm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
        )
        self._count([["a", "dog"]], ["a", "dog"])

    def score(
        self, references: Sequence[Sequence[Sequence[str]]], candidates: Sequence[Sequence[str]]
    ) -> tuple[float, list[float]]:
        """Score one candidate per picture.

        Args:
            references: Tokens of every reference of every picture.
            candidates: Tokens of each picture's candidate.

        Returns:
            The score of the corpus, from all pictures' counts together, and each picture's; 0..1.

        Raises:
            ScoreError: Java does not start, or ended.
        """
        self.start()
        counts = []
        with progress("METEOR", len(candidates), unit="pictures") as advance:
            for captions, candidate in zip(references, candidates, strict=True):
                counts.append(self._count(captions, candidate))
                advance(1, "")
        self._tell(f" {_SEPARATOR} ".join(["EVAL", *counts]))
        pictures = [self._hear_number() for _ in counts]
        return self._hear_number(), pictures

    def close(self) -> None:
        """End Java; it starts again where it is wanted again."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        if self._complaints is not None:
            self._complaints.close()
            self._complaints = None

    def _count(self, references: Sequence[Sequence[str]], candidate: Sequence[str]) -> str:
        """Return what METEOR counts in a candidate, as it writes it."""
        captions = [*references, candidate]
        self._tell(f" {_SEPARATOR} ".join(["SCORE", *(_line(tokens) for tokens in captions)]))
        return self._hear()

    def _tell(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
        except OSError as error:
            raise self._broken(str(error)) from error

    def _hear(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._broken("no answer")
        return line.decode().strip()

    def _hear_number(self) -> float:
        answer = self._hear()
        try:
            return float(answer)
        except ValueError as error:
            raise self._broken(f"the answer {answer!r} in place of a number") from error

    def _broken(self, found: str) -> ScoreError:
        """Say why Java does not go on, by its own last words where it had any."""
        said = ""
        if self._process is not None and self._complaints is not None:
            self._process.kill()
            self._process.wait()
            self._complaints.seek(0)
            said = self._complaints.read().decode(errors="replace").strip()
        self.close()
        last = said.splitlines()[-1].strip() if said else found
        return ScoreError(
            "METEOR's program does not work",
            found=last,
            mend=f"See that this works: {self._java} -Xmx2G -version; or leave --meteor out",
        )


def _line(tokens: Sequence[str]) -> str:
    """Return tokens as one line without what METEOR reads as the end of a caption; other spaces stay as they are."""
    text = " ".join(tokens).replace(_SEPARATOR, "").replace("\n", " ").replace("\r", " ")
    return text.replace("  ", " ")

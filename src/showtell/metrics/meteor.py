"""METEOR 1.5 by its own program in Java, which reads our Penn Treebank tokens line by line.

Its synonyms and paraphrases are megabytes of tables, so this score needs the program that pycocoevalcap brings. Java
starts once, when it is first needed. Language and encoding are set because METEOR writes a decimal comma in some
locales.

Denkowski and Lavie 2014, "Meteor Universal: Language Specific Translation Evaluation for Any Target Language".
"""

import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol

from showtell.errors import MissingExtraError, ScoreError
from showtell.system.console import progress_bar

NAME, VERSION = "METEOR", "meteor-1.5"
PROGRAM = "meteor-1.5.jar"
_SEPARATOR = "|||"
_SETTINGS = ("-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US")


class MeteorScorer(Protocol):
    """Computes METEOR of tokens."""

    def score(
        self, references: Sequence[Sequence[Sequence[str]]], candidates: Sequence[Sequence[str]]
    ) -> tuple[float, list[float]]:
        """Return the score of the corpus and of each image, 0..1; the former is not the mean of the latter."""


def find_program() -> tuple[str, Path]:
    """Return the paths of Java and of METEOR's program.

    Raises:
        MissingExtraError: pycocoevalcap is not installed, or has no METEOR.
        ScoreError: there is no Java.
    """
    package = importlib.util.find_spec("pycocoevalcap")
    folders = (package and package.submodule_search_locations) or []
    programs = [Path(folder, "meteor", PROGRAM) for folder in folders]
    program = next(filter(Path.is_file, programs), None)
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


class Meteor(AbstractContextManager["Meteor"]):
    """METEOR's program, which runs until it is closed; raises the errors of `find_program`."""

    def __init__(self) -> None:
        self._java, self._program = find_program()
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None

    def __exit__(self, *error: object) -> None:
        self.close()

    def start(self) -> None:
        """Start Java, unless it runs, and check that it answers, which takes seconds; a ScoreError if it does not."""
        if self._process is not None:
            return
        # A file, not a pipe: a full pipe that nobody reads would block the program.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        command = [self._java, *_SETTINGS, "-Xmx2G", "-jar", str(self._program)]
        self._process = subprocess.Popen(
            [*command, "-", "-", "-stdio", "-l", "en", "-norm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
        )
        self._count([["a", "dog"]], ["a", "dog"])

    def score(
        self, references: Sequence[Sequence[Sequence[str]]], candidates: Sequence[Sequence[str]]
    ) -> tuple[float, list[float]]:
        """Return the score of the corpus, from the counts of all images, and of each image's candidate; 0..1.

        Raises:
            ScoreError: Java does not start, or ended.
        """
        self.start()
        counts = []
        with progress_bar("METEOR", len(candidates), unit="images") as advance:
            for captions, candidate in zip(references, candidates, strict=True):
                counts.append(self._count(captions, candidate))
                advance(1, "")
        self._send(f" {_SEPARATOR} ".join(["EVAL", *counts]))
        per_image = [self._receive_number() for _ in counts]
        return self._receive_number(), per_image

    def close(self) -> None:
        """Stop Java; `score` starts it again."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None

    def _count(self, references: Sequence[Sequence[str]], candidate: Sequence[str]) -> str:
        """Return the statistics of a candidate as METEOR writes them."""
        captions = [*references, candidate]
        self._send(f" {_SEPARATOR} ".join(["SCORE", *(_line(tokens) for tokens in captions)]))
        return self._receive()

    def _send(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
        except OSError as error:
            raise self._broken(str(error)) from error

    def _receive(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._broken("no answer")
        return line.decode().strip()

    def _receive_number(self) -> float:
        answer = self._receive()
        try:
            return float(answer)
        except ValueError as error:
            raise self._broken(f"the answer {answer!r} in place of a number") from error

    def _broken(self, found: str) -> ScoreError:
        """Stop Java and return the error, with the last line that it wrote to stderr."""
        message = ""
        if self._process is not None and self._stderr is not None:
            self._process.kill()
            self._process.wait()
            self._stderr.seek(0)
            message = self._stderr.read().decode(errors="replace").strip()
        self.close()
        last = message.splitlines()[-1].strip() if message else found
        return ScoreError(
            "METEOR's program does not work",
            found=last,
            mend=f"Check that this works: {self._java} -Xmx2G -version; or leave --meteor out",
        )


def _line(tokens: Sequence[str]) -> str:
    """Return tokens as one line without METEOR's separators; other spaces are kept."""
    text = " ".join(tokens).replace(_SEPARATOR, "").replace("\n", " ").replace("\r", " ")
    return text.replace("  ", " ")

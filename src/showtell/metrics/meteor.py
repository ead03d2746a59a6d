"""METEOR 1.5: its own program in Java counts matches of our Penn Treebank tokens, numpy computes the scores.

Its synonyms and paraphrases are megabytes of tables, so the counts need the program that pycocoevalcap brings. Java
starts once, when it is first needed. Language and encoding are set because METEOR writes a decimal comma in some
locales.

Denkowski and Lavie 2014, "Meteor Universal: Language Specific Translation Evaluation for Any Target Language".
"""

import importlib.util
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from showtell.errors import MissingExtraError, ScoreError
from showtell.metrics.ngrams import Floats
from showtell.system.console import progress_bar

NAME, VERSION = "METEOR", "meteor-1.5"
PROGRAM = "meteor-1.5.jar"
ANSWER_SECONDS = 120
"""The longest wait for one caption, or for the start."""
_SEPARATOR = "|||"
_SETTINGS = ("-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US")
COUNTS = 23
# Of exact, stem, synonym and paraphrase matches, and the parameters of English (Denkowski and Lavie 2014, table 2).
_MODULES = np.array([1.0, 0.6, 0.8, 0.6])
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75


class MeteorScorer(Protocol):
    """Counts what METEOR is computed from."""

    def counts(
        self, references: Sequence[Sequence[Sequence[str]]], candidates: Sequence[Sequence[str]]
    ) -> Floats:
        """Return the counts of N candidates, float64 [23, N]; their sums are those of the corpus."""


def meteor_scores(counts: Floats) -> Floats:
    """Return METEOR of columns of `MeteorScorer.counts` or of their sums, 0..1: [23, X] -> [X].

    Rows: length and function words, of candidate and reference each; for each module the matched content words of
    both and the matched function words of both; chunks, and all matched words of both.
    """
    length, other_length, function, other_function = counts[:4]
    content, other_content, matched, other_matched = np.einsum(
        "m,mkx->kx", _MODULES, counts[4:20].reshape(4, 4, -1)
    )
    chunks, total, other_total = counts[20:]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = (_DELTA * content + (1 - _DELTA) * matched) / (
            _DELTA * (length - function) + (1 - _DELTA) * function
        )
        recall = (_DELTA * other_content + (1 - _DELTA) * other_matched) / (
            _DELTA * (other_length - other_function) + (1 - _DELTA) * other_function
        )
        mean = 1 / ((1 - _ALPHA) / precision + _ALPHA / recall)
        scores: Floats = mean * (1 - _GAMMA * (chunks / ((total + other_total) / 2)) ** _BETA)
    return np.nan_to_num(scores)


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

    def counts(
        self, references: Sequence[Sequence[Sequence[str]]], candidates: Sequence[Sequence[str]]
    ) -> Floats:
        """Return the counts of each image's candidate against its best reference, float64 [23, N].

        Raises:
            ScoreError: Java does not start, or ended.
        """
        self.start()
        counts = np.empty((COUNTS, len(candidates)))
        with progress_bar("METEOR", len(candidates), unit="images") as advance:
            for number, (captions, candidate) in enumerate(zip(references, candidates, strict=True)):
                counts[:, number] = self._count(captions, candidate)
                advance(1, "")
        # A candidate that equals a reference has no chunk, to METEOR's sums as well.
        equal = (counts[20] == 1) & (counts[0] == counts[21]) & (counts[1] == counts[22])
        counts[20, equal] = 0
        return counts

    def close(self) -> None:
        """Stop Java; `score` starts it again."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None

    def _count(self, references: Sequence[Sequence[str]], candidate: Sequence[str]) -> Floats:
        """Return the statistics of a candidate as METEOR writes them. [23]"""
        captions = [*references, candidate]
        self._send(f" {_SEPARATOR} ".join(["SCORE", *(_line(tokens) for tokens in captions)]))
        answer = self._receive()
        try:
            counts = np.array(answer.split(), float)
        except ValueError:
            counts = np.empty(0)
        if len(counts) != COUNTS:
            raise self._broken(f"the answer {answer[:60]!r} in place of {COUNTS} counts")
        return counts

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
        started = time.monotonic()
        timer = threading.Timer(ANSWER_SECONDS, self._process.kill)
        timer.daemon = True
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if not line.endswith(b"\n") and time.monotonic() - started >= ANSWER_SECONDS:
            raise self._broken(f"no answer in {ANSWER_SECONDS:,} seconds", is_silent=True)
        if not line.endswith(b"\n"):
            raise self._broken("no answer")
        return line.decode().strip()

    def _broken(self, found: str, *, is_silent: bool = False) -> ScoreError:
        """Stop Java and return the error, with the last line that it wrote to stderr unless it ``is_silent``."""
        message = ""
        if self._process is not None and self._stderr is not None:
            self._process.kill()
            self._process.wait()
            self._stderr.seek(0)
            message = self._stderr.read().decode(errors="replace").strip()
        self.close()
        last = message.splitlines()[-1].strip() if message and not is_silent else found
        return ScoreError(
            "METEOR's program does not work",
            found=last,
            mend=f"Check that this works: {self._java} -Xmx2G -version; or leave --meteor out",
        )


def _line(tokens: Sequence[str]) -> str:
    """Return tokens as one line without METEOR's separators; other spaces are kept."""
    text = " ".join(tokens).replace(_SEPARATOR, "").replace("\n", " ").replace("\r", " ")
    return text.replace("  ", " ")

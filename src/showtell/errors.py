"""What can go wrong, in words a user can act on.

Library code raises these; only the command line (and, once per picture, the captioner) catches them. A message
names what could not be done and with which file or key, what was found, what was expected, and how to mend it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ShowtellError(Exception):
    """Something a user or a file caused.

    Args:
        what: What could not be done, with the name of the file, key or option.
        found: What was there instead.
        expected: What would have been right.
        mend: The next step.
    """

    def __init__(self, what: str, *, found: str = "", expected: str = "", mend: str = "") -> None:
        self.what, self.found, self.expected, self.mend = what, found, expected, mend
        details = [f"{name} {text}" for name, text in (("found", found), ("expected", expected)) if text]
        message = what + (": " + "; ".join(details) if details else "")
        super().__init__(f"{message}. {mend}" if mend else message)


class ConfigError(ShowtellError):
    """An option or a recipe key is unknown, of the wrong type or out of range (exit code 2)."""


class DataError(ShowtellError):
    """A captioned set, a prepared set or a feature cache is missing, broken or stale."""


class ImageError(ShowtellError):
    """One picture cannot be read; its neighbours are not affected."""


class EncoderError(ShowtellError):
    """Encoder weights are missing, of another network, or of the other layout."""


class CheckpointError(ShowtellError):
    """A checkpoint is missing, cut short, or of another vocabulary."""


class TrainingError(ShowtellError):
    """A loss or a gradient stopped being finite."""


class ScoreError(ShowtellError):
    """References and candidates do not fit together."""


class ExportError(ShowtellError):
    """A captioner cannot be exported, or its export says something else."""


class MissingExtraError(ShowtellError):
    """An optional dependency is not installed, or installed but broken."""

    def __init__(self, need: str, *, extra: str, cause: str = "") -> None:
        super().__init__(
            f"{need} is not available", found=cause, mend=f"Run: pip install 'showtell[{extra}]'"
        )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` for the nearest known name, else the list of known names."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(names)}."


def reason(error: Exception) -> str:
    """Return an error of the hub's client in one line."""
    first = str(error).strip().split("\n", maxsplit=1)[0].rstrip(".")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__

"""Errors that a user or a file causes, with messages that say how to fix them.

Library code raises these; only the command line (and, per image, the captioner) catches them. A message names the
file, option or key, what was found, what was expected and the next step.
"""

import difflib
import importlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

INSTALL = "pip install -e '.[{extra}]'"
"""Installs an extra from a clone: the package is not published on any index, where the name could be another's."""


_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
MAX_LENGTH = 4_000
"""Characters of each part of a message, which may quote a file."""


class ShowtellError(Exception):
    """The base of all errors caused by a user or a file.

    It says ``what`` failed, the value ``found``, the one ``expected``, and the next step to ``mend`` it; ``lines``
    are examples below. Names and values may be anyone's: the message has their invisible characters as escapes.
    """

    def __init__(
        self, what: str, *, found: str = "", expected: str = "", mend: str = "", lines: Sequence[str] = ()
    ) -> None:
        what, found, expected = (shorten_text(text, MAX_LENGTH) for text in (what, found, expected))
        self.what, self.found, self.expected, self.mend = what, found, expected, mend
        details = [f"{name} {text}" for name, text in (("found", found), ("expected", expected)) if text]
        message = what + (": " + "; ".join(details) if details else "")
        message = f"{message}. {mend}" if mend else message
        super().__init__("\n".join(map(escape_controls, [message, *lines])))

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it be raised again in another process."""
        return Exception.__new__, (type(self), *self.args), self.__dict__


class ConfigError(ShowtellError):
    """An option or a recipe key is unknown, of the wrong type or out of range (exit code 2)."""


class DataError(ShowtellError):
    """A dataset, a prepared set or a feature cache is missing, broken or stale."""


class ImageError(ShowtellError):
    """One image cannot be read; other images are not affected."""


class EncoderError(ShowtellError):
    """Encoder weights are missing, of another network, or of the other stride layout."""


class CheckpointError(ShowtellError):
    """A checkpoint is missing, truncated, or has another vocabulary."""


class TrainingError(ShowtellError):
    """A loss or a gradient is no longer finite."""


class ScoreError(ShowtellError):
    """References and candidates do not match."""


class ExportError(ShowtellError):
    """A captioner cannot be exported, or its export generates different captions."""


class MissingExtraError(ShowtellError):
    """An optional dependency is not installed, or its installation is broken."""

    def __init__(self, need: str, *, extra: str, cause: str = "") -> None:
        super().__init__(f"{need} is not available", found=cause, mend=install_hint(extra))


def import_extra(package: str, *, extra: str, need: str = "") -> Any:
    """Import a package of an extra; a MissingExtraError of what is needed if it is missing or broken."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(need or package, extra=extra, cause=str(error)) from error


def install_hint(extra: str) -> str:
    """Return the sentence that says how to install an extra."""
    return f"Run in the clone of showtell: {INSTALL.format(extra=extra)}"


def did_you_mean(name: str, known: Iterable[str], *, most: int | None = None) -> str:
    """Return ``Did you mean 'x'?`` with the closest known name, or the list of known names, at most so many."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(names[:most])}{', ...' if len(names[:most]) < len(names) else '.'}"


def escape_controls(text: str) -> str:
    """Return text with invisible characters as escapes (``\\x1b``): controls, marks of direction, lone surrogates."""
    return _INVISIBLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def shorten_text(text: str, length: int = 100) -> str:
    """Return the beginning of a text that is longer than this."""
    return text if len(text) <= length else f"{text[:length]}…"


def reason(error: Exception) -> str:
    """Return another library's error in one line."""
    first = shorten_text(str(error).strip().split("\n", maxsplit=1)[0].rstrip("."), 200)
    return f"{type(error).__name__}: {first}" if first else type(error).__name__

"""Lines of log that are written together."""

import asyncio
import contextlib
import logging
from typing import TextIO

_SECONDS = 0.1


class LogLines(logging.StreamHandler[TextIO]):
    """Writes the lines of an event loop a tenth of a second late, warnings and those of other threads at once.

    Every write hands the interpreter's lock to the threads that wait for it, and the event loop gets it back only
    when they let go: a line for each request would hold up the requests that follow.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        self._lines.append(self.format(record) + self.terminator)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is None or record.levelno >= logging.WARNING:
            self.flush()
        elif self._timer is None:
            self._timer = loop.call_later(_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what was taken."""
        self.acquire()
        try:
            text, self._timer = "".join(self._lines), None
            self._lines.clear()
            with contextlib.suppress(OSError):  # nobody reads it any more
                self.stream.write(text)
                self.stream.flush()
        finally:
            self.release()

"""Lines of log: written together by an event loop, at once where it matters, none lost."""

from __future__ import annotations

import asyncio
import io
import logging

from showtell.system.log_lines import LogLines


def make_logger() -> tuple[logging.Logger, io.StringIO]:
    stream, log = io.StringIO(), logging.Logger("test")
    log.addHandler(LogLines(stream))
    return log, stream


def test_lines_of_an_event_loop_are_written_together_soon_after() -> None:
    log, stream = make_logger()

    async def run() -> None:
        log.info("first")
        log.info("second")
        assert stream.getvalue() == ""
        await asyncio.sleep(0.3)
        assert stream.getvalue() == "first\nsecond\n"
        log.info("third")

    asyncio.run(run())
    log.handlers[0].flush()  # as at the end of the process
    assert stream.getvalue() == "first\nsecond\nthird\n"


def test_warnings_and_lines_of_other_threads_are_written_at_once_and_in_order() -> None:
    log, stream = make_logger()

    async def run() -> None:
        log.info("first")
        log.warning("second")
        assert stream.getvalue() == "first\nsecond\n"
        log.info("third")
        await asyncio.to_thread(log.info, "fourth")
        assert stream.getvalue() == "first\nsecond\nthird\nfourth\n"

    asyncio.run(run())
    log.info("fifth")
    assert stream.getvalue().endswith("fifth\n")


def test_a_stream_that_nobody_reads_stops_nothing() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    log = logging.Logger("test")
    log.addHandler(LogLines(Broken()))
    log.info("lost")

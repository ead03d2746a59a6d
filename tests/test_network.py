"""The guard of `conftest.py`: no test leaves this machine, and none can hide an attempt."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
OUTSIDE = "192.0.2.1"  # reserved for documentation (RFC 5737)


def through_asyncio() -> None:
    async def connect() -> None:
        await asyncio.open_connection(OUTSIDE, 9)

    asyncio.run(connect())


def by_datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"?", (OUTSIDE, 9))


@pytest.mark.parametrize(
    "reach",
    [
        lambda: socket.create_connection((OUTSIDE, 9), timeout=1),
        lambda: urllib.request.urlopen("http://example.org", timeout=1),
        lambda: socket.gethostbyname("example.org"),
        by_datagram,
        through_asyncio,
    ],
)
def test_an_outside_connection_is_refused_and_recorded(
    reach: Callable[[], object], no_network: list[str]
) -> None:
    with pytest.raises(OSError, match="no network in tests"):
        reach()
    assert no_network
    no_network.clear()  # else this test would fail, as it should


def test_a_test_that_swallows_the_refusal_fails(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(
        """
        import socket

        def test_hides_it():
            try:
                socket.create_connection(("192.0.2.1", 9), timeout=1)
            except OSError:
                pass
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:randomly", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*no network in tests*"])


def test_this_machine_may_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a Unix socket's path must be short
    for family, address in ((socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_UNIX, "socket")):
        with socket.socket(family) as server:
            server.bind(address)
            server.listen()
            with socket.socket(family) as client, contextlib.closing(client):
                client.connect(server.getsockname())
    assert socket.getaddrinfo("localhost", 80)

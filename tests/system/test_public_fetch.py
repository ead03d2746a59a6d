"""Fetching from public addresses only, with harmless addresses of this machine in place of others."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from showtell.errors import DataError
from showtell.system.public_fetch import Address, fetch, is_public

CONTENT = b"content of a file"


class Site(BaseHTTPRequestHandler):
    """Answers /file, and redirects /to/ADDRESS there."""

    hits: list[str]

    def do_GET(self) -> None:
        type(self).hits.append(self.path)
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
        elif self.path == "/file":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(CONTENT)
        elif self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(50):
                self.wfile.write(b"x")
                if waited.wait(0.05):
                    return
        else:
            self.send_error(404)

    def log_message(self, *arguments: Any) -> None:
        pass


waited = threading.Event()


@pytest.fixture
def port() -> Iterator[int]:
    Site.hits = []
    server = ThreadingHTTPServer(("0.0.0.0", 0), Site)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def only_first(address: Address) -> bool:
    """Allow 127.0.0.1, in place of the internet; 127.0.0.2 is still refused."""
    return address == ipaddress.ip_address("127.0.0.1")


def get(url: str, **options: Any) -> bytes:
    return fetch(url, **{"max_bytes": 1000, "seconds": 5, "is_allowed": only_first, **options})


def test_a_file_of_an_allowed_address_is_returned(port: int) -> None:
    assert get(f"http://127.0.0.1:{port}/file") == CONTENT
    assert get(f"http://127.0.0.1:{port}/to/http://127.0.0.1:{port}/file") == CONTENT


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.2:{port}/file",
        "http://127.0.0.1:{port}/to/http://127.0.0.2:{port}/file",
        "http://127.0.0.1:{port}/to/http://[::1]:{port}/file",
    ],
)
def test_an_address_that_is_not_allowed_is_not_connected_to_after_redirects_either(
    port: int, url: str
) -> None:
    with pytest.raises(DataError, match="not public"):
        get(url.format(port=port))
    assert "/file" not in Site.hits


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "0.0.0.0"],
)
def test_this_machine_is_not_public(port: int, host: str) -> None:
    with pytest.raises(DataError, match="cannot be used"):
        fetch(f"http://{host}:{port}/file", max_bytes=1000, seconds=5)
    assert Site.hits == []


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
        *(
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "ff0e::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
        ),
        *("2002:a00:1::1", "2001:0:1::1"),
    ],
)
def test_private_addresses_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


def test_addresses_of_the_internet_are_public() -> None:
    assert is_public(ipaddress.ip_address("1.1.1.1"))
    assert is_public(ipaddress.ip_address("2606:4700:4700::1111"))


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["127.0.0.1", "127.0.0.2", "127.0.0.2"])  # a name whose address changes

    def resolve(host: str, number: int, **options: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (next(answers), number))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert get(f"http://changing.example:{port}/file") == CONTENT
    with pytest.raises(DataError, match="not public"):
        get(f"http://changing.example:{port}/file")


@pytest.mark.parametrize(
    ("path", "options", "found"),
    [
        ("/missing", {}, "the answer 404"),
        ("/file", {"max_bytes": 5}, "more than 5 bytes"),
        ("/slow", {"seconds": 0.2}, "no answer"),
        ("/to/file:///etc/hostname", {}, "answer"),
        ("/to/ftp://127.0.0.1/x", {}, "answer"),
        ("/to/http://", {}, "answer"),
    ],
)
def test_what_cannot_be_fetched_is_an_error(
    port: int, path: str, options: dict[str, Any], found: str
) -> None:
    waited.clear()
    with pytest.raises(DataError, match=found):
        get(f"http://127.0.0.1:{port}{path}", **options)
    waited.set()


@pytest.mark.parametrize(
    "url", ["http://", "http://[", "http://a b/", "http:///x", "http://127.0.0.1:99999/", "http://\n"]
)
def test_a_broken_address_is_an_error(url: str) -> None:
    with pytest.raises(DataError, match="cannot be used"):
        get(url)


def test_proxies_of_the_environment_are_not_used(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.2:1")
    assert get(f"http://127.0.0.1:{port}/file") == CONTENT

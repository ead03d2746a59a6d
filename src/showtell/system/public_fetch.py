"""Fetches files from public addresses: each address is checked when it is connected to, after redirects too."""

import http.client
import ipaddress
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from showtell.errors import DataError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_CHUNK = 2**16
_TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
"""Addresses that a router may translate to any of IPv4."""


class _RefusedError(OSError):
    """An address that must not be connected to."""


def is_public(address: Address) -> bool:
    """Return whether an address is one of the internet: not private, loopback, link-local or multicast."""
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in _TRANSLATED) or address.sixtofour or address.teredo:
            return False
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
    return address.is_global and not address.is_multicast


def fetch(
    url: str, *, max_bytes: int, seconds: float, is_allowed: Callable[[Address], bool] = is_public
) -> bytes:
    """Return what an address holds.

    Raises:
        DataError: it is not public, too large, too slow, or cannot be fetched.
    """

    def connect(where: tuple[str, int], timeout: Any = None, source: Any = None) -> socket.socket:
        error = _RefusedError("no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(*where, type=socket.SOCK_STREAM):
            # This very address is connected to, whatever the name resolves to afterwards.
            if not is_allowed(ipaddress.ip_address(str(address[0]).partition("%")[0])):
                raise _RefusedError("not public")
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                connection.connect(address)
            except OSError as failed:
                connection.close()
                error = failed  # type: ignore[assignment]
            else:
                return connection
        raise error

    deadline = time.monotonic() + seconds
    opener = urllib.request.OpenerDirector()  # without proxies, files and FTP
    for handler in (
        _Handler(connect),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)

    def refuse(found: str) -> DataError:
        return DataError("the address cannot be used", found=found, mend="Send the file itself")

    try:
        data = bytearray()
        with opener.open(
            urllib.request.Request(url, headers={"User-Agent": "showtell"}), timeout=seconds
        ) as answer:
            while chunk := answer.read1(_CHUNK):
                data += chunk
                if len(data) > max_bytes:
                    raise refuse(f"more than {max_bytes:,} bytes")
                if time.monotonic() > deadline:
                    raise TimeoutError
    except urllib.error.HTTPError as error:
        error.close()
        raise refuse(f"the answer {error.code}") from None
    except (OSError, ValueError, ArithmeticError, AttributeError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        is_private = isinstance(reason, _RefusedError)
        raise refuse("one that is not public" if is_private else "no answer") from None
    return bytes(data)


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens http and https by a given way to connect."""

    def __init__(self, connect: Callable[..., socket.socket]) -> None:
        super().__init__()
        self._connect, self._context = connect, ssl.create_default_context()

    def _open(
        self, kind: type[http.client.HTTPConnection], request: urllib.request.Request, **options: Any
    ) -> Any:
        def connection(host: str, **given: Any) -> http.client.HTTPConnection:
            made = kind(host, **given, **options)
            made._create_connection = self._connect  # type: ignore[attr-defined]
            return made

        return self.do_open(connection, request)

    def http_open(self, request: urllib.request.Request) -> Any:
        return self._open(http.client.HTTPConnection, request)

    def https_open(self, request: urllib.request.Request) -> Any:
        return self._open(http.client.HTTPSConnection, request, context=self._context)

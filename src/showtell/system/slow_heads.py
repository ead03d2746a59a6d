"""HTTP connections that end when the head of a request does not arrive in time; uvicorn alone waits for ever.

A head that is not HTTP is answered as the application answers what is malformed, with problem details (RFC 9457).
"""

import asyncio
import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


def with_head_timeout(seconds: float) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol for a server's connections, which closes one that sends no whole head for so long."""

    class HeadTimeoutProtocol(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
            super().connection_made(transport)
            self._timer = self.loop.call_later(seconds, transport.close)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            is_between_requests = self.cycle is None or self.cycle.response_complete
            if not is_between_requests:
                self._stop()
            elif self._timer is None:
                self._timer = self.loop.call_later(seconds, self.transport.close)

        def send_400_response(self, msg: str) -> None:
            problem = {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": msg}
            body = json.dumps(problem).encode()
            head = f"content-type: application/problem+json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n"
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + head.encode() + b"\r\n" + body)
            self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def _stop(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return HeadTimeoutProtocol

"""What surrounds every request: id, API key, a full queue, headers of security, log, metrics, unexpected errors."""

import hmac
import logging
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from showtell.errors import ShowtellError
from showtell.serve.metrics import Metrics
from showtell.serve.problems import Problem, problem_of

log = logging.getLogger("showtell.serve")

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), geolocation=(), microphone=()"),
]
_KEYED = ("/v1/", "/metrics")
_QUEUED = ("/v1/captions", "/v1/chat/completions")
_UNLOGGED = ("/healthz", "/readyz", "/metrics", "/static/")


class Guard:
    """ASGI middleware around the application; ``ready`` is that of the service."""

    def __init__(
        self, app: ASGIApp, *, api_key: str | None, metrics: Metrics, ready: Callable[[], Any]
    ) -> None:
        self._app, self._metrics, self._ready = app, metrics, ready
        self._key = None if api_key is None else api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, started = Headers(scope=scope), time.monotonic()
        given = headers.get("x-request-id", "")
        request_id = given if re.fullmatch(r"[\w.-]{1,64}", given, re.ASCII) else uuid.uuid4().hex
        facts: dict[str, Any] = {}  # for the line of log
        scope.setdefault("state", {}).update(request_id=request_id, facts=facts)
        status, is_queued = 0, scope["method"] == "POST" and scope["path"] in _QUEUED

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                outgoing = [*message["headers"], *_HEADERS, (b"x-request-id", request_id.encode())]
                if not any(name == b"cache-control" for name, _ in outgoing):
                    outgoing.append((b"cache-control", b"no-store"))
                message["headers"] = outgoing
            await send(message)

        try:
            if self._key is not None and scope["path"].startswith(_KEYED):
                self._check_key(headers)
            if is_queued:
                # Before routes and bodies: many refusals take little from the captions.
                self._ready()[1].check()
            await self._app(scope, receive, answer)
        except Exception as error:
            if not isinstance(error, Problem | ShowtellError):
                log.exception("request %s failed", request_id)
            if status:  # too late for another answer: the connection is closed
                raise
            await problem_of(error).response(scope)(scope, receive, answer)
        finally:
            seconds = time.monotonic() - started
            route = scope["path"] if is_queued else getattr(scope.get("route"), "path", "none")
            self._metrics.on_request(route, status, seconds)
            if not scope["path"].startswith(_UNLOGGED):
                known = "".join(f" {name}={value}" for name, value in facts.items())
                path = scope["path"].encode("ascii", "backslashreplace").decode()
                values = scope["method"], path, status, 1000 * seconds, request_id, known
                log.info("%s %.200r %d %.1fms id=%s%s", *values)

    def _check_key(self, headers: Headers) -> None:
        assert self._key is not None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if not hmac.compare_digest(given.encode("latin-1"), self._key):
            hint = "Send the header 'Authorization: Bearer KEY', or 'X-API-Key: KEY'"
            raise Problem(
                401, "the API key is missing or wrong", hint=hint, headers={"WWW-Authenticate": "Bearer"}
            )

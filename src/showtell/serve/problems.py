"""Errors of requests, as problem details (RFC 9457), or in OpenAI's form on its routes.

A problem never quotes what was uploaded, and never shows a traceback.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse
from starlette.types import Scope

from showtell.errors import ConfigError, DataError, ImageError, ShowtellError
from showtell.images.refusals import CorruptImageError, ImageTooLargeError
from showtell.inference.batcher import QueueFullError
from showtell.inference.captioner_process import CaptionerEndedError

OPENAI_ROUTES = ("/v1/chat/completions", "/v1/models")
MAX_DETAIL = 500  # characters
_KINDS: tuple[tuple[type[ShowtellError], int, str], ...] = (
    (ImageTooLargeError, 413, "Image too large"),
    (CorruptImageError, 422, "Damaged image"),
    (ImageError, 415, "Not a readable image"),
    (ConfigError, 422, "Unusable option"),
    (DataError, 422, "Unusable option"),
)
SEE_DOCS = "GET /docs lists the routes and their options"
UNEXPECTED = "Try again; if it happens again, report it with this request id"


class Problem(Exception):  # noqa: N818 - the term of RFC 9457
    """A request that cannot be answered as it wishes."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        hint: str = "",
        title: str = "",
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.hint = status, detail[:MAX_DETAIL], hint or SEE_DOCS
        self.title = title or HTTPStatus(status).phrase
        self.param, self.headers = param, dict(headers or {})

    def of_image(self) -> dict[str, str]:
        """Return what an answer has in place of one caption of several."""
        return {"title": self.title, "detail": self.detail, "hint": self.hint}

    def as_json(self, request_id: str) -> dict[str, Any]:
        """Return the problem details."""
        return {"type": "about:blank", "status": self.status, **self.of_image(), "request_id": request_id}

    def as_openai(self) -> dict[str, Any]:
        """Return the error as OpenAI's clients read it."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        message, code = f"{self.detail}. {self.hint}", self.title.lower().replace(" ", "_")
        return {"error": {"message": message, "type": kind, "param": self.param, "code": code}}

    def response(self, scope: Scope) -> JSONResponse:
        """Return the answer in the form of the request's route."""
        if scope["path"].startswith(OPENAI_ROUTES):
            return JSONResponse(self.as_openai(), self.status, self.headers)
        content = self.as_json(scope["state"].get("request_id", ""))
        return JSONResponse(content, self.status, self.headers, media_type="application/problem+json")


def busy(seconds: int, detail: str, *, hint: str = "Try again after the seconds in Retry-After") -> Problem:
    """Return the refusal of a request that may succeed later."""
    return Problem(503, detail, title="Service busy", hint=hint, headers={"Retry-After": str(seconds)})


def ending() -> Problem:
    """Return the refusal of a server that ends."""
    # Not with "Connection: close": where a body was not read, the client would see a reset in place of the answer.
    return busy(1, "the server is shutting down")


def unusable(name: str, detail: str, hint: str = "") -> Problem:
    """Return the refusal of an option."""
    name = name[:80]
    return Problem(422, f"'{name}': {detail}", title="Unusable option", hint=hint, param=name)


def problem_of(error: Exception) -> Problem:
    """Return the problem of an error that the captioner or a decoder raised; a problem is its own."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, QueueFullError):
        return busy(error.seconds, error.found)
    if isinstance(error, CaptionerEndedError):
        return busy(2, "the captioner ended while it worked; a new one starts")
    for kind, status, title in _KINDS:
        if isinstance(error, kind):
            pairs = (("found", error.found), ("expected", error.expected))
            details = "; ".join(f"{name} {text}" for name, text in pairs if text)
            what = "" if isinstance(error, ImageError) else error.what
            hint = "Scale it down" if kind is ImageTooLargeError else error.mend
            return Problem(status, ": ".join(filter(None, (what, details))), title=title, hint=hint)
    return Problem(500, "the server failed", hint=UNEXPECTED)

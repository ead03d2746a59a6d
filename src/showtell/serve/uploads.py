"""Reads what a request uploads: images as a raw body, as multipart or in JSON, and its options.

Bodies above 1 MiB are on disk while they arrive and until they are decoded. What a body is, is known by its first
bytes; a header alone says that it is multipart, which needs its boundary.
"""

import asyncio
import base64
import binascii
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, cast

from fastapi import Request
from pydantic_core import from_json
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message

from showtell.config.generation import DecodingOptions, override
from showtell.errors import did_you_mean
from showtell.inference.captioner import Captioner
from showtell.retrieval.search import require_datastore
from showtell.serve.problems import Problem, busy
from showtell.serve.settings import ServeSettings

SPOOL = 2**20  # bytes in memory
FLAGS = ("attention", "alternatives", "neighbours")
"""Parts of an answer that a request can ask for."""
_MEMBERS = ("image", "images", "options", *FLAGS)
_MAX_TEXT = 4096  # bytes of an option
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


@dataclass
class CaptionRequest:
    """What a request uploads, and what it wants."""

    images: list[BinaryIO] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)  # decoding options by name
    flags: set[str] = field(default_factory=set)  # of FLAGS

    def options(self, captioner: Captioner, *, attends: bool) -> DecodingOptions:
        """Return all decoding options; a ConfigError or the problem 422 if the captioner cannot follow them."""
        options = override(captioner.options, **self.values)
        if options.retrieval != "off":
            require_datastore(options, captioner.datastore)
        if "attention" in self.flags and not attends:
            hint = "Omit it; GET /v1/model says what the model can do"
            raise _unusable("attention", "this model's decoder does not attend to regions", hint)
        return options

    def close(self) -> None:
        """Remove the uploads."""
        for image in self.images:
            image.close()

    def set_text(self, name: str, text: str) -> None:
        """Take one option or flag as text."""
        # A datastore's number of neighbours has the name of the flag.
        is_flag = name in FLAGS and not (name == "neighbours" and text.isdecimal())
        if not is_flag:
            self._set(name, text)
        elif text.lower() in _TRUE:
            self.flags.add(name)
        elif text.lower() not in _FALSE:
            raise _unusable(name, "neither true nor false")

    def set_json(self, name: str, value: Any) -> None:
        """Take one option as JSON, whose numbers are no strings."""
        known = DecodingOptions.model_fields.get(name)
        is_text = known is not None and known.annotation not in (int, float)
        if isinstance(value, bool) or (isinstance(value, str) and not is_text):
            raise _unusable(name, "not a number")
        self._set(name, value)

    def _set(self, name: str, value: Any) -> None:
        if name in self.values:
            raise _unusable(name, "given twice")
        if name not in DecodingOptions.model_fields:
            raise _unusable(
                name, "no such option", did_you_mean(name, (*DecodingOptions.model_fields, *FLAGS))
            )
        if isinstance(value, str) and len(value) > _MAX_TEXT:
            raise _unusable(name, "too long")
        self.values[name] = value


class Intake:
    """Uploads that are arriving: bounded in number, bytes and seconds, and refused when the server shuts down."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings, self._timeouts = settings, set[asyncio.Timeout]()
        self._parsing = asyncio.Lock()
        self.is_draining = False

    def drain(self) -> None:
        """Refuse uploads from now on, also those that are half sent."""
        self.is_draining = True
        for timeout in self._timeouts:
            timeout.reschedule(asyncio.get_running_loop().time())

    def check(self) -> None:
        """Raise the problem 503 if no upload can be taken."""
        if self.is_draining:
            raise busy(1, "the server is shutting down")
        if len(self._timeouts) >= 4 * self._settings.queue_size:
            raise busy(1, "too many uploads are arriving")

    async def read(self, request: Request) -> CaptionRequest:
        """Read a request to its end.

        Raises:
            Problem: it is malformed, too large or too slow, or the server shuts down.
            ClientDisconnect: the client left.
        """
        wanted = CaptionRequest()
        try:
            async with self._arriving():
                await self._read(request, wanted)
        except BaseException:
            wanted.close()
            raise
        return wanted

    async def read_json(self, request: Request) -> Any:
        """Read a body of JSON, within the limits of `read`."""
        async with self._arriving():
            with await self._spool(request, self._json_bytes) as body:
                return await self._parse(body)

    @contextlib.asynccontextmanager
    async def _arriving(self) -> AsyncIterator[None]:
        self.check()
        try:
            async with asyncio.timeout(self._settings.max_seconds) as timeout:
                self._timeouts.add(timeout)
                try:
                    yield
                finally:
                    self._timeouts.discard(timeout)
        except TimeoutError:
            if self.is_draining:
                raise busy(1, "the server is shutting down") from None
            raise Problem(
                408, f"the upload took more than {self._settings.max_seconds:.0f} seconds"
            ) from None

    @property
    def _json_bytes(self) -> int:
        return self._settings.max_bytes * 4 // 3 + SPOOL

    async def _read(self, request: Request, wanted: CaptionRequest) -> None:
        for name, text in request.query_params.multi_items():
            wanted.set_text(name, text)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            await self._read_form(request, wanted)
        else:
            limit = self._json_bytes if kind == "application/json" else self._settings.max_bytes
            body = await self._spool(request, limit)
            wanted.images.append(body)
            head = body.read(SPOOL).lstrip()
            body.seek(0)
            if kind == "application/json" or head.startswith(b"{"):
                wanted.images.clear()
                with body:
                    content = await self._parse(body)
                await run_in_threadpool(self._read_members, content, wanted)
            elif not head:
                hint = "Send an image as the body, as multipart field 'images', or as base64 in JSON"
                raise Problem(400, "the request has no image", hint=hint)
        self._check_count(len(wanted.images))

    async def _spool(self, request: Request, limit: int) -> BinaryIO:
        """Return a body in a file that is in memory while it is small."""
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise _too_large(limit)
        upload = UploadFile(_spooled())  # writes in a thread what goes to disk
        size = 0
        try:
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                await upload.write(chunk)
        except BaseException:
            upload.file.close()
            raise
        upload.file.seek(0)
        return upload.file

    async def _parse(self, body: BinaryIO) -> Any:
        # One at a time, as the text and its parts are in memory.
        async with self._parsing:
            try:
                return await run_in_threadpool(lambda: from_json(body.read(), allow_inf_nan=False))
            except ValueError as error:
                raise Problem(400, "the body is not valid JSON", hint=_place(error)) from None

    def _read_members(self, content: Any, wanted: CaptionRequest) -> None:
        if not isinstance(content, dict):
            raise Problem(400, "the body is not a JSON object", hint='Send {"image": BASE64}')
        for name, value in content.items():
            if name not in _MEMBERS:
                raise _unusable(str(name)[:80], "no such member", did_you_mean(name, _MEMBERS))
            if name in FLAGS and not isinstance(value, bool):
                raise _unusable(name, "neither true nor false")
            if name in FLAGS and value:
                wanted.flags.add(name)
        options = content.get("options", {})
        if not isinstance(options, dict):
            raise _unusable("options", "not a JSON object")
        for name, value in options.items():
            wanted.set_json(name, value)
        if ("image" in content) == ("images" in content):
            raise Problem(400, "the request needs either 'image' or 'images'", hint='Send {"image": BASE64}')
        images = content["images"] if "images" in content else [content["image"]]
        if not isinstance(images, list):
            raise Problem(400, "'images' is not a list", hint='For one image, send {"image": BASE64}')
        self._check_count(len(images))
        for image in images:
            wanted.images.append(self.decode_text(image))

    def decode_text(self, text: Any) -> BinaryIO:
        """Return the image of base64 or a data URL.

        Raises:
            Problem: it is neither, or too large.
        """
        if not isinstance(text, str):
            raise Problem(400, "an image is not a string", hint="Send it as base64 or as a data URL")
        start = text[:512]
        if start.startswith("data:"):
            header, comma, _ = start.partition(",")
            if not comma or not header.endswith(";base64"):
                raise Problem(400, "a data URL is not base64", hint="Write data:image/jpeg;base64,...")
            text = text[len(header) + 1 :]
        if len(text) > self._json_bytes:
            raise _too_large(self._settings.max_bytes)
        try:
            data = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            hint = "Send the bytes of the file as base64, without anything else"
            raise Problem(400, "an image is not valid base64", hint=hint) from None
        if len(data) > self._settings.max_bytes:
            raise _too_large(self._settings.max_bytes)
        upload = _spooled()
        upload.write(data)
        return upload

    async def _read_form(self, request: Request, wanted: CaptionRequest) -> None:
        limit = self._settings.max_images * self._settings.max_bytes + SPOOL
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise _too_large(limit)
        parts = await self._form(_limited(request, limit))
        # From here on the form's files are the request's.
        wanted.images += [part.file for _, part in parts.multi_items() if isinstance(part, UploadFile)]
        for name, part in parts.multi_items():
            if not isinstance(part, UploadFile):
                if name in ("image", "images"):
                    raise Problem(
                        400, f"the part '{name}' is no file", hint="Give it a file name: curl -F images=@FILE"
                    )
                wanted.set_text(name, part)
            elif name not in ("image", "images"):
                raise _unusable(name[:80], "no such file", "Name the parts that are files 'images'")
            elif (part.size or 0) > self._settings.max_bytes:
                raise _too_large(self._settings.max_bytes)

    async def _form(self, request: Request) -> FormData:
        try:
            return await request.form(
                max_files=self._settings.max_images, max_fields=64, max_part_size=2 * _MAX_TEXT
            )
        except HTTPException as error:
            if "many files" in error.detail:
                self._check_count(self._settings.max_images + 1)
            hint = "Send each image as a part 'images' with a file name"
            raise Problem(400, "the multipart body cannot be read", hint=hint) from None

    def _check_count(self, count: int) -> None:
        if count == 0:
            raise Problem(
                400, "the request has no image", hint="Send each image as a part 'images' with a file name"
            )
        if count > self._settings.max_images:
            found = f"more than {self._settings.max_images} images"
            raise Problem(413, found, title="Too many images", hint="Send several requests")


def _spooled() -> BinaryIO:
    return cast(BinaryIO, SpooledTemporaryFile(SPOOL))


def _limited(request: Request, limit: int) -> Request:
    """Return a request whose body ends with the problem 413 at this many bytes."""
    size = 0

    async def receive() -> Message:
        nonlocal size
        message = await request.receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise _too_large(limit)
        return message

    return Request(request.scope, receive)


def _too_large(limit: int) -> Problem:
    detail = f"more than {limit:,} bytes"
    return Problem(
        413, detail, title="Upload too large", hint="Scale the image down; GET /v1/model has the limits"
    )


def _unusable(name: str, detail: str, hint: str = "") -> Problem:
    return Problem(422, f"'{name}': {detail}", title="Unusable option", hint=hint, param=name)


def _place(error: ValueError) -> str:
    """Return where JSON is broken, without the JSON."""
    _, at, place = str(error).rpartition(" at line ")
    return f"See line {place}" if at else ""


@contextlib.contextmanager
def closing(wanted: CaptionRequest) -> Iterator[CaptionRequest]:
    """Remove the uploads at the end."""
    try:
        yield wanted
    finally:
        wanted.close()


def timeout_of(headers: Mapping[str, str], maximum: float) -> float:
    """Return the seconds that a request may take, from its header and the server's maximum."""
    text = headers.get("x-request-timeout-ms")
    if text is None:
        return maximum
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 12 and int(text) > 0):
        hint = "Write milliseconds as a whole number above 0"
        raise Problem(400, "the header X-Request-Timeout-Ms is not usable", hint=hint)
    return min(maximum, int(text) / 1000)

"""Reads what a request uploads: images as a raw body, as multipart or in JSON, and its options.

Bodies above 1 MiB are on disk while they arrive and until they are decoded. What a body is, is known by its first
bytes; a header alone says that it is multipart, which needs its boundary.
"""

import asyncio
import base64
import binascii
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, Literal, TypeVar, cast

from fastapi import Request
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message

from showtell.config.base import StrictModel
from showtell.config.generation import DecodingOptions, override
from showtell.errors import did_you_mean
from showtell.retrieval.search import require_datastore
from showtell.serve.model import Model
from showtell.serve.problems import Problem, busy, ending, unusable
from showtell.serve.settings import ServeSettings
from showtell.system.public_fetch import fetch

Flag = Literal["attention", "alternatives", "neighbours"]
"""A part of an answer that a request can ask for."""
FLAGS: tuple[Flag, ...] = ("attention", "alternatives", "neighbours")
SPOOL = 2**20  # bytes in memory
MAX_TEXT = 4096  # bytes of an option
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_FIELD_HINT = "Send each image as a part 'images' with a file name: curl -F images=@FILE"
M = TypeVar("M", bound=BaseModel)


class JsonBody(StrictModel, strict=True):
    """The body of a request in JSON; images are base64, data URLs, or addresses if the server fetches them."""

    image: str = ""
    images: list[str] = Field(default_factory=list)
    options: dict[str, Any] = Field(default_factory=dict)
    attention: bool = False
    alternatives: bool = False
    neighbours: bool = False


@dataclass
class CaptionRequest:
    """The images of a request, and what it wants."""

    images: list[BinaryIO] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)  # decoding options by name
    flags: set[Flag] = field(default_factory=set)

    def options(self, model: Model) -> DecodingOptions:
        """Return all decoding options; a ConfigError or the problem 422 if the model cannot follow them."""
        options = override(model.captioner.options, **self.values)
        if options.retrieval != "off":
            require_datastore(options, model.captioner.datastore_size)
        if "attention" in self.flags and not model.attends:
            raise unusable("attention", "this model's decoder does not attend to regions", "Omit it")
        return options

    def close(self) -> None:
        """Remove the uploads."""
        for image in self.images:
            image.close()

    def set_text(self, name: str, text: str) -> None:
        """Take one option or flag as text."""
        for flag in FLAGS:
            # The number of neighbours to compare has the name of the flag.
            if name == flag and not (flag == "neighbours" and text.isdecimal()):
                if text.lower() not in _TRUE + _FALSE:
                    raise unusable(name, "neither true nor false")
                self.flags |= {flag} if text.lower() in _TRUE else set()
                return
        self.set_value(name, text)

    def set_value(self, name: str, value: Any) -> None:
        """Take one option."""
        if name not in DecodingOptions.model_fields:
            hint = did_you_mean(name, {*DecodingOptions.model_fields, *FLAGS})
            raise unusable(name, "no such option", hint)
        if name in self.values:
            raise unusable(name, "given twice")
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise unusable(name, "too long")
        self.values[name] = value

    def set_json(self, options: Mapping[str, Any]) -> None:
        """Take options of JSON, where a number is not written as a string."""
        for name, value in options.items():
            known = DecodingOptions.model_fields.get(name)
            is_number = known is not None and known.annotation in (int, float)
            if is_number and isinstance(value, bool | str):
                raise unusable(name, "not a number")
            self.set_value(name, value)


class Intake:
    """Uploads that are arriving: bounded in number, bytes and seconds, and refused when the server shuts down."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings, self._timeouts = settings, set[asyncio.Timeout]()
        # The text and its parts are in memory: those of one request, or of a few where images are fetched meanwhile.
        self._parsing = asyncio.Semaphore(4 if settings.allow_urls else 1)
        self._json_bytes = settings.max_bytes * 4 // 3 + SPOOL
        self.is_draining = False

    def drain(self) -> None:
        """Refuse uploads from now on, also those that are half sent."""
        self.is_draining = True
        for timeout in self._timeouts:
            timeout.reschedule(asyncio.get_running_loop().time())

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

    async def read_json(self, request: Request, model: type[M], use: Callable[[M], None]) -> M:
        """Read a body of JSON, with the limits and problems of `read`; ``use`` takes its images out, in a thread."""
        async with self._arriving():
            with await self._spool(self._limited(request, self._json_bytes)) as body:
                return await self._parse(body, model, use)

    @contextlib.asynccontextmanager
    async def _arriving(self) -> AsyncIterator[None]:
        if len(self._timeouts) >= 4 * self._settings.queue_size:
            raise busy(1, "too many uploads are arriving")
        seconds = self._settings.max_seconds
        try:
            async with asyncio.timeout(seconds) as timeout:
                self._timeouts.add(timeout)
                try:
                    yield
                finally:
                    self._timeouts.discard(timeout)
        except TimeoutError:
            if self.is_draining:
                raise ending() from None
            raise Problem(408, f"the upload took more than {seconds:.0f} seconds") from None

    async def _read(self, request: Request, wanted: CaptionRequest) -> None:
        for name, text in request.query_params.multi_items():
            wanted.set_text(name, text)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        most = self._settings.max_bytes
        if kind == "multipart/form-data":
            await self._read_form(self._limited(request, self._settings.max_images * most + SPOOL), wanted)
            return
        body = await self._spool(
            self._limited(request, self._json_bytes if kind == "application/json" else most)
        )
        head = body.read(SPOOL).lstrip()
        body.seek(0)
        if kind == "application/json" or head.startswith(b"{"):
            with body:
                await self._parse(body, JsonBody, lambda content: self._read_json(content, wanted))
            return
        wanted.images.append(body)
        if not head:
            raise Problem(400, "the request has no image", hint=_FIELD_HINT)

    async def _read_form(self, request: Request, wanted: CaptionRequest) -> None:
        most = self._settings.max_images
        try:
            form = await request.form(max_files=most, max_fields=64, max_part_size=2 * MAX_TEXT)
        except HTTPException as error:
            if "many files" in error.detail:
                self._check_count(most + 1)
            raise Problem(400, "the multipart body cannot be read", hint=_FIELD_HINT) from None
        parts = form.multi_items()
        wanted.images += [part.file for _, part in parts if isinstance(part, UploadFile)]
        for name, part in parts:
            if not isinstance(part, UploadFile):
                if name in ("image", "images"):
                    raise Problem(400, f"the part '{name}' is no file", hint=_FIELD_HINT)
                wanted.set_text(name, part)
            elif name not in ("image", "images"):
                raise unusable(name, "no such file", _FIELD_HINT)
            elif (part.size or 0) > self._settings.max_bytes:
                raise _too_large(self._settings.max_bytes)
        self._check_count(len(wanted.images))

    def _read_json(self, content: JsonBody, wanted: CaptionRequest) -> None:
        wanted.flags |= {flag for flag in FLAGS if getattr(content, flag)}
        wanted.set_json(content.options)
        if len(content.model_fields_set & {"image", "images"}) != 1:
            raise Problem(400, "the request needs either 'image' or 'images'", hint='Send {"image": BASE64}')
        images = content.images if "images" in content.model_fields_set else [content.image]
        self._check_count(len(images))
        for image in images:
            wanted.images.append(self.open(image))

    def open(self, text: str) -> BinaryIO:
        """Return the image that base64, a data URL or, if the settings allow it, an address names.

        Raises:
            Problem: it is none of these, or too large, or cannot be fetched.
        """
        most = self._settings.max_bytes
        if text.startswith(("http://", "https://")):
            if not self._settings.allow_urls:
                hint = "Send the image itself as base64, or start the server with --allow-urls"
                raise Problem(422, "this server does not fetch images", title="No addresses", hint=hint)
            data = fetch(text, max_bytes=most, seconds=min(10.0, self._settings.max_seconds))
        else:
            header, _, content = text.partition(",")
            if not text.startswith("data:"):
                header, content = ";base64", text
            try:
                if not content or not header.endswith(";base64"):
                    raise ValueError
                data = base64.b64decode("".join(content.split()), validate=True)
            except (binascii.Error, ValueError):
                hint = "Write the file's bytes as base64, or as a data URL: data:image/jpeg;base64,..."
                raise Problem(400, "an image is not valid base64", hint=hint) from None
        if len(data) > most:
            raise _too_large(most)
        image = _spooled()
        image.write(data)
        return image

    def _limited(self, request: Request, limit: int) -> Request:
        """Return a request whose body ends with the problem 413 at this many bytes."""
        declared, size = request.headers.get("content-length", ""), 0
        if declared.isdecimal() and int(declared) > limit:
            raise _too_large(limit)

        async def receive() -> Message:
            nonlocal size
            message = await request.receive()
            size += len(message.get("body", b""))
            if size > limit:
                raise _too_large(limit)
            return message

        return Request(request.scope, receive)

    async def _spool(self, request: Request) -> BinaryIO:
        """Return a body as a file, which is in memory while it is small."""
        upload = UploadFile(_spooled())  # writes to the disk in a thread
        try:
            async for chunk in request.stream():
                await upload.write(chunk)
        except BaseException:
            upload.file.close()
            raise
        upload.file.seek(0)
        return upload.file

    async def _parse(self, body: BinaryIO, model: type[M], use: Callable[[M], None]) -> M:
        def parse() -> M:
            use(content := model.model_validate_json(body.read()))
            return content

        async with self._parsing:
            try:
                return await run_in_threadpool(parse)
            except ValidationError as error:
                problem = error.errors(include_input=False, include_url=False)[0]
                where = ".".join(map(str, problem["loc"]))[:80]
                status = 422 if problem["loc"] else 400
                raise Problem(
                    status, f"'{where}': {problem['msg']}" if where else problem["msg"], param=where
                ) from None

    def _check_count(self, count: int) -> None:
        if count == 0:
            raise Problem(400, "the request has no image", hint=_FIELD_HINT)
        if count > self._settings.max_images:
            detail = f"more than {self._settings.max_images} images"
            raise Problem(413, detail, title="Too many images", hint="Send several requests")


def _spooled() -> BinaryIO:
    return cast(BinaryIO, SpooledTemporaryFile(SPOOL))


def _too_large(limit: int) -> Problem:
    return Problem(413, f"more than {limit:,} bytes", title="Upload too large", hint="Scale the image down")


def timeout_of(headers: Mapping[str, str], maximum: float) -> float:
    """Return the seconds that a request may take, from its header and the server's maximum."""
    text = headers.get("x-request-timeout-ms")
    if text is None:
        return maximum
    if not re.fullmatch(r"0*[1-9]\d{0,11}", text, re.ASCII):
        raise Problem(400, "X-Request-Timeout-Ms is no whole number of milliseconds above 0")
    return min(maximum, int(text) / 1000)

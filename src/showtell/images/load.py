"""Decode an image to an upright RGB array, safely: the only place that opens images.

Any source (a path, bytes, with a name or without, a PIL image, an array) becomes ``uint8 [H, W, 3]``, as a viewer
shows it, or one `ImageError` that names it. The header is checked against `Limits` before any pixel is decoded; then
ordinary JPEGs go to simplejpeg (same pixels, faster), other files to Pillow.
"""

import contextlib
import hashlib
import io
import stat
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from showtell.errors import ImageError
from showtell.images import jpeg
from showtell.images.color import RgbArray, color_profile, to_srgb
from showtell.images.decode_budget import LARGE, decoding
from showtell.images.formats import EXPECTED, pillow_formats
from showtell.images.jpegxl import jpegxl_size
from showtell.images.pixels import TURNED, array_to_rgb, image_to_rgb, turn_upright
from showtell.images.refusals import Limits, check_size, corrupt, pillow_limit, refused, too_large
from showtell.images.signatures import JPEG_MAGIC


@dataclass(frozen=True, slots=True)
class NamedBytes:
    """An encoded image that is no file of its own, with the name that captions and errors give it."""

    data: bytes
    name: str


ImageSource: TypeAlias = (
    str | Path | bytes | bytearray | memoryview | NamedBytes | Image.Image | npt.NDArray[np.uint8]
)

_ORIENTATION = 0x0112  # the EXIF tag, 1 (upright) to 8
_CONVERT = "Convert it, or leave it out"


def load_image(source: ImageSource, *, limits: Limits | None = None, at_least: int = 0) -> RgbArray:
    """Return an image as ``uint8 [H, W, 3]``: RGB, upright, the first frame of an animation.

    Transparent images are blended with white, 16 bits are scaled to 8, gray is repeated three times. Colors are
    converted to sRGB from the image's profile; CMYK without one is converted as Pillow does.

    A PIL image that is already decoded has lost what its file says about it: the code points of colors, and in a PNG
    of 2- or 4-bit gray the value that is transparent, at the depth of its pixels.

    With ``at_least`` a JPEG file is decoded at 1/2, 1/4 or 1/8 of its size if both sides keep this many pixels, and
    other files of more than 16 megapixels are reduced to about as many, by averaging.

    Raises:
        ImageError: the image cannot be read; no other error, whatever the bytes.
    """
    limits = limits or Limits()
    if isinstance(source, np.ndarray):
        return _from_array(source, limits)
    if isinstance(source, Image.Image):
        return _from_pil(source, limits)
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(bytes(source), "image (bytes)", limits, at_least)
    if isinstance(source, NamedBytes):
        return _decode(source.data, source.name, limits, at_least)
    if isinstance(source, str | Path):
        return _decode(_read(Path(source), limits), str(source), limits, at_least)
    expected = "a path, bytes, a PIL image or a uint8 array [H, W, 3]"
    raise refused(f"image ({type(source).__name__})", "", expected)


@dataclass(frozen=True)
class ImageInfo:
    """SHA-256 of an image file's bytes, and its size when upright."""

    sha256: str
    width: int
    height: int


def inspect_image(path: Path, *, limits: Limits | None = None) -> ImageInfo:
    """Read an image file, decode every pixel, and return its facts; raises the errors of `load_image`.

    A JPEG is decoded at 1/8 of its size, which reads every pixel too; `Limits` hold for that size.
    """
    limits = limits or Limits()
    data, name = _read(path, limits), str(path)
    with _reading(data, name):
        if data.startswith(JPEG_MAGIC):
            height, width = _inspect_jpeg(data, name, limits)
        else:
            with _opened(data, name, limits) as image:
                height, width = _upright_rgb(image, name, convert_colors=False).shape[:2]
    return ImageInfo(hashlib.sha256(data).hexdigest(), width, height)


def _read(path: Path, limits: Limits) -> bytes:
    """Return a regular file's bytes; directories, pipes and devices are refused before they are opened."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            found = "a directory" if stat.S_ISDIR(status.st_mode) else "a pipe or device"
            raise refused(str(path), found, "an image file")
        if status.st_size > limits.max_bytes:
            found, mend = f"a file of {status.st_size:,} bytes", "Make it smaller, or raise Limits.max_bytes"
            raise refused(str(path), found, f"at most {limits.max_bytes:,}", mend)
        return path.read_bytes()
    except FileNotFoundError as error:
        raise refused(str(path), "no such file", "", "Check the path") from error
    except PermissionError as error:
        raise refused(str(path), "no permission to read it", "", f"Run: chmod +r {path}") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        found = getattr(error, "strerror", None) or str(error)
        raise refused(str(path), found, "", "Check the path") from error


def _decode(data: bytes, name: str, limits: Limits, at_least: int = 0) -> RgbArray:
    with _reading(data, name):
        if data.startswith(JPEG_MAGIC):
            return _decode_jpeg(data, name, limits, at_least=at_least)
        with _opened(data, name, limits) as image:
            return _upright_rgb(image, name, at_least)


@contextlib.contextmanager
def _reading(data: bytes, name: str) -> Iterator[None]:
    if not data:
        raise refused(name, "an empty file", EXPECTED, "Copy it again")
    with _suppressed_warnings(), _errors(name):
        yield


@contextlib.contextmanager
def _errors(name: str) -> Iterator[None]:
    """Raise an ImageError that names the image for any error of a decoder."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise corrupt(name, "invalid header") from error
    except Image.DecompressionBombError as error:
        raise too_large(name, f"more than {pillow_limit():,} pixels", pillow_limit()) from error
    except Exception as error:  # a parser of hostile bytes may raise anything
        raise corrupt(name, error) from error


def _decode_jpeg(
    data: bytes, name: str, limits: Limits, *, at_least: int = 0, orientation: int | None = None
) -> RgbArray:
    """Decode a JPEG file and turn it upright, by its own EXIF orientation unless one is given."""
    frame = _checked_frame(data, name, limits, at_least)
    height, width = frame.decoded_size(at_least)
    with decoding(max(height * width, frame.buffer_pixels)):
        if frame.reducible and not frame.has_metadata:
            return turn_upright(jpeg.decode(data, frame, at_least=at_least), orientation or 1)
        opened = JpegImageFile(io.BytesIO(data))  # not Image.open, which limits the size in the header
        if frame.reducible:
            pixels = jpeg.decode(data, frame, at_least=at_least)
            pixels = to_srgb(pixels, color_profile(opened), gray=opened.mode == "L")
        else:
            image = JpegImageFile(io.BytesIO(jpeg.check(data, frame)))
            pixels = image_to_rgb(image, name, fraction=_fraction(height, width, at_least))
        return turn_upright(pixels, orientation or _orientation(opened))


def _inspect_jpeg(data: bytes, name: str, limits: Limits) -> tuple[int, int]:
    """Read every pixel of a JPEG file, and return height and width when upright."""
    frame = _checked_frame(data, name, limits, at_least=1)
    with decoding(frame.buffer_pixels):
        jpeg.check(data, frame)
    is_turned = frame.has_metadata and _orientation(JpegImageFile(io.BytesIO(data))) in TURNED
    return (frame.width, frame.height) if is_turned else (frame.height, frame.width)


def _checked_frame(data: bytes, name: str, limits: Limits, at_least: int) -> jpeg.Frame:
    """Return the frame of a JPEG that is decoded, and within the limits when decoded at ``at_least``."""
    frame = jpeg.read_frame(data)
    if frame is None:
        raise corrupt(name, "a JPEG without a header of its pixels")
    if frame.unsupported:
        raise refused(
            name, frame.unsupported, f"{EXPECTED}; JPEG of 8 bits, baseline or progressive", _CONVERT
        )
    check_size(name, *frame.decoded_size(at_least), limits)
    if frame.buffer_pixels > limits.max_pixels:
        found = f"a progressive JPEG of {frame.width} x {frame.height} pixels, which are decoded all at once"
        raise too_large(name, found, limits.max_pixels)
    return frame


@contextlib.contextmanager
def _opened(data: bytes, name: str, limits: Limits) -> Iterator[Image.Image]:
    """Yield a file that is no JPEG, opened; its pixels are counted among those that are decoded at the same time."""
    formats = pillow_formats(data, name)
    with contextlib.ExitStack() as stack:
        if formats == ["TIFF"]:
            image = stack.enter_context(_open_tiff(data, name, limits))
        elif formats == ["JXL"]:  # the plugin decodes at once
            height, width = jpegxl_size(data)
            check_size(name, height, width, limits)
            stack.enter_context(decoding(height * width))
            try:
                image = stack.enter_context(Image.open(io.BytesIO(data), formats=formats))
            except RuntimeError as error:  # libjxl gives no reason
                raise corrupt(name, "a JPEG XL image that cannot be decoded") from error
        else:
            image = stack.enter_context(Image.open(io.BytesIO(data), formats=formats))
            check_size(name, image.height, image.width, limits)
            stack.enter_context(decoding(image.height * image.width))
        yield image


def _open_tiff(
    data: bytes, name: str, limits: Limits, index: int | None = None
) -> contextlib.AbstractContextManager[Image.Image]:
    # Imports tifffile, which captioning of JPEGs does not wait for.
    from showtell.images.tiff import open_page

    return open_page(data, name, limits, index=index)


def _upright_rgb(
    image: Image.Image, name: str, at_least: int = 0, *, convert_colors: bool = True
) -> RgbArray:
    """Decode an opened image and turn it upright."""
    fraction = _fraction(image.height, image.width, at_least)
    pixels = image_to_rgb(image, name, fraction=fraction, convert_colors=convert_colors)
    return turn_upright(pixels, _orientation(image))


def _fraction(height: int, width: int, at_least: int) -> int:
    """Return by how much a decoded image is reduced: large ones alone, so that others keep their pixels."""
    return max(1, min(height, width) // at_least) if at_least and height * width > LARGE else 1


def _from_pil(image: Image.Image, limits: Limits) -> RgbArray:
    name = str(getattr(image, "filename", "") or "image (PIL image)")
    with _suppressed_warnings(), _errors(name):
        data = _unread_file(image)
        if data is not None and image.format == "TIFF":
            with _open_tiff(data, name, limits, image.tell()) as page:
                return _upright_rgb(page, name)
        if data is not None:
            frame = _checked_frame(data, name, limits, at_least=0)
            if image.size == (frame.width, frame.height):
                return _decode_jpeg(data, name, limits, orientation=_orientation(image))
            with decoding(frame.buffer_pixels):
                jpeg.check(data, frame)  # Image.draft chose another size
        check_size(name, image.height, image.width, limits)
        with decoding(image.height * image.width):
            return _upright_rgb(image, name)


def _unread_file(image: Image.Image) -> bytes | None:
    """Return the file that Pillow opened and did not decode, from the image's header on.

    Pillow decodes half a JPEG without an error, and misreads some kinds of TIFF.
    """
    is_jpeg = isinstance(image, JpegImageFile)
    if not isinstance(image, ImageFile.ImageFile) or not (is_jpeg or image.format == "TIFF"):
        return None
    if not image.tile or image.fp is None:
        return None
    image.fp.seek(image.tile[0].offset if is_jpeg else 0)
    return image.fp.read()


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; read after decoding, since Pillow turns some formats upright automatically."""
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        return 1  # the decoder has turned it upright, unless it is a JPEG file in other packing
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken EXIF: viewers show such images as they are stored
        return 1
    return value if isinstance(value, int) else 1


def _from_array(array: RgbArray, limits: Limits) -> RgbArray:
    name, expected = "image (array)", "uint8 [H, W, 3], or [H, W], [H, W, 1], [H, W, 4]"
    if array.dtype != np.uint8:
        mend = "Scale it to 0..255 and convert it to uint8"
        raise refused(name, f"dtype {array.dtype}", expected, mend)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        mend = "Move the channels last" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise refused(name, f"shape {list(array.shape)}", expected, mend)
    check_size(name, array.shape[0], array.shape[1], limits)
    return array_to_rgb(array)


_filters_lock = threading.Lock()
_filters_stack = contextlib.ExitStack()
_filters_users = 0


@contextlib.contextmanager
def _suppressed_warnings() -> Iterator[None]:
    """Suppress Pillow's warnings (large image, odd EXIF), which ``-W error`` would raise.

    Warning filters are global, and threads that each saved and restored them would overwrite one another's: the first
    thread in saves them, the last one out restores them.
    """
    global _filters_users  # noqa: PLW0603
    with _filters_lock:
        if _filters_users == 0:
            _filters_stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _filters_users += 1
    try:
        yield
    finally:
        with _filters_lock:
            _filters_users -= 1
            if _filters_users == 0:
                _filters_stack.close()

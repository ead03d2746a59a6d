"""Bytes to an upright RGB picture, safely: the only place that opens a picture.

Whatever comes in (a path, bytes, a PIL image, an array) leaves as ``uint8 [H, W, 3]``, the way a viewer
shows it, or as one `ImageError` that names the picture. Pillow reads the header, which is checked against
`Limits` before a pixel is decoded; then ordinary JPEGs go to simplejpeg (same pixels, faster), others to Pillow.
For an encoder (`see_picture`) a JPEG of many more pixels than it sees is decoded at a fraction of its size.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
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
import simplejpeg
from PIL import Image, UnidentifiedImageError

from showtell.errors import ImageError

ImageSource: TypeAlias = str | Path | bytes | bytearray | memoryview | Image.Image | npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
"""What is read, whatever the file is called. Pillow could read more, but EPS runs a program."""

IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".gif",
    ".webp",
    ".bmp",
    ".tif",
    ".tiff",
    ".avif",
)
"""File names that are taken for pictures when a folder is looked through."""

_EXPECTED = ", ".join(FORMATS[:-1]) + f" or {FORMATS[-1]}"
_ORIENTATION = 0x0112  # the EXIF tag, 1 (upright) to 8
JPEG_MARK = b"\xff\xd8\xff"
_MARKS = (JPEG_MARK, b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
_HEIF_BRANDS = (b"heic", b"heix", b"mif1", b"msf1", b"hevc")


@dataclass(frozen=True)
class Limits:
    """How large a picture may be; checked before anything is decoded.

    Args:
        max_pixels: Width times height. The default is Pillow's own bound; decoded it is half a GiB.
        max_bytes: Size of the file.
    """

    max_pixels: int = 178_956_970
    max_bytes: int = 256 * 2**20


_FRACTIONS = (8, 4, 2)  # of libjpeg's, those that are exact means of pixels, and quick


def load_image(
    source: ImageSource, *, limits: Limits | None = None, at_least: int = 0
) -> npt.NDArray[np.uint8]:
    """Return a picture as ``uint8 [H, W, 3]``: RGB, upright, the first frame of an animation.

    Transparent pictures are laid over white, 16 bits are scaled to 8, grey is repeated three times, CMYK is
    converted as Pillow does (colour profiles are not applied).

    Args:
        source: A path, bytes, a PIL image or an array.
        limits: How large it may be.
        at_least: A JPEG file may come at a half, a quarter or an eighth of its size, as long as both sides keep this
            many pixels; 0: at its size.

    Raises:
        PictureError: it cannot be read; nothing else is raised, whatever the bytes.
    """
    limits = limits or Limits()
    if isinstance(source, np.ndarray):
        return _from_array(source, limits)
    if isinstance(source, Image.Image):
        name = str(getattr(source, "filename", "") or "picture (PIL image)")
        with _quiet():
            return _from_image(source, name, None, limits)
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(bytes(source), "picture (bytes)", limits, at_least)
    if isinstance(source, str | Path):
        return _decode(_read(Path(source), limits), str(source), limits, at_least)
    raise ImageError(
        f"cannot read picture ({type(source).__name__})",
        expected="a path, bytes, a PIL image or a uint8 array [H, W, 3]",
    )


@dataclass(frozen=True)
class ImageInfo:
    """What is known of a picture file that has been read: its bytes' SHA-256, its size when upright."""

    sha256: str
    width: int
    height: int


def inspect_image(path: Path, *, limits: Limits | None = None) -> ImageInfo:
    """Read a picture file once, decode it fully and return its facts.

    Raises:
        PictureError: it cannot be read.
    """
    limits = limits or Limits()
    data = _read(path, limits)
    height, width = _decode(data, str(path), limits).shape[:2]
    return ImageInfo(hashlib.sha256(data).hexdigest(), width, height)


def _read(path: Path, limits: Limits) -> bytes:
    """Return a regular file's bytes; directories, pipes and devices are refused before they are opened."""
    what = f"cannot read {path}"
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(what, found="a directory", expected="a picture file")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(what, found="a pipe or device", expected="a picture file")
        if status.st_size > limits.max_bytes:
            raise ImageError(
                what,
                found=f"a file of {status.st_size:,} bytes",
                expected=f"at most {limits.max_bytes:,}",
                mend="Make it smaller, or raise Limits.max_bytes",
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(what, found="no such file", mend="Check the path") from error
    except PermissionError as error:
        raise ImageError(what, found="no permission to read it", mend=f"Run: chmod +r {path}") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ImageError(
            what, found=getattr(error, "strerror", None) or str(error), mend="Check the path"
        ) from error


def _decode(data: bytes, name: str, limits: Limits, at_least: int = 0) -> npt.NDArray[np.uint8]:
    if not data:
        raise ImageError(
            f"cannot read {name}", found="an empty file", expected=_EXPECTED, mend="Fetch it again"
        )
    with _quiet():
        try:
            image = Image.open(io.BytesIO(data), formats=_formats(data))
        except UnidentifiedImageError as error:
            raise _not_a_picture(data, name) from error
        except Image.DecompressionBombError as error:
            raise _too_large(name, f"more than {_pillow_limit():,} pixels", _pillow_limit()) from error
        except Exception as error:  # a foreign parser on hostile bytes may raise anything
            raise _broken(name, error) from error
        with image:
            return _from_image(image, name, data, limits, at_least)


def _from_image(
    image: Image.Image, name: str, data: bytes | None, limits: Limits, at_least: int = 0
) -> npt.NDArray[np.uint8]:
    """Decode an opened picture and turn it upright.

    Args:
        image: Its header is read, its pixels need not be.
        name: For messages.
        data: The whole file where it is known: ordinary JPEGs are decoded from it directly.
        limits: Checked first.
        at_least: As for `load_image`.
    """
    width, height = image.size
    _check_size(name, height, width, limits)
    try:
        picture = None
        if data is not None and image.format in ("JPEG", "MPO"):
            picture = _decode_jpeg(data, at_least)
        if picture is None:
            picture = _to_rgb(image, name)
        return _upright(picture, _orientation(image))
    except ImageError:
        raise
    except Image.DecompressionBombError as error:  # a frame larger than the header said
        raise _too_large(name, "a frame larger than its header says", _pillow_limit()) from error
    except Exception as error:  # a foreign parser on hostile bytes may raise anything
        raise _broken(name, error) from error


def _decode_jpeg(data: bytes, at_least: int) -> npt.NDArray[np.uint8] | None:
    """Return the pixels of a sound RGB or grey JPEG, or None: Pillow reads it, or says what is wrong."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours not in ("YCbCr", "RGB", "Gray"):
            return None
        fits = (part for part in _FRACTIONS if -(-min(height, width) // part) >= at_least > 0)
        part = next(fits, 1)
        # The least of libjpeg's sizes that has so many pixels, which is that one; all bytes are read all the same.
        sides = {"min_height": -(-height // part), "min_width": -(-width // part)}
        return np.asarray(simplejpeg.decode_jpeg(data, colorspace="RGB", **sides))
    except ValueError:
        return None


def _to_rgb(image: Image.Image, name: str) -> npt.NDArray[np.uint8]:
    image.load()
    if image.mode.startswith("I"):
        return np.repeat(_scale_16_bits(image, name)[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ImageError(
            f"cannot read {name}",
            found="a picture of floating point numbers, whose range is not known",
            expected="8 or 16 bits a channel",
            mend="Scale it to 0..255 and convert it to 8 bits",
        )
    if image.has_transparency_data:
        # Pillow has no direct way from premultiplied grey to RGBA.
        whole = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        return _over_white(np.asarray(whole))
    return np.array(image.convert("RGB"))


def _scale_16_bits(image: Image.Image, name: str) -> npt.NDArray[np.uint8]:
    """Scale grey of 0..65535 to 0..255; Pillow's mode I is 16 bits held in 32."""
    grey = np.asarray(image).astype(np.int64)  # [H, W]
    low, high = int(grey.min()), int(grey.max())
    if low < 0 or high > 65535:
        raise ImageError(
            f"cannot read {name}",
            found=f"grey values from {low} to {high}",
            expected="8 or 16 bits a channel",
        )
    scaled = (grey * 255 + 32767) // 65535
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        scaled[grey == transparent] = 255
    return scaled.astype(np.uint8)


def _over_white(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Lay ``[H, W, 4]`` over white."""
    colour, alpha = rgba[..., :3].astype(np.uint32), rgba[..., 3:].astype(np.uint32)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; asked after decoding, as Pillow turns some formats upright by itself."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken EXIF: viewers show such pictures as they are stored
        return 1
    return value if isinstance(value, int) else 1


def _upright(picture: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Undo an EXIF orientation (values outside 2..8 mean upright)."""
    if orientation in (5, 6, 7, 8):
        picture = picture.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


def _from_array(array: npt.NDArray[np.uint8], limits: Limits) -> npt.NDArray[np.uint8]:
    what, expected = "cannot read picture (array)", "uint8 [H, W, 3], or [H, W], [H, W, 1], [H, W, 4]"
    if array.dtype != np.uint8:
        raise ImageError(
            what,
            found=f"dtype {array.dtype}",
            expected=expected,
            mend="Scale it to 0..255 and convert to uint8",
        )
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        mend = "Move the channels last" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise ImageError(what, found=f"shape {list(array.shape)}", expected=expected, mend=mend)
    _check_size("picture (array)", array.shape[0], array.shape[1], limits)
    if array.shape[2] == 4:
        return _over_white(array)
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array.copy(order="C")


def _check_size(name: str, height: int, width: int, limits: Limits) -> None:
    if height < 1 or width < 1:
        raise ImageError(f"cannot read {name}", found=f"{width} x {height} pixels", expected="at least one")
    if height * width > limits.max_pixels:
        raise _too_large(name, f"{width} x {height} pixels", limits.max_pixels)


def _too_large(name: str, found: str, limit: int) -> ImageError:
    return ImageError(
        f"cannot read {name}",
        found=found,
        expected=f"at most {limit:,} pixels (nothing was decoded)",
        mend="Make it smaller, or raise Limits.max_pixels and PIL.Image.MAX_IMAGE_PIXELS",
    )


def _broken(name: str, error: Exception) -> ImageError:
    """Tell a picture whose mark is right but whose content is not."""
    return ImageError(
        f"cannot read {name}",
        found=f"broken or cut short ({str(error) or type(error).__name__})",
        expected=f"a whole file ({_EXPECTED})",
        mend="Fetch it again, or leave it out",
    )


def _not_a_picture(data: bytes, name: str) -> ImageError:
    if data.startswith(_MARKS) or data[4:12] in (b"ftypavif", b"ftypavis"):
        return _broken(name, ValueError("its mark is right, its header is not"))
    found = "bytes " + " ".join(f"{byte:02X}" for byte in data[:8])
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        found += " (HEIC)"
    return ImageError(
        f"cannot read {name}", found=found, expected=_EXPECTED, mend="Convert it, or leave it out"
    )


def _pillow_limit() -> int:
    """Return Pillow's own bound, which an application may have moved."""
    return 2 * (Image.MAX_IMAGE_PIXELS or 0)


def _formats(data: bytes) -> list[str]:
    """Return the formats that a file may be of; importing what reads all of them takes longer than a JPEG does."""
    if data.startswith(JPEG_MARK):
        importlib.import_module("PIL.JpegImagePlugin")
        return ["JPEG"]
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


_quiet_lock = threading.Lock()
_quiet_stack = contextlib.ExitStack()
_quiet_users = 0


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Pillow's warnings (large picture, odd EXIF) from being printed, or raised under ``-W error``.

    The warning filters belong to the whole process, and threads that each saved and restored them would
    restore one another's: the first one in saves them, the last one out restores them.
    """
    global _quiet_users  # noqa: PLW0603
    with _quiet_lock:
        if _quiet_users == 0:
            _quiet_stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _quiet_users += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_users -= 1
            if _quiet_users == 0:
                _quiet_stack.close()

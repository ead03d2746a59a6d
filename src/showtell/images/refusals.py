"""Limits on the size of an image, and the errors that refuse an image by its name."""

from dataclasses import dataclass

from PIL import Image

from showtell.errors import ImageError


@dataclass(frozen=True)
class Limits:
    """Maximum size of an image, checked before anything is decoded.

    A JPEG that is decoded at a fraction of its size may have as many pixels then; its header may declare more.
    """

    max_pixels: int = 178_956_970  # Pillow's own limit, half a GiB when decoded
    max_bytes: int = 256 * 2**20  # of the file


class ImageTooLargeError(ImageError):
    """An image has more pixels than its `Limits` allow."""


class CorruptImageError(ImageError):
    """A file is of a format that is read, and is damaged."""


def check_size(name: str, height: int, width: int, limits: Limits) -> None:
    """Raise ImageError for an image without pixels, or with more than the limits allow."""
    if height < 1 or width < 1:
        raise refused(name, f"{width} x {height} pixels", "at least one")
    if height * width > limits.max_pixels:
        raise too_large(name, f"{width} x {height} pixels", limits.max_pixels)


def refused(name: str, found: str, expected: str, mend: str = "") -> ImageError:
    """Return the error that an image cannot be read."""
    return ImageError(f"cannot read {name}", found=found, expected=expected, mend=mend)


def too_large(name: str, found: str, limit: int) -> ImageError:
    """Return the error of an image with more than ``limit`` pixels."""
    mend = "Scale it down, or from Python raise Limits.max_pixels and PIL.Image.MAX_IMAGE_PIXELS"
    expected = f"at most {limit:,} pixels (nothing was decoded)"
    return ImageTooLargeError(f"cannot read {name}", found=found, expected=expected, mend=mend)


def corrupt(name: str, cause: object) -> ImageError:
    """Return the error of a damaged file; of ``cause``, the report of the decoder, the first line is shown."""
    reported = next(iter(str(cause).splitlines()), type(cause).__name__)
    found = f"corrupt or incomplete ({reported})"
    mend = "Copy it again, or leave it out"
    return CorruptImageError(f"cannot read {name}", found=found, expected="a complete file", mend=mend)


def pillow_limit() -> int:
    """Return Pillow's own limit in pixels, which an application may have changed."""
    return 2 * (Image.MAX_IMAGE_PIXELS or 0)

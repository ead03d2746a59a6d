"""Opened images and arrays as 8-bit RGB, in strips of rows: a large image takes little more than its result."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from showtell.images.color import RgbArray, cmyk_to_srgb, color_profile, to_srgb
from showtell.images.refusals import refused

_STRIP_PIXELS = 2**20
_SHALLOW_GRAY = {"L;2": 85, "L;4": 17}
"""Pillow scales the gray of such PNG files to 8 bits, but not the value that is transparent."""


def image_to_rgb(
    image: Image.Image, name: str, *, fraction: int = 1, convert_colors: bool = True
) -> RgbArray:
    """Decode an opened image, and return it as ``uint8 [H, W, 3]``: sRGB, blended with white, not turned upright.

    A ``fraction`` n > 1 returns the means of squares of n x n pixels. ``convert_colors=False`` ignores the color
    profile.

    Raises:
        ImageError: the range of the pixels is unknown.
    """
    _check_range(image, name)
    _scale_transparent_value(image)
    profile = color_profile(image) if convert_colors else None
    image.load()
    width, height = image.size
    rgb = np.empty((-(-height // fraction), -(-width // fraction), 3), np.uint8)
    for top, bottom in _strips(height, width, fraction):
        # A whole image is converted as it is: a crop is a copy.
        strip = image if bottom - top == height else image.crop((0, top, width, bottom))
        pixels = _strip_to_rgb(strip, name, profile, fraction)
        rgb[top // fraction : top // fraction + len(pixels)] = pixels
    return rgb


def array_to_rgb(array: npt.NDArray[np.uint8]) -> RgbArray:
    """Return a copy of gray, RGB or RGBA ``uint8 [H, W, 1|3|4]`` as RGB, blended with white."""
    height, width = array.shape[:2]
    rgb = np.empty((height, width, 3), np.uint8)
    for top, bottom in _strips(height, width):
        strip = array[top:bottom]
        rgb[top:bottom] = _over_white(strip[..., :3], strip[..., 3:]) if array.shape[2] == 4 else strip
    return rgb


def turn_upright(pixels: RgbArray, orientation: int) -> RgbArray:
    """Undo an EXIF orientation (values outside 2..8 mean upright)."""
    if orientation in TURNED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


TURNED = (5, 6, 7, 8)
"""EXIF orientations where width and height change places."""


def _strips(height: int, width: int, fraction: int = 1) -> Iterator[tuple[int, int]]:
    """Yield the first row of each strip, a multiple of ``fraction``, and the row after its last one."""
    rows = max(1, _STRIP_PIXELS // (width * fraction)) * fraction
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def _check_range(image: Image.Image, name: str) -> None:
    kinds = {"F": "floating-point pixels", "I": "32-bit pixels of a TIFF"}
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        found = f"{kinds[image.mode]}, whose range is unknown"
        mend = "Scale it to 0..255 and convert it to 8 bits"
        raise refused(name, found, "8 or 16 bits per channel", mend)


def _scale_transparent_value(image: Image.Image) -> None:
    """Bring the transparent color of a PNG file that is not decoded yet to the depth that Pillow decodes it at.

    Of 16-bit RGB Pillow keeps the upper 8 bits, so that colors which agree in these are transparent too.
    """
    transparent = image.info.get("transparency")
    tiles = getattr(image, "tile", None)
    stored_as = tiles[0].args if tiles else None
    if isinstance(stored_as, str) and isinstance(transparent, int):
        image.info["transparency"] = transparent * _SHALLOW_GRAY.get(stored_as, 1)
    elif stored_as == "RGB;16B" and isinstance(transparent, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in transparent)


def _strip_to_rgb(image: Image.Image, name: str, profile: bytes | None, fraction: int) -> RgbArray:
    """Return a strip of an image, reduced before its colors are converted, unless these are to be blended."""
    is_gray = image.mode.startswith(("1", "L", "I"))
    if image.mode.startswith("I"):
        gray = np.repeat(_scale_16_bits(image, name)[:, :, None], 3, axis=2)
        return to_srgb(_reduce(gray, fraction), profile, gray=True)
    if image.mode == "CMYK":
        return np.asarray(cmyk_to_srgb(image.reduce(fraction), profile))
    if image.has_transparency_data:
        # Pillow cannot convert premultiplied gray to RGBA directly.
        rgba = np.asarray((image.convert("LA") if image.mode == "La" else image).convert("RGBA"))
        colors = to_srgb(rgba[..., :3], profile, gray=is_gray)
        return _reduce(_over_white(colors, rgba[..., 3:]), fraction)
    rgb = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    return to_srgb(_reduce(rgb, fraction), profile, gray=is_gray)


def _reduce(pixels: RgbArray, fraction: int) -> RgbArray:
    return pixels if fraction == 1 else np.asarray(Image.fromarray(pixels).reduce(fraction))


def _scale_16_bits(image: Image.Image, name: str) -> RgbArray:
    """Scale gray of 0..65535 to 0..255; Pillow's mode I stores 16 bits in 32."""
    gray = np.asarray(image)  # [H, W]
    low, high = int(gray.min()), int(gray.max())
    if low < 0 or high > 65535:
        raise refused(name, f"gray values from {low} to {high}", "8 or 16 bits per channel")
    scaled = (gray.astype(np.uint32) * 255 + 32767) // 65535
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        scaled[gray == transparent] = 255
    return scaled.astype(np.uint8)


def _over_white(colors: RgbArray, alpha: npt.NDArray[np.uint8]) -> RgbArray:
    """Blend ``[H, W, 3]`` with white by its alpha ``[H, W, 1]``."""
    alpha = alpha.astype(np.uint16)
    blended = colors * alpha
    blended += 255 * (255 - alpha) + 127  # at most 65152
    blended //= 255
    return blended.astype(np.uint8)

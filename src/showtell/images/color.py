"""Color profiles to sRGB, which networks were trained on: ICC profiles, and CICP's numbers in PNG, AVIF and HEIC.

As browsers do, a broken profile, or one of another color space than the pixels, is ignored.
"""

import functools
import io
import struct
from typing import IO, TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from showtell.images.cicp import profile_of_cicp

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

RgbArray: TypeAlias = npt.NDArray[np.uint8]

_MAX_PROFILE = 4 * 2**20  # bytes; a large one of a printer has 3
_STRIP = 2**18  # pixels that are converted at once
_SAME = 2  # levels by which a profile of sRGB may differ from sRGB: their curves are rounded differently
_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}


def color_profile(image: Image.Image) -> bytes | None:
    """Return the ICC profile of an opened image, or one made from its CICP code points; None: plain sRGB.

    To be called before the pixels are decoded, for Pillow closes the file then, where the code points of PNG and AVIF
    are: it does not read them.
    """
    profile: bytes | None = image.info.get("icc_profile")
    points = _cicp(image) if profile is None or image.format == "PNG" else None
    # In a PNG, code points take precedence over the profile; other files have one or the other.
    return profile if points is None else profile_of_cicp(*points)


def _cicp(image: Image.Image) -> tuple[int, int] | None:
    """Return the code points of primaries and transfer curve, or None if there are none."""
    if image.format == "HEIF" and isinstance(found := image.info.get("nclx_profile"), dict):
        return found["color_primaries"], found["transfer_characteristics"]
    file: IO[bytes] | None = getattr(image, "fp", None)
    if file is None or image.format not in ("PNG", "AVIF"):
        return None
    place = file.tell()
    try:
        return _png_cicp(file) if image.format == "PNG" else _avif_cicp(file)
    finally:
        file.seek(place)


def _png_cicp(file: IO[bytes]) -> tuple[int, int] | None:
    file.seek(8)
    while len(head := file.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
        if head[4:] == b"cICP":
            primaries, transfer = file.read(2).ljust(2, b"\0")
            return primaries, transfer
        file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    return None


def _avif_cicp(file: IO[bytes]) -> tuple[int, int] | None:
    file.seek(0)
    _, box, numbers = file.read(2**16).partition(b"colrnclx")
    return struct.unpack_from(">HH", numbers.ljust(4, b"\0")) if box else None


def to_srgb(pixels: RgbArray, profile: bytes | None, *, gray: bool = False) -> RgbArray:
    """Return ``uint8 [H, W, 3]`` of a color profile in sRGB, in place if it can be; ``gray``: R = G = B."""
    if profile is None:
        return pixels
    if gray:
        table = _gray_table(profile)
        convert = None if table is None else lambda strip: table[strip[..., 0]]
    else:
        transform = _transform(profile, "RGB")
        convert = (
            None if transform is None else lambda strip: np.asarray(transform.apply(Image.fromarray(strip)))
        )
    if convert is None:
        return pixels
    srgb = pixels if pixels.flags.writeable else np.empty(pixels.shape, np.uint8)
    rows = max(1, _STRIP // pixels.shape[1])
    for start in range(0, len(pixels), rows):
        srgb[start : start + rows] = convert(np.ascontiguousarray(pixels[start : start + rows]))
    return srgb


def cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert a CMYK image by its profile; without one as Pillow does, which no press is like."""
    transform = None if profile is None else _transform(profile, "CMYK")
    return image.convert("RGB") if transform is None else transform.apply(image)


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> "ImageCmsTransform | None":
    """Return what converts pixels of a mode to sRGB, or None if they are sRGB or the profile cannot be used.

    Colorimetric with black point compensation, as photo editors do; for profiles of displays and cameras the four
    intents are the same. Transforms may be used by several threads at once.
    """
    from PIL import ImageCms

    if len(profile) > _MAX_PROFILE:
        return None
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if opened.profile.xcolor_space != _SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(
            opened,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError):
        return None
    probe = _probes().get(mode)
    if probe is not None:
        found, kept = transform.apply(probe), probe.convert("RGB")
        if np.abs(np.asarray(found).astype(int) - np.asarray(kept)).max() <= _SAME:
            return None
    return transform


@functools.lru_cache(maxsize=16)
def _gray_table(profile: bytes) -> RgbArray | None:
    """Return the colors of the 256 grays, ``uint8 [256, 3]``, by a gray or RGB profile; None as in `_transform`."""
    ramp = _probes()["L"]
    for mode in ("L", "RGB"):
        if (transform := _transform(profile, mode)) is not None:
            colors: RgbArray = np.asarray(transform.apply(ramp.convert(mode)))[0]
            return colors
    return None


def _probes() -> dict[str, Image.Image]:
    """Return all 256 grays, and colors from the whole cube, one row each."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    return {"L": Image.fromarray(np.arange(256, dtype=np.uint8)[None]), "RGB": Image.fromarray(cube)}

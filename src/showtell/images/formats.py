"""Knows files by their first bytes: which formats are read, and what another file is."""

import importlib

from PIL import Image

from showtell.errors import ImageError
from showtell.images.refusals import corrupt, refused

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
"""Supported formats, whatever the file's name. Pillow could read more, but EPS runs a program."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif")
"""Names of image files in a folder."""

EXPECTED = ", ".join(FORMATS[:-1]) + f" or {FORMATS[-1]}"
JPEG_MAGIC = b"\xff\xd8\xff"
_MAGIC = (JPEG_MAGIC, b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
_HEIF_BRANDS = (b"heic", b"heix", b"mif1", b"msf1", b"hevc")


def pillow_formats(data: bytes) -> list[str]:
    """Return Pillow's candidate formats of a file; importing the plugins of all takes longer than decoding a JPEG."""
    if data.startswith(JPEG_MAGIC):
        importlib.import_module("PIL.JpegImagePlugin")
        return ["JPEG"]
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def not_an_image(data: bytes, name: str) -> ImageError:
    """Return the error of a file that no decoder knows."""
    if data.startswith(_MAGIC) or data[4:12] in (b"ftypavif", b"ftypavis"):
        return corrupt(name, "invalid header")
    found = "bytes " + " ".join(f"{byte:02X}" for byte in data[:8])
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        found += " (HEIC)"
    return refused(name, found, EXPECTED, "Convert it, or leave it out")

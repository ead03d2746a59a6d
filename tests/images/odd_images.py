"""Images for a stress test: small valid files of every format, mutations of them, and odd but valid files.

Everything follows from a number, so that a failure can be repeated: ``python -m tests.images.odd_images mutated 17``.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, ImageOps
from tests.memory import peak_bytes

from showtell.errors import ImageError
from showtell.images.load import load_image

Truth = tuple[bytes, npt.NDArray[np.float64], float]
"""A file, what it shows, and how far a pixel may be from it."""


def _pixels(rng: np.random.Generator, channels: int, height: int = 0) -> npt.NDArray[np.uint8]:
    """Return a blurred random image, ``uint8 [H, W, C]``."""
    height, width = height or int(rng.integers(1, 60)), int(rng.integers(1, 60))
    small = rng.integers(0, 256, (-(-height // 8), -(-width // 8), channels), dtype=np.uint8)
    planes = [
        np.asarray(Image.fromarray(small[:, :, each]).resize((width, height))) for each in range(channels)
    ]
    return np.stack(planes, axis=2)


def _image(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _save(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def _on_white(pixels: npt.NDArray[Any], alpha: npt.NDArray[Any] | float = 255) -> npt.NDArray[np.float64]:
    """Blend ``[H, W, C]`` with white by an alpha of 0 to 255, and repeat gray."""
    share = np.asarray(alpha, np.float64) / 255
    shown = pixels.astype(np.float64) * share + 255 * (1 - share)
    return np.broadcast_to(shown, (*shown.shape[:2], 3))


# ---- odd but valid


def _jpeg(rng: np.random.Generator) -> Truth:
    mode = rng.choice(["RGB", "L", "CMYK"], p=[0.6, 0.2, 0.2])
    image = _image(_pixels(rng, {"RGB": 3, "L": 1, "CMYK": 4}[mode])).convert(mode)
    orientation = int(rng.integers(0, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {
        "quality": int(rng.integers(20, 100)),
        "subsampling": int(rng.integers(0, 3)),
        "progressive": bool(rng.integers(2)),
        "optimize": bool(rng.integers(2)),
        "restart_marker_blocks": int(rng.choice([0, 0, 1, 5])),
        "comment": bytes(rng.integers(0, 256, 40, dtype=np.uint8)),
    }
    data = _save(image, "JPEG", exif=exif, **options)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    change: Callable[[bytes], bytes] = rng.choice(
        [  # type: ignore[arg-type]
            lambda data: data,
            lambda data: data[:-2],
            lambda data: data[:-2] + bytes(100),
            lambda data: data + bytes(rng.integers(0, 256, 300, dtype=np.uint8)),
            lambda data: data.replace(b"\xff\xdb", b"\xff\xff\xff\xdb", 1),
            lambda data: data.replace(b"JFIF\0\1\1", b"JFIF\0\2\1"),
            lambda data: data + data,
        ]
    )
    return change(data), np.asarray(upright.convert("RGB"), np.float64), 0


def png_file(
    size: tuple[int, int], depth: int, color: int, rows: bytes, chunks: dict[bytes, bytes] | None = None
) -> bytes:
    """Return a PNG file of ``size`` W, H, whose rows begin with their filter byte."""
    body = {b"IHDR": struct.pack(">IIBBBBB", *size, depth, color, 0, 0, 0), **(chunks or {})}
    body |= {b"IDAT": zlib.compress(rows), b"IEND": b""}
    parts = (struct.pack(">I", len(each)) + _with_checksum(name + each) for name, each in body.items())
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _with_checksum(chunk: bytes) -> bytes:
    return chunk + struct.pack(">I", zlib.crc32(chunk))


def _png(rng: np.random.Generator) -> Truth:
    color, channels = [(0, 1), (2, 3), (3, 1), (4, 2), (6, 4)][rng.integers(5)]
    depth = int(rng.choice({0: [1, 2, 4, 8, 16], 3: [1, 2, 4, 8]}.get(color, [8, 16])))
    height, width = (int(side) for side in rng.integers(1, 40, 2))
    values = rng.integers(0, 2**depth, (height, width, channels))
    bits = (values[..., None] >> np.arange(depth - 1, -1, -1) & 1).reshape(height, -1).astype(np.uint8)
    packed = np.packbits(bits, axis=1)
    filtered = np.concatenate([np.zeros((height, 1), np.uint8), packed], axis=1)
    chunks, alpha = {}, np.full((height, width, 1), 255.0)
    shown = values * (255 / (2**depth - 1))
    if color == 3:
        palette = rng.integers(0, 256, (2**depth, 3))
        chunks[b"PLTE"] = bytes(palette.astype(np.uint8))
        shown = palette[values[:, :, 0]].astype(np.float64)
        if rng.integers(2):
            opacity = rng.integers(0, 256, 2**depth)
            chunks[b"tRNS"] = bytes(opacity.astype(np.uint8))
            alpha = opacity[values].astype(np.float64)
    elif color in (4, 6):
        shown, alpha = shown[:, :, :-1], shown[:, :, -1:]
    elif rng.integers(2):
        key = values[rng.integers(height), rng.integers(width)]
        chunks[b"tRNS"] = struct.pack(f">{channels}H", *key)
        # Of 16-bit RGB Pillow has the upper bytes alone.
        match = (values >> 8 == key >> 8) if (color, depth) == (2, 16) else values == key
        alpha = np.where(match.all(axis=2, keepdims=True), 0.0, 255.0)
    return png_file((width, height), depth, color, filtered.tobytes(), chunks), _on_white(shown, alpha), 2


def _gif(rng: np.random.Generator) -> Truth:
    indices = rng.integers(0, 16, _pixels(rng, 1).shape[:2], dtype=np.uint8)
    palette = rng.integers(0, 256, (16, 3), dtype=np.uint8)
    image = _palette_image(indices, palette)
    transparent = int(rng.integers(-8, 16))
    others = [_palette_image(indices[::-1], palette)] * int(rng.integers(0, 3))
    options: dict[str, Any] = {"transparency": transparent} if transparent >= 0 else {}
    data = _save(
        image,
        "GIF",
        save_all=True,
        append_images=others,
        optimize=False,
        interlace=int(rng.integers(2)),
        **options,
    )
    alpha = np.where(indices == transparent, 0, 255)[:, :, None]
    return data, _on_white(palette[indices], alpha), 0


def _palette_image(indices: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8]) -> Image.Image:
    image = Image.frombytes("P", indices.shape[::-1], indices.tobytes())
    image.putpalette(palette.tobytes())
    return image


def _bmp(rng: np.random.Generator) -> Truth:
    mode = rng.choice(["1", "L", "P", "RGB", "RGBA"])
    image = _image(_pixels(rng, 3)).convert(mode)
    shown = image.convert("RGB")  # the fourth byte of a BMP is not read as transparency by its plain header
    return _save(image, "BMP"), np.asarray(shown, np.float64), 0


def _webp(rng: np.random.Generator) -> Truth:
    pixels = _pixels(rng, int(rng.choice([3, 4])))
    data = _save(_image(pixels), "WEBP", lossless=True, exact=True)
    alpha = pixels[:, :, 3:] if pixels.shape[2] == 4 else 255
    return data, _on_white(pixels[:, :, :3], alpha), 1


def _avif(rng: np.random.Generator) -> Truth:
    pixels = _pixels(rng, 3, height=16)
    return _save(_image(pixels), "AVIF", quality=95, subsampling="4:4:4"), _on_white(pixels), 24


def _tiff(rng: np.random.Generator) -> Truth:
    """By tifffile: depth, layout, byte order, tiles, planes, pages."""
    photometric, channels, extras = [
        ("minisblack", 1, []),
        ("miniswhite", 1, []),
        ("rgb", 3, []),
        ("minisblack", 2, ["unassalpha"]),
        ("rgb", 4, ["unassalpha"]),
        ("rgb", 5, ["unspecified", "unspecified"]),
        ("separated", 4, []),
    ][rng.integers(7)]
    eight = _pixels(rng, channels)
    kind = rng.choice(["uint8", "uint16", "float32"])
    samples = {"uint8": eight, "uint16": eight * np.uint16(257), "float32": eight / np.float32(255)}[kind]
    planes = bool(rng.integers(2)) and channels > 1
    samples = samples[:, :, 0] if channels == 1 else np.moveaxis(samples, 2, 0) if planes else samples
    options: dict[str, Any] = {"planarconfig": "separate" if planes else "contig"} if channels > 1 else {}
    if kind == "float32":
        options["extratags"] = [
            (tag, "f", channels, [value] * channels, True) for tag, value in ((340, 0), (341, 1))
        ]
    options |= {"extrasamples": extras} if extras else {}
    options |= {"tile": (16, 16)} if rng.integers(2) else {"rowsperstrip": int(rng.integers(1, 80))}
    options |= {"compression": rng.choice([None, "zlib"]), "photometric": photometric, "metadata": None}
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder=rng.choice(["<", ">"]), bigtiff=bool(rng.integers(2))) as writer:
        if rng.integers(2):
            writer.write(np.zeros((2, 2), np.uint8), subfiletype=1, metadata=None)
        writer.write(np.ascontiguousarray(samples), **options)
    shown = eight.astype(np.float64)
    if photometric == "miniswhite":
        shown = 255 - shown
    if photometric == "separated":
        shown = (255 - shown[:, :, :3]) * (255 - shown[:, :, 3:]) / 255
    return (
        file.getvalue(),
        _on_white(
            shown[:, :, :3] if channels > 2 else shown[:, :, :1],
            eight[:, :, -1:] if "unassalpha" in extras else 255,
        ),
        2,
    )


def _pillow_tiff(rng: np.random.Generator) -> Truth:
    mode, compression = [
        *(("1", each) for each in (None, "group3", "group4", "tiff_lzw", "packbits")),
        *(("L", each) for each in ("tiff_lzw", "packbits", "tiff_adobe_deflate", "zstd")),
        *(("P", each) for each in (None, "tiff_lzw")),
        *(("RGB", each) for each in ("tiff_lzw", "lzma", "zstd", "packbits")),
        *((each, "tiff_lzw") for each in ("RGBA", "CMYK", "LA")),
    ][rng.integers(18)]
    image = _image(_pixels(rng, 3)).convert(mode)
    data = _save(image, "TIFF", compression=compression)
    alpha = np.asarray(image.getchannel("A"))[:, :, None] if mode in ("RGBA", "LA") else 255
    return data, _on_white(np.asarray(image.convert("RGB")), alpha), 1


ODD = (_jpeg, _jpeg, _png, _png, _gif, _bmp, _webp, _avif, _tiff, _tiff, _pillow_tiff)


def odd_image(number: int) -> Truth:
    """Return the odd but valid image of this number."""
    return ODD[number % len(ODD)](np.random.default_rng([1, number]))


# ---- mutated


@functools.cache
def seeds() -> tuple[bytes, ...]:
    """Return small valid files of every format, and of several kinds of it."""
    found = [odd_image(number)[0] for number in range(2 * len(ODD))]
    image = Image.fromarray(_pixels(np.random.default_rng(2), 3, height=48))
    for kind, options in (
        ("JPEG", {"progressive": True}),
        ("JPEG", {"restart_marker_rows": 1}),
        ("PNG", {}),
        ("GIF", {}),
    ):
        found.append(_save(image, kind, **options))
    found.append(_save(image.convert("CMYK"), "JPEG"))
    found.append(_save(image, "WEBP", quality=70))
    return tuple(found)


@functools.cache
def modern_seeds() -> tuple[bytes, ...]:
    """Return small valid AVIF files, and HEIC and JPEG XL files if their extra is installed."""
    pixels = _pixels(np.random.default_rng(4), 4, height=48)
    opaque, transparent = Image.fromarray(pixels[:, :, :3]), Image.fromarray(pixels)
    found = [_save(opaque, "AVIF"), _save(transparent, "AVIF", icc_profile=bytes(300))]
    exif = Image.Exif()
    exif[0x0112] = 6
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
        found += [
            _save(opaque, "HEIF", exif=exif),
            _save(transparent, "HEIF"),
            _save(opaque, "HEIF", quality=-1),
        ]
        found.append(_save(opaque, "HEIF", save_all=True, append_images=[opaque] * 2))
    with contextlib.suppress(ImportError):
        import pillow_jxl  # noqa: F401

        for image, options in (
            (opaque, {}),
            (transparent, {"lossless": True}),
            (opaque.convert("L"), {"use_container": True, "exif": exif.tobytes()}),
            (Image.open(io.BytesIO(_save(opaque, "JPEG"))), {}),
        ):
            found.append(_save(image, "JXL", **options))
    return tuple(found)


def mutated_image(number: int, seeds: tuple[bytes, ...]) -> bytes:
    """Return the mutation of this number of one of the seeds."""
    rng = np.random.default_rng([3, number])
    data = bytearray(seeds[number % len(seeds)])
    for _ in range(int(rng.integers(1, 6))):
        length = len(data)
        # Half of the changes are in the header, where sizes and kinds are.
        place = int(rng.integers(min(length, 100 if rng.integers(2) else length)))
        span = int(rng.integers(1, 9))
        match rng.integers(8):
            case 0:
                data[place] ^= 1 << int(rng.integers(8))
            case 1:
                data[place : place + span] = bytes(rng.integers(0, 256, span, dtype=np.uint8))
            case 2:
                data[place : place + span] = bytes([rng.choice([0, 255])]) * span
            case 3:
                del data[place : place + span]
            case 4:
                data[place:place] = data[place : place + 50]
            case 5:
                del data[max(place, 20) :]
            case 6:
                other = seeds[rng.integers(len(seeds))]
                data[place:] = other[place:]
            case 7:
                data[place : place + 4] = int(rng.choice([1, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF])).to_bytes(
                    4
                )
        if not data:
            data += b"\0"
    return _mend_checksums(bytes(data)) if rng.integers(2) else bytes(data)


SEEDS = {"mutated": seeds, "mutated modern": modern_seeds}
"""Functions that return the files that are mutated, by kind."""


def _mend_checksums(data: bytes) -> bytes:
    """Return a PNG file with valid checksums, so that its contents are read; other files as they are."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    mended, place = data[:8], 8
    while place + 12 <= len(data) and (end := place + 8 + int.from_bytes(data[place : place + 4])) + 4 <= len(
        data
    ):
        mended += data[place : place + 4] + _with_checksum(data[place + 4 : end])
        place = end + 4
    return mended + data[place:]


# ---- the worker


def outcome(read: Callable[[], npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8] | str:
    """Return the pixels, or the message of the ImageError; any other error is not caught."""
    try:
        return read()
    except ImageError as error:
        return error.found


def check(kind: str, number: int, folder: Path) -> str:
    """Load an image by path, by bytes and reduced; return what is wrong, or "pixels" or "error"."""
    data, truth, apart = (
        odd_image(number) if kind == "odd" else (mutated_image(number, SEEDS[kind]()), None, 0.0)
    )
    path = folder / "image"
    path.write_bytes(data)
    by_path, by_bytes = outcome(lambda: load_image(path)), outcome(lambda: load_image(data))
    reduced = outcome(lambda: load_image(path, at_least=8))
    if isinstance(by_path, str):
        if truth is not None:
            return f"wrong: refused: {by_path}"
        return (
            "error" if by_path == by_bytes and isinstance(reduced, str) else f"wrong: roads differ: {by_path}"
        )
    if isinstance(by_bytes, str) or isinstance(reduced, str) or not np.array_equal(by_path, by_bytes):
        return f"wrong: roads differ: {reduced if isinstance(reduced, str) else 'pixels'}"
    if by_path.dtype != np.uint8 or by_path.ndim != 3 or by_path.shape[2] != 3 or reduced.shape[2] != 3:
        return f"wrong: {by_path.dtype} {by_path.shape}"
    if truth is not None and (by_path.shape != truth.shape or np.abs(by_path - truth).max() > apart):
        return f"wrong: pixels {by_path.shape} of {truth.shape}"
    return "pixels"


def main(kind: str, start: int, stop: int) -> None:
    """Check images, and print a line for each as JSON, then the peak of memory in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(start, stop):
            print(json.dumps([number, check(kind, number, Path(folder))]), flush=True)
    print(json.dumps(["peak", peak_bytes()]))


if __name__ == "__main__":
    first = int(sys.argv[2])
    with contextlib.suppress(BrokenPipeError):
        main(sys.argv[1], first, int(sys.argv[3]) if len(sys.argv) > 3 else first + 1)

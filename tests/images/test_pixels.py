"""Transparency at every depth, large images in strips, and the memory that they take."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from showtell.images.load import load_image

ROOT = Path(__file__).parents[2]


def png(
    width: int, depth: int, color: int, rows: bytes, transparent: bytes = b"", palette: bytes = b""
) -> bytes:
    """Return a PNG file whose rows begin with their filter byte."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
            if body
            else b""
        )

    height = len(rows) // (1 + -(-width * depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color] // 8))
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"tRNS", transparent), (b"IDAT", zlib.compress(rows)))
    end = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks) + end


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_transparent_gray_of_a_png_is_of_the_files_depth(depth: int) -> None:
    highest = 2**depth - 1
    values = np.unique(np.linspace(0, highest, 16).astype(int))
    bits = "".join(f"{value:0{depth}b}" for value in values)
    row = b"\0" + int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8))
    for transparent in values:
        data = png(len(values), depth, 0, row, struct.pack(">H", transparent))
        expected = np.where(values == transparent, 255, np.round(values * 255 / highest))
        for source in (data, Image.open(io.BytesIO(data))):
            np.testing.assert_array_equal(load_image(source)[0, :, 0], expected)


def test_the_transparent_color_of_a_png_is_of_the_files_depth() -> None:
    colors = [500, 20_000, 65_535, 40_000, 20_000, 65_535]
    deep = png(2, 16, 2, b"\0" + struct.pack(">6H", *colors), struct.pack(">3H", *colors[:3]))
    assert load_image(deep).tolist() == [[[255, 255, 255], [156, 78, 255]]]
    shallow = png(2, 8, 2, b"\0" + bytes([1, 2, 3, 4, 5, 6]), struct.pack(">3H", 1, 2, 3))
    assert load_image(shallow).tolist() == [[[255, 255, 255], [4, 5, 6]]]


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palettes_of_every_depth_have_transparent_entries(depth: int) -> None:
    row = b"\0" + bytes([1 << (8 - depth)]) if depth < 8 else b"\0\1\0"
    data = png(2, depth, 3, row, bytes([128, 0]), bytes([0, 0, 0, 9, 9, 9]))
    assert load_image(data).tolist() == [[[255, 255, 255], [127, 127, 127]]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "I", "YCbCr"])
def test_strips_give_the_pixels_of_a_whole_image(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    image = Image.fromarray(rng.integers(0, 256, (61, 43, 4), dtype=np.uint8))
    if mode.startswith("I"):
        deep = rng.integers(0, 65536, (61, 43)).astype(np.uint16 if mode == "I;16" else np.int32)
        image = Image.fromarray(deep)
    elif mode == "PA":
        image = image.convert("P")
        image.putalpha(Image.fromarray(rng.integers(0, 256, (61, 43), dtype=np.uint8)))
    else:
        image = image.convert(mode)
    whole = load_image(image)
    monkeypatch.setattr("showtell.images.pixels._STRIP_PIXELS", 43 * 7)
    np.testing.assert_array_equal(load_image(image), whole)
    if mode in ("L", "RGB", "RGBA"):
        pixels = np.asarray(image)
        np.testing.assert_array_equal(load_image(pixels), whole)


def test_large_images_are_reduced_by_averaging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("showtell.images.load.LARGE", 2000)
    monkeypatch.setattr("showtell.images.pixels._STRIP_PIXELS", 100)
    pixels = np.random.default_rng(6).integers(0, 256, (61, 43, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    reduced = load_image(file.getvalue(), at_least=10)
    np.testing.assert_array_equal(reduced, np.asarray(Image.fromarray(pixels).reduce(4)))
    np.testing.assert_array_equal(load_image(file.getvalue()), pixels)
    np.testing.assert_array_equal(load_image(file.getvalue(), at_least=30), pixels)


MEASURE = """
import sys
from showtell.images.load import load_image
from tests.memory import peak_bytes

path = sys.argv[1]
load_image(sys.argv[2])  # imports the decoder
before = peak_bytes()
height, width, _ = load_image(path).shape
print((peak_bytes() - before) / (height * width))
"""


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from Linux")
@pytest.mark.parametrize(
    ("mode", "format", "options"),
    [
        ("RGBA", "PNG", {"compress_level": 1}),
        ("I;16", "PNG", {"compress_level": 1}),
        ("CMYK", "JPEG", {}),
        pytest.param("RGB", "JPEG", {}, marks=pytest.mark.slow),
        pytest.param("RGB", "PNG", {}, marks=pytest.mark.slow),
        pytest.param("LA", "PNG", {}, marks=pytest.mark.slow),
        pytest.param("P", "PNG", {"transparency": 3}, marks=pytest.mark.slow),
        pytest.param("RGBA", "TIFF", {}, marks=pytest.mark.slow),
        pytest.param("RGB", "BMP", {}, marks=pytest.mark.slow),
    ],
)
def test_decoding_takes_twice_the_result_and_the_decoders_own_image(
    mode: str, format: str, options: dict[str, Any], tmp_path: Any
) -> None:
    """12 megapixels; Pillow's image has four bytes a pixel at most, the result three.

    Pillow maps an uncompressed file, whose pages count too, though the system can take them back.
    """
    mapped = {"TIFF": 4, "BMP": 3}.get(format, 0)
    for name, size in (("small", (64, 64)), ("large", (4000, 3000))):
        image = (
            Image.new("I;16", size, 9)
            if mode == "I;16"
            else Image.new("RGB", size, (90, 30, 200)).convert(mode)
        )
        image.save(tmp_path / name, format, **options)
    files = [str(tmp_path / name) for name in ("large", "small")]
    command = [sys.executable, "-c", MEASURE, *files]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(run.stdout) < 2 * 3 + 4 + 1 + mapped

"""Files are known by their first bytes: images by their decoder, other files by their name and a next step."""

from __future__ import annotations

import gzip
import io
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from showtell.errors import ImageError
from showtell.images import formats
from showtell.images.load import load_image
from showtell.images.refusals import Limits
from showtell.images.signatures import identify

GRAY = np.linspace(0, 65535, 80 * 60).reshape(60, 80).astype(np.uint16)


def draw(height: int = 60, width: int = 80) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a smooth image without any symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x // (width - 1), 255 * y // (height - 1), np.full_like(x, 60)], 2).astype(
        np.uint8
    )


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def tiff(*directories: dict[int, int | bytes], order: str = "<") -> bytes:
    """Return a TIFF without pixels: a first directory whose tag 330 names the others."""
    sizes = [2 + 12 * (len(tags) + (number == 0)) + 4 for number, tags in enumerate(directories)]
    starts = [8 + sum(sizes[:number]) for number in range(len(sizes))]
    extra_start, extra, body = 8 + sum(sizes), b"", b""

    def entry(tag: int, value: int | bytes | list[int]) -> bytes:
        nonlocal extra
        if isinstance(value, int):
            return struct.pack(f"{order}HHIH2x", tag, 3, 1, value)
        form, count = (2, len(value)) if isinstance(value, bytes) else (4, len(value))
        content = value if isinstance(value, bytes) else struct.pack(f"{order}{count}I", *value)
        if len(content) <= 4:
            return struct.pack(f"{order}HHI", tag, form, count) + content.ljust(4, b"\0")
        place = extra_start + len(extra)
        extra += content
        return struct.pack(f"{order}HHII", tag, form, count, place)

    for number, tags in enumerate(directories):
        entries: dict[int, Any] = dict(tags)
        if number == 0:
            entries[330] = starts[1:]
        body += struct.pack(f"{order}H", len(entries))
        body += b"".join(entry(tag, value) for tag, value in sorted(entries.items())) + bytes(4)
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8) + body + extra


def box(brand: bytes, *others: bytes) -> bytes:
    content = brand + bytes(4) + b"".join(others)
    return struct.pack(">I", 8 + len(content)) + b"ftyp" + content


XML = b'<?xml version="1.0"?>\n<!-- by hand -->\n'
FILES = {
    "PDF document": b"%PDF-1.7\n",
    "PDF document, after a line": b"\r\n%PDF-1.7\n",
    "SVG drawing": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "SVG drawing, with a head": b"\xef\xbb\xbf" + XML + b'<!DOCTYPE svg PUBLIC "x">\n<svg/>',
    "SVG drawing, in gzip": gzip.compress(XML + b"<svg></svg>"),
    "SVG drawing, in UTF-16": '\ufeff<?xml version="1.0"?><svg/>'.encode("utf-16-le"),
    "HTML page": b"<!doctype html><title>404</title>\n",
    "HTML page, with a drawing in it": b"\n<HTML><body><svg></svg></body></HTML>",
    "text file": "Grüße: <svg> is not at its head\n".encode(),
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    "MP4 video": box(b"isom", b"isom", b"avc1", b"mp41") + b"\0\0\0\x08free",
    "QuickTime video": box(b"qt  ", b"qt  "),
    "QuickTime video, without brands": b"\0\0\0\x08wide\0\0\0\x08mdat",
    "WebM or Matroska video": b"\x1aE\xdf\xa3\x01\0\0\0",
    "AVI video": b"RIFF\0\0\0\0AVI LIST",
    "DICOM image": bytes(128) + b"DICM\2\0",
    "JPEG 2000 image": b"\0\0\0\x0cjP  \r\n\x87\n",
    "JPEG 2000 image, bare": b"\xff\x4f\xff\x51\0\x2f",
    "Photoshop document": b"8BPS\0\1",
    "PostScript document": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "OpenEXR image": b"v/1\x01\2\0\0\0",
    "Netpbm image": b"P6\n2 2\n255\n",
    "NumPy array": b"\x93NUMPY\1\0",
    "ZIP file": b"PK\3\4\x14\0",
    "gzip file": gzip.compress(b"anything"),
    "file of zeros": bytes(500),
    "Netpbm image (PBM, PGM, PPM or PAM)": b"P6\n320 240\n255\n" + bytes(30),
    "Targa image (TGA)": b"\0\0\2" + bytes(9) + b"\x40\1\xf0\0\x18\0" + bytes(30),
    "camera RAW file (Canon CR2)": b"II*\0\x10\0\0\0CR\2\0",
    "camera RAW file (Canon CR3)": box(b"crx ", b"crx ", b"isom"),
    "camera RAW file (Fujifilm RAF)": b"FUJIFILMCCD-RAW 0201",
    "camera RAW file (Olympus ORF)": b"IIRO\x08\0\0\0",
    "camera RAW file (Panasonic RW2)": b"IIU\0\x18\0\0\0",
    "camera RAW file (DNG)": tiff({50706: b"\1\4\0\0", 262: 2}),
    "camera RAW file (NIKON)": tiff({262: 2, 271: b"NIKON\0"}, {262: 6}, {259: 34713, 262: 32803}, order=">"),
    "camera RAW file (SONY)": tiff({259: 6, 271: b"SONY \0"}, {259: 32767}),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_called_by_its_name_under_any_ending(kind: str, tmp_path: Any) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(FILES[kind])
    name = kind.partition(",")[0]
    with pytest.raises(ImageError) as caught:
        load_image(path)
    assert str(caught.value).startswith(f"cannot read {path}: found ")
    assert f" {name}" in caught.value.found
    assert caught.value.mend
    if name not in ("Git LFS pointer", "text file", "HTML page", "file of zeros"):
        assert "expected JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF, HEIC or JPEG XL. " in str(caught.value)


def test_a_tiff_of_a_camera_that_holds_a_picture_is_no_raw_file() -> None:
    file = io.BytesIO()
    tags = {271: "NIKON", 262: 2}
    Image.fromarray(draw()).save(file, "TIFF", tiffinfo=tags)
    np.testing.assert_array_equal(load_image(file.getvalue()), draw())


@pytest.mark.parametrize("cut", range(8, 120, 7))
def test_a_damaged_directory_is_left_to_the_decoder(cut: int) -> None:
    assert identify(FILES["camera RAW file (NIKON)"][:cut]).name in (
        "a TIFF image",
        "a camera RAW file (NIKON)",
    )


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (box(b"heic", b"mif1", b"heic"), "a HEIC image"),
        (box(b"heix", b"mif1"), "a HEIC image"),
        (box(b"mif1", b"heic"), "a HEIC image"),
        (box(b"mif1", b"avif", b"miaf"), "an AVIF image"),
        (box(b"avif", b"mif1"), "an AVIF image"),
        (box(b"avci", b"mif1"), "a HEIF image without HEVC"),
        (b"\xff\x0a\x10\x30", "a JPEG XL image"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
    ],
)
def test_images_of_boxes_are_told_apart_by_their_brands(head: bytes, name: str) -> None:
    assert identify(head).name == name


@given(st.binary(max_size=300))
def test_any_bytes_have_a_name(data: bytes) -> None:
    assert identify(data).name
    for kind in (FILES["camera RAW file (NIKON)"], FILES["MP4 video"]):
        assert identify(kind[:12] + data).name


@pytest.mark.parametrize(
    ("package", "data", "found", "extra"),
    [
        ("pillow_heif", box(b"heic", b"mif1"), "a HEIC image, which needs the extra 'heif'", "heif"),
        ("pillow_jxl", b"\xff\x0a\x10\x30", "a JPEG XL image, which needs the extra 'jxl'", "jxl"),
    ],
)
def test_without_its_extra_an_image_is_named_with_it(
    package: str, data: bytes, found: str, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(formats, "_ready", set())
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError) as caught:
        load_image(path)
    expected = f"cannot read {path}: found {found}. Run in the clone of showtell: pip install -e '.[{extra}]'"
    assert str(caught.value) == expected


def test_decoders_are_imported_when_they_are_needed() -> None:
    code = """
import io, sys
from PIL import Image
from showtell.images.load import load_image
file = io.BytesIO()
Image.new("RGB", (8, 8)).save(file, "JPEG")
load_image(file.getvalue())
print(*sorted({"pillow_heif", "pillow_jxl", "PIL.ImageCms", "PIL.AvifImagePlugin"} & sys.modules.keys()))
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""


# ---- HEIC and JPEG XL


def heic(mode: str, pixels: np.ndarray[Any, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    height, width = pixels.shape[:2]
    pytest.importorskip("pillow_heif").encode(
        mode, (width, height), pixels.tobytes(), file, quality=-1, **options
    )
    return file.getvalue()


def differs(found: Any, expected: Any) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found.astype(int) - expected).mean())


@pytest.mark.parametrize("name", ["photo.HEIC", "photo.jpg"])
def test_a_heic_image_is_read_under_any_name(name: str, tmp_path: Any) -> None:
    path = tmp_path / name
    path.write_bytes(heic("RGB", draw()))
    assert differs(load_image(path), draw()) < 2
    assert differs(load_image(path.read_bytes()), draw()) < 2
    with Image.open(path) as image:
        assert differs(load_image(image), draw()) < 2


def test_ten_bits_of_gray_in_a_heic_image_keep_their_steps() -> None:
    gray = np.repeat(GRAY[:, :, None].astype(int) * 255 // 65535, 3, axis=2)
    assert differs(load_image(heic("I;16", GRAY)), gray) < 1.5
    rgb = np.repeat(GRAY[:, :, None], 3, axis=2)
    assert differs(load_image(heic("RGB;16", rgb)), gray) < 1.5


def test_a_transparent_heic_image_is_blended_with_white() -> None:
    alpha = np.full((60, 80, 1), 255, np.uint8)
    alpha[:, 40:] = 0
    found = load_image(heic("RGBA", np.concatenate([draw(), alpha], axis=2)))
    assert found[:, 44:].min() > 250
    assert differs(found[:, :36], draw()[:, :36]) < 2


def test_a_heic_image_is_turned_once() -> None:
    turned = heic("RGB", draw(), exif=b"Exif\0\0" + EXIF_TURNED)
    assert differs(load_image(turned), np.rot90(draw(), -1)) < 2


def test_the_primary_image_of_several_is_read() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    file, images = io.BytesIO(), pillow_heif.HeifFile()
    for pixels in (draw()[::-1], draw(), draw()[:, ::-1]):
        images.add_frombytes("RGB", (80, 60), np.ascontiguousarray(pixels).tobytes())
    images.save(file, quality=-1, primary_index=1)
    assert differs(load_image(file.getvalue()), draw()) < 2


EXIF_TURNED = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6
JXL_TURNED = bytes.fromhex(  # 3 x 4 pixels whose header says: turn clockwise; written by libjxl, the header by hand
    "ff0a10300bc40408000100e4004b18938e85838413d8362f60bb403000a852b5a9f96f4ad5a6e6bf2955aa30654afffaf57f357eff"
    "93e21e070b8f5bc03ef68188524b941211"
)


def test_a_jpeg_xl_image_is_read_and_turned_once() -> None:
    pytest.importorskip("pillow_jxl")
    # The orientation is that of the header; the one in EXIF is a copy of it.
    data = encode(Image.fromarray(draw()), "JXL", lossless=True, exif=EXIF_TURNED)
    np.testing.assert_array_equal(load_image(data), draw())
    y, x = np.mgrid[0:3, 0:4]
    stored = np.stack([x * 85, y * 127, np.full_like(x, 60)], 2)
    np.testing.assert_array_equal(load_image(JXL_TURNED), np.rot90(stored, -1))


@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_damaged_jpeg_xl_image_is_named(tmp_path: Any, part: float) -> None:
    pytest.importorskip("pillow_jxl")
    data = encode(Image.fromarray(draw()), "JXL", lossless=True)
    path = tmp_path / "photo.jxl"
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(
        ImageError,
        match=r"photo\.jxl: found corrupt or incomplete \(a JPEG XL image that cannot be decoded\); .* Copy it again",
    ):
        load_image(path)


@pytest.mark.filterwarnings("ignore:Using JPEG reconstruction")
def test_a_jpeg_file_inside_jpeg_xl_is_turned_by_its_exif(tmp_path: Any) -> None:
    pytest.importorskip("pillow_jxl")
    exif = Image.Exif()
    exif[274] = 6
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(Image.fromarray(draw()), "JPEG", exif=exif))
    with Image.open(path) as image:
        packed = encode(image, "JXL")
    np.testing.assert_array_equal(load_image(packed), load_image(path))


def test_sixteen_bits_of_gray_in_jpeg_xl_are_scaled() -> None:
    pytest.importorskip("pillow_jxl")
    found = load_image(encode(Image.fromarray(GRAY), "JXL", lossless=True))
    light = GRAY / 65535  # the encoder's profile of 16 bits is linear
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    # Scaled to 8 bits first: steps of 13 levels next to black.
    assert np.abs(found[4:, :, 1] - expected[4:]).max() <= 7
    assert np.abs(found[..., 1] - expected).mean() < 0.8


@pytest.mark.parametrize("container", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (64, 256), (100, 80), (3, 513), (9000, 2), (90, 160), (100, 120)])
def test_the_size_of_a_jpeg_xl_image_is_checked_before_it_is_decoded(
    size: tuple[int, int], container: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pillow_jxl")
    height, width = size
    data = encode(Image.new("RGB", (width, height)), "JXL", effort=1, use_container=container)
    assert load_image(data, limits=Limits(max_pixels=height * width)).shape == (height, width, 3)
    monkeypatch.setattr("PIL.Image.open", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"\d x \d+ pixels; expected at most"):
        load_image(data, limits=Limits(max_pixels=height * width // 2))


@pytest.mark.parametrize("format", ["HEIF", "JXL"])
def test_a_damaged_image_is_an_error(format: str) -> None:
    pytest.importorskip({"HEIF": "pillow_heif", "JXL": "pillow_jxl"}[format])
    data = heic("RGB", draw()) if format == "HEIF" else encode(Image.fromarray(draw()), format)
    for length in (14, 60, len(data) // 2, len(data) - 20):
        with pytest.raises(ImageError, match="corrupt or incomplete"):
            load_image(data[:length])

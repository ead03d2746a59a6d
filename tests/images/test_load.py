"""Images of every odd kind enter upright and RGB, or as one clear error, and are seen by encoders as they ask."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pydantic import ValidationError

from showtell.config.preprocessing import CornerCrop, Preprocessing
from showtell.errors import ImageError
from showtell.images.load import inspect_image, load_image
from showtell.images.preprocess import (
    crop_box,
    load_and_preprocess,
    min_decode_size,
    preprocess_image,
    random_crop_box,
)
from showtell.images.refusals import Limits

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
"""Those that are read without an extra."""

ORIENTATION = 0x0112


def draw(height: int = 24, width: int = 40) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a smooth image without any symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x // max(width - 1, 1), 255 * y // max(height - 1, 1)
    blue = 255 * ((x < width // 3) & (y < height // 4))
    return np.stack([red, green, blue], axis=2).astype(np.uint8)


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png(width: int, height: int, depth: int, color: int, rows: bytes) -> bytes:
    """Return a PNG file; ``rows`` begin with their filter byte."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def difference(one: Any, other: Any) -> int:
    """Return the largest difference of two images of one shape."""
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


# ---- what is read


@pytest.mark.parametrize("format", FORMATS)
def test_every_declared_format_is_read(format: str) -> None:
    image = load_image(encode(Image.fromarray(draw()), format))
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert np.abs(image.astype(int) - draw()).mean() < 12  # lossy ones blur the blue corner's edge
    assert difference(image[12:, 20:], draw()[12:, 20:]) <= 30


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options", [{"quality": 75}, {"quality": 95, "subsampling": 0}, {"progressive": True}]
)
def test_the_fast_jpeg_path_gives_pillows_pixels(mode: str, options: dict[str, Any]) -> None:
    data = encode(Image.fromarray(draw(61, 83)).convert(mode), "JPEG", **options)
    np.testing.assert_array_equal(load_image(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_sound_jpegs_take_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda data, **options: calls.append(1) or draw())
    np.testing.assert_array_equal(load_image(encode(Image.fromarray(draw()), "JPEG")), draw())
    assert calls == [1]


def test_paths_text_bytes_pil_and_arrays_give_the_same_image(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(Image.fromarray(draw()), "PNG"))
    for source in (path, str(path), path.read_bytes(), Image.open(path), Image.fromarray(draw()), draw()):
        np.testing.assert_array_equal(load_image(source), draw())


def test_a_renamed_image_is_read_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(encode(Image.fromarray(draw()), "PNG"))
    np.testing.assert_array_equal(load_image(path), draw())


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(format: str) -> None:
    frames = [Image.new("RGB", (9, 7), color) for color in ("red", "blue", "lime")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], duration=50, **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    np.testing.assert_array_equal(load_image(data), np.full((7, 9, 3), (255, 0, 0)))


def test_cmyk_jpegs_get_their_colours_back() -> None:
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert difference(load_image(encode(cmyk, "JPEG", quality=95)), np.full((16, 16, 3), (255, 0, 0))) <= 3


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    gray = np.linspace(0, 65535, 300).astype(np.uint16).reshape(3, 100)
    expected = np.repeat(np.round(gray / 257).astype(np.uint8)[:, :, None], 3, axis=2)
    for data in (encode(Image.fromarray(gray), "PNG"), encode(Image.fromarray(gray), "TIFF")):
        assert difference(load_image(data), expected) <= 1
    assert difference(load_image(Image.fromarray(gray.astype(np.int32))), expected) <= 1


def test_16_bit_colour_and_its_transparency_are_read() -> None:
    rgb = b"\0" + struct.pack(">6H", 65535, 32768, 0, 256, 65280, 128)
    assert difference(load_image(png(2, 1, 16, 2, rgb)), np.array([[[255, 128, 0], [1, 254, 0]]])) <= 1
    rgba = b"\0" + struct.pack(">8H", 65535, 0, 0, 65535, 65535, 0, 0, 0)
    assert difference(load_image(png(2, 1, 16, 6, rgba)), np.array([[[255, 0, 0], [255, 255, 255]]])) <= 1


def test_a_transparent_16_bit_grey_value_becomes_white() -> None:
    gray = Image.fromarray(np.array([[0, 500, 65535]], dtype=np.uint16))
    image = load_image(encode(gray, "PNG", transparency=500))
    np.testing.assert_array_equal(image[0, :, 0], [0, 255, 255])


def test_grey_is_repeated_over_three_channels() -> None:
    gray = draw()[:, :, 0]
    for source in (Image.fromarray(gray), encode(Image.fromarray(gray), "PNG"), gray, gray[:, :, None]):
        np.testing.assert_array_equal(load_image(source), np.repeat(gray[:, :, None], 3, axis=2))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "La", "RGBa"])
def test_transparent_images_are_laid_over_white(mode: str) -> None:
    clear, solid = Image.new("RGBA", (3, 2), (9, 9, 9, 0)), Image.new("RGBA", (3, 2), (0, 0, 0, 255))
    via = {"PA": "P", "La": "LA", "RGBa": "RGBA"}.get(mode, mode)
    for image, value in ((clear, 255), (solid, 0)):
        other = image.convert(via)
        if mode == "PA":
            other = other.convert("PA")
            other.putalpha(image.getchannel("A"))
        assert load_image(other.convert(mode)).tolist() == [[[value] * 3] * 3] * 2


def test_half_transparency_is_half_way_to_white() -> None:
    image = Image.new("RGBA", (1, 1), (255, 0, 0, 128))
    assert load_image(image).tolist() == [[[255, 127, 127]]]
    np.testing.assert_array_equal(load_image(np.asarray(image)), load_image(image))


def test_palettes_are_resolved_with_and_without_transparency() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    assert load_image(encode(palette, "PNG")).tolist() == [[[10, 20, 30], [200, 100, 50]]]
    assert load_image(encode(palette, "PNG", transparency=1)).tolist() == [[[10, 20, 30], [255, 255, 255]]]
    assert load_image(encode(palette, "GIF", transparency=0)).tolist() == [[[255, 255, 255], [200, 100, 50]]]
    partly = encode(palette, "PNG", transparency=bytes([255, 0]))
    assert load_image(partly).tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LA", "I", "RGBX"])
def test_pil_images_of_any_mode_are_read(mode: str) -> None:
    white = Image.new("RGB", (5, 4), "white").convert(mode)
    if mode == "I":
        white = Image.fromarray(np.full((4, 5), 65535, dtype=np.int32))
    assert difference(load_image(white), np.full((4, 5, 3), 255)) <= 2


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotated_images_come_out_upright(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(Image.fromarray(draw()), format, exif=exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    np.testing.assert_array_equal(load_image(data), expected)
    np.testing.assert_array_equal(load_image(Image.open(io.BytesIO(data))), expected)


def test_a_image_of_orientation_6_was_taken_with_the_camera_turned_left() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encode(Image.fromarray(draw()), "PNG", exif=exif)
    np.testing.assert_array_equal(load_image(data), np.rot90(draw(), -1))


@pytest.mark.parametrize("value", [0, 9, 77])
def test_an_unknown_orientation_means_upright(value: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    np.testing.assert_array_equal(load_image(encode(Image.fromarray(draw()), "PNG", exif=exif)), draw())


def test_broken_exif_does_not_cost_the_image() -> None:
    data = encode(Image.fromarray(draw()), "JPEG")
    for junk in (b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\xff"):
        broken = data[:2] + b"\xff\xe1" + struct.pack(">H", len(junk) + 2) + junk + data[2:]
        np.testing.assert_array_equal(load_image(broken), load_image(data))


def test_one_pixel_is_a_image() -> None:
    assert load_image(encode(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG")).tolist() == [[[1, 2, 3]]]


def test_a_image_40000_pixels_wide_is_read_and_prepared() -> None:
    wide = load_image(encode(Image.fromarray(draw(3, 40_000)), "PNG"))
    np.testing.assert_array_equal(wide, draw(3, 40_000))
    for resize in ("squash", "crop"):
        assert preprocess_image(wide, Preprocessing(resize=resize)).shape == (224, 224, 3)


# ---- what is refused


@pytest.mark.parametrize("format", FORMATS)
def test_a_truncated_image_is_an_error(format: str) -> None:
    noise = np.random.default_rng(7).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), format)
    told = r"cannot read image \(bytes\): found corrupt or incomplete \(.+\); expected a complete file\. Copy"
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(ImageError, match=told):
            load_image(data[: int(share * len(data))])


def test_an_empty_image_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "empty.jpg"
    path.touch()
    with pytest.raises(
        ImageError, match=r"cannot read .*empty\.jpg: found an empty file; expected JPEG, PNG"
    ):
        load_image(path)
    with pytest.raises(ImageError, match=r"cannot read image \(bytes\): found an empty file"):
        load_image(b"")


def test_what_nothing_is_known_about_is_told_with_its_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "page.jpg"
    path.write_bytes(bytes(range(200, 220)))
    with pytest.raises(
        ImageError, match=r"page\.jpg: found bytes C8 C9 CA CB CC CD CE CF; expected JPEG, .* AVIF"
    ):
        load_image(path)


def test_formats_that_run_programs_are_not_opened() -> None:
    with pytest.raises(ImageError, match="found a PostScript document"):
        load_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")


def test_directories_missing_files_and_pipes_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="found a directory; expected an image file"):
        load_image(tmp_path)
    with pytest.raises(ImageError, match=r"none\.jpg: found no such file\. Check the path"):
        load_image(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="null"):
        load_image("nul\0byte.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="found a pipe or device"):
        load_image(tmp_path / "pipe.jpg")


def test_an_unreadable_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.jpg"
    path.write_bytes(encode(Image.fromarray(draw()), "JPEG"))

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)  # root, who runs tests in containers, may read everything
    with pytest.raises(ImageError, match=r"found no permission to read it\. Run: chmod \+r .*secret\.jpg"):
        load_image(path)


def test_a_failing_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x")

    def fail(self: Path) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(ImageError, match=r"a\.jpg: found Input/output error"):
        load_image(path)


def test_decompression_bombs_are_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = png(50_000, 50_000, 8, 2, b"")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"found more than 178,956,970 pixels; expected at most 178,956,970"):
        load_image(bomb)
    with pytest.raises(
        ImageError, match=r"found 100 x 50 pixels; expected at most 4,999 pixels \(nothing was"
    ):
        load_image(png(100, 50, 8, 2, b""), limits=Limits(max_pixels=4_999))
    with pytest.raises(ImageError, match=r"raise Limits\.max_pixels and PIL\.Image\.MAX_IMAGE_PIXELS"):
        load_image(Image.new("L", (100, 50)), limits=Limits(max_pixels=4_999))


def test_limits_hold_for_arrays_and_for_file_sizes(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"image \(array\): found 40 x 24 pixels; expected at most 959"):
        load_image(draw(), limits=Limits(max_pixels=959))
    assert load_image(draw(), limits=Limits(max_pixels=960)).shape == (24, 40, 3)
    path = tmp_path / "big.png"
    path.write_bytes(encode(Image.fromarray(draw()), "PNG"))
    with pytest.raises(
        ImageError, match=r"found a file of [\d,]+ bytes; expected at most 10\. Make it smaller"
    ):
        load_image(path, limits=Limits(max_bytes=10))


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.full((4, 4, 3), np.nan), "dtype float64"),
        (np.zeros((4, 4, 3), np.float32), "dtype float32"),
        (np.zeros((4, 4), bool), "dtype bool"),
        (np.zeros((4, 4, 3), np.int64), "dtype int64"),
        (np.zeros((3, 4, 5), np.uint8), r"shape \[3, 4, 5\].*Move the channels last"),
        (np.zeros((4, 4, 2), np.uint8), r"shape \[4, 4, 2\]"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"shape \[1, 4, 4, 3\]"),
        (np.zeros((7,), np.uint8), r"shape \[7\]"),
        (np.zeros((0, 4, 3), np.uint8), "4 x 0 pixels"),
    ],
)
def test_arrays_that_are_no_images_are_errors(array: Any, found: str) -> None:
    with pytest.raises(ImageError, match=rf"cannot read image \(array\): found {found}"):
        load_image(array)


def test_an_array_is_copied() -> None:
    mine = draw()
    load_image(mine)[:] = 0
    np.testing.assert_array_equal(mine, draw())


@pytest.mark.parametrize("source", [None, 7, ["a.jpg"]])
def test_other_types_are_errors(source: Any) -> None:
    with pytest.raises(
        ImageError, match=r"cannot read image \(\w+\): expected a path, bytes, a PIL image or"
    ):
        load_image(source)


def test_pil_images_without_a_known_range_are_errors() -> None:
    with pytest.raises(ImageError, match="floating-point pixels, whose range is unknown"):
        load_image(Image.new("F", (2, 2)))
    with pytest.raises(ImageError, match="gray values from -5 to 70000; expected 8 or 16 bits"):
        load_image(Image.fromarray(np.array([[-5, 70000]], dtype=np.int32)))
    with pytest.raises(ImageError, match="0 x 3 pixels; expected at least one"):
        load_image(Image.new("RGB", (0, 3)))


def test_a_pil_image_cut_short_is_named_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(encode(Image.fromarray(draw(64, 64)), "PNG")[:-60])
    with (
        Image.open(path) as image,
        pytest.raises(ImageError, match=r"cannot read .*cut\.png: found corrupt or"),
    ):
        load_image(image)


# ---- nothing else escapes

SMALL_FILES = {
    **{format: encode(Image.fromarray(draw(9, 13)), format) for format in FORMATS},
    "palette": encode(Image.fromarray(draw(9, 13)).convert("P"), "PNG", transparency=3),
    "gray 16": encode(Image.fromarray(draw(9, 13)[:, :, 0].astype(np.uint16) * 257), "PNG"),
    "cmyk": encode(Image.fromarray(draw(9, 13)).convert("CMYK"), "JPEG"),
    "animated": encode(
        Image.new("L", (9, 7)), "GIF", save_all=True, append_images=[Image.new("L", (9, 7), 9)]
    ),
    "exif": encode(
        Image.fromarray(draw(9, 13)),
        "JPEG",
        exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0",
    ),
}


@pytest.mark.parametrize("kind", SMALL_FILES)
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    cut=st.floats(0.05, 1.0),
    head=st.booleans(),
)
def test_damaged_files_give_a_image_or_a_image_error(
    kind: str, changes: list[tuple[float, int]], cut: float, head: bool
) -> None:
    data = bytearray(SMALL_FILES[kind])
    for place, value in changes:
        data[int(place * (min(64, len(data)) if head else len(data)))] = value
    try:
        image = load_image(bytes(data[: int(cut * len(data)) + 1]), limits=Limits(max_pixels=1_000_000))
    except ImageError:
        return
    assert image.dtype == np.uint8
    assert image.shape[2] == 3


@given(st.binary(max_size=200))
def test_any_bytes_give_a_image_or_a_image_error(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"cannot read image \(bytes\)"):
        load_image(data)


def test_pillows_warnings_are_no_errors_and_filters_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Image, "MAX_IMAGE_PIXELS", 600
    )  # below: error from 1,200 pixels on, a warning from 600 on
    data = encode(Image.fromarray(draw()), "PNG")
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(data))
    before = list(warnings.filters)
    np.testing.assert_array_equal(load_image(data), draw())
    assert warnings.filters == before


def test_threads_leave_the_warning_filters_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    data = encode(Image.fromarray(draw()), "PNG")
    before, start = list(warnings.filters), threading.Barrier(8)

    def work(_: int) -> int:
        start.wait()
        return sum(load_image(data).shape[0] for _ in range(20))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [480] * 8
    assert warnings.filters == before


# ---- facts and preparation


def test_preprocessing_survives_json_and_refuses_nonsense() -> None:
    options = Preprocessing(size=299, resize="crop", std=(0.5, 0.5, 0.5))
    assert Preprocessing.model_validate_json(options.model_dump_json()) == options
    for nonsense in (
        {"size": 0},
        {"crop": 1.5},
        {"std": (0.0, 1.0, 1.0)},
        {"interpolation": "best"},
        {"sise": 224},
    ):
        with pytest.raises(ValidationError, match=next(iter(nonsense))):
            Preprocessing.model_validate(nonsense)


def test_facts_are_of_the_upright_image_and_the_files_bytes(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 8
    path = tmp_path / "turned.jpg"
    path.write_bytes(encode(Image.fromarray(draw(10, 30)), "JPEG", exif=exif))
    facts = inspect_image(path)
    assert (facts.width, facts.height) == (10, 30)
    assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_squash_keeps_a_image_of_the_right_size_and_resizes_others_whole() -> None:
    same = draw(224, 224)
    assert preprocess_image(same, Preprocessing()) is same
    expected = Image.fromarray(draw(60, 90)).resize((32, 32), Image.Resampling.BILINEAR)
    found = preprocess_image(draw(60, 90), Preprocessing(size=32, interpolation="bilinear"))
    np.testing.assert_array_equal(found, np.asarray(expected))
    assert found.dtype == np.uint8


@given(
    st.integers(1, 150),
    st.integers(1, 150),
    st.sampled_from(["bilinear", "bicubic"]),
    st.sampled_from([0.875, 1.0]),
)
def test_crop_is_resize_of_the_short_side_and_the_centre(
    height: int, width: int, filter: str, crop: float
) -> None:
    size = 32
    short = round(size / crop)
    scale = min(height, width) / short
    tall, wide = max(short, round(height / scale)), max(short, round(width / scale))
    method = Image.Resampling[filter.upper()]
    image = draw(height, width)
    image[:, :, 2] = (
        0  # Pillow rounds and clips between its two passes, whose order may differ: no sharp edges
    )
    whole = np.asarray(Image.fromarray(image).resize((wide, tall), method))
    top, left = (tall - size) // 2, (wide - size) // 2
    options = Preprocessing(size=size, resize="crop", crop=crop, interpolation=filter)
    found = preprocess_image(image, options)
    assert difference(found, whole[top : top + size, left : left + size]) <= 2


def test_resizing_down_is_antialiased() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    small = preprocess_image(stripes, Preprocessing(size=32))
    assert difference(small[4:-4, 4:-4], np.full((24, 24, 3), 128)) <= 3


def test_a_mirrored_view_changes_left_and_right_alone() -> None:
    image = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    plain, mirrored = (
        preprocess_image(image, Preprocessing(size=16, mirror=mirror)) for mirror in (False, True)
    )
    np.testing.assert_array_equal(plain[:, ::-1], mirrored)
    assert mirrored.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(("down", "right"), [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("mirror", [False, True])
def test_a_corner_is_a_window_of_the_view_and_mirrored_after(down: int, right: int, mirror: bool) -> None:
    image = draw(32, 32)
    corner = CornerCrop(down=down, right=right, fraction=0.5)  # type: ignore[arg-type]
    seen = preprocess_image(image, Preprocessing(size=16, corner=corner, mirror=mirror))
    expected = image[16 * down : 16 * (down + 1), 16 * right : 16 * (right + 1)]
    assert np.array_equal(seen, expected[:, ::-1] if mirror else expected)


def test_corners_of_a_cropped_view_lie_inside_it() -> None:
    cropped = Preprocessing(size=16, resize="crop", crop=0.5)
    left, top, right, bottom = crop_box(480, 640, cropped)
    corner = cropped.model_copy(update={"corner": CornerCrop(down=1, right=1, fraction=0.75)})
    window = crop_box(480, 640, corner)
    assert window == pytest.approx(
        (right - 0.75 * (right - left), bottom - 0.75 * (bottom - top), right, bottom)
    )


def test_a_whole_view_is_written_without_its_absent_corner() -> None:
    """So that features and captioners made before there were corners keep their identity."""
    assert "corner" not in Preprocessing().model_dump(mode="json")
    corner = Preprocessing(corner=CornerCrop(down=0, right=1, fraction=0.9))
    assert corner.model_dump(mode="json")["corner"] == {"down": 0, "right": 1, "fraction": 0.9}
    assert Preprocessing.model_validate(corner.model_dump(mode="json")) == corner


@pytest.mark.parametrize("resize", ["squash", "crop"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 999), (480, 640), (333, 77)])
@pytest.mark.parametrize("share", [0.1, 0.875, 1.0])
def test_every_window_lies_inside_its_image(resize: str, height: int, width: int, share: float) -> None:
    preprocessing = Preprocessing(size=16, resize=resize)  # type: ignore[arg-type]
    generator = np.random.default_rng(1)
    for down, right in [(0.0, 0.0), (1.0, 1.0), *generator.random((20, 2)).tolist()]:
        window = random_crop_box(down, right, height, width, preprocessing, fraction=share)
        left, top, end, bottom = window
        assert 0 <= left < end <= width
        assert 0 <= top < bottom <= height
        short = min(height, width)
        sides = (share * height, share * width) if resize == "squash" else (share * short,) * 2
        assert (bottom - top, end - left) == pytest.approx(sides)
        blank = np.zeros((height, width, 3), np.uint8)
        assert preprocess_image(blank, preprocessing, window=window).shape == (16, 16, 3)


def photograph(height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return an image with detail of every size, as photographs have: noise whose strength falls with frequency."""
    noise = np.random.default_rng(0).standard_normal((height, width, 3))
    down, right = np.fft.fftfreq(height)[:, None, None], np.fft.fftfreq(width)[None, :, None]
    falling = 1 / np.maximum(np.hypot(down, right), 1 / max(height, width))
    image = np.fft.ifft2(np.fft.fft2(noise, axes=(0, 1)) * falling, axes=(0, 1)).real
    scaled = 128 + 50 * (image - image.mean()) / image.std()
    return np.clip(scaled, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "at_least", "expected"),
    [
        (400, 600, 0, (400, 600)),
        (400, 600, 201, (400, 600)),
        (400, 600, 200, (200, 300)),
        (401, 601, 201, (201, 301)),  # rounded up, as libjpeg does
        (400, 600, 100, (100, 150)),
        (400, 600, 50, (50, 75)),
        (400, 600, 1, (50, 75)),  # no smaller than an eighth
    ],
)
def test_a_jpeg_comes_at_a_fraction_that_leaves_enough(
    height: int, width: int, at_least: int, expected: tuple[int, int]
) -> None:
    data = encode(Image.fromarray(draw(height, width)), "JPEG", quality=95)
    assert load_image(data, at_least=at_least).shape == (*expected, 3)
    assert (
        load_image(encode(Image.fromarray(draw(height, width)), "PNG"), at_least=at_least).shape[0] == height
    )


@pytest.mark.parametrize("resize", ["squash", pytest.param("crop", marks=pytest.mark.thorough)])
@pytest.mark.parametrize("orientation", [pytest.param(1, marks=pytest.mark.thorough), 6])
def test_a_large_jpeg_is_seen_at_a_fraction_as_it_is_in_full(
    resize: Any, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    preprocessing = Preprocessing(size=64, resize=resize)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encode(Image.fromarray(photograph(900, 1200)), "JPEG", quality=92, exif=exif)
    asked: list[int] = []
    decode = simplejpeg.decode_jpeg
    monkeypatch.setattr(
        simplejpeg,
        "decode_jpeg",
        lambda data, **options: (asked.append(options["min_height"]), decode(data, **options))[1],
    )
    seen = load_and_preprocess(data, preprocessing)
    full = preprocess_image(load_image(data), preprocessing)
    assert asked == [225, 900]
    apart = np.abs(seen.astype(int) - full)
    assert apart.mean() < 0.75
    assert apart.max() <= 8
    assert full.std() > 30


@pytest.mark.parametrize("resize", ["squash", "crop"])
def test_a_image_of_ordinary_size_is_seen_in_full(resize: Any) -> None:
    preprocessing = Preprocessing(resize=resize)
    data = encode(Image.fromarray(photograph(480, 640)), "JPEG")
    assert np.array_equal(
        load_and_preprocess(data, preprocessing), preprocess_image(load_image(data), preprocessing)
    )


def test_a_crop_and_a_window_need_more_pixels() -> None:
    assert min_decode_size(Preprocessing()) == 672
    assert min_decode_size(Preprocessing(resize="crop", crop=0.5)) == 1344
    assert min_decode_size(Preprocessing(), fraction=0.5) == 1344
    assert min_decode_size(Preprocessing(corner=CornerCrop(down=0, right=0, fraction=0.5))) == 1344


@pytest.mark.parametrize("at_least", [0, 50])
def test_a_large_jpeg_cut_short_is_an_error_at_any_fraction(at_least: int) -> None:
    data = encode(Image.fromarray(photograph(400, 600)), "JPEG")
    for length in (len(data) // 2, len(data) - 200):
        with pytest.raises(ImageError, match="corrupt or incomplete"):
            load_image(data[:length], at_least=at_least)


def test_preparing_a_set_reads_every_pixel_at_an_eighth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(encode(Image.fromarray(draw(800, 1000)), "JPEG"))
    shapes = []
    decode = simplejpeg.decode_jpeg

    def watched(data: bytes, **options: Any) -> Any:
        shapes.append((image := decode(data, **options)).shape)
        return image

    monkeypatch.setattr(simplejpeg, "decode_jpeg", watched)
    facts = inspect_image(path)
    assert (facts.width, facts.height) == (1000, 800)
    assert shapes == [(100, 125, 1)]


@pytest.mark.slow
def test_real_photographs_are_seen_at_a_fraction_as_they_are_in_full(shared_data: Path) -> None:
    """COCO's photographs, sharp to the pixel, are the hardest; the encoder is made small, so that they are large."""
    preprocessing = Preprocessing(size=70)
    apart = []
    for path in sorted((shared_data / "data/coco_mini").glob("*2017/*.jpg")):
        full = load_image(path)
        seen = load_image(path, at_least=min_decode_size(preprocessing))
        if seen.shape != full.shape:
            pair = (preprocess_image(one, preprocessing).astype(int) for one in (seen, full))
            apart.append(np.abs(np.subtract(*pair)))
    assert len(apart) > 100
    assert np.mean(apart) < 0.75
    assert max(one.mean() for one in apart) < 3.0

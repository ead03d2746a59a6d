"""TIFF files of every depth and layout give the pixels that were written, or say what they are."""

from __future__ import annotations

import io
import itertools
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from showtell.errors import ImageError
from showtell.images import tiff_samples
from showtell.images.load import Limits, inspect_image, load_image

HEIGHT, WIDTH = 37, 50


def write(*pages: tuple[Any, dict[str, Any]], byteorder: str = "<", bigtiff: bool = False) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder=byteorder, bigtiff=bigtiff) as writer:  # type: ignore[arg-type]
        for samples, options in pages:
            writer.write(samples, **{"metadata": None, **options})
    return file.getvalue()


def colors(channels: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return smooth ``uint8 [H, W, C]`` without any symmetry, whose channels differ."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    ramps = (5 * x, 6 * y, 3 * x + 2 * y, 255 - 4 * x, 200 - y)
    return np.stack(ramps[:channels], axis=2).clip(0, 255).astype(np.uint8)


LAYOUTS = {  # photometric, channels, options
    "gray": ("minisblack", 1, {}),
    "white is zero": ("miniswhite", 1, {}),
    "RGB": ("rgb", 3, {}),
    "CMYK": ("separated", 4, {}),
    "gray and alpha": ("minisblack", 2, {"extrasamples": ["unassalpha"]}),
    "RGBA": ("rgb", 4, {"extrasamples": ["unassalpha"]}),
    "blended RGBA": ("rgb", 4, {"extrasamples": ["assocalpha"]}),
    "RGB and infrared": ("rgb", 4, {"extrasamples": ["unspecified"]}),
}


def as_seen(layout: str, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return what a viewer shows for ``uint8 [H, W, C]``, by the formulas."""
    values = samples.astype(np.float64)
    if layout == "white is zero":
        values = 255 - values
    if layout == "CMYK":
        values = (255 - values[:, :, :3]) * (255 - values[:, :, 3:]) / 255
    if layout in ("gray and alpha", "RGBA"):
        alpha = values[:, :, -1:] / 255
        values = values[:, :, :-1] * alpha + 255 * (1 - alpha)
    if layout == "blended RGBA":
        values = values[:, :, :3] + 255 - values[:, :, 3:]
    return np.broadcast_to(values[:, :, :3], (HEIGHT, WIDTH, 3))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("depth", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_every_layout_and_depth_gives_the_pixels_that_were_written(
    layout: str, depth: str, planes: bool, compression: str | None
) -> None:
    photometric, channels, options = LAYOUTS[layout]
    eight = colors(channels)
    if layout == "blended RGBA":
        eight[:, :, :3] = eight[:, :, :3] * (eight[:, :, 3:] / 255.0)
    samples = {
        "uint8": eight,
        "uint16": eight.astype(np.uint16) * 257,
        "float32": eight / np.float32(255) * 40 - 10,
    }
    pixels = np.ascontiguousarray(samples[depth][:, :, 0] if channels == 1 else samples[depth])
    if channels > 1:
        options = {**options, "planarconfig": "separate" if planes else "contig"}
        pixels = np.ascontiguousarray(np.moveaxis(pixels, 2, 0)) if planes else pixels
    if depth == "float32":
        limits = [
            (tag, "f", channels, [value] * channels, True) for tag, value in ((340, -10.0), (341, 30.0))
        ]
        options = {**options, "extratags": limits}
    for tile, order, big, predictor in (
        (None, "<", False, False),
        (None, ">", True, False),
        ((16, 32), ">", False, False),
        ((16, 32), "<", True, compression == "zlib" and depth != "float32"),
    ):
        data = write(
            (
                pixels,
                {
                    **options,
                    "photometric": photometric,
                    "tile": tile,
                    "compression": compression,
                    "predictor": predictor,
                },
            ),
            byteorder=order,
            bigtiff=big,
        )
        found = load_image(data)
        assert np.abs(found - as_seen(layout, eight)).max() <= 1.01, (tile, order, big, predictor)


def repacked(data: bytes, compression: str, plain: bytes = b"") -> bytes:
    """Return a file whose first page's strips or tiles, in zlib, are in another compression, by libtiff.

    ``plain``: the bytes of its only strip, before compression.
    """
    file = io.BytesIO(data)
    with tifffile.TiffFile(file) as opened:
        page = opened.pages[0]
        starts, sizes = [], []
        for start, size in zip(page.dataoffsets, page.databytecounts, strict=True):
            unpacked = np.frombuffer(plain or zlib.decompress(data[start : start + size]), np.uint8)[None]
            packed = io.BytesIO()
            Image.fromarray(unpacked).save(packed, "TIFF", compression=compression)
            packed.seek(0)
            with tifffile.TiffFile(packed) as other:
                strip = other.pages[0]
                stored = packed.getvalue()[strip.dataoffsets[0] :][: strip.databytecounts[0]]
                method = int(strip.compression)  # type: ignore[union-attr]
            starts.append(file.seek(0, io.SEEK_END))
            sizes.append(file.write(stored))
        tiled = "TileOffsets" in page.tags  # type: ignore[union-attr]
        for tag, values in ((324 if tiled else 273, starts), (325 if tiled else 279, sizes)):
            page.tags[tag].overwrite(values, dtype=16 if opened.is_bigtiff else 4)  # type: ignore[union-attr]
        page.tags[259].overwrite(method)  # type: ignore[union-attr]
    return file.getvalue()


@pytest.mark.thorough
@pytest.mark.parametrize("compression", ["tiff_lzw", "zstd", "lzma"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_deep_pages_are_read_in_compressions_of_bytes(layout: str, compression: str) -> None:
    photometric, channels, options = LAYOUTS[layout]
    eight = colors(channels)
    if layout == "blended RGBA":
        eight[:, :, :3] = eight[:, :, :3] * (eight[:, :, 3:] / 255.0)
    deep = eight.astype(np.uint16) * 257
    for planes, tile, order, big, predictor in (
        (False, None, ">", False, False),
        (False, (16, 32), "<", False, True),
        (True, None, "<", True, True),
        (True, (32, 16), ">", False, True),
    ):
        pixels = deep[:, :, 0]
        if channels > 1:
            options = {**options, "planarconfig": "separate" if planes else "contig"}
            pixels = np.moveaxis(deep, 2, 0) if planes else deep
        strips = {"tile": tile} if tile else {"rowsperstrip": 10}
        layout_options = {**options, **strips, "photometric": photometric, "predictor": predictor}
        written = (np.ascontiguousarray(pixels), {**layout_options, "compression": "zlib"})
        data = repacked(write(written, byteorder=order, bigtiff=big), compression)
        assert np.abs(load_image(data) - as_seen(layout, eight)).max() <= 1.01, (planes, tile, order)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["f4", "i2"])
@pytest.mark.parametrize("channels", [1, 3])
def test_stated_ranges_hold_in_lzw_and_either_byte_order(order: str, dtype: str, channels: int) -> None:
    samples = colors(channels).astype(dtype)
    form = {"f4": "f", "i2": "h"}[dtype]
    limits = [(tag, form, 1, value, True) for tag, value in ((340, 0), (341, 255))]
    options = {"photometric": "rgb" if channels == 3 else "minisblack", "extratags": limits}
    pixels = samples if channels == 3 else samples[:, :, 0]
    data = write((pixels, {**options, "compression": "zlib"}), byteorder=order)
    expected = np.broadcast_to(colors(channels), (HEIGHT, WIDTH, 3))
    np.testing.assert_array_equal(load_image(repacked(data, "tiff_lzw")), expected)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3])
def test_predicted_floating_point_samples_are_read(order: str, channels: int) -> None:
    """The bytes of each row are stored by significance, as differences (Adobe's Technical Note 3)."""
    samples = colors(channels).astype(">f4")
    planes = samples.view(np.uint8).reshape(HEIGHT, WIDTH * channels, 4).swapaxes(1, 2)
    differences = planes.reshape(HEIGHT, -1, channels).copy()
    differences[:, 1:] -= differences[:, :-1].copy()
    limits = [(tag, "f", 1, value, True) for tag, value in ((340, 0.0), (341, 255.0))]
    shape = (HEIGHT, WIDTH, 3) if channels == 3 else (HEIGHT, WIDTH)
    options = {"photometric": "rgb" if channels == 3 else "minisblack", "extratags": limits}
    whole = (np.zeros(shape, np.int32), {**options, "compression": "zlib", "predictor": True})
    file = io.BytesIO(write(whole, byteorder=order))
    with tifffile.TiffFile(file) as opened:
        tags = opened.pages[0].tags  # type: ignore[union-attr]
        tags["Predictor"].overwrite(3)
        tags["SampleFormat"].overwrite([3] * channels)
    found = load_image(repacked(file.getvalue(), "tiff_lzw", differences.tobytes()))
    np.testing.assert_array_equal(found, np.broadcast_to(colors(channels), (HEIGHT, WIDTH, 3)))


@pytest.mark.parametrize("compression", [None, "packbits", "tiff_lzw", "tiff_deflate"])
def test_16_bit_gray_is_scaled_in_every_compression(compression: str | None) -> None:
    gray = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    file = io.BytesIO()
    Image.fromarray(gray).save(file, "TIFF", compression=compression)
    np.testing.assert_array_equal(load_image(file.getvalue())[:, :, 0], np.round(gray / 257))


@pytest.mark.parametrize("bits", [6, 10, 12, 14])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite", "rgb"])
def test_packed_samples_use_their_whole_range(photometric: str, order: str, bits: int) -> None:
    channels = 3 if photometric == "rgb" else 1
    top = 2**bits - 1
    samples = (np.arange(5 * 7 * channels).reshape(5, 7, channels) * 911) % (top + 1)
    ones = samples[..., None] >> np.arange(bits)[::-1] & 1
    packed = np.packbits(ones.reshape(5, -1).astype(np.uint8), axis=1)
    file = io.BytesIO(
        write((packed, {"photometric": photometric if channels == 1 else None}), byteorder=order)
    )
    with tifffile.TiffFile(file) as opened:
        tags = opened.pages[0].tags  # type: ignore[union-attr]
        tags["ImageWidth"].overwrite(7)
        tags["BitsPerSample"].overwrite([bits] * channels)
        tags["SamplesPerPixel"].overwrite(channels)
        tags["PhotometricInterpretation"].overwrite({"miniswhite": 0, "minisblack": 1, "rgb": 2}[photometric])
    expected = (top - samples if photometric == "miniswhite" else samples) * (255 / top)
    found = load_image(file.getvalue())
    assert np.abs(found - np.broadcast_to(expected, (5, 7, 3))).max() <= 1.01


def with_tag(data: bytes, tag: str, *values: int) -> bytes:
    """Return a little-endian file whose first page has these 16-bit values of a tag."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        place = file.pages[0].tags[tag].valueoffset  # type: ignore[union-attr]
    replaced = b"".join(value.to_bytes(2, "little") for value in values)
    return data[:place] + replaced + data[place + len(replaced) :]


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int16", "uint32"])
def test_samples_without_a_natural_range_need_a_stated_one(dtype: str) -> None:
    samples = np.array([[-50, 0, 100, 200]] if dtype != "uint32" else [[0, 100, 200, 300]], dtype)
    kind = {"f": "floating-point", "i": "signed", "u": "integer"}[samples.dtype.kind]
    with pytest.raises(
        ImageError, match=rf"found a TIFF with \d+-bit {kind} samples whose range is not stated"
    ):
        load_image(write((samples, {"photometric": "minisblack"})))
    low, high = float(samples.min()), float(samples[0, 2])
    tags = [(340, "d", 1, low, True), (341, "d", 1, high, True)]
    found = load_image(write((samples, {"photometric": "minisblack", "extratags": tags})))[0, :, 0]
    np.testing.assert_array_equal(found, np.round((samples[0].clip(low, high) - low) * (255 / (high - low))))


@pytest.mark.parametrize(("bits", "predictor"), [(12, False), (16, False), (16, True)])
def test_wide_rows_are_converted_in_pieces(
    bits: int, predictor: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("showtell.images.tiff_samples._AT_ONCE", 24)
    samples = np.arange(3 * 51).reshape(3, 51) * 53 % 2**bits
    if bits == 12:
        ones = (samples[..., None] >> np.arange(12)[::-1] & 1).astype(np.uint8)
        data = write((np.packbits(ones.reshape(3, -1), axis=1), {"photometric": "minisblack"}))
        data = with_tag(with_tag(data, "ImageWidth", 51), "BitsPerSample", 12)
    else:
        options = {"photometric": "minisblack", "compression": "zlib", "predictor": predictor}
        data = write((samples.astype(np.uint16), options))
    expected = np.round(samples * (255 / (2**bits - 1)))
    np.testing.assert_array_equal(load_image(data)[:, :, 0], expected)


def test_planes_beyond_the_colors_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = np.full((40, 8, 9), 514, np.uint16)
    data = write((deep, {"photometric": "rgb", "planarconfig": "separate", "compression": "zlib"}))
    calls = []
    decompress = tiff_samples._decompress
    monkeypatch.setattr(tiff_samples, "_decompress", lambda *args: calls.append(1) or decompress(*args))
    np.testing.assert_array_equal(load_image(data), np.full((8, 9, 3), 2))
    assert len(calls) == 3


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_an_unknown_range_is_refused_on_every_road(dtype: str, tmp_path: Path) -> None:
    """Pillow itself stores 16 bits in 32, but a TIFF file with 32 may mean anything."""
    path = tmp_path / "deep.tif"
    Image.fromarray(np.array([[0, 500, 65535]], dtype)).save(path)
    with Image.open(path) as unread, Image.open(path) as decoded:
        decoded.load()
        for source in (path, path.read_bytes(), unread, decoded):
            with pytest.raises(ImageError, match="whose range is"):
                load_image(source)


def test_nan_is_black() -> None:
    tags = [(340, "f", 1, 0.0, True), (341, "f", 1, 1.0, True)]
    samples = np.array([[np.nan, np.inf, -np.inf, 0.5]], np.float32)
    found = load_image(write((samples, {"photometric": "minisblack", "extratags": tags})))
    assert found[0, :, 0].tolist() == [0, 255, 0, 128]


# ---- pages


def page(height: int, width: int, value: int, **options: Any) -> tuple[Any, dict[str, Any]]:
    return np.full((height, width, 3), value, np.uint8), {"photometric": "rgb", **options}


@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        ([page(6, 8, 10, subfiletype=1), page(30, 40, 20)], (30, 40, 20)),
        ([page(60, 80, 10, subfiletype=1), page(30, 40, 20)], (30, 40, 20)),
        ([page(60, 80, 10, subfiletype=3), page(30, 40, 20)], (30, 40, 20)),
        ([page(30, 40, 10), page(6, 8, 20), page(30, 40, 30)], (30, 40, 10)),
        ([page(6, 8, 10), page(30, 40, 20), page(20, 30, 30)], (30, 40, 20)),
        ([page(6, 8, 10, subfiletype=1), page(30, 40, 20, subfiletype=1)], (30, 40, 20)),
        ([page(6, 8, 10, subfiletype=1), page(30, 40, 20, compression="zlib", tile=(16, 16))], (30, 40, 20)),
    ],
)
def test_the_largest_page_that_is_no_thumbnail_is_read(
    pages: list[tuple[Any, dict[str, Any]]], expected: tuple[int, int, int], tmp_path: Path
) -> None:
    path = tmp_path / "pages.tif"
    path.write_bytes(write(*pages))
    height, width, value = expected
    np.testing.assert_array_equal(load_image(path), np.full((height, width, 3), value))
    info = inspect_image(path)
    assert (info.height, info.width) == (height, width)


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        ([page(6, 8, 10, subfiletype=1, subifds=1), page(30, 40, 20)], (30, 40, 20)),
        ([page(6, 8, 10, subfiletype=1, subifds=2), page(30, 40, 20), page(60, 80, 30)], (60, 80, 30)),
        ([page(60, 80, 10, subifds=1), page(30, 40, 20, subfiletype=1)], (60, 80, 10)),
        (
            [page(6, 8, 10, subfiletype=1, subifds=1), page(9, 9, 20, subfiletype=1), page(30, 40, 30)],
            (30, 40, 30),
        ),
    ],
)
def test_the_picture_may_be_in_a_sub_ifd(
    pages: list[tuple[Any, dict[str, Any]]], expected: tuple[int, int, int], byteorder: str, bigtiff: bool
) -> None:
    height, width, value = expected
    data = write(*pages, byteorder=byteorder, bigtiff=bigtiff)
    np.testing.assert_array_equal(load_image(data), np.full((height, width, 3), value))


def test_deep_pages_in_a_sub_ifd_are_read() -> None:
    deep = np.full((3, 30, 40), 514, np.uint16)
    planes = (deep, {"photometric": "rgb", "planarconfig": "separate"})
    np.testing.assert_array_equal(
        load_image(write(page(6, 8, 10, subfiletype=1, subifds=1), planes)), np.full((30, 40, 3), 2)
    )


@pytest.mark.parametrize("offset", [1, 8, 2**31])
def test_sub_ifds_that_cannot_be_read_are_ignored(offset: int) -> None:
    data = write(page(6, 8, 10, extratags=[(330, "I", 1, offset, True)]))
    np.testing.assert_array_equal(load_image(data), np.full((6, 8, 3), 10))


def test_the_page_may_be_of_a_kind_that_pillow_does_not_know() -> None:
    deep = np.full((3, 30, 40), 514, np.uint16)
    data = write(page(6, 8, 10, subfiletype=1), (deep, {"photometric": "rgb", "planarconfig": "separate"}))
    np.testing.assert_array_equal(load_image(data), np.full((30, 40, 3), 2))


def test_deep_pages_come_out_upright() -> None:
    samples = colors(3).astype(np.uint16) * 257
    turned = [(274, "H", 1, 6, True)]
    planes = np.ascontiguousarray(np.moveaxis(samples, 2, 0))
    data = write((planes, {"photometric": "rgb", "planarconfig": "separate", "extratags": turned}))
    np.testing.assert_array_equal(load_image(data), np.rot90(colors(3), -1))


# ---- refusals


@pytest.mark.parametrize(
    ("samples", "options", "found"),
    [
        (np.zeros((8, 9, 3), np.uint8), {"photometric": "cielab"}, r"CIE L\*a\*b\* colors"),
        (
            np.zeros((8, 9, 13), np.uint16),
            {"photometric": "minisblack", "planarconfig": "contig"},
            "13 channels for gray colors",
        ),
        (
            np.zeros((8, 9), np.uint16),
            {"photometric": "palette", "colormap": np.zeros((3, 65536), np.uint16)},
            "a palette of 16 bits",
        ),
        (
            np.zeros((4, 16, 16), np.uint8),
            {"volumetric": True, "tile": (4, 16, 16)},
            "a volume of 4 slices",
        ),
        (
            np.zeros((8, 9), np.complex64),
            {"photometric": "minisblack"},
            "1 x 64-bit complex samples and no compression",
        ),
    ],
)
def test_other_kinds_are_named(samples: Any, options: dict[str, Any], found: str) -> None:
    with pytest.raises(ImageError, match=rf"found a TIFF with {found}.*; expected gray, RGB.*Convert it"):
        load_image(write((samples, {"photometric": "minisblack", **options})))


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (50001, "WebP"),
        (50002, "JPEG XL"),
        (34712, "JPEG 2000"),
        (34887, "LERC"),
        (34661, "JBIG"),
        (50999, "number 50999"),
    ],
)
def test_compressions_are_named(number: int, name: str) -> None:
    data = with_tag(write((colors(3), {"photometric": "rgb"})), "Compression", number)
    with pytest.raises(ImageError, match=f"found a TIFF with {name} compression; expected"):
        load_image(data)


def test_rare_samples_in_a_rare_compression_are_named() -> None:
    data = write((colors(3).astype(np.uint16), {"photometric": "rgb", "planarconfig": "contig"}))
    data = with_tag(with_tag(data, "Compression", 7), "PlanarConfiguration", 2)
    with pytest.raises(
        ImageError, match="found a TIFF with 3 x 16-bit integer samples in planes and JPEG compression"
    ):
        load_image(data)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_deep_tiff_cut_short_is_an_error(compression: str | None, planes: bool, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 65536, (3, 60, 60), np.uint16)
    layout = {"planarconfig": "separate"} if planes else {"planarconfig": "contig"}
    samples = noise if planes else np.ascontiguousarray(np.moveaxis(noise, 0, 2))
    data = write((samples, {"photometric": "rgb", "compression": compression, "rowsperstrip": 8, **layout}))
    with pytest.raises(ImageError, match="corrupt or incomplete"):
        load_image(data[: int(share * len(data))])


def test_many_channels_of_a_small_page_are_refused_before_they_are_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"photometric": "rgb", "planarconfig": "contig", "compression": "zlib", "rowsperstrip": 30}
    data = write((np.zeros((30, 20, 500), np.uint16), options))
    monkeypatch.setattr(tiff_samples, "_decompress", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="found samples that take 75,000 pixels of 8 bytes; expected"):
        load_image(data, limits=Limits(max_pixels=74_999))
    monkeypatch.setattr("showtell.images.tiff._MAX_BLOCK", 500_000)
    with pytest.raises(ImageError, match="found a strip or tile of 600,000 bytes; expected at most 500,000"):
        load_image(data)


@pytest.mark.parametrize("tag", ["TileLength", "SamplesPerPixel"])
def test_limits_hold_for_what_is_decompressed_at_once(tag: str) -> None:
    deep = colors(3).astype(np.uint16)
    options = {"photometric": "rgb", "planarconfig": "contig", "compression": "zlib", "predictor": True}
    data = repacked(write((deep, {**options, "tile": (64, 64)}), byteorder=">", bigtiff=True), "tiff_lzw")
    file = io.BytesIO(data)
    with tifffile.TiffFile(file) as opened:
        opened.pages[0].tags[tag].overwrite(65520)  # type: ignore[union-attr]
    with pytest.raises(
        ImageError, match=r"found samples that take .* pixels of 8 bytes; expected at most 20,000 pixels"
    ):
        load_image(file.getvalue(), limits=Limits(max_pixels=20_000))


def test_limits_hold_for_every_page() -> None:
    data = write(page(6, 8, 1, subfiletype=1), page(30, 40, 2))
    with pytest.raises(ImageError, match="found 40 x 30 pixels; expected at most 1,199"):
        load_image(data, limits=Limits(max_pixels=1199))


def test_a_deep_pil_image_from_a_file_is_read_as_the_file_is(tmp_path: Path) -> None:
    path = tmp_path / "negative.tif"
    path.write_bytes(write((colors(1)[:, :, 0].astype(np.uint16) * 257, {"photometric": "miniswhite"})))
    with Image.open(path) as image:
        np.testing.assert_array_equal(load_image(image), load_image(path))
    path.write_bytes(write(*[(colors(3) // number, {"photometric": "rgb"}) for number in (1, 2)]))
    with Image.open(path) as image:
        for number, _ in itertools.product((2, 1), range(2)):
            image.seek(number - 1)
            np.testing.assert_array_equal(load_image(image), colors(3) // number)

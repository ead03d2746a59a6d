"""Colors are sRGB, whatever the profile: the truth is computed here in floating point, without a color library."""

from __future__ import annotations

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from showtell.images import color
from showtell.images.load import inspect_image, load_image

D50 = (0.9642, 1.0, 0.8249)
SPACES = {  # primaries in XYZ adapted to D50, by their standards, and a gamma
    "Display P3": (
        ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
        2.2,
    ),
    "Adobe RGB": (
        ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
        2.2,
    ),
    "Rec. 2020": (
        ((0.67348, 0.27904, -0.00194), (0.16566, 0.67534, 0.02998), (0.12505, 0.04561, 0.79685)),
        2.4,
    ),
}
SRGB = np.array(((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))).T


def truth(height: int = 48, width: int = 64) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return muted and strong colors of sRGB, which every space above contains."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 20 + 215 * x // (width - 1), 30 + 200 * y // (height - 1)
    return np.stack([red, green, 235 - (red + green) // 3], axis=2).astype(np.uint8)


def linear(srgb: Any) -> Any:
    value = np.asarray(srgb) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def in_space(srgb: Any, space: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the same colors in another space."""
    primaries, gamma = SPACES[space]
    light = linear(srgb) @ SRGB.T @ np.linalg.inv(np.array(primaries))
    return np.rint(255 * np.clip(light, 0, 1) ** (1 / gamma)).astype(np.uint8)


def in_srgb(pixels: Any, space: str) -> np.ndarray[Any, Any]:
    """Return colors of a space in sRGB, by floating point."""
    primaries, gamma = SPACES[space]
    light = np.clip((pixels / 255) ** gamma @ np.array(primaries) @ np.linalg.inv(SRGB).T, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def icc(
    space: bytes, tags: dict[bytes, bytes], *, kind: bytes = b"mntr", connection: bytes = b"XYZ "
) -> bytes:
    place, table, body = 132 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        padded = content + bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, place + len(body), len(content))
        body += padded
    head = struct.pack(
        ">I4sI4s4s4s12s4s28x", place + len(body), b"", 0x02100000, kind, space, connection, b"", b"acsp"
    )
    head += xyz(D50)[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def xyz(values: Any) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in values))


def gamma_curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * gamma))


def rgb_profile(space: str) -> bytes:
    primaries, gamma = SPACES[space]
    tags = {b"wtpt": xyz(D50)}
    for letter, values in zip((b"r", b"g", b"b"), primaries, strict=True):
        tags |= {letter + b"XYZ": xyz(values), letter + b"TRC": gamma_curve(gamma)}
    return icc(b"RGB ", tags)


def gray_profile(gamma: float) -> bytes:
    return icc(b"GRAY", {b"wtpt": xyz(D50), b"kTRC": gamma_curve(gamma)})


def cmyk_profile() -> bytes:
    """Return a press whose black is dark blue: L*a*b* by two points for each of four inks."""
    ramp = bytes(range(256))
    table = b"".join(
        bytes((0 if inks else 255, 128, 128)) if inks != 1 else bytes((51, 128, 78)) for inks in range(16)
    )
    body = struct.pack(">4s4xBBBx", b"mft1", 4, 3, 2) + struct.pack(
        ">9i", *(65536 * (n % 4 == 0) for n in range(9))
    )
    return icc(
        b"CMYK",
        {b"wtpt": xyz(D50), b"A2B0": body + 4 * ramp + table + 3 * ramp},
        kind=b"prtr",
        connection=b"Lab ",
    )


def srgb_profile() -> bytes:
    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def encode(pixels: Any, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, format, **options)
    return file.getvalue()


def with_cicp(png: bytes, primaries: int, transfer: int) -> bytes:
    body = b"cICP" + bytes((primaries, transfer, 0, 1))
    chunk = struct.pack(">I", 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:33] + chunk + png[33:]


def apart(found: Any, expected: Any) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found.astype(int) - expected).max())


def every_road(data: bytes, folder: Path) -> list[Any]:
    path = folder / "image"
    path.write_bytes(data)
    with Image.open(path) as opened, Image.open(io.BytesIO(data)) as in_memory:
        return [load_image(source) for source in (path, data, opened, in_memory)]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("WEBP", {"lossless": True}),
        ("JPEG", {"quality": 100, "subsampling": 0}),
        ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
    ],
)
def test_profiles_become_srgb_on_every_road(space: str, format: str, options: Any, tmp_path: Path) -> None:
    pixels = in_space(truth(), space)
    first, *others = every_road(encode(pixels, format, icc_profile=rgb_profile(space), **options), tmp_path)
    assert np.abs(first.astype(int) - truth()).mean() < 2
    if format not in ("JPEG", "AVIF"):
        assert apart(first, in_srgb(pixels, space)) <= 2
    assert apart(load_image(encode(pixels, format, **options)), truth()) > 20
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize(("package", "format"), [("pillow_heif", "HEIF"), ("pillow_jxl", "JXL")])
def test_profiles_of_heic_and_jpeg_xl_are_applied(package: str, format: str) -> None:
    extra = pytest.importorskip(package)
    if format == "HEIF":
        extra.register_heif_opener()
        options: Any = {"quality": -1, "chroma": 444, "icc_profile": rgb_profile("Display P3")}
        data = encode(in_space(truth(), "Display P3"), format, **options)
        assert np.abs(load_image(data).astype(int) - truth()).mean() < 1.5
    plain = load_image(
        encode(truth(), format, **({"lossless": True} if format == "JXL" else {"quality": -1}))
    )  # the profile that JPEG XL always has is sRGB
    assert np.abs(plain.astype(int) - truth()).mean() < 1.5


def test_transparent_colors_are_converted_before_they_are_blended() -> None:
    alpha = np.full((48, 64, 1), 102, np.uint8)
    pixels = np.concatenate([in_space(truth(), "Rec. 2020"), alpha], axis=2)
    found = load_image(encode(pixels, "PNG", icc_profile=rgb_profile("Rec. 2020")))
    assert apart(found, in_srgb(pixels[..., :3], "Rec. 2020") * 0.4 + 255 * 0.6) <= 2


def test_a_palette_is_converted() -> None:
    image = Image.fromarray(in_space(truth(), "Adobe RGB")).quantize(256)
    expected = load_image(encode(image.convert("RGB"), "PNG", icc_profile=rgb_profile("Adobe RGB")))
    np.testing.assert_array_equal(
        load_image(encode(image, "PNG", icc_profile=rgb_profile("Adobe RGB"))), expected
    )


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG"])
def test_gray_profiles_are_applied(mode: str, format: str) -> None:
    if format == "JPEG" and mode != "L":
        pytest.skip("JPEG has gray of 8 bits alone")
    levels = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
    light = (levels / 255) ** 1.5
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    pixels = {
        "L": levels,
        "LA": np.stack([levels, np.full_like(levels, 255)], 2),
        "I;16": levels * np.uint16(257),
    }
    options = {"quality": 100} if format == "JPEG" else {}
    found = load_image(encode(pixels[mode], format, icc_profile=gray_profile(1.5), **options))
    assert apart(found, np.repeat(expected[:, :, None], 3, 2)) <= (4 if format == "JPEG" else 2)


def test_gray_pixels_with_a_profile_of_colors_are_converted_too() -> None:
    levels = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
    gray, rgb = (
        encode(each, "PNG", icc_profile=rgb_profile("Rec. 2020"))
        for each in (levels, np.stack(3 * [levels], 2))
    )
    np.testing.assert_array_equal(load_image(gray), load_image(rgb))


def test_cmyk_is_converted_by_its_profile(tmp_path: Path) -> None:
    inks = np.zeros((16, 32, 4), np.uint8)
    inks[:, 16:, 3] = 255  # black ink alone, which this press prints as dark blue
    image = Image.fromarray(inks, "CMYK")
    for format, options in (("TIFF", {}), ("JPEG", {"quality": 100})):
        first, *others = every_road(encode(image, format, icc_profile=cmyk_profile(), **options), tmp_path)
        assert first[:, :15].min() >= 253
        red, green, blue = first[8, 24].tolist()
        assert blue > 90
        assert red < 40 < blue - green
        for other in others:
            np.testing.assert_array_equal(other, first)
        plain = load_image(encode(image, format, **options))
        assert plain[8, 24].max() <= 3


def test_reduced_decoding_has_the_same_colors() -> None:
    pixels = np.kron(truth(24, 32), np.ones((16, 16, 1), np.uint8))
    data = encode(in_space(pixels, "Display P3"), "JPEG", quality=98, icc_profile=rgb_profile("Display P3"))
    found = load_image(data, at_least=48)
    assert found.shape == (48, 64, 3)
    assert np.abs(found.astype(int) - pixels[::8, ::8]).mean() < 1.5


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_srgb_keeps_its_pixels(format: str) -> None:
    np.testing.assert_array_equal(
        load_image(encode(truth(), format, icc_profile=srgb_profile())), load_image(encode(truth(), format))
    )


BROKEN = {
    "cut": rgb_profile("Adobe RGB")[:200],
    "no profile": b"this is no profile",
    "zeros": bytes(400),
    "of gray": gray_profile(1.0),
    "of four inks": cmyk_profile(),
    "too large": rgb_profile("Adobe RGB") + bytes(5 * 2**20),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_profile_that_cannot_be_used_is_ignored(kind: str) -> None:
    np.testing.assert_array_equal(load_image(encode(truth(), "TIFF", icc_profile=BROKEN[kind])), truth())
    image = Image.fromarray(truth()).convert("CMYK")
    if kind != "of four inks":
        found = load_image(encode(image, "TIFF", icc_profile=BROKEN[kind]))
        np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))


def test_large_images_are_converted_strip_by_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(in_space(truth(), "Rec. 2020"), "PNG", icc_profile=rgb_profile("Rec. 2020"))
    whole = load_image(data)
    monkeypatch.setattr(color, "_STRIP", 200)  # three rows at a time
    np.testing.assert_array_equal(load_image(data), whole)


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "L"])
def test_large_images_are_reduced_before_their_colors_are_converted(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = {"RGB": rgb_profile("Adobe RGB"), "CMYK": cmyk_profile(), "L": gray_profile(1.0)}[mode]
    blocks = Image.fromarray(truth(12, 16).repeat(4, axis=0).repeat(4, axis=1)).convert(mode)
    data = encode(blocks, "TIFF", icc_profile=profile)
    whole = load_image(data)
    monkeypatch.setattr("showtell.images.load.LARGE", 100)
    np.testing.assert_array_equal(load_image(data, at_least=12), whole[::4, ::4])


def test_colors_are_not_converted_to_find_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(encode(truth(), "PNG", icc_profile=rgb_profile("Adobe RGB")))
    monkeypatch.setattr("showtell.images.pixels.color_profile", lambda _: pytest.fail("converted"))
    info = inspect_image(path)
    assert (info.height, info.width) == truth().shape[:2]


def test_threads_share_a_profile() -> None:
    files = [encode(in_space(truth(), space), "PNG", icc_profile=rgb_profile(space)) for space in SPACES]
    alone = [load_image(data) for data in files]
    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(load_image, 20 * files)):
            np.testing.assert_array_equal(found, alone[number % len(files)])


# ---- code points


@pytest.mark.parametrize(
    ("primaries", "transfer", "space"), [(12, 4, "Display P3"), (9, 4, "Rec. 2020"), (1, 8, "linear sRGB")]
)
def test_code_points_of_a_png_are_applied_on_every_road(
    primaries: int, transfer: int, space: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SPACES, "linear sRGB", (tuple(map(tuple, SRGB.T)), 1.0))
    monkeypatch.setitem(SPACES, "Rec. 2020", (SPACES["Rec. 2020"][0], 2.2))
    pixels = in_space(truth(), space)
    png = encode(pixels, "PNG", icc_profile=rgb_profile("Adobe RGB"))
    for found in every_road(with_cicp(png, primaries, transfer), tmp_path):
        assert apart(found, in_srgb(pixels, space)) <= 2  # they take precedence over the profile


@pytest.mark.parametrize("transfer", [1, 6, 13, 14, 15])
def test_curves_of_video_are_shown_as_srgb(transfer: int) -> None:
    np.testing.assert_array_equal(load_image(with_cicp(encode(truth(), "PNG"), 1, transfer)), truth())


@pytest.mark.parametrize(("transfer", "white", "middle"), [(16, 148, 92), (18, 191, 128)])
def test_white_paper_of_high_dynamic_range_is_white(transfer: int, white: int, middle: int) -> None:
    """203 cd/m² is 58 % in PQ and 75 % in HLG (ITU-R BT.2408); what is brighter is white too."""
    levels = np.array([[[0] * 3, [middle] * 3, [white] * 3, [255] * 3]], np.uint8)
    found = load_image(with_cicp(encode(levels, "PNG"), 9, transfer))[0, :, 0]
    assert found[0] == 0
    assert 60 < found[1] < 150
    assert found[2] >= 252
    assert found[3] == 255


@pytest.mark.parametrize("points", [(2, 2), (0, 0), (12, 3), (200, 13), (1, 2)])
def test_unspecified_and_unknown_code_points_mean_srgb(points: tuple[int, int]) -> None:
    np.testing.assert_array_equal(load_image(with_cicp(encode(truth(), "PNG"), *points)), truth())


def test_code_points_of_an_avif_are_applied() -> None:
    data = encode(in_space(truth(), "Display P3"), "AVIF", quality=100, subsampling="4:4:4")
    start = data.index(b"colrnclx") + 8
    data = data[:start] + struct.pack(">HH", 12, 4) + data[start + 4 :]
    assert np.abs(load_image(data).astype(int) - truth()).mean() < 1.5


def test_code_points_of_a_heic_image_are_applied() -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    data = encode(in_space(truth(), "Display P3"), "HEIF", quality=-1, chroma=444)
    start = data.index(b"colrnclx") + 8
    data = data[:start] + struct.pack(">HH", 12, 4) + data[start + 4 :]
    assert np.abs(load_image(data).astype(int) - truth()).mean() < 1.5

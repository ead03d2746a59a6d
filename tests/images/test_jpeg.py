"""A JPEG whose every pixel is there is read, one cut short is an error, and simplejpeg gets ordinary kinds alone."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from showtell.errors import ImageError
from showtell.images.load import Limits, inspect_image, load_image

END_MARK = b"\xff\xd9"
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "baseline": ("RGB", {}),
    "4:4:4": ("RGB", {"subsampling": 0}),
    "restart marks": ("RGB", {"restart_marker_blocks": 7}),
    "optimized": ("RGB", {"optimize": True}),
    "progressive": ("RGB", {"progressive": True}),
    "gray": ("L", {}),
    "progressive gray": ("L", {"progressive": True}),
    "CMYK": ("CMYK", {"subsampling": 0}),
    "CMYK 4:2:0": ("CMYK", {"subsampling": 2}),
    "progressive CMYK": ("CMYK", {"progressive": True, "subsampling": 0}),
    "progressive CMYK 4:2:0": ("CMYK", {"progressive": True, "subsampling": 2}),
}


def encode(mode: str = "RGB", **options: Any) -> bytes:
    """Return a JPEG of 160 x 120 pixels, with a little noise in every block."""
    rng = np.random.default_rng(3)
    image = Image.fromarray(rng.integers(60, 200, (15, 20, 3), dtype=np.uint8)).resize((160, 120))
    file = io.BytesIO()
    image.convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def flat(sampling: list[tuple[int, int]], width: int, height: int, *, frame: int = 0xC0) -> bytes:
    """Return a JPEG of one gray, whose channels are sampled so and so often in each direction."""
    file = io.BytesIO()
    Image.new(
        {1: "L", 3: "RGB"}[len(sampling)], (8, 8), (128,) * len(sampling) if len(sampling) > 1 else 128
    ).save(file, "JPEG", subsampling=0)
    data = bytearray(file.getvalue())
    header = data.index(b"\xff\xc0")
    data[header + 1] = frame
    data[header + 5 : header + 9] = height.to_bytes(2) + width.to_bytes(2)
    for channel, (horizontal, vertical) in enumerate(sampling):
        data[header + 11 + 3 * channel] = 16 * horizontal + vertical
    scan = data.index(b"\xff\xda")
    start = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4])
    # Blocks without change and without detail, in the codes of the standard's tables: brightness, then colors.
    blocks = ["001010"] + ["0000"] * (len(sampling) - 1)
    unit = "".join(block * across * down for block, (across, down) in zip(blocks, sampling, strict=True))
    across, down = (8 * max(each[way] for each in sampling) for way in (0, 1))
    count = -(-width // across) * -(-height // down)
    bits = unit * count + "1" * (-len(unit) * count % 8)
    return bytes(data[:start]) + int(bits, 2).to_bytes(len(bits) // 8) + END_MARK


def roads(data: bytes, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return every way that a JPEG file enters; each call decodes it."""
    path = folder / "a.jpg"
    path.write_bytes(data)

    def opened(size: tuple[int, int] | None = None) -> Any:
        with Image.open(path) as image:
            image.draft(image.mode, size)
            return load_image(image)

    return {
        "path": lambda: load_image(path),
        "bytes": lambda: load_image(data),
        "PIL": opened,
        "reduced path": lambda: load_image(path, at_least=30),
        "reduced bytes": lambda: load_image(data, at_least=30),
        "draft": lambda: opened((80, 60)),
        "inspect": lambda: inspect_image(path),
    }


def assert_cut_short(data: bytes, folder: Path, message: str = "cut short") -> None:
    for name, road in roads(data, folder).items():
        with pytest.raises(ImageError, match=rf"corrupt or incomplete \({message}"):
            raise AssertionError(f"{name}: {road()}")


# ---- whether every pixel is there


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", [b"", b"\0" * 5000, b"\xff", b"\0"])
def test_a_jpeg_without_its_end_mark_is_read_on_every_road(kind: str, end: bytes, tmp_path: Path) -> None:
    mode, options = KINDS[kind]
    whole = encode(mode, **options)
    assert whole.endswith(END_MARK)
    expected = {
        name: road() for name, road in roads(whole, tmp_path).items() if name not in ("draft", "inspect")
    }
    ways = roads(whole[:-2] + end, tmp_path)
    for name, image in expected.items():
        np.testing.assert_array_equal(ways[name](), image)
    info = ways["inspect"]()
    assert (info.width, info.height) == (160, 120)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", [b"", END_MARK, b"\0" * 5000, END_MARK + b"\0" * 5000, b"\xff\xd8\xff\xe0"])
def test_half_a_jpeg_is_an_error_on_every_road(kind: str, end: bytes, tmp_path: Path) -> None:
    mode, options = KINDS[kind]
    whole = encode(mode, **options)
    start = whole.index(b"\xff\xda")
    assert_cut_short(whole[: start + (len(whole) - start) // 2] + end, tmp_path)
    assert_cut_short(whole[: start + 16] + end, tmp_path, message="")  # libjpeg has several words for it


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_whose_last_blocks_are_missing_is_an_error(kind: str, tmp_path: Path) -> None:
    mode, options = KINDS[kind]
    assert_cut_short(encode(mode, **options)[:-20] + END_MARK, tmp_path)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("end", [b"", END_MARK])
def test_a_progressive_jpeg_needs_its_last_scan(mode: str, end: bytes, tmp_path: Path) -> None:
    whole = encode(mode, progressive=True)
    assert_cut_short(whole[: whole.rindex(b"\xff\xda")] + end, tmp_path)


def test_a_warning_about_the_header_does_not_hide_that_pixels_are_missing(tmp_path: Path) -> None:
    """libjpeg reports only its first warning."""
    odd = encode().replace(b"JFIF\0\1\1", b"JFIF\0\7\1")
    np.testing.assert_array_equal(load_image(odd), load_image(encode()))
    np.testing.assert_array_equal(load_image(odd, at_least=30), load_image(encode(), at_least=30))
    assert_cut_short(odd[: len(odd) // 2] + END_MARK, tmp_path)


def test_bytes_after_the_last_pixel_do_not_matter() -> None:
    whole = encode()
    for data in (whole + b"\0" * 999, whole + b"junk", whole[:-2] + b"12345678" + END_MARK, whole + whole):
        np.testing.assert_array_equal(load_image(data), load_image(whole))


def test_a_loaded_pil_image_is_taken_as_it_is() -> None:
    image = Image.open(io.BytesIO(encode()))
    image.load()
    np.testing.assert_array_equal(load_image(image), load_image(encode()))


@pytest.mark.parametrize("size", [(1, 1), (5, 60), (60, 5)])
def test_small_images_are_checked_too(size: tuple[int, int], tmp_path: Path) -> None:
    for mode, subsampling in (("RGB", 2), ("L", 0), ("CMYK", 0), ("CMYK", 2)):
        file = io.BytesIO()
        Image.new("RGB", size, (90, 60, 30)).convert(mode).save(file, "JPEG", subsampling=subsampling)
        np.testing.assert_array_equal(load_image(file.getvalue()[:-2]), load_image(file.getvalue()))
        assert load_image(file.getvalue()).shape == (size[1], size[0], 3)


# ---- which decoder gets it


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        (0xC3, "a lossless JPEG"),
        (0xC5, "a hierarchical JPEG"),
        (0xC6, "a hierarchical JPEG"),
        (0xC7, "a hierarchical JPEG"),
        (0xC9, "a JPEG with arithmetic coding"),
        (0xCA, "a JPEG with arithmetic coding"),
        (0xCB, "a JPEG with arithmetic coding"),
        (0xCF, "a JPEG with arithmetic coding"),
        (0xF7, "a JPEG-LS image"),
    ],
)
@pytest.mark.parametrize("at_least", [0, 8])
def test_rare_kinds_are_named_and_reach_no_decoder(
    frame: int, name: str, at_least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for function in ("decode_jpeg", "decode_jpeg_header"):
        monkeypatch.setattr(simplejpeg, function, lambda *_, **__: pytest.fail("reached simplejpeg"))
    path = tmp_path / "rare.jpg"
    path.write_bytes(flat([(1, 1)] * 3, 64, 64, frame=frame))
    for read in (lambda: load_image(path, at_least=at_least), lambda: inspect_image(path)):
        with pytest.raises(
            ImageError, match=rf"rare\.jpg: found {name}; expected .*Convert it, or leave it out"
        ):
            read()


def test_twelve_bits_are_named() -> None:
    data = flat([(1, 1)] * 3, 64, 64, frame=0xC1)
    header = data.index(b"\xff\xc1")
    with pytest.raises(ImageError, match="found a JPEG of 12 bits per channel; expected"):
        load_image(data[: header + 4] + bytes([12]) + data[header + 5 :])


@pytest.mark.parametrize("frame", [0xC0, 0xC1])
def test_baseline_and_extended_frames_are_decoded_at_a_fraction(frame: int) -> None:
    data = flat([(2, 2), (1, 1), (1, 1)], 200, 104, frame=frame)
    assert load_image(data, at_least=13).shape == (13, 25, 3)


@pytest.mark.parametrize("first", list(itertools.product((1, 2, 3, 4), (1, 2))))
@pytest.mark.parametrize("others", [(1, 1), (2, 1)])
def test_channels_may_be_sampled_in_any_way(first: tuple[int, int], others: tuple[int, int]) -> None:
    sampling = [first, others, (1, 1)]
    if sum(across * down for across, down in sampling) > 10:
        return  # more than the standard allows
    if first[0] == 3 and others[0] == 2:
        with pytest.raises(ImageError, match="found a JPEG with channels at sizes such as 2/3; expected"):
            load_image(flat(sampling, 100, 75))
        return
    for at_least in (0, 10):
        image = load_image(flat(sampling, 100, 75), at_least=at_least)
        assert image.shape[2] == 3
        assert np.abs(image.astype(int) - 128).max() <= 1
    assert load_image(flat(sampling, 100, 75)).shape == (75, 100, 3)


# ---- sizes


@pytest.mark.thorough
def test_200_megapixels_are_decoded_at_an_eighth(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    path.write_bytes(flat([(2, 2), (1, 1), (1, 1)], 16_320, 12_240))
    assert load_image(path, at_least=960).shape == (1530, 2040, 3)
    info = inspect_image(path)
    assert (info.width, info.height) == (16_320, 12_240)
    with pytest.raises(
        ImageError, match=r"found 16320 x 12240 pixels; expected at most 178,956,970.*Scale it down"
    ):
        load_image(path)
    path.write_bytes(path.read_bytes()[:1_500_000] + END_MARK)
    for read in (lambda: load_image(path, at_least=960), lambda: inspect_image(path)):
        with pytest.raises(ImageError, match="cut short"):
            read()


def test_a_short_file_that_declares_many_pixels_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *_, **__: pytest.fail("decoded"))
    small = flat([(1, 1)] * 3, 64, 64)
    size = small.index(b"\xff\xc0") + 5
    data = small[:size] + (12_000).to_bytes(2) * 2 + small[size + 4 :]
    with pytest.raises(ImageError, match=r"cut short: [\d,]+ bytes cannot hold 12000 x 12000 pixels"):
        load_image(data)


def test_a_progressive_jpeg_is_limited_by_what_decoding_holds() -> None:
    data = encode(progressive=True)
    assert load_image(data, limits=Limits(max_pixels=19_200), at_least=15).shape == (15, 20, 3)
    with pytest.raises(
        ImageError, match="found a progressive JPEG of 160 x 120 pixels, which are decoded all at"
    ):
        load_image(data, limits=Limits(max_pixels=19_199), at_least=15)
    assert load_image(encode(), limits=Limits(max_pixels=300), at_least=15).shape == (15, 20, 3)


# ---- several pictures in one file


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    return data[:2] + bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2) + body + data[2:]


def test_the_first_of_several_pictures_is_read(tmp_path: Path) -> None:
    image = load_image(encode())
    other = Image.new("L", (40, 30), 255)
    gain_map = io.BytesIO()
    other.save(gain_map, "JPEG")
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/' hdrgm:Version='1.0'/>"
    video = (24).to_bytes(4) + b"ftypmp42" + bytes(12) + (5000).to_bytes(4) + b"mdat" + bytes(range(256)) * 19
    for data in (
        with_segment(encode(), 0xE1, xmp) + gain_map.getvalue(),  # a photograph with a gain map (Ultra HDR)
        with_segment(encode(), 0xE1, xmp) + video,  # a motion photo
    ):
        ways = roads(data, tmp_path)
        for name in ("path", "bytes", "PIL"):
            np.testing.assert_array_equal(ways[name](), image)
        np.testing.assert_array_equal(ways["reduced path"](), load_image(encode(), at_least=30))
        info = ways["inspect"]()
        assert (info.width, info.height) == (160, 120)


def test_another_frame_of_a_pil_image_is_that_frame() -> None:
    file = io.BytesIO()
    second = Image.new("RGB", (40, 30), (200, 30, 30))
    Image.open(io.BytesIO(encode())).save(file, "MPO", save_all=True, append_images=[second])
    assert (
        load_image(file.getvalue()).shape == load_image(file.getvalue(), at_least=120).shape == (120, 160, 3)
    )
    with Image.open(file) as image:
        assert image.n_frames == 2  # type: ignore[attr-defined]
        image.seek(1)
        assert load_image(image).shape == (30, 40, 3)
        image.seek(0)
        assert load_image(image).shape == (120, 160, 3)


def test_a_picture_cut_short_before_the_next_one_is_an_error(tmp_path: Path) -> None:
    whole = encode()
    assert_cut_short(whole[: len(whole) // 2] + END_MARK + whole, tmp_path)

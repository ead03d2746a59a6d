"""Live pictures: whole views that are judged, random windows that are trained on, in the order asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from showtell.data.memories import LivePictures
from showtell.data.prepared import PreparedSet
from showtell.errors import PictureError
from showtell.images import Preprocessing, load_picture, prepare_picture, window_at

CROPPED = Preprocessing(size=16, resize="crop", crop=0.5)
NOBODY = np.zeros(4, dtype=bool)


@pytest.fixture
def rows(toy_set: PreparedSet) -> npt.NDArray[np.int64]:
    return toy_set.split_rows("train")[[3, 0, 7, 7]]


def test_without_places_the_view_that_is_judged_is_shown(
    toy_set: PreparedSet, rows: npt.NDArray[np.int64]
) -> None:
    live = LivePictures(toy_set, CROPPED, crop=0.5)
    expected = [prepare_picture(load_picture(toy_set.picture_path(row)), CROPPED) for row in rows.tolist()]
    assert np.array_equal(live.load(rows, NOBODY).numpy(), np.stack(expected))


def test_places_change_nothing_where_no_window_is_asked_for(
    toy_set: PreparedSet, rows: npt.NDArray[np.int64]
) -> None:
    live = LivePictures(toy_set, CROPPED)
    places = np.random.default_rng(0).random((4, 2))
    assert np.array_equal(live.load(rows, NOBODY, places), live.load(rows, NOBODY))


def test_windows_lie_where_they_are_placed_and_are_mirrored_after(
    toy_set: PreparedSet, rows: npt.NDArray[np.int64]
) -> None:
    live = LivePictures(toy_set, CROPPED, crop=0.5, threads=3)
    places = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    mirrored = np.array([False, False, False, True])
    shown = live.load(rows, mirrored, places).numpy()
    whole = [load_picture(toy_set.picture_path(row)) for row in rows.tolist()]  # 32 x 32 pixels
    # Half of 32 pixels is the encoder's 16: windows at the corners are cut without resizing.
    assert np.array_equal(shown[0], whole[0][:16, :16])
    assert np.array_equal(shown[1], whole[1][16:, 16:])
    assert np.array_equal(shown[2], whole[2][:16, 16:])
    assert np.array_equal(shown[3], shown[2][:, ::-1])


def test_a_picture_that_is_gone_is_named(
    toy_set: PreparedSet, rows: npt.NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PreparedSet, "picture_path", lambda self, row: Path(f"gone/{row}.jpg"))
    with pytest.raises(PictureError, match=r"cannot read gone/\d+\.jpg: found no such file"):
        LivePictures(toy_set, CROPPED).load(rows, NOBODY)


@pytest.mark.parametrize("resize", ["squash", "crop"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 999), (480, 640), (333, 77)])
@pytest.mark.parametrize("share", [0.1, 0.875, 1.0])
def test_every_window_lies_inside_its_picture(resize: str, height: int, width: int, share: float) -> None:
    preprocessing = Preprocessing(size=16, resize=resize)  # type: ignore[arg-type]
    generator = np.random.default_rng(1)
    for down, right in [(0.0, 0.0), (1.0, 1.0), *generator.random((20, 2)).tolist()]:
        window = window_at(down, right, height, width, preprocessing, share=share)
        left, top, end, bottom = window
        assert 0 <= left < end <= width
        assert 0 <= top < bottom <= height
        short = min(height, width)
        sides = (share * height, share * width) if resize == "squash" else (share * short,) * 2
        assert (bottom - top, end - left) == pytest.approx(sides)
        blank = np.zeros((height, width, 3), np.uint8)
        assert prepare_picture(blank, preprocessing, window=window).shape == (16, 16, 3)

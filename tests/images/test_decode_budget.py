"""Large images of several threads are decoded within a budget of pixels, each format from its first pixel on."""

from __future__ import annotations

import io
import pkgutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from PIL import Image

from showtell.images import decode_budget
from showtell.images.decode_budget import decoding
from showtell.images.load import load_image


@pytest.fixture
def budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_budget, "LARGE", 100)
    monkeypatch.setattr(decode_budget, "_TOTAL", 1000)


@pytest.mark.usefixtures("budget")
def test_threads_stay_within_the_budget_and_all_get_their_turn() -> None:
    running: dict[int, int] = {}
    peaks = []

    def decode(number: int) -> None:
        pixels = (90, 300, 400, 700, 5000)[number % 5]
        with decoding(pixels):
            running[number] = pixels if pixels > 100 else 0
            peaks.append([each for each in running.copy().values() if each])
            time.sleep(0.001)
            del running[number]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, range(200), timeout=60))
    assert max(sum(each) for each in peaks if 5000 not in each) <= 1000
    assert max(len(each) for each in peaks) > 1
    assert all(len(each) == 1 for each in peaks if 5000 in each)


@pytest.mark.usefixtures("budget")
def test_a_larger_image_is_not_kept_waiting_by_smaller_ones() -> None:
    done = threading.Event()

    def decode_small_ones() -> None:
        while not done.is_set():
            with decoding(300):
                time.sleep(0.001)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(decode_small_ones)
        for _ in range(5):
            with decoding(5000):
                pass
        done.set()


@pytest.mark.usefixtures("budget")
def test_an_error_frees_its_pixels() -> None:
    for _ in range(3):
        with pytest.raises(KeyError), decoding(900):
            raise KeyError
    with decoding(900), decoding(100):
        pass


@pytest.mark.usefixtures("budget")
def test_small_images_are_always_decoded() -> None:
    with decoding(1000), decoding(100), decoding(100):
        pass


@pytest.mark.usefixtures("budget")
@pytest.mark.parametrize(
    ("kind", "decoder"), [("JXL", "PIL.Image.open"), ("TIFF", "showtell.images.tiff._to_image")]
)
def test_pixels_that_are_decoded_on_opening_wait_too(
    kind: str, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.tile(np.arange(20, dtype=np.uint8)[:, None, None], (1, 30, 3))
    file = io.BytesIO()
    if kind == "JXL":
        pytest.importorskip("pillow_jxl")
        Image.fromarray(pixels).save(file, "JXL", lossless=True)
    else:
        tifffile.imwrite(file, pixels, photometric="rgb", bigtiff=True, byteorder=">")
    calls = []
    decode = pkgutil.resolve_name(decoder)
    monkeypatch.setattr(decoder, lambda *args, **options: calls.append(1) or decode(*args, **options))
    with ThreadPoolExecutor(1) as pool:
        with decoding(5000):
            loaded = pool.submit(load_image, file.getvalue())
            time.sleep(0.1)
            assert not calls
        np.testing.assert_array_equal(loaded.result(timeout=60), pixels)
    assert calls

"""The facade: every kind of picture, errors in their places, the same caption in every batch."""

from __future__ import annotations

import io
import math
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from showtell.config.generation import DecodingOptions
from showtell.config.preprocessing import Preprocessing
from showtell.errors import CheckpointError, ConfigError, ImageError
from showtell.generation import Hypothesis
from showtell.images.attention_overlay import TILE
from showtell.images.preprocess import load_and_preprocess
from showtell.inference.caption import Caption, View
from showtell.inference.captioner import Captioner
from showtell.inference.torch_backend import TorchBackend
from showtell.system.batch_pool import BatchPool
from showtell.tokenizer import Tokenizer

Picture = npt.NDArray[np.uint8]


def picture(seed: int, height: int = 40, width: int = 32) -> Picture:
    """A picture of coarse coloured squares."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 4, 3), np.uint8)
    return coarse.repeat(-(-height // 5), 0).repeat(-(-width // 4), 1)[:height, :width]


def png(array: Picture) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def captioner(tiny_checkpoint: Callable[[str], Path]) -> Captioner:
    return Captioner.load(tiny_checkpoint("attention"), device="cpu")


class NumberBackend:
    """Says the mean of a picture's first channel as a number word; knows no torch."""

    def __init__(self, tokenizer: Tokenizer | None = None) -> None:
        self.tokenizer = tokenizer or Tokenizer.fit([f"n{number}" for number in range(256)], min_count=1)
        self.generation = DecodingOptions()
        self.preprocessing = Preprocessing(size=16)
        self.grid = (1, 2)
        self.networks, self.place = "small encoder, lstm decoder", "cpu"
        self.batch_pool = BatchPool()
        self.batches: list[int] = []

    def generate(
        self,
        pictures: Picture,
        options: DecodingOptions,
        *,
        attention: bool,
        on_step: object = None,
        constraints: object = (),
    ) -> list[list[Hypothesis]]:
        assert pictures.shape[1:] == (16, 16, 3)
        self.batches.append(len(pictures))
        found = []
        for one in pictures:
            ids = self.tokenizer.encode(f"n{round(float(one[..., 0].mean()))}")
            looks = np.tile(np.arange(len(ids), dtype=np.float32)[:, None], (1, 2)) if attention else None
            found.append([Hypothesis(ids, -1.0, -2.0, [-0.5] * len(ids), False, looks)])
        return found


def grey(value: int) -> Picture:
    return np.full((4, 4, 3), value, np.uint8)


@given(
    st.lists(st.one_of(st.integers(0, 255), st.none()), max_size=12),
    st.integers(1, 5),
)
def test_captions_come_in_the_order_of_the_pictures_and_errors_in_their_places(
    values: list[int | None], batch_size: int
) -> None:
    backend = NumberBackend()
    sources = [b"no picture" if value is None else png(grey(value)) for value in values]
    captions = Captioner(backend).caption(sources, batch_size=batch_size)
    assert [caption.text for caption in captions] == ["" if v is None else f"n{v}" for v in values]
    assert [caption.error is None for caption in captions] == [value is not None for value in values]
    assert all(size <= batch_size for size in backend.batches)
    assert sum(backend.batches) == sum(value is not None for value in values)


def test_every_kind_of_picture_gives_the_same_caption(captioner: Captioner, tmp_path: Path) -> None:
    array = picture(1)
    path = tmp_path / "photo.png"
    path.write_bytes(png(array))
    sources = [path, str(path), path.read_bytes(), Image.open(path), array]
    captions = captioner.caption(sources)
    assert len({caption.text for caption in captions}) == 1
    assert captions[0].text
    assert [caption.path for caption in captions] == [str(path), str(path), None, None, None]
    for source, together in zip(sources, captions, strict=True):
        alone = captioner.caption(source)
        assert isinstance(alone, Caption)
        assert alone.text == together.text


def test_the_same_pil_image_may_stand_in_a_list_many_times(captioner: Captioner) -> None:
    image = Image.open(io.BytesIO(png(picture(2))))
    assert len({caption.text for caption in captioner.caption([image] * 20, batch_size=20)}) == 1


def test_an_array_of_four_dimensions_is_a_list_of_pictures(captioner: Captioner) -> None:
    arrays = np.stack([picture(1), picture(2)])
    assert [one.text for one in captioner.caption(arrays)] == [
        one.text for one in captioner.caption([picture(1), picture(2)])
    ]


def test_a_picture_turned_by_exif_gets_the_caption_of_the_upright_one(captioner: Captioner) -> None:
    upright = picture(3, 48, 24)
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(upright).copy()).save(buffer, "PNG", exif=exif)
    assert captioner.caption(buffer.getvalue()).text == captioner.caption(upright).text


@pytest.mark.parametrize("decoder", ["lstm", "attention"])
@pytest.mark.parametrize(
    "options", [{"beam_size": 3}, {"method": "greedy"}, {"temperature": 0.8, "samples": 2}], ids=str
)
def test_a_caption_does_not_depend_on_its_batch(
    tiny_checkpoint: Callable[[str], Path], decoder: str, options: dict[str, object]
) -> None:
    captioner = Captioner.load(tiny_checkpoint(decoder), device="cpu")
    sources: list[Picture | bytes] = [picture(seed) for seed in range(9)]
    sources[4] = b"broken"
    whole = captioner.caption(sources, **options)
    assert len({caption.text for caption in whole}) > 2
    for batch_size in (1, 2, 7):
        again = captioner.caption(sources, batch_size=batch_size, **options)
        assert [one.text for one in again] == [one.text for one in whole]
        assert [one.score for one in again] == pytest.approx([one.score for one in whole], abs=1e-4)


def test_one_bad_picture_raises_and_in_a_list_has_its_error(captioner: Captioner, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"")
    with pytest.raises(ImageError, match=r"cannot read .*bad\.jpg: found an empty file"):
        captioner.caption(bad)
    caption = captioner.caption([bad])[0]
    assert "bad.jpg: found an empty file" in str(caption.error)
    assert (caption.text, caption.score, caption.path) == ("", -math.inf, str(bad))
    good, missing, also_good = captioner.caption([picture(1), tmp_path / "none.jpg", picture(2)])
    assert good.text == captioner.caption(picture(1)).text
    assert also_good.text == captioner.caption(picture(2)).text
    assert "no such file" in str(missing.error)


def test_something_that_is_no_picture_at_all_is_refused(captioner: Captioner) -> None:
    with pytest.raises(ImageError, match=r"cannot read image \(int\)"):
        captioner.caption(5)  # type: ignore[call-overload]


def test_no_pictures_give_no_captions(captioner: Captioner) -> None:
    assert captioner.caption([]) == []


def test_alternatives_are_all_beams_best_first(captioner: Captioner) -> None:
    caption = captioner.caption(picture(1), beam_size=4)
    assert len(caption.alternatives) == 4
    assert (caption.alternatives[0].text, caption.alternatives[0].score) == (caption.text, caption.score)
    scores = [one.score for one in caption.alternatives]
    assert scores == sorted(scores, reverse=True)
    assert len({one.text for one in caption.alternatives}) == 4
    assert len(captioner.caption(picture(1), samples=5).alternatives) == 5


def test_words_and_their_log_probabilities_go_together(captioner: Captioner) -> None:
    caption = captioner.caption(picture(1), beam_size=2)
    assert len(caption.words) == len(caption.word_log_probs) > 0
    assert " ".join(caption.words).replace(" '", "'") == caption.text
    if caption.truncated:
        assert sum(caption.word_log_probs) == pytest.approx(caption.log_prob)
    else:
        assert sum(caption.word_log_probs) > caption.log_prob


def test_attention_is_one_map_per_word_and_only_when_asked(captioner: Captioner) -> None:
    caption = captioner.caption(picture(1), attention=True)
    rows, columns = captioner.grid
    assert caption.attention is not None
    assert caption.attention.shape == (len(caption.words), rows * columns)
    np.testing.assert_allclose(caption.attention.sum(axis=1), 1, atol=1e-5)
    assert captioner.caption(picture(1)).attention is None


def test_attention_of_a_decoder_without_it_is_refused(tiny_checkpoint: Callable[[str], Path]) -> None:
    blind = Captioner.load(tiny_checkpoint("lstm"), device="cpu")
    with pytest.raises(ConfigError, match="a decoder that does not attend to regions"):
        blind.caption(picture(1), attention=True)


def test_a_word_of_many_pieces_has_their_sum_and_the_mean_of_their_attention() -> None:
    backend = NumberBackend(Tokenizer.fit(["other words"], kind="bpe", min_count=1))
    pieces = backend.tokenizer.encode("n7")
    assert len(pieces) > 1
    caption = Captioner(backend).caption(grey(7), attention=True)
    assert (caption.text, caption.words) == ("n7", ["n7"])
    assert caption.word_log_probs == [-0.5 * len(pieces)]
    np.testing.assert_allclose(caption.attention, [[(len(pieces) - 1) / 2] * 2])


def test_options_go_over_those_of_the_checkpoint(captioner: Captioner) -> None:
    assert captioner.options.max_tokens == 8
    assert len(captioner.caption(picture(1), max_tokens=2).words) <= 2
    with pytest.raises(ConfigError, match=r"unknown key 'beam'\. Did you mean 'beam_size'"):
        captioner.caption(picture(1), beam=2)
    with pytest.raises(ConfigError, match="batch_size is out of range: found 0"):
        captioner.caption(picture(1), batch_size=0)


def test_forbidden_words_that_the_vocabulary_lacks_are_named_once(
    captioner: Captioner, capfd: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"forbidden": "zebra, red, a gnu"}
    for _ in range(2):
        captioner.caption([picture(1), picture(2)], batch_size=1, **options)
    warning = "warning: 'forbidden': the vocabulary lacks 'zebra', 'a gnu', which can never occur\n"
    assert capfd.readouterr().err == warning
    captioner.caption(picture(1), forbidden="red")
    assert not capfd.readouterr().err


def test_constraints_that_leave_no_caption_are_an_error_in_its_place(captioner: Captioner) -> None:
    def nothing_after_a_word(log_probs: Any, ids: Any) -> Any:
        if ids.shape[2] == 1:
            log_probs[...] = -np.inf
        return log_probs

    (caption,) = captioner.caption([picture(1)], constraints=[nothing_after_a_word])
    assert not caption.text
    assert caption.error is not None
    assert "found no caption of at most 8 tokens that meets all constraints" in caption.error
    with pytest.raises(ImageError, match="meets all constraints"):
        captioner.caption(picture(1), constraints=[nothing_after_a_word])


def test_a_stream_reads_no_further_than_the_batch_after_the_next() -> None:
    taken = 0

    def endless() -> Iterator[Picture]:
        nonlocal taken
        while True:
            taken += 1
            yield grey(9)

    stream = Captioner(NumberBackend()).stream(endless(), batch_size=4)
    assert next(stream).text == "n9"
    assert taken == 8
    stream.close()  # type: ignore[attr-defined]


def test_batch_pool_change_neither_captions_nor_their_order(
    captioner: Captioner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    pictures: list[Picture | Path] = [picture(seed) for seed in range(11)]
    pictures[3:3] = [tmp_path / "bad.png"]
    told = []
    for count in (1, 2, 3):
        monkeypatch.setattr(TorchBackend, "batch_pool", BatchPool(count))
        told.append(captioner.caption(pictures, batch_size=3, beam_size=2))
    assert told[0] == told[1] == told[2]
    assert [one.error is None for one in told[0]] == [place != 3 for place in range(12)]


def test_an_error_of_one_batch_ends_the_stream_after_those_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = NumberBackend()
    backend.batch_pool = BatchPool(2)
    generate = backend.generate

    def failing(
        pictures: Picture, options: DecodingOptions, *, attention: bool, on_step: object, constraints: object
    ) -> list[list[Hypothesis]]:
        if int(pictures[0, 0, 0, 0]) == 7:
            raise CheckpointError("the network is broken")
        return generate(pictures, options, attention=attention)

    monkeypatch.setattr(backend, "generate", failing)
    stream = Captioner(backend).stream([grey(number) for number in (5, 6, 7, 8)], batch_size=1)
    assert [next(stream).text, next(stream).text] == ["n5", "n6"]
    with pytest.raises(CheckpointError, match="the network is broken"):
        next(stream)


def test_a_stream_checks_its_options_before_its_first_picture() -> None:
    with pytest.raises(ConfigError, match="unknown key 'beans'"):
        Captioner(NumberBackend()).stream([], beans=3)


def test_concurrent_calls_do_not_mix(captioner: Captioner) -> None:
    expected = [captioner.caption(picture(seed)).text for seed in range(6)]
    results: dict[int, str] = {}

    def work(seed: int) -> None:
        results[seed] = captioner.caption(picture(seed)).text

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[seed] for seed in range(6)] == expected


def test_loading_refuses_what_is_not_there(tmp_path: Path, tiny_checkpoint: Callable[[str], Path]) -> None:
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        Captioner.load(tmp_path)
    with pytest.raises(ConfigError, match="the device 'gpu' cannot be used"):
        Captioner.load(tiny_checkpoint("lstm"), device="gpu")
    cut = tmp_path / "cut"
    shutil.copytree(tiny_checkpoint("lstm"), cut)
    weights = (cut / "decoder.safetensors").read_bytes()
    (cut / "decoder.safetensors").write_bytes(weights[:-10])
    with pytest.raises(
        CheckpointError, match=r"decoder\.safetensors is not the file that this checkpoint was saved with"
    ):
        Captioner.load(cut)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_bytes_of_any_kind_are_one_picture_and_captions_compare(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path, kind: Callable[[bytes], bytes]
) -> None:
    captioner = Captioner.load(tiny_checkpoint("attention"), device="cpu")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    said = captioner.caption(kind(content), attention=True)
    assert said == captioner.caption(content, attention=True)
    assert said.attention is not None
    assert [one.text for one in captioner.caption([kind(content), content])] == [said.text, said.text]


def test_a_buffer_may_be_filled_anew_for_each_picture(captioner: Captioner) -> None:
    pictures = [png(picture(seed)) for seed in range(6)]
    buffer = bytearray()

    def refilled() -> Iterator[bytearray]:
        for content in pictures:
            buffer[:] = content
            yield buffer

    said = [one.text for one in captioner.stream(refilled(), batch_size=2)]
    assert said == [one.text for one in captioner.caption(pictures)]
    assert len(set(said)) > 2


def test_a_folder_is_the_sequence_of_its_images(captioner: Captioner, tmp_path: Path) -> None:
    (tmp_path / "in" / "empty").mkdir(parents=True)
    for number in (10, 2):
        (tmp_path / "in" / f"{number}.png").write_bytes(png(picture(number)))
    found = captioner.caption(tmp_path / "in")
    assert [Path(str(one.path)).name for one in found] == ["2.png", "10.png"]
    mixed = captioner.caption([picture(1), str(tmp_path / "in"), tmp_path / "in" / "empty", picture(2)])
    assert [one.error is None for one in mixed] == [True, True, True, False, True]
    assert [one.text for one in mixed[1:3]] == [one.text for one in found]
    assert "empty" in str(mixed[3].error)


def test_a_caption_and_a_captioner_have_short_reprs(captioner: Captioner) -> None:
    caption = captioner.caption(picture(1))
    assert repr(caption) == f"Caption({caption.text!r}, log_prob={caption.log_prob:.2f})"
    assert repr(captioner.caption([b""])[0]).startswith("Caption(error='cannot read")
    assert repr(captioner).startswith("Captioner(small encoder, attention decoder, cpu, ")


def test_a_caption_is_shown_as_html_with_its_attention(captioner: Captioner) -> None:
    plain, drawn = (captioner.caption(picture(1), attention=attention) for attention in (False, True))
    assert f"<td>{plain.text}</td>" in plain._repr_html_()
    assert "<img" not in plain._repr_html_()
    assert '<img src="data:image/png;base64,' in drawn._repr_html_()
    assert Caption("a < b", -1.0)._repr_html_().count("a &lt; b") == 1
    assert "&lt;" in Caption("", -math.inf, error="<odd>")._repr_html_()


def test_attention_is_drawn_by_one_call(captioner: Captioner, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(picture(1)))
    for source in (tmp_path / "a.png", png(picture(1)), picture(1), bytearray(png(picture(1)))):
        drawing = captioner.caption(source, attention=True).draw_attention()
        assert isinstance(drawing, Image.Image)
    with pytest.raises(ConfigError, match=r"attention cannot be drawn: .*attention=True"):
        captioner.caption(picture(1)).draw_attention()


def test_entropy_is_0_for_one_region_and_the_logarithm_of_their_number_for_all_alike() -> None:
    one = [1.0, 0, 0, 0]
    two, all_alike = [0.5, 0, 0.5, 0], [0.25] * 4
    caption = Caption("a b c", 0.0, ["a", "b", "c"], attention=np.array([one, two, all_alike], np.float32))
    assert caption.attention_entropy == pytest.approx([0, math.log(2), math.log(4)])
    assert Caption("a", 0.0, ["a"]).attention_entropy is None


@pytest.mark.thorough
@pytest.mark.parametrize("resize", ["squash", "crop"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_attention_lies_over_a_patch_of_the_upright_image(
    orientation: int, resize: str, tmp_path: Path
) -> None:
    """A bright patch in a file that is stored turned; the planted map weighs the regions that the encoder gets."""
    upright = np.full((300, 480, 3), 60, np.uint8)
    upright[75:135, 290:350] = 255
    stored = Image.fromarray(upright)
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    if orientation in turned:
        stored = stored.transpose(turned[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    stored.save(path, exif=exif, quality=95)
    preprocessing = Preprocessing(size=224, resize=resize, crop=0.875)  # type: ignore[arg-type]
    brightness = load_and_preprocess(path, preprocessing)[..., 0].reshape(7, 32, 7, 32).mean(axis=(1, 3))
    weights = np.maximum(brightness - 100, 0).ravel()
    caption = Caption(
        "patch",
        0.0,
        ["patch"],
        attention=(weights / weights.sum())[None].astype(np.float32),
        _view=View(path, preprocessing, (7, 7)),
    )
    assert caption.attention_entropy is not None
    assert caption.attention_entropy[0] < math.log(9)
    sheet = np.asarray(caption.draw_attention()).astype(int)
    scale = TILE / 480
    warmth = (sheet[..., 0] - sheet[..., 2])[-(round(300 * scale) + 26 + 12) :, 12 + TILE + 12 :]
    warmth = warmth[: round(300 * scale), :TILE]
    warmth -= 8
    places = (
        np.average(np.arange(len(sums)), weights=sums.clip(0)) for sums in (warmth.sum(1), warmth.sum(0))
    )
    assert [place / scale for place in places] == pytest.approx([105, 320], abs=20)

"""What is measured on, made where it is not given: captioners, photographs of real sizes, captions.

A captioner of random weights has the sizes of the shipped attention recipe and takes the same time for a word as a
trained one; its captions get a fixed length. Photographs are enlarged and get the noise of a sensor, without which a
JPEG of twelve megapixels would be a third as large as a camera's.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks.harness import Setting
from showtell.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from showtell.config.decoders import AttentionSpec
from showtell.config.generation import DecodingOptions
from showtell.decoders.registry import build_decoder
from showtell.encoders.encoder import EncoderSpec, build_encoder
from showtell.encoders.resnet import ResNet
from showtell.images.listing import list_images
from showtell.images.load import load_image
from showtell.inference.captioner import Captioner
from showtell.system.safetensors import save_tensors
from showtell.tokenizer import Tokenizer

VOCABULARY = 10_000
WORDS = 12
"""The length of captions where it is forced: Flickr8k's have 11.8 words in the mean."""

SMALL, LARGE = (640, 480), (4000, 3000)
DISTINCT = {SMALL: 64, LARGE: 16}
QUALITY = 90
SENSOR_NOISE = 6
COMMON = 120


@dataclass(frozen=True)
class Subject:
    """A captioner to measure.

    Attributes:
        path: Its checkpoint.
        checkpoint: Loaded.
        captioner: The same behind the facade.
        decoding: Options that make captions of a fixed length; none for a trained captioner.
    """

    path: Path
    checkpoint: Checkpoint
    captioner: Captioner
    decoding: dict[str, Any]


def open_subject(setting: Setting) -> Subject:
    """Return the captioner that was given, or one of random weights."""
    from showtell.inference.torch_backend import TorchBackend

    path = setting.captioner or random_checkpoint(setting.folder)
    loaded = load_checkpoint(path, encoder_weights=setting.encoder_weights)
    return Subject(path, loaded, Captioner(TorchBackend(loaded)), decoding(setting))


def decoding(setting: Setting, words: int = WORDS) -> dict[str, Any]:
    """Return the decoding options: beam 3, and a fixed number of words where the weights are random."""
    fixed = {"min_tokens": words, "max_tokens": words} if setting.captioner is None else {}
    return {"beam_size": 3, **fixed}


def random_checkpoint(folder: Path) -> Path:
    """Return a checkpoint of random weights, encoder included; made once."""
    directory = folder / "random-captioner"
    if directory.exists():
        return directory
    directory.mkdir()
    tokenizer = Tokenizer.fit([" ".join(made_up_words(VOCABULARY - 4))], min_count=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = folder / "resnet50.safetensors"
        save_tensors(_random_resnet().state_dict(), weights, {"stride_in": "conv2"})
        encoder = build_encoder(EncoderSpec(name="resnet50"), weights=weights)
        decoder = build_decoder(
            AttentionSpec(), vocabulary=tokenizer.size, encoder_width=encoder.width, pad_id=tokenizer.pad_id
        )
    save_checkpoint(
        directory,
        decoder=decoder.state_dict(),
        decoder_spec=AttentionSpec(),
        tokenizer=tokenizer,
        encoder=encoder,
        include_encoder=True,
        generation=DecodingOptions(beam_size=3, min_tokens=WORDS, max_tokens=WORDS),
        about={},
    )
    return directory


def _random_resnet() -> ResNet:
    network = ResNet(50, "conv2")
    for name, weight in network.named_parameters():
        if name.endswith("bn3.weight"):
            # Sixteen blocks that each double the variance would leave the range of half floats.
            torch.nn.init.constant_(weight, 0.2)
    return network


def made_up_words(count: int) -> list[str]:
    """Return different words of plain letters, the first ones shorter."""
    syllables = [f"{first}{second}" for first in "bdfgklmnprst" for second in "aeiou"]
    lengths = itertools.chain.from_iterable(
        itertools.product(syllables, repeat=length) for length in itertools.count(1)
    )
    return ["".join(parts) for parts in itertools.islice(lengths, count)]


def jpeg_files(setting: Setting, size: tuple[int, int], count: int) -> list[Path]:
    """Return the paths of JPEGs of a size in pixels, width first; a few different ones, taken again and again."""
    folder = setting.folder / f"{size[0]}x{size[1]}"
    if not folder.exists():
        folder.mkdir()
        _write_jpegs(folder, _photographs(setting.images, DISTINCT[size]), size)
    paths = sorted(folder.iterdir())
    return list(itertools.islice(itertools.cycle(paths), count))


def _write_jpegs(folder: Path, photographs: list[Image.Image], size: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    width, height = size
    tile = generator.normal(0.0, SENSOR_NOISE, (512, 512, 1)).astype(np.int16)
    noise = np.tile(tile, (-(-height // 512), -(-width // 512), 1))[:height, :width]
    for number, photograph in enumerate(photographs):
        pixels = np.asarray(photograph.resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = np.clip(pixels + noise, 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number:03}.jpg", quality=QUALITY)


def _photographs(folder: Path | None, count: int) -> list[Image.Image]:
    if folder is None:
        return [_noise_like_a_photograph(number) for number in range(count)]
    paths, _ = list_images([folder], recursive=True)
    step = max(1, len(paths) // count)
    return [Image.fromarray(load_image(path)) for path in list(paths)[::step][:count]]


def _noise_like_a_photograph(seed: int) -> Image.Image:
    """Return noise whose amplitude falls with frequency, as in photographs (Field 1987)."""
    width, height = SMALL
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1.0
    shared = generator.normal(size=(height, width))
    channels = []
    for _ in range(3):
        spectrum = np.fft.rfft2(shared + 0.3 * generator.normal(size=(height, width))) / frequency
        spectrum[0, 0] = 0.0
        channel = np.fft.irfft2(spectrum, (height, width))
        channels.append(128 + 50 * channel / channel.std())
    return Image.fromarray(np.clip(np.stack(channels, axis=2), 0, 255).astype(np.uint8))


@dataclass(frozen=True)
class Corpus:
    """Captions of images: five references each, and one candidate."""

    references: dict[str, list[str]]
    candidates: dict[str, str]


def made_up_corpus(images: int, *, references: int = 5, seed: int = 0) -> Corpus:
    """Return captions whose words are as unevenly common as in English and shared within an image.

    A capital at the start, a full stop at the end, now and then a comma, a genitive or a hyphen: the tokenizer has
    the usual work.
    """
    generator = np.random.default_rng(seed)
    words = np.array(made_up_words(8_000))
    each = references + 1
    lengths = np.clip(generator.normal(10.5, 2.5, images * each), 5, 24).astype(np.int64)
    ends = np.cumsum(lengths)
    image = np.repeat(np.arange(images * each) // each, lengths)  # [words]
    common = words[generator.choice(COMMON, len(image), p=_zipf(COMMON))]
    topics = words[COMMON + generator.choice(len(words) - COMMON, (images, 14), p=_zipf(len(words) - COMMON))]
    special = topics[image, np.minimum(generator.geometric(0.2, len(image)) - 1, 13)]
    chosen = np.where(generator.random(len(image)) < 0.55, common, special).tolist()
    marks, stops = (
        generator.integers(8, size=len(ends)).tolist(),
        generator.integers(3, size=len(ends)).tolist(),
    )
    captions = []
    for length, end, mark, stop in zip(lengths.tolist(), ends.tolist(), marks, stops, strict=True):
        caption = chosen[end - length : end]
        caption[2] += ("", "", "", "", ",", "'s", "-up", "")[mark]
        captions.append(" ".join(caption).capitalize() + (" .", ".", "")[stop])
    return Corpus(
        {str(row): captions[row * each : row * each + references] for row in range(images)},
        {str(row): captions[row * each + references] for row in range(images)},
    )


def _zipf(count: int) -> npt.NDArray[np.float64]:
    weights = 1.0 / np.arange(1, count + 1)
    return weights / weights.sum()

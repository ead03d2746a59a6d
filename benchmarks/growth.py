"""Time and memory as a set doubles, to twenty thousand images, or with ``--full`` to a million.

Pictures are tiny and networks too, so that what is measured is what the package does around them; each size of each
work has a process of its own. Memory is the anonymous pages of the process: those of mapped files do not count, since
the kernel takes them back when it needs them; the row has both.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.harness import Row, Setting, apart, seconds_of

WORKS = ("prepare", "features", "training input", "caption", "score")
QUICK, USUAL, FULL = (100, 1_000), (10_000, 20_000), (1_000, 10_000, 100_000, 1_000_000)
COMPARED = {1_000: 100, 20_000: 10_000, 1_000_000: 10_000}
"""Which smaller size the largest is held against: one at which all blocks and buffers are full."""
EXTRA_BYTES = 400e6
"""Memory that a million images may take above ten thousand."""
REFERENCES = 5
SIDE = 32


def measure(setting: Setting) -> Iterator[Row]:
    """Yield for each work how time and memory grow from a smaller to the largest size."""
    sizes = FULL if setting.full else QUICK if setting.quick else USUAL
    measured: dict[str, dict[int, dict[str, float]]] = {work: {} for work in WORKS}
    for count in sizes:
        folder = setting.folder / f"growth-{count}"
        folder.mkdir()
        _write_images(folder / "images", count)
        # Not where scoring is measured: its process would hold all captions for nothing.
        with (folder / "candidates.jsonl").open("w", encoding="utf-8") as file:
            for key, text in _captions(count).candidates.items():
                file.write(json.dumps({"image": f"{key}.jpg", "caption": text}) + "\n")
        for work in WORKS:
            measured[work][count] = apart("benchmarks.growth:run", work=work, folder=str(folder), count=count)
    most = sizes[-1]
    before = COMPARED[most]
    for work in WORKS:
        small, large = measured[work][before], measured[work][most]
        growth = (large["seconds"] / most) / (small["seconds"] / before)
        name, against = f"{work} of {most:,} images", f"of {before:,}"
        yield Row(
            f"{name}, time of an image",
            against,
            growth,
            1.2,
            at_most=True,
            measured=f"{1e6 * large['seconds'] / most:.0f} against {1e6 * small['seconds'] / before:.0f} µs",
            details={"sizes": measured[work]},
        )
        yield Row(
            f"{name}, more memory, of {EXTRA_BYTES / 1e6:.0f} MB",
            against,
            (large["memory"] - small["memory"]) / EXTRA_BYTES,
            1.0,
            "%",
            at_most=True,
            measured=f"{large['memory'] / 1e6:.0f} against {small['memory'] / 1e6:.0f} MB anonymous, "
            f"with mapped files {large['peak'] / 1e6:.0f} against {small['peak'] / 1e6:.0f} MB",
            details={"sizes": measured[work]},
        )


def run(work: str, folder: str, count: int) -> dict[str, float]:
    """Do a work in this process; return its seconds and the most anonymous memory it held, in bytes."""
    from benchmarks.apart import Memory

    ready = _WORKS[work](Path(folder), count)
    with Memory().watched() as memory:
        seconds = seconds_of(ready)
    return {"seconds": seconds, "memory": memory.anonymous, "peak": memory.peak}


def _prepare(folder: Path, count: int) -> Any:
    from showtell.data.prepared import prepare

    return lambda: prepare(folder / "images" / "captions.jsonl", folder / "set")


def _features(folder: Path, count: int) -> Any:
    from showtell.data.features import extract_features
    from showtell.data.prepared import PreparedSet

    encoder = _tiny_encoder(folder)
    return lambda: extract_features(PreparedSet.load(folder / "set"), encoder, folder / "features")


def _training_input(folder: Path, count: int) -> Any:
    from showtell.data.batches import Batches, BatchOptions
    from showtell.data.features import extract_features
    from showtell.data.prepared import PreparedSet
    from showtell.data.views import CachedFeatures
    from showtell.tokenizer import Tokenizer

    encoder = _tiny_encoder(folder)

    def read() -> None:
        prepared = PreparedSet.load(folder / "set")
        rows = prepared.split_rows("train")
        tokenizer = Tokenizer.fit(text for row in rows for text in prepared.captions(int(row)))
        cache = extract_features(prepared, encoder, folder / "features", rows=rows)
        options = BatchOptions(
            batch_size=64, captions_per_image=REFERENCES, max_tokens=20, flip=False, seed=0
        )
        for _ in Batches(prepared, rows, tokenizer, CachedFeatures([cache]), options).epoch(0):
            pass

    return read


def _caption(folder: Path, count: int) -> Any:
    from showtell.bulk.caption_files import caption_files
    from showtell.inference.captioner import Captioner

    captioner = Captioner.load(tiny_checkpoint(folder), device="cpu")
    out = folder / "captions.tsv"
    return lambda: caption_files(captioner, [folder / "images"], output=out, batch_size=64)


def _score(folder: Path, count: int) -> Any:
    from showtell.metrics.score_files import score_files

    return lambda: score_files(folder / "images" / "captions.jsonl", folder / "candidates.jsonl")


_WORKS = {
    "prepare": _prepare,
    "features": _features,
    "training input": _training_input,
    "caption": _caption,
    "score": _score,
}


@cache
def _captions(count: int) -> Any:
    from benchmarks.material import made_up_corpus

    return made_up_corpus(count, references=REFERENCES)


def _write_images(folder: Path, count: int) -> None:
    """Write tiny JPEGs, different ones by a comment in each, and their captions beside them."""
    from PIL import Image

    folder.mkdir()
    encoded = io.BytesIO()
    Image.effect_noise((SIDE, SIDE), 60).convert("RGB").save(encoded, "JPEG")
    start, rest = encoded.getvalue()[:2], encoded.getvalue()[2:]
    with (folder / "captions.jsonl").open("w", encoding="utf-8") as file:
        for key, texts in _captions(count).references.items():
            comment = b"\xff\xfe" + (len(key) + 2).to_bytes(2, "big") + key.encode()
            (folder / f"{key}.jpg").write_bytes(start + comment + rest)
            split = "dev" if int(key) % 20 == 0 else "train"
            for text in texts:
                file.write(json.dumps({"image": f"{key}.jpg", "caption": text, "split": split}) + "\n")


def _tiny_encoder(folder: Path) -> Any:
    import torch

    from showtell.config.preprocessing import Preprocessing
    from showtell.encoders.encoder import EncoderSpec, build_encoder
    from showtell.encoders.small_cnn import SmallCnn
    from showtell.system.safetensors import save_tensors

    weights = folder / "tiny.safetensors"
    if not weights.exists():
        torch.manual_seed(0)
        save_tensors(SmallCnn(16).state_dict(), weights)
    return build_encoder(
        EncoderSpec(name="small", width=16, preprocessing=Preprocessing(size=SIDE)), weights=weights
    )


def tiny_checkpoint(folder: Path) -> Path:
    """Write a captioner of random weights whose networks take almost no time, in a new folder of ``folder``."""
    from benchmarks.material import made_up_words
    from showtell.checkpoints.checkpoint import save_checkpoint
    from showtell.config.decoders import LstmSpec
    from showtell.config.generation import DecodingOptions
    from showtell.decoders.registry import build_decoder
    from showtell.tokenizer import Tokenizer

    directory = folder / "tiny-captioner"
    directory.mkdir()
    encoder, spec = _tiny_encoder(folder), LstmSpec(embedding=8, hidden=8)
    tokenizer = Tokenizer.fit([" ".join(made_up_words(40))], min_count=1)
    decoder = build_decoder(
        spec, vocabulary=tokenizer.size, encoder_width=encoder.width, pad_id=tokenizer.pad_id
    )
    save_checkpoint(
        directory,
        decoder=decoder.state_dict(),
        decoder_spec=spec,
        tokenizer=tokenizer,
        encoder=encoder,
        include_encoder=True,
        generation=DecodingOptions(method="greedy", max_tokens=4),
        about={},
    )
    return directory

"""Captions a second and peak memory, against Hugging Face's captioners with the same beam_size and lengths."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.captioning_memory import BATCH, BEAM_SIZE, FIRST_WORDS, WORDS, caption
from benchmarks.harness import Row, Setting, Work, apart, compare, seconds_of, skipped, take_turns
from benchmarks.int8 import EXPORT, exported
from benchmarks.material import SMALL, jpeg_files, random_checkpoint
from showtell.inference.captioner import Captioner

if TYPE_CHECKING:
    from benchmarks.rivals.hugging_face import HuggingFace

MISSING = "transformers is not installed (pip install -e '.[bench]')"
VIT_GPT2, BLIP = "ViT-GPT2", "BLIP-base"
TARGETS = {VIT_GPT2: {"torch": 12.0, "INT8": 20.0}, BLIP: {"torch": 25.0, "INT8": 40.0}}
BATCHES = (8, 16)


def measure(setting: Setting) -> Iterator[Row]:
    """Yield speed in bfloat16 and INT8, and memory, against each of the two."""
    onnx = importlib.util.find_spec("onnxruntime") is not None
    paths = {"torch": setting.captioner or random_checkpoint(setting.folder)}
    if onnx:
        paths["INT8"] = exported(setting, int8=True)
    if importlib.util.find_spec("transformers") is None:
        for name, targets in TARGETS.items():
            for form, target in targets.items():
                yield skipped(_work(form), name, target, MISSING)
        return
    count = setting.size(64, 16)
    images = jpeg_files(setting, SMALL, count)
    ours = {form: _ours(setting, path, form) for form, path in paths.items()}
    memory = {form: _our_memory(setting, path, form, images[:BATCH]) for form, path in paths.items()}
    from benchmarks.rivals.hugging_face import HuggingFace

    for name in TARGETS:
        rival = HuggingFace(name)
        tried = _best_batch(setting, rival, images)
        yield from _speed(setting, rival, tried, ours, images)
        del rival
        yield from _memory(name, memory, images, next(iter(tried)))


def _work(form: str) -> str:
    return f"caption JPEGs of 640×480, beam {BEAM_SIZE}, {WORDS} words, {form}"


def _ours(setting: Setting, path: Path, form: str) -> Captioner:
    return Captioner.load(path, encoder_weights=setting.encoder_weights if form == "torch" else None)


def _best_batch(setting: Setting, rival: HuggingFace, images: list[Path]) -> dict[int, float]:
    """Return the seconds an image of each batch that was tried, the fastest first."""
    _theirs(rival, BATCHES[0], images[: BATCHES[0]], words=FIRST_WORDS)()
    tried = {
        batch: seconds_of(_theirs(rival, batch, images[:batch], words=FIRST_WORDS)) / batch
        for batch in (BATCHES[:1] if setting.quick else BATCHES)
    }
    return dict(sorted(tried.items(), key=lambda one: one[1]))


def _theirs(rival: HuggingFace, batch: int, images: list[Path], words: int = WORDS) -> Work:
    return partial(rival.caption, images, batch=batch, beam_size=BEAM_SIZE, words=words)


def _speed(
    setting: Setting,
    rival: HuggingFace,
    tried: dict[int, float],
    ours: dict[str, Captioner],
    images: list[Path],
) -> Iterator[Row]:
    best = next(iter(tried))
    some = images[:best]
    works: dict[str, Work] = {form: partial(caption, captioner, images) for form, captioner in ours.items()}
    for captioner in ours.values():
        caption(captioner, some)  # the rival was warmed up when its batch was chosen
    timings = take_turns({**works, rival.name: _theirs(rival, best, some)}, setting.rounds(2), warm_up=False)
    # They caption fewer images than we do, for the time is theirs: their seconds are those of as many.
    timings[rival.name] = timings[rival.name].times(len(images) / len(some))
    dtype = str(rival.dtype).removeprefix("torch.")
    for form, target in TARGETS[rival.name].items():
        if form not in ours:
            yield skipped(_work(form), rival.name, target, EXPORT)
            continue
        yield compare(
            _work(form),
            f"{rival.name}, {dtype}, batch {best}",
            timings,
            ours=form,
            theirs=rival.name,
            target=target,
            count=len(images),
            of="images",
            seconds_a_picture_by_batch_of_short_captions=tried,
            parameters=rival.parameters,
        )


def _our_memory(setting: Setting, path: Path, form: str, images: list[Path]) -> dict[str, Any]:
    weights = str(setting.encoder_weights) if setting.encoder_weights and form == "torch" else None
    files = [str(image) for image in images]
    return apart("benchmarks.captioning_memory:of_ours", path=str(path), weights=weights, images=files)


def _memory(name: str, ours: Mapping[str, dict[str, Any]], images: list[Path], batch: int) -> Iterator[Row]:
    files = [str(image) for image in images[:batch]]
    theirs = apart("benchmarks.captioning_memory:of_theirs", name=name, batch=batch, images=files)
    for form in TARGETS[name]:
        work, against = f"peak memory of captioning, batch 32, {form}", f"{name}, batch {batch}"
        if form not in ours:
            yield skipped(work, against, 0.25, EXPORT, unit="%", at_most=True)
            continue
        yield Row(
            work,
            against,
            ours[form]["peak"] / theirs["peak"],
            0.25,
            unit="%",
            at_most=True,
            measured=f"{ours[form]['peak'] / 1e6:.0f} against {theirs['peak'] / 1e6:.0f} MB",
            details={"ours": ours[form], "theirs": theirs},
        )

"""Training on kept features, against a tutorial's way and against the bound of matrix products."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness import Row, Setting, Timing, Work, compare, seconds_of, take_turns
from benchmarks.material import made_up_corpus
from benchmarks.rivals.tutorial_decoder import TutorialDecoder, tutorial_step
from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.config.recipe import Recipe, load_recipe
from showtell.data.batches import Batch, Batches, BatchOptions
from showtell.data.prepared import PreparedSet, prepare
from showtell.decoders.registry import build_decoder
from showtell.encoders.features import Features
from showtell.tokenizer import Tokenizer
from showtell.training.device import DeviceConfig, resolve_device_config
from showtell.training.objectives.losses import build_objective
from showtell.training.train_step import TrainStep
from showtell.training.trainer_state import build_trainer_state

NUM_IMAGES, REGIONS, WIDTH = 256, 49, 2048
SIDE, PRODUCTS = 2048, 8
SHOWN_OPERATIONS = 15
ATTENTION, STACKED = "flickr8k-attention", "flickr8k-stacked-attention"


class KeptFeatures:
    """Features of some images as a cache holds them, float16, in memory."""

    def __init__(self, count: int) -> None:
        self.regions = np.random.default_rng(0).random((count, REGIONS, WIDTH), np.float32).astype(np.float16)

    def load(self, rows: Any, mirrored: Any, places: Any = None) -> Features:
        """Return features float16 of rows int64 [P]."""
        regions = self.regions[rows]
        parts = (regions, regions[:, 0], np.ones(regions.shape[:2], dtype=np.bool_))
        return Features(*(torch.from_numpy(part) for part in parts))


class Ours:
    """The package's training of a shipped recipe, a batch at a time."""

    def __init__(self, recipe: Recipe, prepared: PreparedSet, memories: KeptFeatures) -> None:
        rows = np.arange(len(prepared), dtype=np.int64)
        captions = [text for row in rows for text in prepared.captions(int(row))]
        self.tokenizer = Tokenizer.fit(captions, min_count=1)
        self.compute: DeviceConfig = resolve_device_config(
            "auto", recipe.training.precision, recipe.training.threads
        )
        torch.manual_seed(0)
        decoder = build_decoder(
            recipe.decoder,
            vocabulary=self.tokenizer.size,
            encoder_width=WIDTH,
            pad_id=self.tokenizer.pad_id,
        )
        model = CaptioningModel(decoder).to(self.compute.device).train()
        data, training = recipe.data, recipe.training
        options = BatchOptions(
            training.batch_size, data.captions_per_image, data.max_tokens, False, training.seed
        )
        self.batches = Batches(prepared, rows, self.tokenizer, memories, options)
        self.objective = build_objective(recipe.objective[0], self.batches)
        state = build_trainer_state(recipe, model, self.compute.scaler())
        self.stepper = TrainStep(recipe, model, state, self.compute)

    def learn(self, steps: int) -> None:
        """Load and learn from the first batches of an epoch."""
        for batch in itertools.islice(self.batches.epoch(0), steps):
            self.stepper.step(batch, self.objective, 1e-4)


def measure(setting: Setting) -> Iterator[Row]:
    """Yield captions a second against the tutorial's, and the share of the bound, for two decoders."""
    prepared = made_up_captions(setting.folder)
    memories = KeptFeatures(len(prepared))
    steps = setting.size(2, 1)
    for name in (ATTENTION, STACKED):
        recipe = load_recipe(name)
        ours = Ours(recipe, prepared, memories)
        batch = next(ours.batches.epoch(0))
        captions = steps * batch.tokens.shape[0] * batch.tokens.shape[1]
        tutorial, with_projection = (
            partial(_learn_as_tutorial, *_tutorial(recipe, ours, memory=memory), ours.batches, steps)
            for memory in (None, recipe.decoder.region_dim)
        )
        works: dict[str, Work] = {
            "ours": partial(ours.learn, steps),
            "products": _products(ours.compute),
            "tutorial": tutorial,
        }
        timings = take_turns(works, setting.rounds(3), warm_up=False)
        work = f"train {name}, {batch.tokens.shape[0]} images × {batch.tokens.shape[1]} captions"
        projected = seconds_of(with_projection) / timings["ours"].median
        row = compare(
            work,
            "a tutorial's training",
            timings,
            ours="ours",
            theirs="tutorial",
            target=8.0,
            count=captions,
            of="captions",
            against_projected_regions=projected,
        )
        note = f"{row.measured}; {projected:.1f}× where it projects regions as ours"
        yield replace(row, measured=note)
        yield _fraction_of_the_bound(work, ours, timings, steps)


def made_up_captions(folder: Path) -> PreparedSet:
    """Return a prepared set of made-up captions; its images are one file, which is never read."""
    from PIL import Image

    source = folder / "training"
    source.mkdir()
    lines = []
    for key, references in made_up_corpus(NUM_IMAGES).references.items():
        Image.new("RGB", (16, 16), (int(key) % 256, int(key) // 256, 0)).save(source / f"{key}.png")
        lines += [
            json.dumps({"image": f"{key}.png", "caption": text, "split": "train"}) for text in references
        ]
    (source / "captions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return prepare(source / "captions.jsonl", folder / "training-set")


def _tutorial(
    recipe: Recipe, ours: Ours, memory: int | None
) -> tuple[TutorialDecoder, torch.optim.Optimizer]:
    torch.manual_seed(0)
    decoder = TutorialDecoder(
        ours.tokenizer.size, WIDTH, recipe.decoder.hidden, recipe.decoder.dropout, memory
    ).to(ours.compute.device)
    return decoder, torch.optim.Adam(decoder.parameters(), lr=1e-4)


def _learn_as_tutorial(
    decoder: TutorialDecoder, optimizer: torch.optim.Optimizer, batches: Batches, steps: int
) -> None:
    device = next(decoder.parameters()).device
    for batch in itertools.islice(batches.epoch(0), steps):
        moved = batch.to(device)
        assert isinstance(moved.inputs, Features)
        tutorial_step(
            decoder,
            optimizer,
            moved.inputs.float().regions,
            moved.tokens,
            pad_id=batches.tokenizer.pad_id,
            clip=5.0,
        )


def _fraction_of_the_bound(work: str, ours: Ours, timings: dict[str, Timing], steps: int) -> Row:
    """Return how much of the steps' time their matrix products would take alone, at the rate of large ones."""
    flops, large = _flops(ours, steps), PRODUCTS * 2 * SIDE**3
    fraction = timings["ours"].ratio(timings["products"]) * flops / large
    seconds, rate = timings["ours"].median / steps, large / timings["products"].median
    dtype = str(ours.compute.dtype).removeprefix("torch.")
    return Row(
        work,
        f"bound of its matrix products in {dtype}",
        fraction,
        0.4,
        unit="%",
        measured=f"{seconds * 1e3:.0f} ms a step ({flops / steps / 1e9:.1f} GFLOP; {rate / 1e12:.2f} TFLOP/s)",
        details={
            "flops_a_step": flops / steps,
            "gemm_rate": rate,
            "step_seconds": seconds,
            "profile": _profile(ours, next(ours.batches.epoch(0))),
        },
    )


def _flops(ours: Ours, steps: int) -> int:
    """Count the products of steps, forwards and back; fused LSTMs are taken apart, for they count as nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about graphics cards of Intel's
        with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
            ours.learn(steps)
    return int(counter.get_total_flops())


def _products(compute: DeviceConfig) -> Work:
    """Return the work of some large square matrix products, as the device does them best."""
    left, right = (torch.rand(SIDE, SIDE, device=compute.device).to(compute.dtype) for _ in range(2))

    def multiply() -> None:
        for _ in range(PRODUCTS):
            torch.mm(left, right)
        if compute.device.type == "cuda":
            torch.cuda.synchronize()

    return multiply


def _profile(ours: Ours, batch: Batch) -> list[dict[str, Any]]:
    """Return the operations that take the most time of a step themselves, with their share."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        ours.stepper.step(batch, ours.objective, 1e-4)
    events = sorted(profiler.key_averages(), key=lambda one: one.self_cpu_time_total, reverse=True)
    total = sum(event.self_cpu_time_total for event in events)
    return [
        {
            "operation": event.key,
            "share": round(event.self_cpu_time_total / total, 4),
            "milliseconds": round(event.self_cpu_time_total / 1e3, 2),
            "calls": event.count,
        }
        for event in events[:SHOWN_OPERATIONS]
    ]

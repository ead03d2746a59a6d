"""The exported captioner in 8-bit integers through ONNX Runtime, against the checkpoint as torch runs it fastest.

A captioner that is named captions by its own decoding options.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.encoders import BATCH
from benchmarks.harness import ROOT, Row, Setting, compare, skipped, take_turns
from benchmarks.material import SMALL, decoding, jpeg_files, open_subject, random_checkpoint
from showtell.data.prepared import PreparedSet
from showtell.encoders.encoder import fast_dtype
from showtell.images.load import load_image
from showtell.images.preprocess import preprocess_image
from showtell.inference.captioner import Captioner
from showtell.inference.onnx_backend import OnnxBackend
from showtell.inference.onnx_sessions import OnnxSessionLoader
from showtell.metrics import Scorer

EXPORT = "onnxruntime is not installed (pip install -e '.[onnx]')"
SCORED, LOSS, ALONE = 1_000, 0.3, 0.85


def measure(setting: Setting) -> Iterator[Row]:
    """Yield the speed against the checkpoint and the encoder alone, and what 8 bits cost in CIDEr-D."""
    dtype = str(fast_dtype()).removeprefix("torch.")
    work, against = "caption JPEGs of 640×480, INT8 through ONNX Runtime", f"the same in {dtype}, torch"
    alone, loss = "its own encoder alone, INT8", "CIDEr-D lost to INT8"
    if importlib.util.find_spec("onnxruntime") is None:
        yield skipped(work, against, 1.0, EXPORT)
        yield skipped(work, alone, ALONE, EXPORT, unit="%")
        yield skipped(loss, dtype, LOSS, EXPORT, unit="points", at_most=True)
        return
    torch_side = open_subject(setting).captioner
    onnx_side = Captioner.load(exported(setting, int8=True))
    count = setting.size(64, 32)
    paths = jpeg_files(setting, SMALL, count)
    options = decoding(setting) if setting.captioner is None else {}
    images = np.stack([preprocess_image(load_image(path), onnx_side.preprocessing) for path in paths])
    encoder = OnnxBackend(OnnxSessionLoader(exported(setting, int8=True))).encode

    def encode() -> None:
        for start in range(0, count, BATCH):
            encoder(images[start : start + BATCH])

    def caption(captioner: Captioner) -> None:
        for captions in captioner.stream(paths, batch_size=BATCH, **options):
            if captions.error is not None:
                raise RuntimeError(captions.error)

    timings = take_turns(
        {"INT8": lambda: caption(onnx_side), dtype: lambda: caption(torch_side), "encoder": encode},
        setting.rounds(3),
        warm_up=False,
    )
    same: dict[str, Any] = {"timings": timings, "ours": "INT8", "count": count, "of": "images"}
    yield compare(work, against, theirs=dtype, target=1.0, **same)
    yield compare(work, alone, theirs="encoder", target=ALONE, unit="%", **same)
    if setting.captioner is None or setting.data is None:
        why = "random weights lose nothing; name --captioner and --data"
        yield skipped(loss, dtype, LOSS, why, unit="points", at_most=True)
        return
    yield _loss(loss, dtype, setting, setting.data, torch_side, onnx_side)


def _loss(
    work: str, dtype: str, setting: Setting, data: Path, torch_side: Captioner, onnx_side: Captioner
) -> Row:
    """Score both on the same development photographs."""
    prepared = PreparedSet.load(data)
    rows = prepared.split_rows("dev")[: setting.size(SCORED, 100)].tolist()
    paths = [prepared.image_path(row) for row in rows]
    keys = [prepared.key(row) for row in rows]
    scorer = Scorer(dict(zip(keys, map(prepared.captions, rows), strict=True)))
    whole, narrow = (
        dict(zip(keys, (caption.text for caption in captioner.caption(paths)), strict=True))
        for captioner in (torch_side, onnx_side)
    )
    before, after, deltas = scorer.compare(whole, narrow)
    lost = deltas["CIDEr-D"]  # of the first less the second
    scores = [{name: 100 * value for name, value in each.values.items()} for each in (before, after)]
    both = " and ".join(f"{each['CIDEr-D']:.2f}" for each in scores)
    return Row(
        work,
        dtype,
        100 * lost.value,
        LOSS,
        unit="points",
        at_most=True,
        measured=f"{both} on {len(rows):,} photographs, {lost.interval}, {lost.significance}",
        details={dtype: scores[0], "int8": scores[1]},
    )


def exported(setting: Setting, *, int8: bool) -> Path:
    """Return the export of the captioner that is measured; made once.

    Raises:
        RuntimeError: ``showtell export`` failed; the message has its output.
    """
    directory = setting.folder / ("export-int8" if int8 else "export")
    if not directory.exists():
        checkpoint = setting.captioner or random_checkpoint(setting.folder)
        command = [sys.executable, "-m", "showtell", "export", str(checkpoint), "-o", str(directory)]
        # On images like those that it will see: the development photographs, or those whose speed is measured.
        calibration = setting.data or jpeg_files(setting, SMALL, 1)[0].parent
        command += ["--int8", "--calibrate", str(calibration)] if int8 else []
        command += ["--encoder-weights", str(setting.encoder_weights)] if setting.encoder_weights else []
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    return directory

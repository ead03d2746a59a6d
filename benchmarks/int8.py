"""The exported captioner in 8-bit integers through ONNX Runtime, against the checkpoint as torch runs it fastest."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.encoders import BATCH
from benchmarks.harness import ROOT, Row, Setting, compare, skipped, take_turns
from benchmarks.material import SMALL, decoding, jpeg_files, open_subject, random_checkpoint
from showtell.data.prepared import PreparedSet
from showtell.encoders.encoder import fast_dtype
from showtell.inference.captioner import Captioner
from showtell.metrics import evaluate

EXPORT = "onnxruntime is not installed (pip install -e '.[onnx]')"
SCORED = 1_000


def measure(setting: Setting) -> Iterator[Row]:
    """Yield the speed against the checkpoint, and what 8 bits cost in CIDEr-D."""
    dtype = str(fast_dtype()).removeprefix("torch.")
    work, against = "caption JPEGs of 640×480, INT8 through ONNX Runtime", f"the same in {dtype}, torch"
    loss = "CIDEr-D lost to INT8"
    if importlib.util.find_spec("onnxruntime") is None:
        yield skipped(work, against, 1.0, EXPORT)
        yield skipped(loss, dtype, 0.5, EXPORT, unit="points", at_most=True)
        return
    torch_side = open_subject(setting).captioner
    onnx_side = Captioner.load(exported(setting, int8=True))
    count = setting.size(64, 32)
    paths, options = jpeg_files(setting, SMALL, count), decoding(setting)

    def caption(captioner: Captioner) -> None:
        for captions in captioner.stream(paths, batch_size=BATCH, **options):
            if captions.error is not None:
                raise RuntimeError(captions.error)

    timings = take_turns(
        {"INT8": lambda: caption(onnx_side), dtype: lambda: caption(torch_side)},
        setting.rounds(3),
        warm_up=False,
    )
    yield compare(work, against, timings, ours="INT8", theirs=dtype, target=1.0, count=count, of="images")
    if setting.captioner is None or setting.data is None:
        why = "random weights lose nothing; name --captioner and --data"
        yield skipped(loss, dtype, 0.5, why, unit="points", at_most=True)
        return
    yield _loss(loss, dtype, setting, setting.data, torch_side, onnx_side)


def _loss(
    work: str, dtype: str, setting: Setting, data: Path, torch_side: Captioner, onnx_side: Captioner
) -> Row:
    """Score both on the same development photographs."""
    prepared = PreparedSet.load(data)
    rows = prepared.split_rows("dev")[: setting.size(SCORED, 100)].tolist()
    references = {prepared.key(row): prepared.captions(row) for row in rows}
    scored = []
    for captioner in (torch_side, onnx_side):
        captions = captioner.caption([prepared.image_path(row) for row in rows])
        candidates = {prepared.key(row): one.text for row, one in zip(rows, captions, strict=True)}
        scored.append({name: 100 * value for name, value in evaluate(references, candidates).values.items()})
    before, after = (scores["CIDEr-D"] for scores in scored)
    return Row(
        work,
        dtype,
        before - after,
        0.5,
        unit="points",
        at_most=True,
        measured=f"{before:.2f} and {after:.2f} on {len(rows):,} photographs",
        details={dtype: scored[0], "int8": scored[1]},
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

"""Print the table of docs/bulk.md: what captioning a hundred million and ten billion images takes.

python docs/scripts/bulk_costs.py            the table
python docs/scripts/bulk_costs.py PHOTOS/    the size of these photographs, and the time of one core to decode one
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "20261128-003835-d78a7c5348.json"
PHOTO_BYTES, DECODE_SECONDS = 161_000, 0.010  # of 640x480 JPEGs, by this script
ROW_BYTES = 150  # JSON lines: a path of 60 characters, a caption of 60, a score
CORES = 64  # of a machine
DAY = 86_400


def core_rate(work: str, name: str) -> float:
    """Return images a second and core of a row of the benchmark run."""
    run = json.loads(RESULTS.read_text(encoding="utf-8"))
    row = next(row for row in run["rows"] if row["work"].startswith(work))
    images, seconds = row["details"]["count"], median(row["details"]["seconds"][name])
    return float(images / seconds / run["machine"]["cores"])


def table() -> str:
    """Return the table in Markdown."""
    float32 = core_rate("caption JPEGs of 640×480, beam 3, batch 32", "captions")
    int8 = core_rate("caption JPEGs of 640×480, INT8 through ONNX Runtime", "INT8")
    lines = ["| | 100 million images | 10 billion images |", "| --- | ---: | ---: |"]
    for name, text in (
        (f"core-hours, float32 ({float32:.1f} images/s a core)", lambda n: f"{n / float32 / 3600:,.0f}"),
        (f"core-hours, INT8 export ({int8:.1f})", lambda n: f"{n / int8 / 3600:,.0f}"),
        (f"machines of {CORES} cores for 7 days, INT8", lambda n: f"{n / int8 / CORES / 7 / DAY:,.1f}"),
        (f"images read, {PHOTO_BYTES / 1e3:.0f} KB each", lambda n: f"{n * PHOTO_BYTES / 1e12:,.0f} TB"),
        ("network of such a machine", lambda n: f"{int8 * CORES * PHOTO_BYTES * 8 / 1e9:.1f} Gbit/s"),
        (f"rows written, {ROW_BYTES} bytes each", lambda n: f"{n * ROW_BYTES / 1e9:,.0f} GB"),
        ("core-hours of JPEG decoding alone", lambda n: f"{n * DECODE_SECONDS / 3600:,.0f}"),
    ):
        lines.append(f"| {name} | {text(1e8)} | {text(1e10)} |")
    return "\n".join(lines) + "\n"


def measure(folder: Path) -> str:
    """Return the mean size of a folder's JPEGs and the processor time to decode and resize one, median of five."""
    from showtell import Captioner
    from showtell.images.preprocess import load_and_preprocess

    photos = sorted(folder.glob("*.jpg"))
    preprocessing = Captioner.load(ROOT / "models" / "flickr8k", device="cpu").preprocessing
    seconds = []
    for _ in range(5):
        started = time.process_time()
        for photo in photos:
            load_and_preprocess(photo, preprocessing)
        seconds.append((time.process_time() - started) / len(photos))
    size = sum(photo.stat().st_size for photo in photos) / len(photos)
    return f"{size / 1e3:.0f} KB, {median(seconds) * 1e3:.1f} ms\n"


if __name__ == "__main__":
    print(measure(Path(sys.argv[1])) if sys.argv[1:] else table(), end="")

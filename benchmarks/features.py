"""How much of the bare network's speed the extraction of features keeps.

Three ways over the same pictures in the same batches, taken in turn and repeated; the median of each:

- eager: the bare ResNet in the same dtype and memory layout, batch norms folded, pictures already in memory
- fused: the same with the convolutions that the encoder uses on a CPU
- extraction: `extract_features`, from the files on disk to the features on disk

    python benchmarks/features.py data/flickr8k --weights resnet50.safetensors
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from showtell.data.features import extract_features
from showtell.data.prepared import PreparedSet
from showtell.images import load_picture, prepare_picture
from showtell.models.encoder import Encoder, EncoderSpec, build_encoder


class Part:
    """The first rows of a prepared set."""

    def __init__(self, whole: PreparedSet, count: int):
        self.fingerprint, self.count = whole.fingerprint, min(count, len(whole))
        self.picture_path, self.sha256 = whole.picture_path, whole.sha256

    def __len__(self) -> int:
        return self.count


def seconds(work: Callable[[], object]) -> float:
    """Return how long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--encoder", default="resnet50")
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()

    part = Part(PreparedSet.load(options.prepared), options.pictures)
    encoder = build_encoder(EncoderSpec(name=options.encoder), weights=options.weights)
    # Asked once for a cache, not once a picture: a fixed cost, measured apart.
    loaded = [
        prepare_picture(load_picture(part.picture_path(row)), encoder.preprocessing)
        for row in range(len(part))
    ]
    pictures = torch.from_numpy(np.stack(loaded))
    layout_s = seconds(lambda: encoder.check_layout(pictures[:24]))
    Encoder.check_layout = lambda self, pictures: None  # type: ignore[method-assign]
    batches = [encoder.normalise(chunk) for chunk in pictures.split(options.batch)]

    def bare(network: torch.nn.Module) -> None:
        with torch.inference_mode():
            for batch in batches:
                network(batch)

    def extraction() -> None:
        directory = Path(tempfile.mkdtemp(dir=options.prepared.parent))
        try:
            extract_features(part, encoder, directory, batch_size=options.batch)  # type: ignore[arg-type]
        finally:
            shutil.rmtree(directory)

    plain = getattr(encoder.network, "plain", encoder.network)
    ways = {"eager": lambda: bare(plain), "fused": lambda: bare(encoder.network), "extraction": extraction}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(options.repeats + 1):
        for name, work in ways.items():
            took = seconds(work)
            if repeat:  # the first round warms up
                times[name].append(took)
    median = {name: statistics.median(values) for name, values in times.items()}
    print(
        f"{options.encoder}, {str(encoder.dtype).removeprefix('torch.')}, {len(part)} pictures, "
        f"batch {options.batch}, {torch.get_num_threads()} threads, median of {options.repeats}"
    )
    for name, value in median.items():
        spread = f"{len(part) / max(times[name]):.1f} to {len(part) / min(times[name]):.1f}"
        print(f"{name:<11} {len(part) / value:7.1f} pictures/s ({spread})")
    for name in ("eager", "fused"):
        print(f"extraction keeps {100 * median[name] / median['extraction']:.0f} % of {name}")
    print(f"the layout check, once for a cache: {layout_s:.1f} s")


if __name__ == "__main__":
    main()

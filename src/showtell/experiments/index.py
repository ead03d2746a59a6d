"""Gives a captioner a datastore: the captions of a set's images, which rerank what it generates for similar ones.

Nothing is trained. Images that the datastore has already get their new captions, so that a correction takes effect.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from showtell.checkpoints.checkpoint import as_trained, check_writable, load_checkpoint, save_portable
from showtell.checkpoints.config import CALIBRATION
from showtell.checkpoints.hub import FILES, find_checkpoint
from showtell.config.generation import DecodingOptions, override
from showtell.data.prepared import PreparedSet
from showtell.retrieval.datastore import COMPONENTS, Datastore
from showtell.system.console import note
from showtell.training.datastore import make_datastore
from showtell.training.device import resolve_device_config

BEAM_SIZE = 10
"""The least beam size of a captioner with a datastore: it can only choose among the captions of its beam."""


@dataclass(frozen=True)
class Indexed:
    """A captioner that was written, its datastore and the bytes of each file."""

    directory: Path
    datastore: Datastore
    sizes: dict[str, int]


def index_captions(
    captioner: str | Path,
    out: Path,
    *,
    data: Path,
    split: str = "train",
    replace_datastore: bool = False,
    encoder_weights: Path | None = None,
    features: Path | None = None,
    include_encoder: bool = True,
    device: str = "auto",
    threads: int = 0,
    **options: object,
) -> Indexed:
    """Write a captioner whose datastore has the images and captions of a split.

    Args:
        captioner: A checkpoint, a run (its ``best/``), or ``OWNER/NAME`` on the hub. The images are added to its
            datastore, if it has one.
        out: A new or empty directory, or a checkpoint, which is replaced.
        data: A prepared set. Missing features of the split are extracted.
        split: One of its splits.
        replace_datastore: Leave out what the captioner's datastore has.
        encoder_weights: A local file with the encoder's weights.
        features: The folder of feature caches; None: beside the prepared set.
        include_encoder: Write a frozen encoder too.
        device: As for `Captioner.load`.
        threads: As for `Captioner.load`.
        options: Fields of `DecodingOptions`: the captioner's new defaults. Retrieval is on, with beam search of at
            least 10 beams.

    Raises:
        ConfigError: an option is unknown or out of range.
        ShowtellError: captioner, data or ``out`` cannot be used.
    """
    check_writable(out)
    compute = resolve_device_config(device, threads=threads)
    loaded = load_checkpoint(
        find_checkpoint(captioner), encoder_weights=encoder_weights, device=compute.device
    )
    prepared = as_trained(PreparedSet.load(data), loaded.config)
    rows = prepared.split_rows(split)
    if (left_out := len(prepared) - len(rows)) and prepared.manifest["generated_split"]:
        note(
            f"{left_out:,} images of other splits, which prepare generated, are not indexed: prepare with "
            "--dev-fraction 0 to index all"
        )
    generation = _generation(loaded.generation, options)
    old = None if replace_datastore else loaded.datastore
    datastore = make_datastore(
        prepared,
        rows,
        model=loaded.model,
        encoder=loaded.encoder,
        tokenizer=loaded.tokenizer,
        device=compute.device,
        features=features,
        projection=None if old is None else old.projection,
    )
    if old is not None:
        _warn_of_few_components(old, len(rows))
        datastore = old.merged(datastore)
    note(datastore.describe())
    config = {key: value for key, value in loaded.config.items() if key not in {"scores", CALIBRATION}}
    config["generation"] = generation.model_dump(mode="json")
    changed = replace(loaded, generation=generation, config=config, datastore=datastore)
    save_portable(changed, out, include_encoder=include_encoder, half=config.get("dtype") == "float16")
    sizes = {name: (out / name).stat().st_size for name in FILES if (out / name).exists()}
    return Indexed(out, datastore, sizes)


def _generation(old: DecodingOptions, options: dict[str, object]) -> DecodingOptions:
    beam_size = max(old.beam_size, BEAM_SIZE)
    return override(old, **{"retrieval": "rerank", "method": "beam", "beam_size": beam_size, **options})


def _warn_of_few_components(old: Datastore, num_new: int) -> None:
    """Say that a datastore, made of few images at first, compares more images by few components."""
    width, found = old.projection.components.shape
    if found < min(COMPONENTS, width) and num_new > len(old):
        note(
            f"warning: the datastore compares images by {found} components, all that its first images had. Index the "
            "largest set first, with --replace, then add the others"
        )

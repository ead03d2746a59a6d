"""Images that are evaluated must not be in the datastore: their own captions would speak for them."""

from collections.abc import Iterable, Sequence

from showtell.config.generation import DecodingOptions
from showtell.data.prepared import PreparedSet
from showtell.errors import DataError
from showtell.retrieval.datastore import Datastore
from showtell.retrieval.rerank import Neighbour
from showtell.retrieval.search import require_datastore
from showtell.system.console import note

SHOWN = 3
NEAR_DUPLICATE = 0.9
"""Cosine of images from which they are called near-duplicates: the same scene a moment later, or in another size."""


def check_unseen(
    options: DecodingOptions, datastore: Datastore | None, prepared: PreparedSet, rows: Sequence[int]
) -> None:
    """Check that retrieval, if the options ask for it, is possible and does not know the images of these rows.

    Raises:
        ConfigError: there is no datastore.
        DataError: images of the same bytes are in it.
    """
    if options.retrieval == "off":
        return
    _refuse_known(prepared, rows, require_datastore(options, datastore).holding(_digests(prepared, rows)))


def check_disjoint(prepared: PreparedSet, indexed: Iterable[int], rows: Sequence[int]) -> None:
    """Check that a datastore of some images will not know those of other rows; a DataError if it will."""
    known = set(_digests(prepared, indexed))
    digests = _digests(prepared, rows)
    _refuse_known(prepared, rows, [place for place, digest in enumerate(digests) if digest in known])


def _digests(prepared: PreparedSet, rows: Iterable[int]) -> list[str]:
    return [prepared.sha256(int(row)) for row in rows]


def _refuse_known(prepared: PreparedSet, rows: Sequence[int], known: Sequence[int]) -> None:
    if known:
        raise DataError(
            f"the captioner cannot be evaluated on these images of {prepared.directory}",
            found=f"{len(known):,} of {len(rows):,} in its datastore, with their captions: "
            f"{_listed([prepared.key(rows[place]) for place in known])}",
            mend="Evaluate on other images, index without these, or omit the datastore: --retrieval off (train: "
            "--set generation.retrieval=off)",
        )


def note_near_duplicates(
    prepared: PreparedSet, rows: Sequence[int], neighbours: Iterable[Sequence[Neighbour]]
) -> None:
    """Say which of the captioned images are near-duplicates of images of the datastore."""
    pairs = [
        f"{prepared.key(row)} and {nearest.key}"
        for row, found in zip(rows, neighbours, strict=True)
        for nearest in [max(found, key=lambda neighbour: neighbour.similarity, default=None)]
        if nearest is not None and nearest.similarity >= NEAR_DUPLICATE
    ]
    if pairs:
        note(
            f"{len(pairs):,} of {len(rows):,} images are near-duplicates of images of the datastore, which raises "
            f"their scores: {_listed(pairs)}"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")

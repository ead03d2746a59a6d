"""One line that says all that a score depends on, to be printed beside it.

showtell:0.1.0|tok:ptb-3.4.1|refs:5|images:1000|metrics:bleu4+rouge-l+cider-d|df:evaluated
"""

from __future__ import annotations

from collections.abc import Sequence

from showtell.metrics.meteor import VERSION as METEOR
from showtell.version import __version__

TOKENIZER = "ptb-3.4.1"
_SIGNED = {"bleu": "bleu4", "meteor": METEOR, "rouge": "rouge-l", "cider": "cider-d"}


def build_signature(
    metrics: Sequence[str], *, pictures: int, references: tuple[int, int], subset_of: int | None = None
) -> str:
    """Return the line.

    Args:
        metrics: Names of the metrics computed.
        pictures: Pictures scored.
        references: Fewest and most references of a picture.
        subset_of: Pictures that had references, where only those with a candidate were scored.
    """
    fewest, most = references
    parts = [
        f"showtell:{__version__}",
        f"tok:{TOKENIZER}",
        f"refs:{fewest}" if fewest == most else f"refs:{fewest}-{most}",
        f"images:{pictures}" if subset_of is None else f"images:{pictures}-of-{subset_of}",
        "metrics:" + "+".join(_SIGNED[metric] for metric in metrics),
    ]
    if "cider" in metrics:
        parts.append("df:evaluated")
    return "|".join(parts)

"""Warnings about a recipe and its captions, before anything is trained."""

from showtell.config.recipe import Recipe
from showtell.data import caption_warnings as warn
from showtell.data.batches import Batches
from showtell.data.prepared import PreparedSet
from showtell.data.summary import is_unspaced
from showtell.tokenizer import SPECIALS

SAMPLE = 500
"""Images whose captions are searched for scripts without spaces."""


def check_captions(recipe: Recipe, prepared: PreparedSet, train: Batches, dev: Batches) -> list[str]:
    """Return warnings about captions that are cut, unknown or not split into words, and about few images."""
    found = []
    if recipe.validation.metric != "loss":
        found.append(warn.few_images(recipe.validation.split, len(dev.rows)))
    unspaced = _unspaced(prepared, train) if train.tokenizer.kind == "words" else None
    counts, dev_counts = train.count_tokens(), dev.count_tokens()
    found += (
        [unspaced]
        if unspaced
        else [
            warn.long_captions(counts.cut, counts.captions, counts.longest, recipe.data.max_tokens),
            warn.unknown_words(
                train.tokenizer.size - len(SPECIALS),
                counts.unknown / max(1, counts.tokens),
                recipe.tokenizer.min_count,
                dev=dev_counts.unknown / max(1, dev_counts.tokens),
            ),
        ]
    )
    return [text for text in found if text]


def _unspaced(prepared: PreparedSet, train: Batches) -> str | None:
    """Return the warning about scripts without spaces, from a sample of the captions."""
    rows = train.rows[:: -(-len(train.rows) // SAMPLE)].tolist()
    captions = [train.tokenizer.normalize(text) for row in rows for text in prepared.captions(row)]
    return warn.unspaced_captions(sum(map(is_unspaced, captions)), len(captions))

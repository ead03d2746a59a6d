"""Warnings about a recipe and its captions before anything is trained, and about the captions that it generates."""

from collections import Counter
from collections.abc import Iterator, Sequence

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
        generated = bool(prepared.manifest["generated_split"])
        found.append(warn.few_images(recipe.validation.split, len(dev.rows), generated=generated))
    unspaced = _unspaced(prepared, train) if train.tokenizer.kind == "words" else None
    found += [unspaced] if unspaced else _token_warnings(recipe, train, dev)
    return [text for text in found if text]


def repetition_warning(captions: Sequence[str]) -> str | None:
    """Return a warning if most images have the same caption, which says nothing about any of them."""
    [(caption, count)] = Counter(captions).most_common(1)
    if len(captions) < 2 or 2 * count <= len(captions):
        return None
    return (
        f"warning: {count:,} of {len(captions):,} validation images have the same caption, '{caption}'. Train for "
        "more epochs (objective.0.epochs), on more images, or from a trained captioner (--from)"
    )


def _token_warnings(recipe: Recipe, train: Batches, dev: Batches) -> Iterator[str | None]:
    training, counts, dev_counts = recipe.training, train.count_tokens(), dev.count_tokens()
    unknown, dev_unknown = (part.unknown / max(1, part.tokens) for part in (counts, dev_counts))
    yield warn.long_captions(counts.truncated, counts.captions, counts.longest, recipe.data.max_tokens)
    if training.init_from is not None and not training.extend_vocabulary:
        yield warn.unknown_to_initial(unknown)
    else:
        vocabulary = train.tokenizer.size - len(SPECIALS)
        yield warn.unknown_words(vocabulary, unknown, recipe.tokenizer.min_count, dev=dev_unknown)


def _unspaced(prepared: PreparedSet, train: Batches) -> str | None:
    """Return the warning about scripts without spaces, from a sample of the captions."""
    rows = train.rows[:: -(-len(train.rows) // SAMPLE)].tolist()
    captions = [train.tokenizer.normalize(text) for row in rows for text in prepared.captions(row)]
    return warn.unspaced_captions(sum(map(is_unspaced, captions)), len(captions))

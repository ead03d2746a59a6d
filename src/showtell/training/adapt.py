"""Adapts a recipe's numbers to the training set: small sets train longer, long captions are read whole.

A recipe's numbers are those of a set of Flickr8k's size. ``training.adapt`` names those that follow the set; where
the set is as large as the recipe expects, they stay what they are.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

from showtell.config.recipe import MAX_ADAPTED, AdaptedKey, Recipe, parse_recipe, recipe_values
from showtell.config.tokenizer import TokenizerOptions
from showtell.data.prepared import PreparedSet
from showtell.text.caption_form import CaptionForm
from showtell.tokenizer import Tokenizer
from showtell.training.word_counts import count_words, training_captions

MIN_STEPS, MAX_EPOCHS = 400, 100
"""A phase has at least this many steps, but an image is not shown more often than this many times."""
WARMUP = 0.1
"""Largest part of a phase that warms up the learning rate."""
PATIENCE_STEPS = {"training.early_stopping_patience": 400, "schedule.patience": 150}
"""Fewest steps between the last improvement and its consequence."""
MAX_UNKNOWN = 0.03
"""Largest fraction of the words of the training captions that the vocabulary may lack."""
MIN_WHOLE, WHOLE = 0.95, 0.99
"""Smallest fraction of captions that fit into the recipe's limit, and the fraction that fits into a raised one."""
MAX_TOKENS = 200
MIN_VALIDATION = 10
"""Fewest validation images whose scores choose an epoch."""


def adapt_recipe(
    recipe: Recipe,
    prepared: PreparedSet,
    initial: Tokenizer | None = None,
    *,
    counted: Tokenizer | None = None,
) -> tuple[Recipe, list[str]]:
    """Return the recipe with its adapted numbers, which nothing adapts again, and a line for each that changed.

    Args:
        recipe: The recipe as loaded.
        prepared: The training set.
        initial: The vocabulary that training starts from; None: a new one.
        counted: The new vocabulary, if there is one already; pieces of words can be counted with it only.
    """
    values, lines = recipe_values(recipe), []
    for key, value, reason in _adapted(recipe, prepared, initial, counted):
        before = _set(values, key, value)
        if value != before:
            lines.append(f"{key} {before} → {value} ({reason})")
    values["training"]["adapt"] = []
    return parse_recipe(values, "the adapted recipe"), lines


def _adapted(
    recipe: Recipe, prepared: PreparedSet, initial: Tokenizer | None, counted: Tokenizer | None
) -> Iterator[tuple[AdaptedKey, int | str, str]]:
    """Yield each adapted key, its value, and why it is so."""
    keys, training, schedule = set(recipe.training.adapt), recipe.training, recipe.schedule
    if not keys:
        return
    images = len(prepared.split_rows("train", subset=recipe.data.subset, seed=training.seed))
    batches = math.ceil(images / training.batch_size) * (1 if recipe.data.rehearse is None else 2)
    epochs = recipe.objective[0].epochs
    if "objective.0.epochs" in keys:
        epochs = max(epochs, min(MAX_EPOCHS, math.ceil(MIN_STEPS / batches)))
        yield "objective.0.epochs", epochs, f"{batches} batches each"
    steps = epochs * batches
    if "schedule.warmup_steps" in keys:
        warmup = min(schedule.warmup_steps, int(WARMUP * steps))
        yield "schedule.warmup_steps", warmup, f"of {steps:,} steps"
    patience = {
        "training.early_stopping_patience": training.early_stopping_patience,
        "schedule.patience": schedule.patience,
    }
    for key, validations in patience.items():
        if key in keys and validations:
            least = math.ceil(PATIENCE_STEPS[key] / (batches * recipe.validation.every))
            yield key, max(validations, least), "validations follow after few steps"
    if "validation.select" in keys:
        validation = recipe.validation
        held_out = len(prepared.split_rows(validation.split, subset=validation.subset, seed=training.seed))
        yield (
            "validation.select",
            "last" if held_out < MIN_VALIDATION else validation.select,
            f"{held_out} validation images",
        )
    if keys & {"tokenizer.min_count", "data.max_tokens", "generation.max_tokens"}:
        yield from _adapted_to_captions(recipe, prepared, initial, counted)


def _adapted_to_captions(
    recipe: Recipe, prepared: PreparedSet, initial: Tokenizer | None, counted: Tokenizer | None
) -> Iterator[tuple[AdaptedKey, int | str, str]]:
    keys, kind = set(recipe.training.adapt), recipe.tokenizer.kind if initial is None else initial.kind
    split = _splitter(recipe.tokenizer, initial or counted)
    counts = count_words(training_captions(prepared, subset=MAX_ADAPTED), split)
    captions, limit = counts.lengths.total(), recipe.data.max_tokens
    longer = sum(number for length, number in counts.lengths.items() if length > limit)
    if "data.max_tokens" in keys and longer > (1.0 - MIN_WHOLE) * captions:
        reason = f"{longer:,} of {captions:,} captions are longer"
        limit = min(MAX_TOKENS, counts.length_quantile(WHOLE))
        yield "data.max_tokens", limit, reason
        if "generation.max_tokens" in keys:
            yield "generation.max_tokens", max(recipe.generation.max_tokens, limit), reason
    min_count, has_new_words = (
        recipe.tokenizer.min_count,
        initial is None or recipe.training.extend_vocabulary,
    )
    is_small = len(prepared.split_rows("train")) <= MAX_ADAPTED
    if "tokenizer.min_count" in keys and has_new_words and kind != "bpe" and is_small:
        known = set() if initial is None else set(initial.tokens)
        unknown = counts.unknown_fraction(min_count, known)
        while min_count > 1 and counts.unknown_fraction(min_count, known) > MAX_UNKNOWN:
            min_count -= 1
        yield "tokenizer.min_count", min_count, f"{100 * unknown:.0f} % of the words would be unknown"


def _splitter(options: TokenizerOptions, tokenizer: Tokenizer | None) -> Callable[[str], list[str]]:
    """Return the function that splits a caption into tokens; words need no vocabulary for it."""
    if tokenizer is not None:
        return tokenizer.split
    form = CaptionForm(options.kind, options.language)
    return lambda text: form.split(form.normalize(text))


def _set(values: dict[str, Any], key: str, value: int | str) -> Any:
    """Set a dotted key; return its value before."""
    *path, last = key.split(".")
    node: Any = values
    for part in path:
        node = node[int(part)] if isinstance(node, list) else node[part]
    before, node[last] = node[last], value
    return before

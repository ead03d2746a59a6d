"""A prepared set as text: splits, problems, examples, vocabulary, repetitions and warnings."""

from collections.abc import Iterator, Sequence

from showtell.config.recipe import MAX_ADAPTED, DataOptions
from showtell.config.tokenizer import TokenizerOptions
from showtell.data import caption_warnings as warn
from showtell.data.caption_warnings import percent
from showtell.data.prepared import PreparedSet
from showtell.data.prepared_writer import PROBLEMS
from showtell.data.problems import read_problems, report
from showtell.data.summary import CaptionSummary, SplitSummary, summarize
from showtell.errors import escape_controls
from showtell.system.console import shorten, text_table

GENERATED = {
    "none": "The source has no split; images were assigned to splits",
    "all": "The source's own split was ignored; images were assigned to splits",
    "train": "Images of the source's training split were assigned to splits",
}
EXAMPLES, CAPTIONS = 3, 2
"""Images that are shown, and captions of each."""
INDENT = 9
HEADER = ("split", "images", "captions", "words (median)", "words (95 %)", "words (most)")
SHOWN_TOKENS = 5


def describe(prepared: PreparedSet, *, width: int) -> list[str]:
    """Return a description of a prepared set as lines; captions and names are shortened to ``width`` columns.

    Words are counted as a word vocabulary counts them, with the default options of recipes.
    """
    summary, manifest = summarize(prepared), prepared.manifest
    lines = [*_splits(summary), *_origin(prepared), *_examples(prepared, width)]
    lines += [*_vocabulary(summary), *_repeats(summary), *_dropped(summary, width)]
    lines.append(
        f"{prepared.directory}: {manifest['source']['format']}, fingerprint {manifest['fingerprint'][:12]}"
    )
    lines += [f"warning: {text}" for text in warnings(summary, generated=bool(manifest["generated_split"]))]
    return [escape_controls(line) for line in lines]


def warnings(summary: CaptionSummary, *, generated: bool) -> list[str]:
    """Return the warnings about a set that is trained on with the default options of recipes."""
    found = [
        warn.few_images(name, split.images, generated=generated)
        for name, split in summary.splits.items()
        if name != "train"
    ]
    found.append(warn.no_dev(summary.splits))
    found.append(warn.frequent_caption(summary.frequent, summary.frequent_images, summary.images))
    repeats = {
        name: split.repeated / split.captions for name, split in summary.splits.items() if split.several
    }
    found.append(warn.unequal_repeats(repeats))
    if (train := summary.splits.get("train")) is not None:
        unspaced = warn.unspaced_captions(train.unspaced, train.captions)
        found += [unspaced] if unspaced else _word_warnings(summary, train)
    return [text for text in found if text]


def _word_warnings(summary: CaptionSummary, train: SplitSummary) -> Iterator[str | None]:
    limit, min_count = DataOptions().max_tokens, TokenizerOptions().min_count
    known = train.words.known(min_count)
    yield warn.long_captions(train.longer_than(limit), train.captions, train.longest, limit, adapted=True)
    yield warn.unknown_words(
        len(known),
        train.words.unknown_fraction(known),
        min_count,
        distinct=len(train.words.hashes),
        dev=summary.splits["dev"].words.unknown_fraction(known) if "dev" in summary.splits else 0.0,
        adapted=train.images <= MAX_ADAPTED,
    )
    yield warn.single_words(train.length_quantile(0.5))


def _splits(summary: CaptionSummary) -> list[str]:
    rows: list[Sequence[str]] = [HEADER]
    for name, split in summary.splits.items():
        counts = (split.images, split.captions, split.length_quantile(0.5), split.length_quantile(0.95))
        rows.append((name, *(f"{count:,}" for count in (*counts, split.longest))))
    return text_table(rows, left=1).split("\n")


def _origin(prepared: PreparedSet) -> Iterator[str]:
    """Yield how the splits came about, the reader's notes, and the problems."""
    manifest = prepared.manifest
    if generated := manifest["generated_split"]:
        options = ", ".join(f"{name} {value}" for name, value in generated.items())
        yield f"{GENERATED[generated.get('make_split', 'none')]} ({options})."
    for note in manifest["notes"]:
        yield f"{note}."
    if manifest["problems"]:
        yield f"Problems (all in {PROBLEMS}; bad entries were left out):"
        yield from report(read_problems(prepared.directory / PROBLEMS), examples=1)


def _examples(prepared: PreparedSet, width: int) -> Iterator[str]:
    """Yield some images with their captions as read, spread over the splits."""
    yield "Examples:"
    splits = list(prepared.manifest["splits"])
    for place, split in enumerate(splits):
        rows = prepared.split_rows(split)
        count = min(len(rows), EXAMPLES // len(splits) + (place < EXAMPLES % len(splits)))
        for number in range(count):
            row = int(rows[(2 * number + 1) * len(rows) // (2 * count)])
            captions = prepared.captions(row)
            shown = [prepared.key(row), *captions[:CAPTIONS]]
            if len(captions) > CAPTIONS:
                shown.append(f"... and {len(captions) - CAPTIONS:,} more")
            for line, text in enumerate(shown):
                yield f"  {'' if line else split:<5}  {shorten(escape_controls(text), width - INDENT)}"


def _vocabulary(summary: CaptionSummary) -> Iterator[str]:
    if (train := summary.splits.get("train")) is None:
        return
    options = TokenizerOptions()
    known = train.words.known(options.min_count)
    unknown = [
        f"{percent(split.words.unknown_fraction(known))} of {name}'s"
        for name, split in summary.splits.items()
    ]
    yield (
        f"Vocabulary: {len(known):,} words with tokenizer.min_count={options.min_count}, "
        f"{len(train.words.hashes):,} with 1. Unknown words: {', '.join(unknown)}."
    )
    limit = DataOptions().max_tokens
    if longer := train.longer_than(limit):
        yield f"{longer:,} of {train.captions:,} training captions are longer than data.max_tokens={limit}."


def _repeats(summary: CaptionSummary) -> Iterator[str]:
    if summary.frequent_images > 1:
        count = f"{summary.frequent_images:,} of {summary.images:,} images"
        yield f"Repeats: '{shorten(summary.frequent, 60)}' is at {count}."
    several, uniform = (
        sum(getattr(split, name) for split in summary.splits.values()) for name in ("several", "uniform")
    )
    if uniform:
        yield f"Repeats: the captions of {uniform:,} of {several:,} images are all equal."


def _dropped(summary: CaptionSummary, width: int) -> Iterator[str]:
    if summary.dropping:
        tokens = ", ".join(
            f"{token} ({count:,})" for token, count in summary.dropped.most_common(SHOWN_TOKENS)
        )
        yield f"The normal form drops parts of {summary.dropping:,} captions: {tokens}, such as in"
        yield " " * INDENT + shorten(escape_controls(summary.dropping_example), width - INDENT)

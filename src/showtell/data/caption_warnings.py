"""Warnings about captions before they are trained on, each with its remedy; None where all is well."""

from collections.abc import Collection, Mapping

from showtell.errors import INSTALL
from showtell.system.console import shorten

MAX_LONG = 0.1
"""Largest fraction of the training captions that may be cut without a warning."""
TOKEN_LIMIT = 200
"""Largest value of data.max_tokens and generation.max_tokens."""
MAX_UNKNOWN = 0.1
ADAPTED = "shipped recipes follow it (training.adapt) and need no change; in a recipe that does not, "
FEW_WORDS = 20
FEW_IMAGES = 50
"""Below it the CIDEr-D of a split is mostly chance: with 20 images of Flickr8k, one standard deviation is a fifth."""
FREQUENT, FREQUENT_IMAGES = 0.1, 5
"""Smallest fraction and number of images with the same caption."""
MAX_DIFFERENCE = 0.2
MOST = 0.5


def long_captions(
    longer: int, captions: int, longest: int, max_tokens: int, *, adapted: bool = False
) -> str | None:
    """Warn of many training captions that are cut at ``max_tokens``; ``longest`` counts the tokens of one.

    ``adapted``: shipped recipes have another number for this set.
    """
    if longer <= MAX_LONG * captions:
        return None
    enough = -(-longest // 10) * 10
    limit = min(enough, TOKEN_LIMIT)
    return (
        f"{longer:,} of {captions:,} training captions are longer than data.max_tokens={max_tokens}, which cuts "
        f"them without an end: {ADAPTED * adapted}--set data.max_tokens={limit} --set generation.max_tokens={limit} "
        + ("takes all" if limit == enough else f"takes the most, the longest has {longest:,} tokens")
    )


def unknown_words(
    vocabulary: int,
    unknown: float,
    min_count: int,
    *,
    distinct: int | None = None,
    dev: float = 0.0,
    adapted: bool = False,
) -> str | None:
    """Warn of a vocabulary of few words, or one that lacks many words of the training or validation captions.

    ``unknown`` and ``dev`` are fractions of their words; ``distinct`` counts those of the training captions.
    ``adapted`` is that of `long_captions`.
    """
    size = f"the vocabulary has {vocabulary:,} words with tokenizer.min_count={min_count}"
    if unknown > MAX_UNKNOWN and min_count > 1:
        all_words = "all" if distinct is None else f"all {distinct:,}"
        return (
            f"{size}, and {percent(unknown)} of the words of the training captions are unknown: "
            f"{ADAPTED * adapted}--set tokenizer.min_count=1 knows {all_words}"
        )
    if max(unknown, dev) > MAX_UNKNOWN:
        which = "training" if unknown > MAX_UNKNOWN else "validation"
        return (
            f"{size}, and {percent(max(unknown, dev))} of the words of the {which} captions are unknown: "
            "add captions, or split words into pieces with --set tokenizer.kind=bpe"
        )
    if vocabulary < FEW_WORDS:
        return f"{size}: a captioner learns whole sentences. Check that these are the captions that you mean"
    return None


def unknown_to_initial(unknown: float) -> str | None:
    """Warn of a vocabulary of an earlier captioner that lacks a fraction of the words of the training captions."""
    if unknown <= MAX_UNKNOWN:
        return None
    return (
        f"the vocabulary of training.init_from lacks {percent(unknown)} of the words of the training captions: "
        "--set training.extend_vocabulary=true adds the frequent ones"
    )


def unspaced_captions(unspaced: int, captions: int) -> str | None:
    """Warn of captions in scripts without spaces, which a word vocabulary does not split."""
    if unspaced <= MOST * captions:
        return None
    return (
        f"{unspaced:,} of {captions:,} training captions have no spaces between words, so that whole sentences "
        f"become words: --set tokenizer.kind=icu finds the words ({INSTALL.format(extra='languages')}), "
        "--set tokenizer.kind=characters takes each character"
    )


def single_words(median: int) -> str | None:
    """Warn of captions that are labels."""
    if median > 1:
        return None
    return (
        "at least half of the training captions are a single word. Check that they are captions, not labels"
    )


def few_images(split: str, images: int, *, generated: bool) -> str | None:
    """Warn of a split too small for CIDEr-D, which weighs n-grams by the images of the split that have them.

    ``generated``: the images were assigned to splits, not by the source.
    """
    if images >= FEW_IMAGES:
        return None
    remark = "is always 0" if images == 1 else f"says little below about {FEW_IMAGES}"
    count = "1 image" if images == 1 else f"{images:,} images"
    if split == "train":
        mend = "choose another split"
    elif split == "holdout":
        mend = "hold more images out with a larger --holdout"
    else:
        mend = f"prepare with a larger --{split}-fraction" + " and --make-split all" * (not generated)
    if split in {"dev", "holdout"}:
        mend = f"validate by --set validation.metric=loss, or {mend}"
    return (
        f"{split} has {count}, and CIDEr-D, which takes the weights of words from the split, {remark}: {mend}"
    )


def no_dev(splits: Collection[str]) -> str | None:
    """Warn of a set with training images alone, which ``train`` has no split to validate by."""
    if "dev" in splits or "train" not in splits:
        return None
    return "there is no dev split to validate by. Take one from the training images with --make-split train"


def frequent_caption(text: str, count: int, images: int) -> str | None:
    """Warn of one caption that many images have."""
    if count < max(FREQUENT_IMAGES, FREQUENT * images):
        return None
    return (
        f"one caption is at {count:,} of {images:,} images, '{shorten(text, 60)}'. Remove it from the source unless "
        "it describes them"
    )


def unequal_repeats(fractions: Mapping[str, float]) -> str | None:
    """Warn of splits that differ in the fraction of captions that their image has more than once."""
    if not fractions or max(fractions.values()) - min(fractions.values()) <= MAX_DIFFERENCE:
        return None
    found = ", ".join(f"{percent(fraction)} in {split}" for split, fraction in fractions.items())
    return (
        f"captions repeat within images, {found}: scores of these splits do not compare. Split again with "
        "--make-split all"
    )


def percent(fraction: float) -> str:
    """Return a fraction as text: ``2.1 %``."""
    return f"{100 * fraction:.1f} %"

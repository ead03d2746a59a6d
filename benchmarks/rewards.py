"""The reward of a batch of samples in reward training, against ``pycocoevalcap``'s CIDEr-D."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.harness import Row, Setting, compare, skipped, take_turns
from benchmarks.material import made_up_corpus
from benchmarks.rivals import coco_caption
from showtell.metrics.ptb_tokenizer import tokenize
from showtell.metrics.reward import Rewards

NUM_IMAGES, SAMPLES, TRAINED = 64, 5, 6_000
SAME = 1e-9


def measure(setting: Setting) -> Iterator[Row]:
    """Yield the comparison, after a check that both say the same where document frequencies are the same."""
    work, against = f"CIDEr-D reward of {NUM_IMAGES} × {SAMPLES} samples", "pycocoevalcap's CIDEr-D"
    why = coco_caption.missing(java=False)
    if why:
        yield skipped(work, against, 20.0, why)
        return
    corpus = made_up_corpus(setting.size(TRAINED, 600))
    references = [tokenize(texts) for texts in corpus.references.values()]
    texts = [[" ".join(tokens) for tokens in captions] for captions in references]
    images = np.repeat(np.arange(NUM_IMAGES), SAMPLES)
    samples = [
        tokens
        for captions in list(made_up_corpus(NUM_IMAGES, seed=1).references.values())
        for tokens in tokenize(captions)
    ]
    sampled = [" ".join(tokens) for tokens in samples]
    # One sample an image: that many images are what pycocoevalcap then counts.
    numbers: dict[str, int] = {}
    known = [[_numbered(tokens, numbers) for tokens in captions] for captions in references]
    drawn = [_numbered(tokens, numbers) for tokens in samples]
    alone = Rewards(known[:NUM_IMAGES])(drawn[::SAMPLES], np.arange(NUM_IMAGES))
    theirs = coco_caption.cider_of_samples(texts, sampled[::SAMPLES], range(NUM_IMAGES))
    difference = float(np.abs(alone - theirs).max())
    if difference > SAME:
        raise RuntimeError(f"the rewards differ by {difference}")
    rewards = Rewards(known)
    timings = take_turns(
        {
            "ours": lambda: rewards(drawn, images),
            "pycocoevalcap": lambda: coco_caption.cider_of_samples(texts, sampled, images.tolist()),
        },
        setting.rounds(9),
    )
    yield compare(
        work,
        against,
        timings,
        ours="ours",
        theirs="pycocoevalcap",
        target=20.0,
        largest_difference=difference,
    )


def _numbered(tokens: Sequence[str], numbers: dict[str, int]) -> list[int]:
    """Return tokens as ids, as training has them."""
    return [numbers.setdefault(token, len(numbers)) for token in tokens]

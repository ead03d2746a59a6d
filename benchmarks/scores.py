"""BLEU, ROUGE-L and CIDEr-D with tokenization, against ``pycocoevalcap`` and its Java tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.harness import Row, Setting, Timing, compare, skipped, take_turns
from benchmarks.material import Corpus, made_up_corpus
from benchmarks.rivals import coco_caption
from showtell.metrics import evaluate
from showtell.metrics.score_files import read_captions

FEW, MANY = 5_000, 40_000
SAME = 1e-5
"""Java keeps the full stop of a single letter at a caption's end or not, by the first word of the caption after it;
ours reads each caption alone. Of 200,000 captions of COCO eight differ so.
"""


def measure(setting: Setting) -> Iterator[Row]:
    """Yield the comparison for two sizes, which both must score alike, and how ours grows."""
    few, many = setting.size(FEW, 500), setting.size(MANY, 4_000)
    ours: dict[int, Timing] = {}
    for count, rounds in ((few, 3), (many, 1)):
        corpus = _corpus(setting, count)
        work = f"BLEU, ROUGE-L, CIDEr-D of {count:,} images, tokenization included"
        against = "pycocoevalcap with its Java tokenizer"
        why = coco_caption.missing()
        scores: dict[str, dict[str, float]] = {}
        works = {"ours": partial(_score, corpus, scores)}
        if not why:
            works["pycocoevalcap"] = partial(_score_theirs, corpus, scores)
        timings = take_turns(works, setting.rounds(rounds), warm_up=False)
        if why:
            yield skipped(work, against, 5.0, why)
        else:
            yield compare(
                work,
                against,
                timings,
                ours="ours",
                theirs="pycocoevalcap",
                target=5.0,
                largest_difference=_difference(scores),
            )
        ours[count] = timings["ours"]
    growth = ours[few].ratio(Timing(ours[many].rounds * len(ours[few].rounds))) / (many / few)
    yield Row(
        f"the same, {many:,} images",
        f"{many // few} times the time of {few:,}",
        growth,
        1.2,
        at_most=True,
        measured=f"{ours[many].median:.2f} s against {many // few} × {ours[few].median:.2f} s",
    )


def _score(corpus: Corpus, scores: dict[str, dict[str, float]]) -> None:
    scores["ours"] = evaluate(corpus.references, corpus.candidates).values


def _score_theirs(corpus: Corpus, scores: dict[str, dict[str, float]]) -> None:
    scores["pycocoevalcap"] = coco_caption.scores(corpus.references, corpus.candidates)


def _difference(scores: dict[str, dict[str, float]]) -> float:
    """Return the largest difference between our scores and theirs.

    Raises:
        RuntimeError: they differ.
    """
    ours, theirs = scores["ours"], scores["pycocoevalcap"]
    difference = max(abs(ours[name] - theirs[name]) for name in theirs)
    if difference > SAME:
        raise RuntimeError(f"the scores differ by {difference}: ours {ours}, pycocoevalcap's {theirs}")
    return difference


def _corpus(setting: Setting, count: int) -> Corpus:
    if setting.references is None:
        return made_up_corpus(count)
    given: dict[str, list[str]] = {}
    for key, texts in read_captions(setting.references):
        given.setdefault(key, []).extend(texts)
    keys = [key for key, texts in given.items() if len(texts) > 1]
    references, candidates = {}, {}
    for number in range(count):
        # One of an image's captions plays the candidate, another one each time the images come round again.
        key, turn = keys[number % len(keys)], number // len(keys)
        texts = list(given[key])
        candidates[f"{number}"] = texts.pop(turn % len(texts))
        references[f"{number}"] = texts
    return Corpus(references, candidates)

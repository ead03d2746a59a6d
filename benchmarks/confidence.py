"""How many captions that name a wrong main object a captioner's confidence flags, on images unlike the training's:
``python -m benchmarks.confidence models/flickr8k --data data/flickr8k --unlike data/coco:train``.

Flagged is a caption with less confidence than the bound that keeps 80 % of the captions of ``--data``; each half of
the images is measured by a calibration of the other half. The main object of a caption is its first noun. Nouns are
found in the datastore's captions: words after a determiner, and before a word that only joins others, an end or a
verb. A main object is wrong if no reference has the word, its singular or plural, nor, if it is a word for people,
any such word. An image is indoors if two of its references have a word of rooms, furniture or meals.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from showtell.checkpoints.checkpoint import load_checkpoint
from showtell.data.prepared import PreparedSet
from showtell.retrieval.datastore import Datastore
from showtell.system.console import show
from showtell.text.bad_endings import JOINING
from showtell.tokenizer import Tokenizer
from showtell.training.calibrate import ImageSet, calibrate

COVERAGE = 0.8
_PEOPLE = """
man woman men women boy girl boys girls child children kid kids person people guy guys lady baby toddler player
players crowd couple family friends skier snowboarder skateboarder surfer batter pitcher biker cyclist rider climber
"""
_INDOORS = """
kitchen bathroom bedroom room restaurant table desk counter couch bed sink toilet office stove oven plate
refrigerator microwave
"""
_DETERMINERS = "a an the his her two three some several"
_VERBS = "standing sitting wearing runs jumps walks sits running holding"
_GROUPS = "group crowd couple picture pair bunch"
PEOPLE, INDOORS, DETERMINERS, VERBS, GROUPS = (
    frozenset(words.split()) for words in (_PEOPLE, _INDOORS, _DETERMINERS, _VERBS, _GROUPS)
)


def nouns(datastore: Datastore) -> set[str]:
    """Return the nouns of a datastore's captions."""
    found, ends = Counter[str](), Counter[str]()
    for image in range(len(datastore)):
        for caption in datastore.captions[image]:
            for before, word, after in zip(caption[:-1], caption[1:], [*caption[2:], ""], strict=True):
                if before in DETERMINERS:
                    found[word] += 1
                    ends[word] += not after or after in VERBS or (after in JOINING and after != "and")
    return {word for word, count in found.items() if count >= 5 and ends[word] >= 0.4 * count} - JOINING


def main_object(words: Sequence[str], known: set[str]) -> str | None:
    """Return the first noun, not "group" in "a group of people"; None if there is none."""
    for place, word in enumerate(words):
        if word in known and not (word in GROUPS and [*words[place + 1 : place + 2]] == ["of"]):
            return word
    return None


def is_wrong(name: str | None, references: set[str]) -> bool:
    """Return whether references, as a set of words, do not have a main object."""
    if name is None or (name in PEOPLE and references & PEOPLE):
        return False
    return not references & {name, f"{name}s", name.removesuffix("s")}


def is_indoors(captions: Sequence[str], tokenizer: Tokenizer) -> bool:
    """Return whether two of the captions name something of rooms."""
    return sum(bool(INDOORS.intersection(tokenizer.split(text))) for text in captions) >= 2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--unlike", action="append", required=True, metavar="DATA:SPLIT")
    parser.add_argument("--list", action="store_true", help="print each caption of --unlike")
    arguments = parser.parse_args()
    loaded = load_checkpoint(arguments.checkpoint, with_encoder=False)
    assert loaded.datastore is not None
    known = nouns(loaded.datastore)
    unlike = [ImageSet(Path(name.partition(":")[0]), name.partition(":")[2]) for name in arguments.unlike]
    first, *others = calibrate(
        arguments.checkpoint, data=ImageSet(arguments.data, "dev"), also=unlike, write=False, threads=1
    )
    bound = np.quantile(first.confidence, 1 - COVERAGE)
    show(f"unsure below {bound:.3f}, which keeps {COVERAGE:.0%} of {first.name}")
    rows = []
    for images, each in zip(unlike, others, strict=True):
        prepared = PreparedSet.load(images.data)
        for caption, confidence in zip(each.checked, each.confidence, strict=True):
            references = prepared.captions(caption.row)
            words = {word for text in references for word in loaded.tokenizer.split(text)}
            wrong = is_wrong(main_object(caption.words, known), words)
            rows.append((wrong, is_indoors(references, loaded.tokenizer), confidence < bound))
            if arguments.list:
                listed = (prepared.image_path(caption.row), f"{confidence:.2f}", *rows[-1], *caption.words)
                show(" ".join(map(str, listed)))
    wrong, indoors, flagged = np.array(rows).T
    for name, chosen in {
        "wrong main object, indoors": wrong & indoors,
        "wrong main object": wrong,
        "right main object": ~wrong,
        "all": np.ones(len(wrong), bool),
    }.items():
        show(f"{name}: {flagged[chosen].sum()} of {chosen.sum()} flagged, {flagged[chosen].mean():.0%}")


if __name__ == "__main__":
    main()

"""Flickr8k as published: ``Flickr8k.token.txt``, split lists, and an image folder.

    1000268201_693b08cb0e.jpg#0<TAB>A child in a pink dress is climbing up a set of stairs in an entry way .

The split lists define the dataset; images in no list are left out. The token file has captions of
``2258277193_586949ec62.jpg.1``, an image that does not exist, which is reported as a problem.
"""

from collections import Counter
from pathlib import Path

from showtell.data.sources.base import Example, Problem, Source, is_image, not_a, read_lines
from showtell.data.sources.image_index import FLICKR8K_FOLDERS, find_images

LAYOUT = "a folder with Flickr8k.token.txt, Flickr_8k.trainImages.txt and Flicker8k_Dataset/"
TOKENS = "Flickr8k.token.txt"
LISTS = {split: f"Flickr_8k.{split}Images.txt" for split in ("train", "dev", "test")}
TEXT_FOLDERS = (".", "Flickr8k_text")


def matches(path: Path) -> bool:
    """Return whether the token file exists."""
    return _texts(path) is not None


def read(path: Path) -> Source:
    """Read the dataset."""
    texts = _texts(path)
    if texts is None:
        raise not_a("flickr8k", path, f"no {TOKENS}", LAYOUT)
    images = find_images(path, FLICKR8K_FOLDERS)
    problems: list[Problem] = []
    captions = read_tokens(texts / TOKENS, problems)
    splits = _splits(texts, problems)
    if not splits:
        examples = [Example(name, images / name, tuple(group)) for name, group in captions.items()]
        return Source(examples, problems, "flickr8k")
    examples = [
        Example(name, images / name, tuple(captions.get(name, ())), split)
        for split, names in splits.items()
        for name in names
    ]
    listed = {example.key for example in examples}
    on_disk = {file.name for file in images.iterdir() if is_image(file.name)}
    for name, group in captions.items():
        if name not in listed and name not in on_disk and not is_image(name):
            detail = f"{len(group)} captions of a name that is not an image"
            problems.append(Problem("captions-without-image", name, detail))
    unlisted = ({name for name in captions if is_image(name)} | on_disk) - listed
    notes = [f"{len(unlisted):,} images are in no split list and were left out"] if unlisted else []
    return Source(examples, problems, "flickr8k", notes)


def _texts(path: Path) -> Path | None:
    return next((path / folder for folder in TEXT_FOLDERS if (path / folder / TOKENS).is_file()), None)


def read_tokens(tokens: Path, problems: list[Problem]) -> dict[str, list[str]]:
    """Return the captions of a token file by image; malformed lines are problems."""
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(read_lines(tokens), start=1):
        if not line.strip():
            continue
        mark, tab, caption = line.partition("\t")
        name, hash_sign, _ = mark.rpartition("#")
        if not (tab and hash_sign and name.strip()):
            detail = f"'{line[:60]}' is not NAME#NUMBER<TAB>CAPTION"
            problems.append(Problem("unreadable-line", f"{tokens.name}:{number}", detail))
            continue
        captions.setdefault(name.strip(), []).append(caption)
    return captions


def _splits(texts: Path, problems: list[Problem]) -> dict[str, list[str]]:
    """Return the distinct names of each split list that exists."""
    splits = {}
    for split, file in LISTS.items():
        if (texts / file).is_file():
            counts = Counter(name for line in read_lines(texts / file) if (name := line.strip()))
            splits[split] = list(counts)
            for name, count in counts.items():
                if count > 1:
                    problems.append(Problem("listed-twice", name, f"{count} times in {file}"))
    return splits

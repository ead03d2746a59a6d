"""The captions of many images as arrays: a datastore of COCO has seven million words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import numpy.typing as npt

from showtell.metrics.ngrams import ragged_arange

Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True)
class StoredCaptions:
    """The captions of N images, each a list of tokens."""

    words: list[str]  # the distinct tokens; a token's number is its place here
    tokens: Numbers  # the numbers of all tokens, caption by caption [T]
    lengths: Numbers  # tokens of each caption [C]
    per_image: Numbers  # captions of each image [N]

    @classmethod
    def of(cls, captions: Iterable[Sequence[Sequence[str]]]) -> "StoredCaptions":
        """Return the captions of images, lists of lists of tokens."""
        numbers: dict[str, int] = {}
        tokens: list[int] = []
        lengths: list[int] = []
        per_image: list[int] = []
        for several in captions:
            per_image.append(len(several))
            lengths += map(len, several)
            tokens += [numbers.setdefault(token, len(numbers)) for token in chain.from_iterable(several)]
        return cls(list(numbers), *(np.array(part, np.int32) for part in (tokens, lengths, per_image)))

    def check(self, images: int) -> None:
        """Raise a ValueError unless these are the captions of as many images."""
        are_whole = (
            len(self.per_image) == images
            and int(self.per_image.sum(dtype=np.int64)) == len(self.lengths)
            and int(self.lengths.sum(dtype=np.int64)) == len(self.tokens)
        )
        numbers = (self.per_image, self.lengths, self.tokens)
        if not are_whole or any(part.min(initial=0) < 0 for part in numbers):
            raise ValueError(f"captions that are not those of {images:,} images")
        if self.tokens.max(initial=-1) >= len(self.words) or not all(
            type(word) is str for word in self.words
        ):
            raise ValueError("tokens that are no words of the datastore")

    def __getitem__(self, image: int) -> list[list[str]]:
        """Return the captions of an image."""
        captions, _ = self.of_images(np.array([image]))
        return [[self.words[token] for token in self.caption(each)] for each in captions]

    def of_images(self, images: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the numbers of the captions of K images, and the position in ``images`` of each caption."""
        counts = self.per_image[images].astype(np.int64)
        owner = np.repeat(np.arange(len(images)), counts)
        return self._first_caption[images][owner] + ragged_arange(counts), owner

    def caption(self, number: int) -> Numbers:
        """Return the words of a caption, as numbers."""
        return self.tokens[self._first_token[number] : self._first_token[number + 1]]

    def tokens_of(self, captions: npt.NDArray[np.int64]) -> tuple[Numbers, npt.NDArray[np.int64]]:
        """Return the tokens of captions, int64 [C], one after the other, and the position in them of each token."""
        lengths = self.lengths[captions].astype(np.int64)
        owner = np.repeat(np.arange(len(captions)), lengths)
        return self.tokens[self._first_token[captions][owner] + ragged_arange(lengths)], owner

    @cached_property
    def _first_caption(self) -> npt.NDArray[np.int64]:
        return np.cumsum(self.per_image, dtype=np.int64) - self.per_image

    @cached_property
    def _first_token(self) -> npt.NDArray[np.int64]:
        return np.append(0, np.cumsum(self.lengths, dtype=np.int64))

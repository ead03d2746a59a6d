"""How similar captions are to those of an image's neighbours: CIDEr's cosine, the mean over the orders 1 to 4.

The n-grams of a datastore's captions are numbered once, which takes four numbers of 32 bits for a word. The cosine
is linear in the neighbours' captions: these are summed once for an image, not compared with each of its captions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from showtell.metrics.cider import TfIdf
from showtell.metrics.ngrams import ORDERS, Captions, Floats, Integers, NgramIndex, numbered, ragged_arange
from showtell.retrieval.captions import StoredCaptions


@dataclass(frozen=True)
class WeightedNgrams:
    """N-grams of some captions with their TF-IDF weights, of each caption and order as a unit vector."""

    caption: Integers  # number of the caption [entries]
    ngram: Integers  # number of the n-gram [entries]
    weight: Floats  # [entries]; that of an n-gram with two entries is their sum


class Consensus:
    """The captions of K neighbours of an image, weighted."""

    def __init__(self, captions: WeightedNgrams, owner: Integers, weights: Floats) -> None:
        """Take the neighbours' captions, the neighbour of each, int64 [C], and the neighbours' weights [K]."""
        self._captions, self._num_captions, self._num_neighbours = captions, len(owner), len(weights)
        self._ngrams, self._place, _ = numbered(captions.ngram)
        weight = weights[owner] / np.bincount(owner)[owner] / ORDERS  # of each caption
        self._spoken = captions.weight * weight[captions.caption]
        self._total = _sums(self._place, self._spoken, len(self._ngrams))
        self._owner = owner[captions.caption]  # of each entry

    def similarity(self, captions: WeightedNgrams, count: int) -> Floats:
        """Return the similarity of other captions to those of the neighbours, float64 [count], 0..1."""
        found, place = self._find(captions)
        products = captions.weight[found] * self._total[place]
        return _sums(captions.caption[found], products, count)

    def own_similarity(self) -> Floats:
        """Return the similarity of each of the neighbours' captions to all of them, float64 [C]."""
        products = self._captions.weight * self._total[self._place]
        return _sums(self._captions.caption, products, self._num_captions)

    def by_neighbour(self, caption: WeightedNgrams) -> Floats:
        """Return what each neighbour adds to the similarity of one caption, float64 [K]."""
        found, place = self._find(caption)
        weight = _sums(place, caption.weight[found], len(self._ngrams))
        return _sums(self._owner, self._spoken * weight[self._place], self._num_neighbours)

    def _find(self, captions: WeightedNgrams) -> tuple[Integers, Integers]:
        """Return the entries that the neighbours' captions have too, and the places of their n-grams."""
        place = np.minimum(np.searchsorted(self._ngrams, captions.ngram), len(self._ngrams) - 1)
        found = np.flatnonzero(self._ngrams[place] == captions.ngram)
        return found, place[found]


class CaptionNgrams:
    """The n-grams of a datastore's captions, with its document frequencies."""

    def __init__(self, captions: StoredCaptions) -> None:
        self._captions = captions
        lengths = captions.lengths.astype(np.int64)
        self._index = NgramIndex(
            Captions(captions.tokens.astype(np.int64), lengths), captions.per_image.astype(np.int64)
        )
        self._tf_idf = TfIdf(self._index.frequencies(), len(captions.per_image))
        self._rarity = np.concatenate(self._tf_idf.rarities)
        self._first_number = np.cumsum([0, *map(len, self._tf_idf.rarities)])  # of each order
        table = self._index.references
        norms = np.stack(self._tf_idf.weigh(table)[1], axis=1)
        self._scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)  # [C, ORDERS]
        # Caption by caption, and in it order by order; an n-gram is repeated where the caption repeats it.
        self._counts = np.maximum(lengths[:, None] - np.arange(ORDERS), 0)  # [C, ORDERS]
        self._start = np.append(0, np.cumsum(self._counts))
        self._ngrams = np.empty(self._start[-1], np.int32)
        for order, entries in enumerate(table.orders):
            counts, by_caption = self._counts[:, order], np.argsort(entries.caption, kind="stable")
            places = np.repeat(self._start[order:-1:ORDERS], counts) + ragged_arange(counts)
            numbers = entries.ngram[by_caption] + self._first_number[order]
            self._ngrams[places] = np.repeat(numbers, entries.count[by_caption])
        self._index.forget_references()

    def consensus(self, images: Integers, weights: Floats) -> Consensus:
        """Return the captions of K images, int64 [K], weighted by float64 [K]."""
        captions, owner = self._captions.of_images(images)
        spans = zip(self._start[ORDERS * captions], self._start[ORDERS * (captions + 1)], strict=True)
        ngrams = np.concatenate([self._ngrams[start:end] for start, end in spans])
        counts = self._counts[captions]
        weight = self._rarity[ngrams] * np.repeat(self._scale[captions].ravel(), counts.ravel())
        caption = np.repeat(np.arange(len(captions)), counts.sum(axis=1))
        return Consensus(WeightedNgrams(caption, ngrams.astype(np.int64), weight), owner, weights)

    def weigh(self, captions: Sequence[Sequence[int]]) -> WeightedNgrams:
        """Return those n-grams of other captions, numbers of words, that the datastore has."""
        table = self._index.count(Captions.of(captions))
        parts = []
        for order, (entries, weights, norms) in enumerate(
            zip(table.orders, *self._tf_idf.weigh(table), strict=True)
        ):
            known = (entries.ngram < len(self._tf_idf.rarities[order])) & (weights > 0)
            caption, ngram = entries.caption[known], entries.ngram[known] + self._first_number[order]
            parts.append((caption, ngram, weights[known] / norms[caption]))
        return WeightedNgrams(*map(np.concatenate, zip(*parts, strict=True)))


def _sums(place: Integers, values: Floats, count: int) -> Floats:
    """Return the sum of the values of each place, float64 [count]."""
    return np.bincount(place, values, count).astype(np.float64)  # of no values, numpy's are integers

"""Retrieval: captions of similar images, kept in a datastore, rerank the captions that a decoder generates."""

from showtell.retrieval.datastore import Datastore, Projection
from showtell.retrieval.overlap import check_unseen, note_near_duplicates
from showtell.retrieval.rerank import Neighbour, Reranker
from showtell.retrieval.search import CaptionSearch

__all__ = [
    "CaptionSearch",
    "Datastore",
    "Neighbour",
    "Projection",
    "Reranker",
    "check_unseen",
    "note_near_duplicates",
]

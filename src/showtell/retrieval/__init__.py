"""Retrieval: the captions of similar images, in a datastore, rerank those that a decoder generates."""

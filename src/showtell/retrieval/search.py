"""The search of a captioner: hypotheses of its decoder, reranked by its datastore where the options ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from showtell.config.generation import DecodingOptions
from showtell.errors import ConfigError
from showtell.generation import Hypothesis, OnStep, SpecialTokens, score_captions, search
from showtell.generation.array_ops import like, to_numpy
from showtell.system.console import note

if TYPE_CHECKING:
    from showtell.retrieval.datastore import Datastore
    from showtell.retrieval.rerank import Reranker
    from showtell.tokenizer import Tokenizer


def require_datastore(options: DecodingOptions, datastore: Datastore | None) -> Datastore:
    """Return the datastore that the options need; a ConfigError if there is none."""
    if datastore is None:
        raise ConfigError(
            f"retrieval '{options.retrieval}' cannot be used",
            found="a captioner without a datastore",
            mend="Make one: showtell index CAPTIONER --data PREPARED -o OUT; or omit it: --retrieval off",
        )
    return datastore


def load_datastore(path: Path) -> Datastore:
    """Return `Datastore.load`; a captioner without one imports nothing for it."""
    from showtell.retrieval.datastore import Datastore

    return Datastore.load(path)


class CaptionSearch:
    """Generates captions with a vocabulary and, if the captioner has one, a datastore."""

    def __init__(self, tokenizer: Tokenizer, datastore: Datastore | None) -> None:
        self._tokenizer, self._datastore = tokenizer, datastore
        self._specials = SpecialTokens.of(tokenizer)
        self._reranker: Reranker | None = None
        self._lock = Lock()

    def _make_reranker(self) -> Reranker:
        """Return the reranker, made when it is first needed: once, though two batches may ask for it together."""
        from showtell.retrieval.rerank import Reranker

        with self._lock:
            if self._reranker is None:
                assert self._datastore is not None
                if len(self._datastore) == 1:
                    note(f"warning: {self._datastore.describe()}")
                self._reranker = Reranker(self._datastore, self._tokenizer)
            return self._reranker

    def __call__(
        self,
        decoder: Any,
        features: Any,
        options: DecodingOptions,
        *,
        attention: bool = False,
        keys: Sequence[int] | None = None,
        on_step: OnStep | None = None,
    ) -> list[list[Hypothesis]]:
        """Return at least one caption of each image, best score first; see `showtell.generation.search`.

        Raises:
            ConfigError: retrieval without a datastore.
            CheckpointError: the logits hold NaN or +infinity.
        """
        if options.retrieval != "off":
            require_datastore(options, self._datastore)
        results = search(
            decoder, features, options, self._specials, attention=attention, keys=keys, on_step=on_step
        )
        if options.retrieval == "off" or not results:
            return results

        def score(rows: list[int], captions: list[list[int]]) -> list[Hypothesis | None]:
            chosen = features[like(np.array(rows, np.int64), features.pooled)]
            return score_captions(decoder, chosen, captions, options, self._specials, attention=attention)

        return self._make_reranker()(to_numpy(features.pooled), results, options, score)

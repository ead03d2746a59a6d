"""The search of a captioner: hypotheses of its decoder, reranked by its datastore where the options ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from showtell.config.generation import DecodingOptions
from showtell.errors import ConfigError
from showtell.generation import (
    Constraints,
    Hypothesis,
    OnStep,
    SpecialTokens,
    build_constraints,
    meets,
    score_captions,
    search,
)
from showtell.generation.array_ops import like, to_numpy
from showtell.system.console import note

if TYPE_CHECKING:
    from showtell.config.confidence import Calibration
    from showtell.retrieval.confidence import EvidenceSource
    from showtell.retrieval.datastore import Datastore
    from showtell.retrieval.rerank import Reranker
    from showtell.tokenizer import Tokenizer


D = TypeVar("D")


def require_datastore(options: DecodingOptions, datastore: D | None) -> D:
    """Return the datastore, or what is known of it, that the options need; a ConfigError if there is none."""
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

    def __init__(
        self, tokenizer: Tokenizer, datastore: Datastore | None, calibration: Calibration | None = None
    ) -> None:
        self._tokenizer, self._datastore, self._calibration = tokenizer, datastore, calibration
        self._sources: dict[bool, EvidenceSource] = {}
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
        constraints: Constraints = (),
    ) -> list[list[Hypothesis]]:
        """Return at least one caption of each image, best score first; see `showtell.generation.search`.

        The best one of each has its confidence, if the captioner is calibrated.
        ``constraints`` hold beside those of the options. They change no caption that meets them: in a beam, a
        hypothesis that they remove makes place for another, whose extensions could displace the best one, so an image
        is searched with them only if its best caption without them does not meet them.

        Raises:
            ConfigError: retrieval without a datastore, or constraints that cannot be met.
            CheckpointError: the logits hold NaN or +infinity.
        """
        if options.retrieval != "off":
            require_datastore(options, self._datastore)
        constraints = (*build_constraints(options, self._tokenizer), *constraints)
        results = self._generate(decoder, features, options, attention, keys, on_step, constraints)
        return self._with_confidence(features, results, options) if results else results

    def _generate(
        self,
        decoder: Any,
        features: Any,
        options: DecodingOptions,
        attention: bool,
        keys: Sequence[int] | None,
        on_step: OnStep | None,
        constraints: Constraints,
    ) -> list[list[Hypothesis]]:
        free = options.model_copy(update={"repetition_penalty": 1.0})
        if options.method != "beam" or (not constraints and free == options):
            return self._search(decoder, features, options, constraints, attention, keys, on_step)
        results = self._search(decoder, features, free, (), attention)
        met = [
            [each for each in hypotheses if self._meets(each, options, constraints)] for hypotheses in results
        ]
        missing = [row for row, every in enumerate(results) if not met[row] or met[row][0] is not every[0]]
        if missing:
            chosen = _rows(features, missing)
            again = self._search(decoder, chosen, options, constraints, attention)
            for row, hypotheses in zip(missing, again, strict=True):
                met[row] = hypotheses
        return met

    def _meets(self, hypothesis: Hypothesis, options: DecodingOptions, constraints: Constraints) -> bool:
        ids = hypothesis.ids
        if options.repetition_penalty > 1 and len(set(ids)) < len(ids):
            return False
        return meets(ids, constraints, self._specials, self._tokenizer.size)

    def _search(
        self,
        decoder: Any,
        features: Any,
        options: DecodingOptions,
        constraints: Constraints,
        attention: bool,
        keys: Sequence[int] | None = None,
        on_step: OnStep | None = None,
    ) -> list[list[Hypothesis]]:
        results = search(
            decoder,
            features,
            options,
            self._specials,
            attention=attention,
            keys=keys,
            on_step=on_step,
            constraints=constraints,
        )
        if options.retrieval == "off" or not results:
            return results

        def score(rows: list[int], captions: list[list[int]]) -> list[Hypothesis | None]:
            return score_captions(
                decoder,
                _rows(features, rows),
                captions,
                options,
                self._specials,
                attention=attention,
                constraints=constraints,
            )

        return self._make_reranker()(to_numpy(features.pooled), results, options, score)

    def _with_confidence(
        self, features: Any, results: list[list[Hypothesis]], options: DecodingOptions
    ) -> list[list[Hypothesis]]:
        uses_datastore = options.retrieval != "off"
        weights = None if self._calibration is None else self._calibration.weights(options.retrieval)
        if weights is None:
            return results
        from showtell.retrieval.confidence import EvidenceSource, add_confidence

        with self._lock:
            if uses_datastore not in self._sources:
                datastore = self._datastore if uses_datastore else None
                self._sources[uses_datastore] = EvidenceSource(self._tokenizer, datastore)
        source = self._sources[uses_datastore]
        evidence = source(to_numpy(features.pooled), [hypotheses[0] for hypotheses in results])
        return [
            [add_confidence(best, each, weights), *others]
            for (best, *others), each in zip(results, evidence, strict=True)
        ]


def _rows(features: Any, rows: list[int]) -> Any:
    return features[like(np.array(rows, np.int64), features.pooled)]

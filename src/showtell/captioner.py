"""The facade: load a captioner once, then caption pictures of every kind, in batches, each error in its place.

    captioner = Captioner.load("runs/attention/best")
    print(captioner.caption("photo.jpg").text)

What runs the networks is a `Runtime`; torch is imported by the one that needs it, when it is loaded.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, overload

import numpy as np
import numpy.typing as npt

from showtell.errors import ConfigError, MissingExtraError, PictureError
from showtell.images import PictureSource, Preprocessing, load_picture, prepare_picture
from showtell.options import DecodingOptions, override
from showtell.search import Hypothesis, Specials, search
from showtell.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from showtell.models.checkpoint import Checkpoint

BATCH_SIZE = 32
_Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Caption:
    """What was said of a picture, or why nothing was.

    Attributes:
        text: The caption.
        score: Log-probability under the length rule, natural logarithm; -infinity where there is an error.
        words: Its words.
        word_log_probs: Log-probability of each word.
        alternatives: All beams or samples, best first, this one included (theirs are empty).
        attention: Where the decoder looked for each word, float32 [T, R], regions row by row; None unless asked.
        path: The picture's path, where it was given as one.
        error: Why there is no caption; None where there is one.
        log_prob: Sum of the log-probabilities of the words, and of the end if it came.
        truncated: The end did not come within ``max_words``.
    """

    text: str
    score: float
    words: list[str] = field(default_factory=list)
    word_log_probs: list[float] = field(default_factory=list)
    alternatives: list[Caption] = field(default_factory=list)
    attention: npt.NDArray[np.float32] | None = field(default=None, compare=False)
    path: str | None = None
    error: str | None = None
    log_prob: float = -math.inf
    truncated: bool = False


class Runtime(Protocol):
    """What runs a captioner's networks: torch, or an export."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Its vocabulary."""

    @property
    def search(self) -> DecodingOptions:
        """How it decodes unless told otherwise."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What pictures must look like."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of regions."""

    def describe(
        self, pictures: _Picture, options: DecodingOptions, *, attention: bool
    ) -> list[list[Hypothesis]]:
        """Return hypotheses about each picture, uint8 [P, S, S, 3], best first."""


class TorchRuntime:
    """Runs a checkpoint with torch."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        encoder = checkpoint.model.encoder
        if encoder is None:
            raise ValueError("a checkpoint loaded without its encoder cannot caption pictures")
        self._encoder, self._decoder = encoder, checkpoint.model.decoder
        self.tokenizer, self.search = checkpoint.tokenizer, checkpoint.search
        self.preprocessing, self.grid = encoder.preprocessing, encoder.grid

    @classmethod
    def load(cls, path: Path, encoder_weights: Path | None, device: str) -> TorchRuntime:
        """Load a checkpoint; the device ``auto`` is a graphics card where there is one."""
        try:
            import torch
        except ImportError as error:
            raise MissingExtraError("torch", extra="train", cause=str(error)) from error
        from showtell.models.checkpoint import load_checkpoint

        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "mps" if torch.mps.is_available() else "cpu"
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise ConfigError(
                f"the device '{device}' cannot be used",
                found=str(error).splitlines()[0],
                expected="auto, cpu, cuda, cuda:0, mps",
            ) from error
        return cls(load_checkpoint(path, encoder_weights=encoder_weights, device=device))

    def describe(
        self, pictures: _Picture, options: DecodingOptions, *, attention: bool
    ) -> list[list[Hypothesis]]:
        """Return hypotheses about each picture, uint8 [P, S, S, 3], best first."""
        import torch

        words = self.tokenizer
        specials = Specials(words.pad_id, words.bos_id, words.eos_id, words.unk_id)
        with torch.inference_mode():
            features = self._encoder(torch.from_numpy(pictures))
            return search(self._decoder, features, options, specials, attention=attention)


class Captioner:
    """Captions pictures; make one with `Captioner.load`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @classmethod
    def load(
        cls, path: str | Path, *, encoder_weights: str | Path | None = None, device: str = "auto"
    ) -> Captioner:
        """Load a checkpoint, or a run's best one.

        Args:
            path: A checkpoint directory or a run directory.
            encoder_weights: A local file with the encoder's weights; None: those in the checkpoint, else the
                file it was trained with, else the hub's.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

        Raises:
            CheckpointError: missing, broken, or its parts do not fit together.
            EncoderError: the encoder's weights are missing or of another network.
            ConfigError: no such device.
            MissingExtraError: torch is not installed.
        """
        weights = None if encoder_weights is None else Path(encoder_weights)
        return cls(TorchRuntime.load(Path(path), weights, device))

    @property
    def options(self) -> DecodingOptions:
        """How captions are chosen unless told otherwise."""
        return self._runtime.search

    @property
    def preprocessing(self) -> Preprocessing:
        """What the encoder sees of a picture."""
        return self._runtime.preprocessing

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the regions that attention weighs."""
        return self._runtime.grid

    @overload
    def caption(
        self, pictures: PictureSource, *, attention: bool = ..., batch_size: int = ..., **options: Any
    ) -> Caption: ...

    @overload
    def caption(
        self,
        pictures: Sequence[PictureSource],
        *,
        attention: bool = ...,
        batch_size: int = ...,
        **options: Any,
    ) -> list[Caption]: ...

    def caption(
        self,
        pictures: PictureSource | Sequence[PictureSource],
        *,
        attention: bool = False,
        batch_size: int = BATCH_SIZE,
        **options: Any,
    ) -> Caption | list[Caption]:
        """Caption one picture, or a sequence of them in its order.

        Args:
            pictures: Paths, bytes, PIL images or arrays uint8 [H, W, 3], one or a sequence (an array
                [P, H, W, 3] is one).
            attention: Return where the decoder looked for each word.
            batch_size: Pictures looked at together.
            options: Fields of `DecodingOptions`: ``beams=5``, ``max_words=12``, ``temperature=0.7``.

        Returns:
            One caption, or a list; in a list a picture that cannot be read has its ``error`` in its own place.

        Raises:
            ConfigError: an option is unknown or out of range, or the decoder has no attention to return.
            PictureError: the only picture cannot be read.
        """
        if isinstance(pictures, bytearray | memoryview):
            pictures = bytes(pictures)
        array = isinstance(pictures, np.ndarray) and pictures.ndim != 4
        one = array or isinstance(pictures, str | bytes) or not isinstance(pictures, Iterable)
        listed = [cast(PictureSource, pictures)] if one else cast(Sequence[PictureSource], pictures)
        captions = list(self.stream(listed, attention=attention, batch_size=batch_size, **options))
        if not one:
            return captions
        if captions[0].error is not None:
            raise PictureError(captions[0].error)
        return captions[0]

    def stream(
        self,
        pictures: Iterable[PictureSource],
        *,
        attention: bool = False,
        batch_size: int = BATCH_SIZE,
        **options: Any,
    ) -> Iterator[Caption]:
        """Yield captions in the order of the pictures, as batches finish; for more than memory holds.

        Pictures of the next batch are decoded in threads while this one is captioned. Arguments and errors are
        those of `caption` for a sequence.
        """
        chosen = override(self.options, **options)
        if batch_size < 1:
            raise ConfigError("batch_size is out of range", found=str(batch_size), expected="1 or more")
        return self._stream(iter(pictures), attention, batch_size, chosen)

    def _stream(
        self, pictures: Iterator[PictureSource], attention: bool, batch_size: int, options: DecodingOptions
    ) -> Iterator[Caption]:
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads:

            def begin() -> list[tuple[PictureSource, Future[_Picture]]]:
                return [(one, self._begin(threads, one)) for one in islice(pictures, batch_size)]

            batch = begin()
            while batch:
                following = begin()
                yield from self._caption_batch(batch, attention, options)
                batch = following

    def _begin(self, threads: ThreadPoolExecutor, source: PictureSource) -> Future[_Picture]:
        if isinstance(source, str | Path | bytes | np.ndarray):
            return threads.submit(self._open, source)
        # A PIL image may stand twice in a list, and two threads must not decode it at once.
        opened: Future[_Picture] = Future()
        try:
            opened.set_result(self._open(source))
        except PictureError as error:
            opened.set_exception(error)
        return opened

    def _open(self, source: PictureSource) -> _Picture:
        return prepare_picture(load_picture(source), self._runtime.preprocessing)

    def _caption_batch(
        self, batch: list[tuple[PictureSource, Future[_Picture]]], attention: bool, options: DecodingOptions
    ) -> list[Caption]:
        opened: list[_Picture] = []
        errors: list[str | None] = []
        for _, future in batch:
            try:
                opened.append(future.result())
                errors.append(None)
            except PictureError as error:
                errors.append(str(error))
        described = iter(
            self._runtime.describe(np.stack(opened), options, attention=attention) if opened else ()
        )
        captions = []
        for (source, _), problem in zip(batch, errors, strict=True):
            path = str(source) if isinstance(source, str | Path) else None
            if problem is not None:
                captions.append(Caption("", -math.inf, path=path, error=problem))
                continue
            found = next(described)
            if attention and found[0].attention is None:
                raise ConfigError(
                    "attention cannot be returned",
                    found="a decoder that does not attend to regions",
                    mend="Leave attention out, or use a checkpoint of an attention decoder",
                )
            said = [self._tell(hypothesis, path, []) for hypothesis in found]
            captions.append(self._tell(found[0], path, said))
        return captions

    def _tell(self, hypothesis: Hypothesis, path: str | None, alternatives: list[Caption]) -> Caption:
        """Turn tokens into words; a word of several tokens has their sum, and the mean of their attention."""
        words = self._runtime.tokenizer
        groups = words.word_groups(hypothesis.ids)
        looks = hypothesis.attention
        if looks is not None:
            shape = (len(groups), looks.shape[1])
            looks = np.array([looks[group].mean(axis=0) for group in groups], np.float32).reshape(shape)
        return Caption(
            text=words.decode(hypothesis.ids),
            score=hypothesis.score,
            words=words.words(hypothesis.ids),
            word_log_probs=[sum(hypothesis.word_log_probs[place] for place in group) for group in groups],
            alternatives=alternatives,
            attention=looks,
            path=path,
            log_prob=hypothesis.log_prob,
            truncated=hypothesis.truncated,
        )

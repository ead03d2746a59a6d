"""The facade: load a captioner once, then caption pictures of every kind, in batches, each error in its place.

    captioner = Captioner.load("runs/attention/best")
    print(captioner.caption("photo.jpg").text)

A checkpoint on the Hugging Face hub is loaded by its name in the place of a path, and put there by `push_to_hub`.
What runs the networks is a `showtell.inference.backend.Backend`; torch is imported when one that needs it is loaded.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
import numpy.typing as npt

from showtell.checkpoints.hub import find_checkpoint, push_directory
from showtell.config.generation import DecodingOptions, override
from showtell.config.preprocessing import Preprocessing
from showtell.errors import ConfigError, ImageError
from showtell.generation import Hypothesis
from showtell.images.load import ImageSource
from showtell.images.preprocess import load_and_preprocess
from showtell.inference.backend import Backend, load_backend
from showtell.system.cpu import usable_cores

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
        alternatives: All beam_size or samples, best first, this one included (theirs are empty).
        attention: Where the decoder looked for each word, float32 [T, R], regions row by row; None unless asked.
        path: The picture's path, where it was given as one.
        error: Why there is no caption; None where there is one.
        log_prob: Sum of the log-probabilities of the words, and of the end if it came.
        truncated: The end did not come within ``max_tokens``.
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


class Captioner:
    """Captions pictures; make one with `Captioner.load` or, for the hub's options, `Captioner.from_pretrained`."""

    def __init__(self, runtime: Backend) -> None:
        self._runtime = runtime

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        encoder_weights: str | Path | None = None,
        device: str = "auto",
        threads: int = 0,
    ) -> Captioner:
        """Load a checkpoint, or a run's best one.

        Args:
            path: A checkpoint directory, a run directory, or where no such path exists a repository of the
                Hugging Face hub: ``OWNER/NAME``, ``OWNER/NAME@REVISION``.
            encoder_weights: A local file with the encoder's weights; None: those in the checkpoint, else the
                file it was trained with, else the hub's.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
            threads: Of the networks on the CPU; 0: ``OMP_NUM_THREADS``, else one for each core this process may use
                (torch: for the whole process).

        Raises:
            CheckpointError: missing, broken, its parts do not fit together, or the hub does not give it.
            EncoderError: the encoder's weights are missing or of another network.
            ConfigError: no such device, or a negative number of threads.
            MissingExtraError: torch is not installed.
        """
        return cls.from_pretrained(path, encoder_weights=encoder_weights, device=device, threads=threads)

    @classmethod
    def from_pretrained(
        cls,
        name_or_directory: str | Path,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        encoder_weights: str | Path | None = None,
        device: str = "auto",
        threads: int = 0,
    ) -> Captioner:
        """Load what `load` loads, with the options that the Hugging Face hub's users know.

        Args:
            name_or_directory: As for `load`.
            revision: Branch, tag or commit of the repository.
            cache_dir: Where to keep it; None: the hub's own cache.
            token: For private repositories; None: that of ``hf auth login``.
            force_download: Fetch it again.
            local_files_only: Take it from the cache alone.
            encoder_weights: As for `load`.
            device: As for `load`.
            threads: As for `load`.

        Raises:
            ConfigError: a revision of a directory; and those of `load`.
        """
        path = find_checkpoint(
            name_or_directory,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            force_download=force_download,
            local_files_only=local_files_only,
        )
        weights = None if encoder_weights is None else Path(encoder_weights)
        return cls(load_backend(path, weights, device, threads))

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        include_encoder: bool = True,
        card: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a checkpoint that can be taken elsewhere and loaded with `from_pretrained`.

        Args:
            save_directory: A new or empty directory, or a checkpoint, which is replaced.
            include_encoder: Write a frozen encoder along, so that nothing else is needed; one that was trained
                along always is.
            card: Fields of the model card's header: ``license``, ``license_link``, ``language``, ``datasets``,
                ``tags``.

        Raises:
            CheckpointError: other files are in that directory.
            ConfigError: an unknown field of the model card.
            DataError: the directory cannot be written.
        """
        self._runtime.save(Path(save_directory), include_encoder=include_encoder, card=card, repository=None)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        create_pr: bool = False,
        include_encoder: bool = True,
        card: Mapping[str, Any] | None = None,
    ) -> str:
        """Put the captioner, with its model card, into a repository of the Hugging Face hub.

        Args:
            repo_id: ``OWNER/NAME``; made if need be.
            private: Of a repository that is made; None: as its owner's settings say.
            token: None: that of ``hf auth login``.
            revision: A branch; None: main.
            commit_message: None: a plain one.
            create_pr: Open a pull request in place of committing.
            include_encoder: As for `save_pretrained`.
            card: As for `save_pretrained`.

        Returns:
            The address of the commit.

        Raises:
            ShowtellError: the hub refuses it or cannot be reached; and those of `save_pretrained`.
        """
        with tempfile.TemporaryDirectory(prefix="showtell-") as folder:
            directory = Path(folder) / "captioner"
            self._runtime.save(directory, include_encoder=include_encoder, card=card, repository=repo_id)
            return push_directory(
                directory,
                repo_id,
                private=private,
                token=token,
                revision=revision,
                commit_message=commit_message,
                create_pr=create_pr,
            )

    @property
    def options(self) -> DecodingOptions:
        """How captions are chosen unless told otherwise."""
        return self._runtime.generation

    @property
    def preprocessing(self) -> Preprocessing:
        """What the encoder sees of a picture."""
        return self._runtime.preprocessing

    @property
    def place(self) -> str:
        """What it runs on, in words: device, precision, threads."""
        return self._runtime.place

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the regions that attention weighs."""
        return self._runtime.grid

    @overload
    def caption(
        self, pictures: ImageSource, *, attention: bool = ..., batch_size: int = ..., **options: Any
    ) -> Caption: ...

    @overload
    def caption(
        self,
        pictures: Sequence[ImageSource],
        *,
        attention: bool = ...,
        batch_size: int = ...,
        **options: Any,
    ) -> list[Caption]: ...

    def caption(
        self,
        pictures: ImageSource | Sequence[ImageSource],
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
            options: Fields of `DecodingOptions`: ``beam_size=5``, ``max_tokens=12``, ``temperature=0.7``.

        Returns:
            One caption, or a list; in a list a picture that cannot be read has its ``error`` in its own place.

        Raises:
            ConfigError: an option is unknown or out of range, or the decoder has no attention to return.
            PictureError: the only picture cannot be read.
        """
        array = isinstance(pictures, np.ndarray) and pictures.ndim != 4
        held = isinstance(pictures, str | bytes | bytearray | memoryview)
        one = array or held or not isinstance(pictures, Iterable)
        listed = [cast(ImageSource, pictures)] if one else cast(Sequence[ImageSource], pictures)
        captions = list(self.stream(listed, attention=attention, batch_size=batch_size, **options))
        if not one:
            return captions
        if captions[0].error is not None:
            raise ImageError(captions[0].error)
        return captions[0]

    def stream(
        self,
        pictures: Iterable[ImageSource],
        *,
        attention: bool = False,
        batch_size: int = BATCH_SIZE,
        **options: Any,
    ) -> Iterator[Caption]:
        """Yield captions in the order of the pictures, as batches finish; for more than memory holds.

        Pictures of the next batch are decoded in threads while this one is captioned; on a CPU of several cores two
        batches are captioned at once. Arguments and errors are those of `caption` for a sequence.
        """
        chosen = override(self.options, **options)
        if batch_size < 1:
            raise ConfigError("batch_size is out of range", found=str(batch_size), expected="1 or more")
        return self._stream(iter(pictures), attention, batch_size, chosen)

    def _stream(
        self, pictures: Iterator[ImageSource], attention: bool, batch_size: int, options: DecodingOptions
    ) -> Iterator[Caption]:
        with ThreadPoolExecutor(max_workers=min(8, usable_cores())) as threads:

            def batches() -> Iterator[list[tuple[ImageSource, Future[_Picture]]]]:
                while batch := [(one, self._begin(threads, one)) for one in islice(pictures, batch_size)]:
                    yield batch

            def work(batch: list[tuple[ImageSource, Future[_Picture]]]) -> list[Caption]:
                return self._caption_batch(batch, attention, options)

            with contextlib.closing(self._runtime.lanes.map(work, batches())) as captioned:
                for captions in captioned:
                    yield from captions

    def _begin(self, threads: ThreadPoolExecutor, source: ImageSource) -> Future[_Picture]:
        if isinstance(source, str | Path | bytes | np.ndarray):
            return threads.submit(self._open, source)
        # A PIL image may stand twice in a list, and two threads must not decode it at once; a buffer may be filled
        # with the next picture before a thread has read it.
        opened: Future[_Picture] = Future()
        try:
            opened.set_result(self._open(source))
        except ImageError as error:
            opened.set_exception(error)
        return opened

    def _open(self, source: ImageSource) -> _Picture:
        return load_and_preprocess(source, self._runtime.preprocessing)

    def _caption_batch(
        self, batch: list[tuple[ImageSource, Future[_Picture]]], attention: bool, options: DecodingOptions
    ) -> list[Caption]:
        opened: list[_Picture] = []
        errors: list[str | None] = []
        for _, future in batch:
            try:
                opened.append(future.result())
                errors.append(None)
            except ImageError as error:
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
        return Caption(
            text=words.decode(hypothesis.ids),
            score=hypothesis.score,
            words=words.words(hypothesis.ids),
            word_log_probs=[sum(hypothesis.word_log_probs[place] for place in group) for group in groups],
            alternatives=alternatives,
            attention=hypothesis.word_attention(groups),
            path=path,
            log_prob=hypothesis.log_prob,
            truncated=hypothesis.truncated,
        )

"""`Captioner`: load a model once, then caption images of any kind, in batches.

    captioner = Captioner.load("runs/attention/best")
    print(captioner.caption("photo.jpg").text)

A repository of the Hugging Face hub is loaded by its name and pushed with `push_to_hub`. Torch is imported only for
a checkpoint, not for an export.
"""

import contextlib
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np
import numpy.typing as npt

from showtell.checkpoints.hub import check_repository, find_checkpoint, push_directory
from showtell.config.generation import DecodingOptions, override
from showtell.errors import ConfigError, ImageError
from showtell.generation import Constraints, Hypothesis, OnStep, describe_unused
from showtell.images.load import ImageSource, NamedBytes
from showtell.images.preprocess import load_and_preprocess
from showtell.inference.backend import Backend, load_backend
from showtell.inference.caption import UNSURE, Caption, View
from showtell.system.batch_pool import BatchPool
from showtell.system.console import note
from showtell.system.cpu import usable_cores

if TYPE_CHECKING:
    from showtell.retrieval.datastore import Datastore
    from showtell.tokenizer import Tokenizer

BATCH_SIZE = 32
_Array = npt.NDArray[np.uint8]
_Batch = list[tuple[ImageSource, Future[_Array]]]


class Captioner:
    """Captions images; made by `Captioner.load`, which is also called `from_pretrained`.

    Attributes:
        options: The default decoding options.
        preprocessing: The preprocessing of images.
        grid: Rows and columns of the regions of attention.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.options, self.preprocessing, self.grid = backend.generation, backend.preprocessing, backend.grid
        self._warnings: set[str] = set()

    def __repr__(self) -> str:
        return f"Captioner({self._backend.networks}, {self.place})"

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        encoder_weights: str | Path | None = None,
        device: str = "auto",
        threads: int = 0,
        ensemble_with: Sequence[str | Path] = (),
        **hub_options: Any,
    ) -> "Captioner":
        """Load a checkpoint, a run's best checkpoint or an export.

        Args:
            path: A directory, or a repository of the Hugging Face hub: ``OWNER/NAME``, ``OWNER/NAME@REVISION``.
                Local paths take precedence.
            encoder_weights: A local file; None: those in the checkpoint, else the file it was trained with, else
                the hub's.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
            threads: CPU threads of the networks; 0: ``OMP_NUM_THREADS``, else one per usable core (with torch, for
                the whole process).
            ensemble_with: Other captioners with the same encoder and vocabulary: captions are by the mean of all
                probabilities, with encoder, options and datastore of the first, and without confidence.
            hub_options: ``revision``, ``cache_dir``, ``token``, ``force_download``, ``local_files_only``; see
                `showtell.checkpoints.hub.find_checkpoint`.

        Raises:
            CheckpointError: missing, broken, inconsistent, or not available on the hub.
            EncoderError: the encoder's weights are missing or of another network.
            ConfigError: no such device, a negative number of threads, or a revision of a directory.
            MissingExtraError: torch or onnxruntime is not installed.
        """
        weights = None if encoder_weights is None else Path(encoder_weights)
        directory = find_checkpoint(path, **hub_options)
        others = [find_checkpoint(other) for other in ensemble_with]
        where: dict[str, Any] = {"device": device, "threads": threads, "ensemble_with": others}
        return cls(load_backend(directory, encoder_weights=weights, **where))

    from_pretrained = load

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        include_encoder: bool = True,
        card: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a checkpoint that `from_pretrained` loads on any machine.

        Args:
            save_directory: A new or empty directory, or a checkpoint, which is replaced.
            include_encoder: Write a frozen encoder too; without it, loading needs the same weights.
                A fine-tuned one is always written.
            card: Fields of the model card's header: ``license``, ``license_link``, ``language``, ``datasets``,
                ``tags``.

        Raises:
            CheckpointError: the directory holds other files.
            ConfigError: an unknown field of the model card.
            DataError: the directory cannot be written.
        """
        self._backend.save(Path(save_directory), include_encoder=include_encoder, card=card)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        include_encoder: bool = True,
        card: Mapping[str, Any] | None = None,
        **hub_options: Any,
    ) -> str:
        """Push the captioner, as `save_pretrained` writes it, to the hub and return the URL of the commit.

        Args:
            repo_id: ``OWNER/NAME``; created if it is missing.
            include_encoder: As for `save_pretrained`.
            card: As for `save_pretrained`.
            hub_options: ``private``, ``token``, ``revision``, ``commit_message``, ``create_pr``; see
                `showtell.checkpoints.hub.push_directory`.

        Raises:
            ConfigError: not a repository name.
            ShowtellError: the hub refuses it or cannot be reached; and those of `save_pretrained`.
        """
        check_repository(repo_id)
        with tempfile.TemporaryDirectory(prefix="showtell-") as folder:
            directory = Path(folder) / "captioner"
            self._backend.save(directory, include_encoder=include_encoder, card=card, repository=repo_id)
            return push_directory(directory, repo_id, **hub_options)

    @property
    def place(self) -> str:
        """Device, precision and threads."""
        return self._backend.place

    @property
    def tokenizer(self) -> "Tokenizer":
        """The vocabulary."""
        return self._backend.tokenizer

    @property
    def datastore(self) -> "Datastore | None":
        """Images and captions that rerank its own, if it has any."""
        return self._backend.datastore

    @property
    def is_calibrated(self) -> bool:
        """Whether captions have a confidence, with the default options."""
        calibration = self._backend.calibration
        return calibration is not None and calibration.weights(self.options.retrieval) is not None

    @property
    def datastore_size(self) -> dict[str, int] | None:
        """The numbers of ``images`` and ``captions`` of the datastore, if there is one."""
        if (store := self.datastore) is None:
            return None
        return {"images": len(store), "captions": len(store.captions.lengths)}

    @property
    def networks(self) -> str:
        """The names of encoder and decoder."""
        return self._backend.networks

    @property
    def facts(self) -> Mapping[str, Any]:
        """The checkpoint's or export's ``config.json``: networks, data, scores, as far as it knows them."""
        return self._backend.facts

    @property
    def batch_pool(self) -> BatchPool:
        """How many batches are best captioned at once, and how a thread prepares for it."""
        return self._backend.batch_pool

    @overload
    def caption(
        self,
        images: ImageSource,
        *,
        attention: bool = ...,
        batch_size: int = ...,
        constraints: Constraints = ...,
        **options: Any,
    ) -> Caption: ...

    @overload
    def caption(
        self,
        images: Sequence[ImageSource],
        *,
        attention: bool = ...,
        batch_size: int = ...,
        constraints: Constraints = ...,
        **options: Any,
    ) -> list[Caption]: ...

    def caption(
        self,
        images: ImageSource | Sequence[ImageSource],
        *,
        attention: bool = False,
        batch_size: int = BATCH_SIZE,
        constraints: Constraints = (),
        **options: Any,
    ) -> Caption | list[Caption]:
        """Caption one image, or a sequence of images in its order.

        Args:
            images: Paths, bytes, PIL images or arrays uint8 [H, W, 3], one or a sequence (an array [P, H, W, 3] is
                one). A folder is the sequence of its images in natural order.
            attention: Return the attention weights of each word.
            batch_size: Images per batch.
            constraints: Constraints of your own, see `showtell.generation.Constraint`.
            options: Fields of `DecodingOptions`: ``beam_size=5``, ``max_tokens=12``, ``temperature=0.7``.

        Returns:
            One caption, or a list, in which an image that cannot be read has a caption with its ``error``.

        Raises:
            ConfigError: an option is unknown or out of range, or the decoder has no attention.
            ImageError: the only image cannot be read.
        """
        single = _is_single(images)
        sources = [images] if single or isinstance(images, str | Path) else images
        stream = self.stream(
            cast(Sequence[ImageSource], sources),
            attention=attention,
            batch_size=batch_size,
            constraints=constraints,
            **options,
        )
        captions = list(stream)
        if not single:
            return captions
        if captions[0].error is not None:
            raise ImageError(captions[0].error)
        return captions[0]

    def stream(
        self,
        images: Iterable[ImageSource],
        *,
        attention: bool = False,
        batch_size: int = BATCH_SIZE,
        constraints: Constraints = (),
        **options: Any,
    ) -> Iterator[Caption]:
        """Yield captions in the order of the images as batches finish, for more images than memory holds.

        Threads decode the images of the next batch while this one is captioned; on a CPU of several cores two batches
        are captioned at once. Arguments and errors are those of `caption` for a sequence.
        """
        check_batch_size(batch_size)
        sources = _expand_folders(images)
        batches = iter(lambda: list(islice(sources, batch_size)), [])
        return self.stream_batches(batches, attention=attention, constraints=constraints, **options)

    def stream_batches(
        self,
        batches: Iterable[Sequence[ImageSource]],
        *,
        attention: bool = False,
        constraints: Constraints = (),
        **options: Any,
    ) -> Iterator[Caption]:
        """Yield captions as `stream` does, of batches as they are; a folder among the images is one in error."""
        merged = override(self.options, **options)
        warning = describe_unused(merged, self.tokenizer)
        if warning and warning not in self._warnings:
            note(f"warning: {warning}")
            self._warnings.add(warning)

        def work(batch: _Batch) -> list[Caption]:
            return self._caption_batch(batch, attention, merged, constraints)

        return self._stream(batches, work)

    def _stream(
        self, batches: Iterable[Sequence[ImageSource]], work: Callable[[_Batch], list[Caption]]
    ) -> Iterator[Caption]:
        with ThreadPoolExecutor(max_workers=min(8, usable_cores())) as threads:
            submitted = ([self._submit(threads, source) for source in batch] for batch in batches)

            with contextlib.closing(self._backend.batch_pool.map(work, submitted)) as captioned:
                for captions in captioned:
                    yield from captions

    def _submit(self, threads: ThreadPoolExecutor, source: ImageSource) -> tuple[ImageSource, Future[_Array]]:
        if isinstance(source, str | Path | bytes | bytearray | memoryview | NamedBytes | np.ndarray):
            return source, threads.submit(load_and_preprocess, source, self.preprocessing)
        # A PIL image may be in a list twice, and two threads must not decode it at once.
        loaded: Future[_Array] = Future()
        try:
            loaded.set_result(load_and_preprocess(source, self.preprocessing))
        except ImageError as error:
            loaded.set_exception(error)
        return source, loaded

    def _caption_batch(
        self, batch: _Batch, attention: bool, options: DecodingOptions, constraints: Constraints
    ) -> list[Caption]:
        images = [future.result() for _, future in batch if not isinstance(future.exception(), ImageError)]
        generated = (
            self._generate(np.stack(images), options, attention, constraints=constraints) if images else []
        )
        remaining = iter(generated)
        return [
            self._best_caption(next(remaining), source, options, constraints)
            if future.exception() is None
            else Caption("", -math.inf, path=source_path(source), error=str(future.exception()))
            for source, future in batch
        ]

    def caption_preprocessed(
        self,
        images: _Array,
        options: DecodingOptions,
        *,
        attention: bool = False,
        on_step: OnStep | None = None,
    ) -> list[Caption]:
        """Caption a batch that `load_and_preprocess` made, uint8 [P, S, S, 3], with complete options.

        ``on_step`` is that of `showtell.generation.search`. The other images of a batch do not change a caption. An
        image for which no caption meets the constraints has one with its ``error``.

        Raises:
            ConfigError: the decoder has no attention, or the captioner no datastore for ``retrieval``.
        """
        generated = self._generate(images, options, attention, on_step)
        return [self._best_caption(hypotheses, None, options) for hypotheses in generated]

    def _generate(
        self,
        images: _Array,
        options: DecodingOptions,
        attention: bool,
        on_step: OnStep | None = None,
        constraints: Constraints = (),
    ) -> list[list[Hypothesis]]:
        generated = self._backend.generate(
            images, options, attention=attention, on_step=on_step, constraints=constraints
        )
        if attention and generated[0][0].attention is None:
            raise ConfigError(
                "attention cannot be returned",
                found="a decoder that does not attend to regions",
                mend="Omit it, or use a checkpoint of an attention decoder",
            )
        if options.unsure_below and any(best.ids and best.confidence is None for best, *_ in generated):
            raise ConfigError(
                "--unsure-below (unsure_below=) cannot be used",
                found="a captioner that is not calibrated for these options",
                mend="Omit it, or calibrate: showtell calibrate CAPTIONER --data PREPARED",
            )
        return generated

    def _best_caption(
        self,
        hypotheses: list[Hypothesis],
        source: ImageSource | None,
        options: DecodingOptions,
        constraints: Constraints = (),
    ) -> Caption:
        if hypotheses[0].truncated and (constraints or options.has_constraints):
            return _unmet(source_path(source), options)
        alternatives = [self._to_caption(hypothesis, source) for hypothesis in hypotheses]
        best = alternatives[0]
        if (best.confidence or 0.0) < options.unsure_below:
            best = replace(best, text=UNSURE, unsure=True)
        return replace(best, alternatives=alternatives)

    def _to_caption(self, hypothesis: Hypothesis, source: ImageSource | None) -> Caption:
        """Turn tokens into words; a word of several tokens has the sum of their log-probabilities."""
        tokenizer = self._backend.tokenizer
        groups = tokenizer.word_groups(hypothesis.ids)
        attention = hypothesis.word_attention(groups)
        return Caption(
            text=tokenizer.decode(hypothesis.ids),
            score=hypothesis.score,
            words=tokenizer.words(hypothesis.ids),
            word_log_probs=[sum(hypothesis.token_log_probs[index] for index in group) for group in groups],
            attention=attention,
            path=source_path(source),
            log_prob=hypothesis.log_prob,
            truncated=hypothesis.truncated,
            neighbours=list(hypothesis.neighbours),
            confidence=None if hypothesis.confidence is None else hypothesis.confidence.caption,
            word_confidences=list(hypothesis.confidence.words) if hypothesis.confidence else [],
            _view=None
            if attention is None or source is None
            else View(source, self.preprocessing, self.grid),
        )


def _unmet(path: str | None, options: DecodingOptions) -> Caption:
    """Return the error in place of a caption that ran into a dead end, with words missing that were required."""
    error = ImageError(
        f"cannot caption {path or 'an image'}",
        found=f"no caption of at most {options.max_tokens} tokens that meets all constraints",
        mend="Raise max_tokens, or omit one of them",
    )
    return Caption("", -math.inf, path=path, error=str(error))


def check_batch_size(batch_size: int) -> None:
    """Raise a ConfigError for a batch of no images."""
    if batch_size < 1:
        raise ConfigError("batch_size is out of range", found=str(batch_size), expected="1 or more")


def source_path(source: ImageSource | None) -> str | None:
    """Return the path or the name of an image that has one."""
    if isinstance(source, NamedBytes):
        return source.name
    return str(source) if isinstance(source, str | Path) else None


def _is_single(images: Any) -> bool:
    """Return whether one image was given; a folder, an array [P, H, W, C] and other iterables are several."""
    if isinstance(images, str | Path):
        return not _is_folder(images)
    if isinstance(images, np.ndarray):
        return images.ndim != 4
    return isinstance(images, bytes | bytearray | memoryview) or not isinstance(images, Iterable)


def _is_folder(path: str | Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  (never raises: loading the image reports a closed or odd path)


def _expand_folders(images: Iterable[ImageSource]) -> Iterator[ImageSource]:
    """Yield images, and in place of a folder its images; one without images is itself the image in error."""
    for source in images:
        if isinstance(source, str | Path) and _is_folder(source):
            from showtell.images.listing import list_images  # its sqlite3 takes time at a cold start

            yield from list_images([Path(source)])[0] or [source]
        elif isinstance(source, bytearray | memoryview):
            # The caller may fill the buffer with the next image before a thread has read it.
            yield bytes(source)
        else:
            yield source

"""Captions any number of image files and folders into one output. The function behind ``showtell caption``."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from showtell.bulk.attempts import MAX_ATTEMPTS
from showtell.bulk.attention import AttentionWriter
from showtell.bulk.engine import Engine, ThisProcess
from showtell.bulk.report import CaptioningReport, show_progress
from showtell.bulk.sidecars import Sidecars, sidecar_suffix
from showtell.bulk.sinks import file_of_parts, sidecar_files, standard_output
from showtell.bulk.sources.file_list import read_file_list
from showtell.bulk.sources.listing import list_units
from showtell.bulk.sources.storage import check_local, check_object_storage
from showtell.bulk.units import Listing, Unit
from showtell.bulk.writers import Format, escape, to_row
from showtell.config.generation import override
from showtell.errors import ConfigError, DataError, ImageError
from showtell.inference.caption import Caption
from showtell.inference.captioner import BATCH_SIZE, Captioner, check_batch_size
from showtell.system.console import note
from showtell.system.reading import sha256_json


def caption_files(
    captioner: Captioner | Engine,
    sources: Sequence[str | Path],
    *,
    file_list: Path | None = None,
    image_column: str = "",
    output: Path | str | Sidecars | None = None,
    in_child: Callable[[], Engine] | None = None,
    form: Format = "text",
    all_hypotheses: bool = False,
    prefix: str = "",
    suffix: str = "",
    attention: Path | None = None,
    batch_size: int = BATCH_SIZE,
    recursive: bool = False,
    neighbours_shown: bool = False,
    overwrite: bool = False,
    on_error: Literal["skip", "fail"] = "skip",
    **options: Any,
) -> CaptioningReport:
    """Caption images into rows, in the order given.

    Args:
        captioner: A captioner, or an engine with one (which needs ``output``).
        sources: Files, folders, patterns, shards, tables, datasets and addresses: see
            `showtell.bulk.sources.listing`.
        file_list: A file with more of them, one a line; ``-``: standard input.
        image_column: The column of images in tables and datasets; empty: by its usual names.
        output: A file, or (text) its address on object storage, complete when it appears; until then its rows are in
            ``NAME.parts``, where the same call resumes after any interruption. Or side-cars, each as soon as its
            batch is done, in which case only images that had none are captioned. None: standard output, likewise.
        in_child: Opens an engine of another process, for a job that was killed twice at the same place.
        form: See `showtell.bulk.writers`.
        all_hypotheses: Write all hypotheses of the beam, or all samples.
        prefix: Text before each caption.
        suffix: Text after each caption.
        attention: A folder for one attention drawing per image.
        batch_size: Images per batch.
        recursive: Caption the images of folders in folders too.
        neighbours_shown: Write the images whose captions spoke for each caption (JSON lines and Parquet).
        overwrite: Discard the unfinished rows of another call with this output.
        on_error: What an image that cannot be captioned does: ``skip`` writes a row with the error, ``fail`` ends the
            call.
        options: Fields of `DecodingOptions`.

    Raises:
        DataError: no images at all, an output that cannot be written or that another process writes, one with
            unfinished rows of another call, or (``on_error="fail"``) an image that cannot be captioned.
        ConfigError: an option is unknown or out of range, the decoder has no attention, or neighbours are asked for
            without retrieval.
    """
    engine = ThisProcess(captioner) if isinstance(captioner, Captioner) else captioner
    decoding = override(engine.options, **options)
    if neighbours_shown and decoding.retrieval == "off":
        raise ConfigError(
            "--show-neighbours cannot be used",
            found="retrieval 'off'",
            mend="Add --retrieval rerank; showtell index gives a captioner its datastore",
        )
    _check_outputs(engine, output, attention)
    listed = read_file_list(file_list) if file_list else None
    check_batch_size(batch_size)
    report = CaptioningReport()
    rows: dict[str, Any] = {
        "all_hypotheses": all_hypotheses,
        "neighbours": neighbours_shown,
        "prefix": prefix,
        "suffix": suffix,
    }

    def listing() -> Listing:
        found = list_units(
            sources,
            recursive=recursive,
            listed=listed.paths if listed else (),
            image_column=image_column,
            sidecar_suffix=sidecar_suffix(output),
        )
        if found.num_images == 0:
            raise DataError("there is nothing to caption", found="; ".join(found.problems))
        return found

    if output is None:
        opened = standard_output(listing(), form, report, all_hypotheses=all_hypotheses)
    else:
        job = {
            "captioner": sha256_json(dict(engine.facts)),
            "options": decoding.model_dump(mode="json"),
            "rows": rows,
            "attention": str(attention),
            "sources": [escape(str(source)) for source in sources],
            "file_list": listed and listed.sha256,
            "recursive": recursive,
            "image_column": image_column,
            "folder": escape(str(Path.cwd())),
        }
        if isinstance(output, Sidecars):
            job["sidecars"] = [output.suffix, escape(str(output.folder)), output.on_existing]
            opened = sidecar_files(output, job, listing, report)
        else:
            opened = file_of_parts(
                output, job, listing, form, report, all_hypotheses=all_hypotheses, overwrite=overwrite
            )
    with opened as sink:
        draw = (
            None if attention is None else AttentionWriter(attention, _paths(sink.units()), sink.drawings())
        )
        if in_child is not None and sink.num_killed >= MAX_ATTEMPTS:
            note(
                f"the command was killed {sink.num_killed} times at this place; another process captions now"
            )
            engine = in_child()
        quiet = output is None and sys.stdout.isatty()
        with (
            show_progress(sink.num_images, done=sink.num_rows, quiet=quiet) as advance,
            closing(
                engine.events(
                    sink.pending(), batch_size=batch_size, attention=attention is not None, **options
                )
            ) as events,
        ):
            for event in events:
                if event.caption is None:
                    sink.end(event.unit)
                    continue
                if on_error == "fail" and event.caption.error is not None:
                    raise DataError(event.caption.error, mend="--on-error skip captions the others")
                sink.add(
                    event.unit, to_row(event.caption, drawing=_draw(event.caption, draw, report), **rows)
                )
                advance()
    for problem in sink.problems:
        report.fail(problem)
    return report


def _check_outputs(engine: Engine, output: Path | str | Sidecars | None, attention: Path | None) -> None:
    for path in (output, attention, output.folder if isinstance(output, Sidecars) else None):
        if isinstance(path, Path):
            check_local(path)
    if isinstance(output, str):
        check_object_storage(output)
    if output is None and not isinstance(engine, ThisProcess):
        raise ConfigError(
            "captions of several processes cannot go to standard output",
            found="units that end in any order",
            mend="Name a file for them: -o captions.jsonl",
        )
    if isinstance(output, Sidecars) and attention is not None:
        raise ConfigError("--attention cannot be used with side-cars", mend="Use -o FILE with it")


def _draw(caption: Caption, draw: AttentionWriter | None, report: CaptioningReport) -> str | None:
    if draw is None or caption.error is not None:
        return None
    try:
        return draw(caption)
    except ImageError as error:
        report.count(f"attention not drawn: {error}")
        return None


def _paths(units: Iterator[Unit]) -> Iterator[str]:
    return (str(path) for unit in units for path in unit.content.get("files", ()))

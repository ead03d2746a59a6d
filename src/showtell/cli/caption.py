"""``showtell caption``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from showtell.cli import common_options as common
from showtell.errors import ConfigError

if TYPE_CHECKING:
    from showtell.bulk.sidecars import Sidecars


@common.in_panels(
    {
        "Output": "form output overwrite all_hypotheses prefix suffix attention show_neighbours dry_run",
        "A file per image": "sidecar xmp sidecar_dir on_existing",
        "Decoding": "beam_size beam_groups diversity_penalty greedy sample temperature top_k top_p samples "
        "without_replacement seed max_tokens min_tokens length_penalty no_repeat_ngram_size repetition_penalty "
        "beginning required forbidden bad_endings unsure_below",
        "Captions of similar images": "retrieval retrieval_weight neighbours retrieve_caption",
        "Computation": "ensemble_with encoder_weights batch_size device threads engine workers",
    }
)
def command(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A checkpoint, a run (its best/ is used), an export, or OWNER/NAME on the hub."),
    ],
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            help="Image files, folders, patterns ('*.jpg'), .tar shards, .parquet files, hf:OWNER/NAME, s3://...",
        ),
    ] = None,
    beam_size: common.BeamSize = None,
    beam_groups: Annotated[
        int | None,
        typer.Option(help="Groups of the beam, each unlike those before it; a divisor of the beam size."),
    ] = None,
    diversity_penalty: Annotated[
        float | None, typer.Option(help="How unlike the groups are; 0: not at all. Default: 0.5.")
    ] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Always the most likely token.")] = False,
    sample: Annotated[bool, typer.Option("--sample", help="Sample tokens by their probability.")] = False,
    temperature: Annotated[
        float | None, typer.Option(help="Sampling: below 1 safer, above 1 more varied.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Sampling: only the k most likely tokens; 0: all.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Nucleus sampling: smallest set of tokens with this probability.")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Sampling: captions per image, all written.")] = None,
    without_replacement: Annotated[
        bool | None,
        typer.Option(
            "--without-replacement/--with-replacement",
            help="Sampling: whether the captions of an image are all different.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Sampling: the seed.")] = None,
    max_tokens: common.MaxTokens = None,
    min_tokens: Annotated[int | None, typer.Option(help="Minimum number of tokens.")] = None,
    length_penalty: common.LengthPenalty = None,
    no_repeat_ngram_size: common.NoRepeatNgramSize = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Above 1, tokens that a caption has already are less likely; 1: off.")
    ] = None,
    beginning: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Each caption begins with these words.")
    ] = None,
    required: Annotated[
        str | None,
        typer.Option(metavar="WORDS", help="Words and phrases that occur in each caption: 'a dog, grass'."),
    ] = None,
    forbidden: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Words and phrases that never occur.")
    ] = None,
    bad_endings: Annotated[
        bool | None,
        typer.Option(
            "--bad-endings/--no-bad-endings",
            help="Captions may end on a word that needs another: a, of, with.",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="text (path, tab, caption), jsonl, csv, coco, parquet. Default: by the output's suffix, or text.",
        ),
    ] = None,
    unsure_below: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help="Say '(unsure)' in place of a caption with less confidence than P, 0 to 1 (showtell calibrate).",
        ),
    ] = None,
    filelist: Annotated[
        Path | None,
        typer.Option(
            "--filelist", metavar="FILE", help="More files to caption, one a line; - is standard input."
        ),
    ] = None,
    image_column: Annotated[
        str, typer.Option(help="The column of images in .parquet files and datasets.")
    ] = "",
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write to this file, or s3://...; the same command resumes after an interruption.",
        ),
    ] = None,
    sidecar: Annotated[
        str | None,
        typer.Option(
            metavar="SUFFIX",
            help="Write a file per image: .txt or .caption (photo.txt for photo.jpg), or .xmp.",
        ),
    ] = None,
    xmp: Annotated[
        bool, typer.Option("--xmp", help="The same as --sidecar .xmp: photo.jpg.xmp, for photo managers.")
    ] = False,
    sidecar_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write side-cars into the same tree of folders here, not beside images."
        ),
    ] = None,
    on_existing: Annotated[
        Literal["skip", "overwrite", "append", "prepend"] | None,
        typer.Option(
            metavar="MODE", help="Text in a side-car: skip (default), overwrite, append or prepend a line."
        ),
    ] = None,
    prefix: Annotated[str, typer.Option(help="Text before each caption, as it is: add a space.")] = "",
    suffix: Annotated[str, typer.Option(help="Text after each caption.")] = "",
    all_hypotheses: Annotated[
        bool, typer.Option("--all-hypotheses", help="Write the whole beam or all samples, best first.")
    ] = False,
    attention: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Draw the attention of each word, one PNG per image.")
    ] = None,
    retrieval: common.Retrieval = None,
    retrieval_weight: common.RetrievalWeight = None,
    neighbours: common.Neighbours = None,
    retrieve_caption: common.RetrieveCaption = None,
    show_neighbours: Annotated[
        bool,
        typer.Option(
            "--show-neighbours",
            help="Name the images whose captions spoke for each caption (jsonl, parquet).",
        ),
    ] = False,
    ensemble_with: common.EnsembleWith = None,
    encoder_weights: common.EncoderWeights = None,
    batch_size: Annotated[int, typer.Option(help="Images per batch.")] = 32,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Search subfolders too.")] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace text in side-cars; with -o, discard unfinished captions of another command.",
        ),
    ] = False,
    on_error: Annotated[
        Literal["skip", "fail"],
        typer.Option(help="An image that cannot be captioned: skip (a row with the error) or fail."),
    ] = "skip",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be captioned; write nothing.")
    ] = False,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:1, ...; cuda:0,cuda:1: a process for each.")
    ] = "auto",
    threads: common.Threads = 0,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="This machine, or a Ray cluster (RAY_ADDRESS). Needs -o.")
    ] = "local",
    workers: Annotated[
        int | None, typer.Option(help="Processes that caption; one that crashes is replaced. Needs -o.")
    ] = None,
) -> None:
    """Caption images: one line per image, in the order given. Exit code 3: some could not be captioned."""
    from showtell.bulk.sources.storage import is_url
    from showtell.bulk.writers import choose_format
    from showtell.cli.caption_fast import run
    from showtell.errors import escape_controls

    sampling = common.given(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        samples=samples,
        without_replacement=without_replacement,
        seed=seed,
    )
    of_beam = common.given(beam_size=beam_size, beam_groups=beam_groups, diversity_penalty=diversity_penalty)
    requested = {"beam": bool(of_beam), "greedy": greedy, "sample": sample or bool(sampling)}
    methods = [name for name, is_requested in requested.items() if is_requested]
    if len(methods) > 1:
        raise ConfigError(
            "conflicting decoding options",
            found=" and ".join(methods),
            expected="--beam-size, --greedy, or --sample with its options",
        )
    others = common.given(
        method=methods[0] if methods else None,
        **of_beam,
        max_tokens=max_tokens,
        min_tokens=min_tokens,
        length_penalty=length_penalty,
        no_repeat_ngram_size=no_repeat_ngram_size,
        repetition_penalty=repetition_penalty,
        beginning=beginning,
        required=required,
        forbidden=forbidden,
        bad_endings=bad_endings,
        unsure_below=unsure_below,
        retrieval=retrieval,
        retrieval_weight=retrieval_weight,
        neighbours=neighbours,
        retrieve_caption=retrieve_caption,
    )
    if not sources and filelist is None:
        raise ConfigError(
            "there is nothing to caption", mend="Name images, or a list of them: --filelist FILE"
        )
    if overwrite and on_existing not in {None, "overwrite"}:
        raise ConfigError("conflicting options", found=f"--overwrite and --on-existing {on_existing}")
    sources = sources or []
    sidecars = _sidecars(
        [Path(source) for source in sources],
        ".xmp" if xmp and sidecar is None else sidecar,
        sidecar_dir,
        "overwrite" if overwrite and on_existing is None else on_existing,
        excluded=common.given(
            **{"-o": output, "--format": form, "--attention": attention, "--xmp": (xmp and sidecar) or None}
        ),
    )
    for text in (prefix, suffix):
        if escape_controls(text) != text:
            raise ConfigError("--prefix and --suffix are one line of text", found=repr(text))
    target = Path(output) if output is not None and not is_url(output) else output
    chosen_form = choose_format(form, target)
    if show_neighbours and chosen_form not in {"jsonl", "parquet"}:
        raise ConfigError(
            "--show-neighbours cannot be used",
            found=f"format {chosen_form}",
            expected="--format jsonl or parquet",
        )
    code = run(
        checkpoint,
        sources,
        file_list=filelist,
        image_column=image_column,
        ensemble_with=ensemble_with or (),
        encoder_weights=encoder_weights,
        device=device,
        threads=threads,
        engine=engine,
        workers=workers,
        dry_run=dry_run,
        output=sidecars or target,
        prefix=prefix,
        suffix=suffix,
        form=chosen_form,
        all_hypotheses=all_hypotheses or (samples or 1) > 1,
        attention=attention,
        batch_size=batch_size,
        recursive=recursive,
        neighbours_shown=show_neighbours,
        overwrite=overwrite,
        on_error=on_error,
        **sampling,
        **others,
    )
    if code:
        raise typer.Exit(code)


def _sidecars(
    sources: list[Path],
    suffix: str | None,
    folder: Path | None,
    on_existing: Literal["skip", "overwrite", "append", "prepend"] | None,
    *,
    excluded: dict[str, object],
) -> "Sidecars | None":
    """Return the side-cars that are requested; a ConfigError with an option that cannot be used."""
    from showtell.bulk.sidecars import Sidecars

    if suffix is None:
        if folder is not None or on_existing not in {None, "overwrite"}:
            raise ConfigError(
                "--sidecar-dir and --on-existing are for side-cars", mend="Add --sidecar .txt or --xmp"
            )
        return None
    if excluded:
        raise ConfigError(
            f"--sidecar {suffix} cannot be used",
            found=f"{next(iter(excluded))} too",
            mend="Run the command once for each",
        )
    return Sidecars(sources, suffix, folder, on_existing or "skip")

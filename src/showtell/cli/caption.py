"""``showtell caption``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from showtell.cli.common_options import Device, EncoderWeights, Threads


def command(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A checkpoint, a run (its best/ is taken), an export, or OWNER/NAME on the hub."),
    ],
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", help="Pictures, and folders of pictures (by name, 2 before 10)."),
    ],
    beam_size: Annotated[int | None, typer.Option(help="Beam width. Default: the checkpoint's.")] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Always the likeliest word.")] = False,
    sample: Annotated[bool, typer.Option("--sample", help="Draw words by their probability.")] = False,
    temperature: Annotated[
        float | None, typer.Option(help="Sampling: below 1 safer, above 1 bolder.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Sampling: among the k likeliest; 0: all.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Sampling: among the likeliest of this mass.")] = None,
    samples: Annotated[int | None, typer.Option(help="Sampling: captions per picture.")] = None,
    seed: Annotated[int | None, typer.Option(help="Sampling: the same seed, the same captions.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens at most.")] = None,
    min_tokens: Annotated[int | None, typer.Option(help="Tokens at least.")] = None,
    length_penalty: Annotated[
        float | None, typer.Option(help="0: sum of log-probabilities, 1: mean.")
    ] = None,
    no_repeat_ngram_size: Annotated[
        int | None, typer.Option(help="N-grams of this size never repeat.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="text (path, tab, caption), jsonl or csv.")] = "text",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All beam_size or samples, best first.")] = False,
    attention: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Draw where the decoder looked for each word, a PNG a picture."),
    ] = None,
    encoder_weights: EncoderWeights = None,
    batch_size: Annotated[int, typer.Option(help="Pictures looked at together.")] = 32,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look into folders of folders.")
    ] = False,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Caption pictures: one line a picture, in the order given. Exit code 3: some could not be captioned."""
    from showtell.errors import ConfigError, did_you_mean
    from showtell.inference.writers import FORMS

    known = next((one for one in FORMS if one == form), None)
    if known is None:
        raise ConfigError(f"--format {form} cannot be used", mend=did_you_mean(form, FORMS))
    drawing = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "samples": samples, "seed": seed}
    given = {
        "beam_size": beam_size,
        **drawing,
        "max_tokens": max_tokens,
        "min_tokens": min_tokens,
        "length_penalty": length_penalty,
        "no_repeat_ngram_size": no_repeat_ngram_size,
    }
    options = {name: value for name, value in given.items() if value is not None}
    sampling = sample or any(value is not None for value in drawing.values())
    options.update(_method(beam_size is not None, greedy, sampling))

    from showtell.cli.caption_fast import run

    code = run(
        checkpoint,
        paths,
        encoder_weights=encoder_weights,
        device=device,
        threads=threads,
        output=output,
        form=known,
        every=every,
        attention=attention,
        batch_size=batch_size,
        recursive=recursive,
        **options,
    )
    if code:
        raise typer.Exit(code)


def _method(beam: bool, greedy: bool, sampling: bool) -> dict[str, Any]:
    """Return the one method that is meant, if any is."""
    from showtell.errors import ConfigError

    wanted = [
        name for name, is_meant in (("beam", beam), ("greedy", greedy), ("sample", sampling)) if is_meant
    ]
    if len(wanted) > 1:
        raise ConfigError(
            "the decoding options do not say one method",
            found=" and ".join(wanted),
            expected="--beam-size, --greedy, or --sample with its options",
        )
    return {"method": wanted[0]} if wanted else {}

"""``showtell serve``."""

from pathlib import Path
from typing import Annotated

import typer

from showtell.cli import common_options as common
from showtell.errors import import_extra


def command(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A checkpoint, a run (its best/ is used), an export, or OWNER/NAME on the hub."),
    ],
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 0.0.0.0: all. Default: 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0: any free one. Default: 8000.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes, each with its own captioner; with --device cuda a GPU each."),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="SHOWTELL_API_KEY", help="Key that clients must send. Safer in the environment."),
    ] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Bytes of an image. Default: 20 MiB.")] = None,
    max_pixels: Annotated[int | None, typer.Option(help="Pixels of an image. Default: 50 million.")] = None,
    max_images: Annotated[int | None, typer.Option(help="Images of a request. Default: 16.")] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="Seconds for an upload, and for its captions. Default: 30.")
    ] = None,
    max_wait: Annotated[
        float | None, typer.Option(help="Predicted seconds beyond which a request is refused. Default: 10.")
    ] = None,
    queue_size: Annotated[
        int | None, typer.Option(help="Images that wait or are in work; more are refused. Default: 64.")
    ] = None,
    max_batch_size: Annotated[
        int | None, typer.Option(help="Images captioned together. Default: 16.")
    ] = None,
    decode_processes: Annotated[
        int | None, typer.Option(help="Processes that decode images. Default: one per core, up to 4.")
    ] = None,
    allow_urls: Annotated[
        bool, typer.Option("--allow-urls", help="Fetch images from public addresses that a request names.")
    ] = False,
    ensemble_with: common.EnsembleWith = None,
    encoder_weights: common.EncoderWeights = None,
    device: common.Device = "auto",
    threads: common.Threads = 0,
) -> None:
    """Serve captions and a page over HTTP, until interrupted."""
    for package in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        import_extra(package, extra="serve")
    from showtell.serve.server import serve
    from showtell.serve.settings import build_settings

    options = common.given(
        host=host,
        port=port,
        workers=workers,
        api_key=api_key,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        max_images=max_images,
        max_seconds=max_seconds,
        max_wait=max_wait,
        queue_size=queue_size,
        max_batch_size=max_batch_size,
        decode_processes=decode_processes,
        ensemble_with=ensemble_with,
        encoder_weights=encoder_weights,
    )
    serve(
        build_settings(
            checkpoint=checkpoint, allow_urls=allow_urls, device=device, threads=threads, **options
        )
    )

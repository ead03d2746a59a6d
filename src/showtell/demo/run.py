"""The demo: the whole pipeline on drawn scenes, from nothing to a report, in minutes.

With ``--captioner`` it ends with captions of real photographs by a captioner that was trained on such.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from showtell.errors import ConfigError, ImageError, ShowtellError

if TYPE_CHECKING:
    from rich.text import Text

    from showtell.data.scene_captions import Scene
    from showtell.inference.captioner import Captioner
    from showtell.report.page import ExamplePhoto

NUM_TRAIN, NUM_DEV, NUM_TEST = 3000, 200, 500
MIN_ACCURACY = 0.9
NUM_PRINTED = 6
THUMBNAIL_COLUMNS = 20
PHOTO_COLUMNS = 44
PREDICTIONS = "test-predictions.jsonl"


@dataclass(frozen=True)
class DemoResult:
    """The result of a demo: how many captions of held-out images are right, and the report."""

    right: int  # no wrong object, color or relation
    exact: int  # nor a wrong size or position
    complete: int  # and every object is named
    num_images: int
    seconds: float  # of training and scoring
    report: Path
    photos: Sequence[ExamplePhoto] = ()
    pointing: str = ""  # how often attention points at the named object, as a sentence

    @property
    def headline(self) -> str:
        """The result as a sentence."""
        return (
            f"{100 * self.right / self.num_images:.1f} % of {self.num_images} held-out images described without a "
            f"wrong object, color or relation; {100 * self.exact / self.num_images:.1f} % without a wrong size or "
            "position either."
        )


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    num_train: int = NUM_TRAIN,
    num_dev: int = NUM_DEV,
    num_test: int = NUM_TEST,
    overrides: list[str] | None = None,
    min_accuracy: float = MIN_ACCURACY,
    captioner: Path | None = None,
    images: Path | None = None,
) -> DemoResult:
    """Draw scenes, prepare them, train, score on compositions that are not in the training set, write the report.

    ``out`` holds ``scenes/``, ``set/`` and ``run/`` afterwards; those of an earlier demo are replaced. ``overrides``
    change the recipe ``demo``, as ``showtell train --set`` does. With a ``captioner`` and ``images`` (a folder of
    JPEGs whose comments are shown as credits), the demo ends with real photographs.

    Raises:
        ShowtellError: less than the fraction ``min_accuracy`` of the held-out images is right (the report is written
            all the same), or something could not be written.
    """
    from showtell.config.recipe import load_recipe
    from showtell.data.prepared import prepare
    from showtell.data.scenes import draw_scenes
    from showtell.training.evaluate import evaluate_checkpoint
    from showtell.training.trainer import train

    # First, so that a missing file is an error before minutes are spent.
    loaded = _load_captioner(captioner, images)
    recipe = load_recipe("demo", [f"training.seed={seed}", *(overrides or [])])
    scenes = draw_scenes(out / "scenes", train=num_train, dev=num_dev, test=num_test, seed=seed)
    prepared = prepare(out / "scenes" / "captions.jsonl", out / "set")
    started = time.monotonic()
    run = train(recipe, data=out / "set", out=out / "run", restart=(out / "run").exists()).directory
    evaluation = evaluate_checkpoint(run, data=out / "set", split="test", predictions=run / PREDICTIONS)
    seconds = time.monotonic() - started
    captions = {
        prepared.key(row): (prepared.image_path(row), text)
        for row, text in zip(evaluation.rows, evaluation.texts, strict=True)
    }
    photos = _caption_photos(*loaded) if loaded is not None else []
    result = _report(run, captions, scenes, seconds, photos)
    if result.right < min_accuracy * result.num_images:
        raise ShowtellError(
            "the demo's captions are not good enough",
            found=result.headline,
            expected=f"at least {100 * min_accuracy:.0f} %",
            mend=f"See {result.report}; try another --seed to rule out chance",
        )
    return result


def _load_captioner(captioner: Path | None, images: Path | None) -> tuple[Captioner, list[Path]] | None:
    """Load a captioner of photographs, and list some for it; None: neither is named."""
    if captioner is None and images is None:
        return None
    if captioner is None or images is None:
        raise ConfigError(
            "--captioner and --images go together",
            found="--captioner alone" if images is None else "--images alone",
            mend="Name both: a captioner, and a folder of JPEGs for it",
        )
    from showtell.inference.captioner import Captioner

    paths = sorted(images.glob("*.jpg"))
    if not paths:
        raise ConfigError(f"{images} has no images", expected="files that end in .jpg")
    return Captioner.load(captioner), paths


def _caption_photos(captioner: Captioner, paths: list[Path]) -> list[ExamplePhoto]:
    """Caption photographs; the comment of each file is its credit."""
    from PIL import Image

    from showtell.report.page import ExamplePhoto

    photos = []
    for path, caption in zip(paths, captioner.caption(paths), strict=True):
        if caption.error is not None:
            raise ImageError(caption.error)
        with Image.open(path) as image:
            comment = image.info.get("comment", b"")
        photos.append(ExamplePhoto(path, caption.text, comment.decode("utf-8", "replace")))
    return photos


def _report(
    run: Path,
    captions: dict[str, tuple[Path, str]],
    scenes: dict[str, Scene],
    seconds: float,
    photos: Sequence[ExamplePhoto],
) -> DemoResult:
    """Check the captions of images by key, write the report and print some of them."""
    from rich.text import Text

    from showtell.data.scene_captions import check_caption, named_objects
    from showtell.demo.pointing import play_pointing_game
    from showtell.report import write_report
    from showtell.report.run import read_run

    verdicts = {key: check_caption(text, scenes[path.stem]) for key, (path, text) in captions.items()}
    right = [not check_caption(text, scenes[path.stem], details=False) for path, text in captions.values()]
    complete = [
        not verdicts[key] and len(named_objects(text)) == len(scenes[path.stem].objects)
        for key, (path, text) in captions.items()
    ]
    predictions = read_run(run, run / PREDICTIONS).predictions
    result = DemoResult(
        right=sum(right),
        exact=sum(not wrong for wrong in verdicts.values()),
        complete=sum(complete),
        num_images=len(captions),
        seconds=seconds,
        report=run / "report.html",
        photos=photos,
        pointing=play_pointing_game((one, scenes[one.image.stem]) for one in predictions).sentence,
    )
    write_report(
        run,
        predictions=run / PREDICTIONS,
        title="showtell demo",
        headline=f"{result.headline} {result.pointing} Trained and scored in {seconds:.0f} seconds.",
        verdicts=verdicts,
        photos=photos,
    )
    for key in list(captions)[:NUM_PRINTED]:
        wrong = "; ".join(verdicts[key])
        show_caption(*captions[key], Text(f"wrong: {wrong}", "red") if wrong else Text("right", "green"))
    return result


def show_caption(path: Path, caption: str, remark: Text, *, columns: int = THUMBNAIL_COLUMNS) -> None:
    """Print an image's name, its caption and a remark; on a terminal beside the image."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.print(Text.assemble(f"{path.name}  {caption}  ", remark), soft_wrap=True)
        return
    row = Table.grid(padding=(0, 2, 1, 0))
    row.add_row(_blocks(path, columns), Text.assemble((path.name, "dim"), f"\n\n{caption}\n\n", remark))
    console.print(row)


def _blocks(path: Path, columns: int) -> Text:
    """Return an image as half blocks, two pixels per character."""
    from PIL import Image
    from rich.color import Color
    from rich.style import Style
    from rich.text import Text

    with Image.open(path) as image:
        rows = 2 * round(columns * image.height / image.width / 2)
        small = image.convert("RGB").resize((columns, rows), Image.Resampling.BOX)
    text = Text()
    for row in range(0, rows, 2):
        for column in range(columns):
            upper, lower = (
                Color.from_rgb(*small.getpixel((column, row + below)))  # type: ignore[misc]
                for below in (0, 1)
            )
            text.append("▀", Style(color=upper, bgcolor=lower))
        if row + 2 < rows:
            text.append("\n")
    return text

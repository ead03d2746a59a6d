"""The demo: the whole way of the data on scenes drawn here, from nothing to a report, in minutes.

With ``--captioner`` it ends with real photographs, told by a captioner that was trained on such.
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

    from showtell.data.prepared import PreparedSet
    from showtell.data.scene_captions import Scene
    from showtell.inference.captioner import Captioner
    from showtell.report.photographs import ExamplePhoto
    from showtell.training.evaluator import Evaluation

TRAIN, DEV, TEST = 3000, 200, 500
LEAST_SHARE = 0.9
SHOWN = 6
THUMBNAIL_COLUMNS = 20
PHOTOGRAPH_COLUMNS = 44


@dataclass(frozen=True)
class DemoResult:
    """What a demo came to.

    Attributes:
        right: Held-out pictures whose caption names no wrong object, colour or relation.
        exact: Those of them whose caption names no wrong size or place either.
        complete: Those of them whose caption names every object.
        pictures: Held-out pictures.
        seconds: Time of training and scoring.
        report: The page.
        photographs: Real ones with their captions, where a captioner was named.
    """

    right: int
    exact: int
    complete: int
    pictures: int
    seconds: float
    report: Path
    photographs: Sequence[ExamplePhoto] = ()

    @property
    def headline(self) -> str:
        """The figure, as a sentence."""
        return (
            f"{100 * self.right / self.pictures:.1f} % of {self.pictures} held-out pictures described with no "
            f"wrong object, colour or relation; {100 * self.exact / self.pictures:.1f} % with no wrong size or "
            "place either."
        )


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    train_pictures: int = TRAIN,
    dev_pictures: int = DEV,
    test_pictures: int = TEST,
    overrides: list[str] | None = None,
    least_share: float = LEAST_SHARE,
    captioner: Path | None = None,
    photographs: Path | None = None,
) -> DemoResult:
    """Draw scenes, prepare them, train, score on compositions never seen in training, write the report.

    Args:
        out: Holds ``scenes/``, ``set/`` and ``run/`` afterwards; what an earlier demo left there is replaced.
        seed: Of the scenes and of the training.
        train_pictures: How many scenes to learn from.
        dev_pictures: How many to choose the best epoch by.
        test_pictures: How many to be judged on.
        overrides: Changes to the recipe ``demo``, as ``showtell train --set`` takes them.
        least_share: The share of held-out pictures that must be right.
        captioner: A captioner of photographs, to end with.
        photographs: A folder of JPEGs for it; each one's comment says whose it is.

    Raises:
        ShowtellError: fewer are right (the report is there all the same), or something could not be written.
    """
    from showtell.config.recipe import load_recipe
    from showtell.data.prepared import prepare
    from showtell.data.scenes import draw_scenes, load_scenes
    from showtell.training.evaluate import evaluate_checkpoint
    from showtell.training.trainer import train

    # First, so that what is missing is told before minutes are spent.
    eyes = _open_eyes(captioner, photographs)
    recipe = load_recipe("demo", [f"training.seed={seed}", *(overrides or [])])
    draw_scenes(out / "scenes", train=train_pictures, dev=dev_pictures, test=test_pictures, seed=seed)
    prepared = prepare(out / "scenes" / "captions.jsonl", out / "set")
    started = time.monotonic()
    run = train(recipe, data=out / "set", out=out / "run", restart=(out / "run").exists()).directory
    predictions = run / "test-predictions.jsonl"
    evaluation = evaluate_checkpoint(run, data=out / "set", split="test", predictions=predictions)
    seconds = time.monotonic() - started
    real = _look(*eyes) if eyes is not None else []
    result = _report(run, predictions, prepared, evaluation, load_scenes(out / "scenes"), seconds, real)
    if result.right < least_share * result.pictures:
        raise ShowtellError(
            "the demo's captions are not good enough",
            found=result.headline,
            expected=f"at least {100 * least_share:.0f} %",
            mend=f"See {result.report}; another --seed tells whether this is chance",
        )
    return result


def _open_eyes(captioner: Path | None, photographs: Path | None) -> tuple[Captioner, list[Path]] | None:
    """Load a captioner of photographs and find some for it.

    Raises:
        ConfigError: one is named without the other, or no JPEG is in the folder.
        ShowtellError: the captioner cannot be loaded.
    """
    if captioner is None and photographs is None:
        return None
    if captioner is None or photographs is None:
        raise ConfigError(
            "--captioner and --photographs go together",
            found="--captioner alone" if photographs is None else "--photographs alone",
            mend="Name both: a captioner, and a folder of JPEGs for it",
        )
    from showtell.inference.captioner import Captioner

    pictures = sorted(photographs.glob("*.jpg"))
    if not pictures:
        raise ConfigError(f"{photographs} has no photographs", expected="files that end in .jpg")
    return Captioner.load(captioner), pictures


def _look(captioner: Captioner, pictures: list[Path]) -> list[ExamplePhoto]:
    """Caption photographs; the comment in each file says what it is and whose."""
    from PIL import Image

    from showtell.report.photographs import ExamplePhoto

    told = []
    for path, caption in zip(pictures, captioner.caption(pictures), strict=True):
        if caption.error is not None:
            raise ImageError(caption.error)
        with Image.open(path) as picture:
            comment = picture.info.get("comment", b"")
        told.append(ExamplePhoto(path, caption.text, comment.decode("utf-8", "replace")))
    return told


def _report(
    run: Path,
    predictions: Path,
    prepared: PreparedSet,
    evaluation: Evaluation,
    scenes: dict[str, Scene],
    seconds: float,
    photographs: Sequence[ExamplePhoto],
) -> DemoResult:
    from showtell.data.scene_captions import check_caption, named_objects
    from showtell.report import write_report

    told = {
        prepared.key(row): (prepared.image_path(row), text)
        for row, text in zip(evaluation.rows, evaluation.texts, strict=True)
    }
    verdicts = {key: check_caption(text, scenes[path.stem]) for key, (path, text) in told.items()}
    complete = [
        key
        for key, (path, text) in told.items()
        if not verdicts[key] and len(named_objects(text)) == len(scenes[path.stem].objects)
    ]
    result = DemoResult(
        right=sum(not check_caption(text, scenes[path.stem], details=False) for path, text in told.values()),
        exact=sum(not wrong for wrong in verdicts.values()),
        complete=len(complete),
        pictures=len(told),
        seconds=seconds,
        report=run / "report.html",
        photographs=photographs,
    )
    write_report(
        run,
        predictions=predictions,
        title="showtell demo",
        headline=f"{result.headline} Trained and scored in {seconds:.0f} seconds.",
        scores=evaluation.scores.values,
        signature=evaluation.scores.signature,
        verdicts=verdicts,
        photographs=photographs,
    )
    from rich.text import Text

    for key in list(told)[:SHOWN]:
        wrong = "; ".join(verdicts[key])
        show_caption(*told[key], Text(f"wrong: {wrong}", "red") if wrong else Text("right", "green"))
    return result


def show_caption(path: Path, caption: str, said: Text, *, columns: int = THUMBNAIL_COLUMNS) -> None:
    """Print a picture's name, its caption and what is said of either; on a terminal beside the picture."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.print(Text.assemble(f"{path.name}  {caption}  ", said), soft_wrap=True)
        return
    row = Table.grid(padding=(0, 2, 1, 0))
    row.add_row(_blocks(path, columns), Text.assemble((path.name, "dim"), f"\n\n{caption}\n\n", said))
    console.print(row)


def _blocks(path: Path, columns: int) -> Text:
    """Return a small picture made of half blocks, two pixels a character."""
    from PIL import Image
    from rich.color import Color
    from rich.style import Style
    from rich.text import Text

    with Image.open(path) as picture:
        rows = 2 * round(columns * picture.height / picture.width / 2)
        small = picture.convert("RGB").resize((columns, rows), Image.Resampling.BOX)
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

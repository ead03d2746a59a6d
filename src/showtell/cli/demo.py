"""``showtell demo``: the whole way of the data on scenes drawn here, from nothing to a report, in minutes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from showtell.errors import ShowtellError

if TYPE_CHECKING:
    from rich.text import Text

    from showtell.data.prepared import PreparedSet
    from showtell.data.scene_captions import Scene
    from showtell.training.judging import Judgement

TRAIN, DEV, TEST = 3000, 200, 500
LEAST_SHARE = 0.9
SHOWN = 6
THUMBNAIL_COLUMNS = 20


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
    """

    right: int
    exact: int
    complete: int
    pictures: int
    seconds: float
    report: Path

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

    Raises:
        ShowtellError: fewer are right (the report is there all the same), or something could not be written.
    """
    from showtell.data.prepared import prepare
    from showtell.data.scenes import draw_scenes, load_scenes
    from showtell.recipes.schema import load_recipe
    from showtell.training.evaluation import evaluate_checkpoint
    from showtell.training.loop import train

    recipe = load_recipe("demo", [f"training.seed={seed}", *(overrides or [])])
    draw_scenes(out / "scenes", train=train_pictures, dev=dev_pictures, test=test_pictures, seed=seed)
    prepared = prepare(out / "scenes" / "captions.jsonl", out / "set")
    started = time.monotonic()
    run = train(recipe, data=out / "set", out=out / "run", restart=(out / "run").exists()).directory
    predictions = run / "test-predictions.jsonl"
    judgement = evaluate_checkpoint(run, data=out / "set", split="test", predictions=predictions)
    seconds = time.monotonic() - started
    result = _report(run, predictions, prepared, judgement, load_scenes(out / "scenes"), seconds)
    if result.right < least_share * result.pictures:
        raise ShowtellError(
            "the demo's captions are not good enough",
            found=result.headline,
            expected=f"at least {100 * least_share:.0f} %",
            mend=f"See {result.report}; another --seed tells whether this is chance",
        )
    return result


def _report(
    run: Path,
    predictions: Path,
    prepared: PreparedSet,
    judgement: Judgement,
    scenes: dict[str, Scene],
    seconds: float,
) -> DemoResult:
    from showtell.data.scene_captions import check_caption, named_objects
    from showtell.report import write_report

    told = {
        prepared.key(row): (prepared.picture_path(row), text)
        for row, text in zip(judgement.rows, judgement.texts, strict=True)
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
    )
    write_report(
        run,
        predictions=predictions,
        title="showtell demo",
        headline=f"{result.headline} Trained and scored in {seconds:.0f} seconds.",
        scores=judgement.scores.values,
        signature=judgement.scores.signature,
        verdicts=verdicts,
    )
    for key in list(told)[:SHOWN]:
        _show(told[key][0], told[key][1], verdicts[key])
    return result


def _show(path: Path, caption: str, wrong: list[str]) -> None:
    """Print a picture's name, what was said of it and whether that is right; on a terminal beside the picture."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    verdict = Text("wrong: " + "; ".join(wrong), "red") if wrong else Text("right", "green")
    if not console.is_terminal:
        console.print(Text.assemble(f"{path.name}  {caption}  ", verdict), soft_wrap=True)
        return
    row = Table.grid(padding=(0, 2, 1, 0))
    row.add_row(_blocks(path), Text.assemble((path.name, "dim"), f"\n\n{caption}\n\n", verdict))
    console.print(row)


def _blocks(path: Path) -> Text:
    """Return a small picture made of half blocks, two pixels a character."""
    from PIL import Image
    from rich.color import Color
    from rich.style import Style
    from rich.text import Text

    with Image.open(path) as picture:
        small = picture.convert("RGB").resize((THUMBNAIL_COLUMNS,) * 2, Image.Resampling.BOX)
    text = Text()
    for row in range(0, THUMBNAIL_COLUMNS, 2):
        for column in range(THUMBNAIL_COLUMNS):
            upper, lower = (
                Color.from_rgb(*small.getpixel((column, row + below)))  # type: ignore[misc]
                for below in (0, 1)
            )
            text.append("▀", Style(color=upper, bgcolor=lower))
        if row + 2 < THUMBNAIL_COLUMNS:
            text.append("\n")
    return text


def command(
    out: Annotated[Path, typer.Option("-o", "--out", help="Where scenes, run and report go.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Of the scenes and of the training.")] = 0,
) -> None:
    """Draw scenes, train a small captioner on them, judge it on compositions it never saw, write a report."""
    result = run_demo(out, seed=seed)
    typer.echo(f"\n{result.headline}")
    typer.echo(f"Every object named as well: {100 * result.complete / result.pictures:.1f} %.")
    typer.echo(f"Training and scoring took {result.seconds:.0f} seconds.")
    typer.echo(f"Report: {result.report.resolve()}")

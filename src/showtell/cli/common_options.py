"""Options that several verbs take, with the same name and help everywhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

import typer

from showtell.errors import INSTALL, ConfigError

if TYPE_CHECKING:
    from showtell.metrics.meteor import Meteor


Command = TypeVar("Command", bound=Callable[..., None])


def _check_overrides(overrides: list[str] | None) -> list[str] | None:
    for override in overrides or ():
        if "=" not in override:
            raise ConfigError(
                f"--set {override} has no value",
                expected="KEY=VALUE, without spaces",
                mend=f"Write: --set {override}=VALUE",
            )
    return overrides


def in_panels(panels: Mapping[str, str]) -> Callable[[Command], Command]:
    """Group the options of a command in its help: the names of parameters, apart by spaces, by title."""

    def grouped(command: Command) -> Command:
        for title, names in panels.items():
            for name in names.split():
                kind, option = get_args(command.__annotations__[name])
                option = copy(option)  # others use it too
                option.rich_help_panel = title
                command.__annotations__[name] = Annotated[kind, option]
        return command

    return grouped


def given(**options: Any) -> dict[str, Any]:
    """Return the options that have a value on the command line."""
    return {name: value for name, value in options.items() if value not in (None, [])}


def open_meteor(wanted: bool) -> contextlib.AbstractContextManager[Meteor | None]:
    """Return METEOR's program for ``--meteor``, so that a missing one is an error before anything is decoded."""
    if not wanted:
        return contextlib.nullcontext()
    from showtell.metrics.meteor import Meteor

    return Meteor()


RecipeName = Annotated[
    str, typer.Argument(help="Name of a shipped recipe (see showtell recipes), or a YAML file.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        callback=_check_overrides,
        help="Change a recipe key, for example optimizer.lr=3e-4 (keys: showtell recipes --keys). Repeatable.",
    ),
]
PreparedData = Annotated[Path, typer.Option("--data", help="Prepared dataset (output of showtell prepare).")]
Evaluations = Annotated[
    Path | None, typer.Option(help="Folder of cached captions. Default: beside the prepared set.")
]
Split = Annotated[str, typer.Option(help="Split to evaluate, as a whole.")]
BeamSize = Annotated[
    int | None, typer.Option(help="Beam size; 1 is greedy search. Default: the checkpoint's.")
]
ScoreTokenizerName = Annotated[
    Literal["ptb", "intl", "zh", "ja", "char", "none"],
    typer.Option(
        "--tokenizer",
        help="Tokenizer of the scores: ptb (Penn Treebank, as in coco-caption), one of sacreBLEU's, or none (split "
        "at spaces).",
    ),
]
AnyScoreTokenizer = Annotated[
    Literal["auto", "ptb", "intl", "zh", "ja", "char", "none"],
    typer.Option("--tokenizer", help="As for score; auto: by the script of the references, ptb for most."),
]
MaxTokens = Annotated[int | None, typer.Option(help="Maximum number of tokens of a caption.")]
LengthPenalty = Annotated[float | None, typer.Option(help="0: sum of log-probabilities, 1: their mean.")]
NoRepeatNgramSize = Annotated[
    int | None, typer.Option(help="No n-gram of this size occurs twice in a caption.")
]
Retrieval = Annotated[
    Literal["off", "rerank"] | None,
    typer.Option(
        help="Whether captions of similar images in the captioner's datastore (showtell index) rerank its captions. "
        "Default: the checkpoint's."
    ),
]
RetrievalWeight = Annotated[
    float | None, typer.Option(help="Weight of the similarity to their captions. Default: the checkpoint's.")
]
Neighbours = Annotated[int | None, typer.Option(help="Number of similar images. Default: the checkpoint's.")]
RetrieveCaption = Annotated[
    bool | None,
    typer.Option(
        "--retrieve-caption/--no-retrieve-caption",
        help="Whether the best of their captions competes with the generated ones. Default: the checkpoint's.",
    ),
]
EnsembleWith = Annotated[
    list[Path] | None, typer.Option(help="Another captioner to ensemble with. Repeatable.")
]
EncoderWeights = Annotated[
    Path | None, typer.Option(help="Local safetensors file with the encoder's weights, instead of the hub's.")
]
Features = Annotated[
    Path | None, typer.Option(help="Folder of feature caches. Default: beside the prepared dataset.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Threads = Annotated[
    int, typer.Option(help="CPU threads; 0: OMP_NUM_THREADS, or else one per available core.")
]
OutputFormat = Annotated[
    Literal["table", "json"],
    typer.Option("--format", help="A table (scores times 100), or JSON (on coco-caption's scale)."),
]
WithMeteor = Annotated[
    bool,
    typer.Option(
        "--meteor",
        # Escaped, since rich takes the extra's brackets for markup.
        help=f"Also compute METEOR 1.5; needs Java and {INSTALL.format(extra='meteor')}.".replace("[", r"\["),
    ),
]
CardLicense = Annotated[
    str | None, typer.Option("--license", help="License in the model card: mit, cc-by-nc-4.0, other, ...")
]
CardDatasets = Annotated[
    list[str] | None,
    typer.Option("--dataset", help="Training dataset on the hub, for the model card. Repeatable."),
]

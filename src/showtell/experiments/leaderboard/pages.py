"""The leaderboard as Markdown, and as one self-contained HTML page with images and all their captions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from markupsafe import Markup

from showtell.config.generation import DecodingOptions
from showtell.experiments.leaderboard.evaluate import Leaderboard, LeaderboardRow
from showtell.experiments.seeds import MeanStd
from showtell.metrics.bootstrap import DRAWS
from showtell.metrics.caption_stats import TITLES, shown
from showtell.report.images import thumbnail
from showtell.report.templates import NOTHING, percent, render
from showtell.system.atomic import write_text
from showtell.system.console import progress_bar

COMPARED = ("CIDEr-D", "BLEU-4", "METEOR", "ROUGE-L")
DETAILS = ("decoder", "weights", "decoding", "seeds")


@dataclass(frozen=True)
class TextTable:
    """A table of plain text; the first ``num_details`` columns after the name only describe the row."""

    title: str
    unit: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    num_details: int = 0


def to_markdown(results: Leaderboard, *, title: str, command: str) -> str:
    """Return the tables, the same bytes for the same runs; ``command`` is what reproduces them."""
    text = render(
        "leaderboard.md",
        title=title,
        results=results,
        tables=_build_tables(results),
        footnotes=_footnotes(results),
        command=command,
    )
    return f"{text}\n"


def write_page(results: Leaderboard, out: Path, *, title: str, num_images: int = 40, seed: int = 0) -> Path:
    """Write the page; thumbnails of 240 pixels are embedded (about 20 kB each), nothing is fetched.

    The choice of images depends on the split and the seed, not on the captioners.
    """
    prepared, split = results.prepared, results.split
    rows = prepared.split_rows(split, subset=num_images, seed=seed).tolist()
    thumbnails = {}
    with progress_bar("page", len(rows), unit="images") as advance:
        for row in rows:
            thumbnails[prepared.key(row)] = thumbnail(prepared.image_path(row))
            advance(1, "")
    html = render(
        "leaderboard.html",
        title=title,
        headline=f"{len(results.rows)} captioners and a human baseline" if results.human else "",
        results=results,
        tables=[_move_details(table) for table in _build_tables(results)],
        footnotes=_footnotes(results),
        images=thumbnails,
        num_images=len(prepared.split_rows(split)),
        seed=seed,
    )
    write_text(out, html)
    return out


def _move_details(table: TextTable) -> TextTable:
    """Return a table with its details under the name, so that the columns fit."""
    end = 1 + table.num_details
    rows = []
    for row in table.rows:
        pairs = zip(table.head[1:end], row[1:end], strict=True)
        details = " · ".join(f"{name} {cell}" for name, cell in pairs if cell != NOTHING)
        name = Markup("{} <small>{}</small>").format(row[0], details) if details else row[0]
        rows.append([name, *row[end:]])
    return replace(table, head=[table.head[0], *table.head[end:]], rows=rows)


def _drop_empty(table: TextTable) -> TextTable:
    """Return a table without the columns that have nothing in any row."""
    kept = [column for column in range(len(table.head)) if {row[column] for row in table.rows} != {NOTHING}]
    return replace(
        table,
        head=[table.head[column] for column in kept],
        rows=[[row[column] for column in kept] for row in table.rows],
        num_details=sum(1 <= column <= table.num_details for column in kept),
    )


def _build_tables(results: Leaderboard) -> list[TextTable]:
    """Return the tables of scores, of differences from the baseline, if there is one, and of caption statistics."""
    rows = results.all_rows
    metrics = list(rows[0].scores)
    tables = [
        TextTable(
            "Scores",
            f"× 100, {len(rows[0].captions):,} images of {results.split}",
            ["captioner", *DETAILS, *metrics, "minutes"],
            [
                [
                    *_about(row),
                    *(_mean_std(row, row.scores[name], percent) for name in metrics),
                    _minutes(row),
                ]
                for row in rows
            ],
            len(DETAILS),
        )
    ]
    differences = {row.name: row.differences for row in results.rows if row.differences is not None}
    if differences:
        compared = [name for name in COMPARED if name in metrics]
        tables.append(
            TextTable(
                f"Difference from {results.baseline}",
                f"× 100, with 95 % intervals and two-sided p-values of {DRAWS:,} paired bootstrap draws",
                ["captioner", *compared],
                [
                    [
                        name,
                        *(f"{found[metric].interval}, {found[metric].significance}" for metric in compared),
                    ]
                    for name, found in differences.items()
                ],
            )
        )
    names = [name for name in TITLES if name in rows[0].quality]
    statistics = [
        [row.name, *(_mean_std(row, row.quality[name], partial(shown, name)) for name in names)]
        for row in rows
    ]
    head = ["captioner", *(TITLES[name] for name in names)]
    tables[0] = _drop_empty(tables[0])
    return [*tables, TextTable("Caption statistics", "fractions of captions in %", head, statistics)]


def _footnotes(results: Leaderboard) -> list[str]:
    """Return what a reader of the tables should know, one sentence or two each."""
    row_notes: dict[str, list[str]] = {}
    for row in results.rows:
        for note in _row_notes(row, results):
            row_notes.setdefault(note, []).append(row.name)
    return render("footnotes.md", results=results, row_notes=row_notes).splitlines()


def _about(row: LeaderboardRow) -> list[str]:
    if row.entry is None or not row.entry.models:
        return [row.name, *[NOTHING] * 4]
    decoder, decoding = row.entry.config["decoder"]["name"], _decoding(row.entry.models[0].generation)
    return [row.name, decoder, _count(row.num_parameters), decoding, str(row.seeds)]


def _mean_std(row: LeaderboardRow, value: MeanStd, form: Callable[[float], str]) -> str:
    """Return a mean and its deviation over seeds; human references are no seeds."""
    if row.entry is None or value.std is None:
        return form(value.mean)
    return f"{form(value.mean)} ± {form(value.std)}"


def _count(parameters: int) -> str:
    return f"{parameters / 1e6:.1f}M" if parameters >= 100_000 else f"{parameters / 1e3:.1f}k"


def _decoding(options: DecodingOptions) -> str:
    parts = [f"beam {options.beam_size}" if options.method == "beam" else options.method]
    default = DecodingOptions()
    if options.length_penalty != default.length_penalty:
        parts.append(f"length penalty {options.length_penalty:g}")
    if options.no_repeat_ngram_size:
        parts.append(f"no repeated {options.no_repeat_ngram_size}-grams")
    return ", ".join(parts)


def _minutes(row: LeaderboardRow) -> str:
    if row.minutes is None:
        return NOTHING
    return f"{row.minutes:.0f}" if row.minutes >= 10 else f"{row.minutes:.1f}"


def _row_notes(row: LeaderboardRow, results: Leaderboard) -> list[str]:
    assert row.entry is not None
    if row.entry.captions is not None:
        return [f"captions of `{row.entry.path.as_posix()}`."]
    recipe, data = row.entry.config.get("recipe") or {}, row.entry.config.get("data") or {}
    notes = []
    if not recipe:
        notes.append("the images its epoch was chosen by are not known.")
    elif data.get("fingerprint") != results.prepared.fingerprint:
        notes.append(f"trained on another set ({data.get('name', 'unknown')}).")
    else:
        notes.append(_choice(recipe["validation"], results.split))
    init_from = (recipe.get("training") or {}).get("init_from")
    if init_from:
        notes.append("initialized from another captioner, whose minutes are not counted.")
    merged = row.entry.config.get("merged_from")
    if merged:
        notes.append(f"its weights are the mean of those of {len(merged)} captioners.")
    if not all(model.finished for model in row.entry.models):
        notes.append("its training is not finished; this is its best epoch so far.")
    return notes


def _choice(validation: Mapping[str, object], split: str) -> str:
    by = f"by {validation['metric']}"
    if validation["split"] != split:
        return f"the epoch was chosen {by} on other images (`{validation['split']}`)."
    part = f"{validation['subset']:,} of " if validation.get("subset") else ""
    return f"the epoch was chosen {by} on {part}the same images."

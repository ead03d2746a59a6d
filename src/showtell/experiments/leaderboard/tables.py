"""Rows as tables of text: the same cells for Markdown and for the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from showtell.config.generation import DecodingOptions
from showtell.experiments.leaderboard.evaluate import PERSON, Leaderboard, LeaderboardRow
from showtell.experiments.seeds import MeanStd
from showtell.metrics.bootstrap import DRAWS, ScoreDelta
from showtell.metrics.caption_stats import TITLES, shown
from showtell.report.tables import TextTable

NOTHING = "–"


def build_tables(results: Leaderboard) -> list[TextTable]:
    """Return the tables of scores, of differences from the baseline, if there is one, and of how captions read."""
    rows = [*results.rows, *([results.person] if results.person else [])]
    pictures = len(results.rows[0].captions)
    tables = [TextTable("Scores", f"× 100, {pictures:,} pictures of {results.split}", _scores(rows))]
    compared = [row for row in results.rows if row.differences is not None]
    if compared:
        unit = f"× 100, with 95 % of {DRAWS:,} draws of the same pictures"
        tables.append(TextTable(f"Better than {results.baseline} by", unit, _differences(compared)))
    return [*tables, TextTable("How they read", "shares of captions in %", _quality(rows))]


def footnotes(results: Leaderboard) -> list[str]:
    """Return what a reader of the tables should know, one sentence or two each."""
    remarks = []
    if any(row.seeds > 1 for row in results.rows):
        remarks.append("± is the sample standard deviation over seeds.")
    if results.person is not None:
        remarks.append(
            f"{PERSON.capitalize()}: each of {results.person.seeds} captions judged by the picture's others, and the "
            "mean of these. One reference less than the captioners have makes BLEU, METEOR and ROUGE-L lower "
            f"(`{results.person_signature}`)."
        )
    remarks += _choices(results)
    if any(row.differences is not None for row in results.rows):
        remarks.append(
            "The intervals are of the pictures' choice (paired bootstrap; a captioner of several seeds counts with "
            "their mean), not of the seeds'."
        )
    remarks.append(
        "Repeats: a word right behind itself, or two words twice that do not both only join others. Bad endings: on "
        "an article, a conjunction, a preposition that wants a noun and the like. Unknown words: `<unk>`, or a word "
        "that no training caption has. Unseen: equal to no training caption word for word."
    )
    return remarks


def _scores(rows: Sequence[LeaderboardRow]) -> list[list[str]]:
    metrics = list(rows[0].scores)
    header = ["captioner", "decoder", "weights", "search", "seeds", *metrics, "minutes"]
    return [
        header,
        *([*_about(row), *(_score(row, name) for name in metrics), _minutes(row)] for row in rows),
    ]


def _about(row: LeaderboardRow) -> list[str]:
    if row.entry is None:
        return [row.name, *[NOTHING] * 4]
    search = _search(row.entry.members[0].generation)
    return [row.name, row.entry.decoder, _count(row.parameters), search, str(row.seeds)]


def _score(row: LeaderboardRow, metric: str) -> str:
    return _spread(row, row.scores[metric], lambda value: f"{100 * value:.2f}")


def _spread(row: LeaderboardRow, spread: MeanStd, form: Callable[[float], str]) -> str:
    """Return a mean, and what seeds make of it; people are no seeds."""
    if row.entry is None or spread.std is None:
        return form(spread.mean)
    return f"{form(spread.mean)} ± {form(spread.std)}"


def _count(parameters: int) -> str:
    return f"{parameters / 1e6:.1f}M" if parameters >= 100_000 else f"{parameters / 1e3:.1f}k"


def _search(options: DecodingOptions) -> str:
    parts = [f"beam {options.beam_size}" if options.method == "beam" else options.method]
    usual = DecodingOptions()
    if options.length_penalty != usual.length_penalty:
        parts.append(f"length penalty {options.length_penalty:g}")
    if options.no_repeat_ngram_size:
        parts.append(f"no {options.no_repeat_ngram_size}-gram twice")
    return ", ".join(parts)


def _minutes(row: LeaderboardRow) -> str:
    if row.minutes is None:
        return NOTHING
    return f"{row.minutes:.0f}" if row.minutes >= 10 else f"{row.minutes:.1f}"


def _differences(rows: Sequence[LeaderboardRow]) -> list[list[str]]:
    names = list(rows[0].differences or {})
    return [
        ["captioner", *names],
        *([row.name, *(_difference((row.differences or {})[name]) for name in names)] for row in rows),
    ]


def _difference(found: ScoreDelta) -> str:
    return f"{100 * found.value:+.2f} [{100 * found.low:+.2f}, {100 * found.high:+.2f}]"


def _quality(rows: Sequence[LeaderboardRow]) -> list[list[str]]:
    names = [name for name in TITLES if name in rows[0].quality]
    header = ["captioner", *(TITLES[name] for name in names)]
    return [header, *([row.name, *(_figure(row, name) for name in names)] for row in rows)]


def _figure(row: LeaderboardRow, name: str) -> str:
    return _spread(row, row.quality[name], lambda value: shown(name, value))


def _choices(results: Leaderboard) -> list[str]:
    """Return on which pictures each row's epoch was chosen, and what its minutes do not hold."""
    said: dict[str, list[str]] = {}
    for row in results.rows:
        for remark in _remarks_on(row, results):
            said.setdefault(remark, []).append(row.name)
    return [f"{', '.join(names)}: {remark}" for remark, names in said.items()]


def _remarks_on(row: LeaderboardRow, results: Leaderboard) -> list[str]:
    assert row.entry is not None
    recipe, data = row.entry.recipe, row.entry.members[0].config.get("data") or {}
    remarks = []
    if not recipe:
        remarks.append("on which pictures its epoch was chosen is not known.")
    elif data.get("fingerprint") != results.prepared.fingerprint:
        remarks.append(f"trained on another set ({data.get('name', 'unknown')}).")
    else:
        remarks.append(_choice(recipe["validation"], results.split))
    start = (recipe.get("training") or {}).get("start")
    if start:
        remarks.append("trained on from another captioner, whose minutes are not counted.")
    mixed = row.entry.members[0].config.get("averaged")
    if mixed:
        remarks.append(f"its weights are the mean of those of {len(mixed)} captioners.")
    if not all(member.finished for member in row.entry.members):
        remarks.append("its training has not come to its end; this is its best epoch so far.")
    return remarks


def _choice(validation: Mapping[str, object], split: str) -> str:
    by = f"by {validation['metric']}"
    if validation["split"] != split:
        return f"the epoch was chosen {by} on other pictures (`{validation['split']}`)."
    part = f"{validation['subset']:,} of " if validation.get("subset") else ""
    return f"the epoch was chosen {by} on {part}the same pictures."

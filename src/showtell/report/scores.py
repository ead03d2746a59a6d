"""Scores of caption files as text, JSON and one self-contained HTML page: comparison and explained captions."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from showtell.errors import escape_controls
from showtell.metrics.bootstrap import DRAWS, LEVEL, ScoreDelta
from showtell.metrics.evaluate import Scores
from showtell.metrics.explain import MOST, CiderParts, Explanation, NgramPart
from showtell.metrics.ngrams import ORDERS
from showtell.metrics.score_files import FileScores
from showtell.report.templates import NOTHING, percent, render
from showtell.system.atomic import write_text
from showtell.system.console import shorten, text_table

COLUMNS = 80
NUM_TEXT, NUM_PAGE = 6, 15
"""N-grams of each kind that are shown; the others are one row."""
FATES = {
    "shared": "shared",
    "wrong": "in no reference",
    "missing": "only in references",
}
LOSSES = {
    "wrong": "n-grams that no reference has",
    "missing": "n-grams of references that the candidate lacks",
    "uneven": "n-grams that not all references have, or not as often",
    "length": "difference of lengths",
    "unweighted": "orders without an n-gram that has a weight",
}
NGRAM_HEAD = ["n-gram", "count", "refs", "images", "correct", "earned", "lost"]
BLEU_HEAD = ["BLEU-4", "correct", "precision", "logarithm / 4"]


def to_json(result: FileScores) -> dict[str, Any]:
    """Return all numbers, on coco-caption's scale: those of `Scores`, and what was requested beside them."""
    content = scores_json(result.scores)
    if result.others is not None:
        content["against"] = scores_json(result.others)
        content["differences"] = {name: asdict(delta) for name, delta in result.differences.items()}
        content["draws"] = DRAWS
    if result.explained:
        names = ("candidate", "against")
        content["explained"] = [
            dict(zip(names, map(asdict, both), strict=False)) for both in result.explained
        ]
    return content


def to_text(result: FileScores) -> str:
    """Return tables that fit 80 columns, and the signature."""
    if result.others is None:
        text = result.scores.table()
    else:
        text = f"ours: {_name(result.candidates)}; other: {_name(result.against)}\n" + difference_text(
            difference_rows(result.scores, result.others, result.differences), result.scores
        )
    for both in result.explained:
        for explanation, path in zip(both, (result.candidates, result.against), strict=False):
            heading = explanation.id if len(both) == 1 else f"{explanation.id}, {_name(path)}"
            text += f"\n\n{escape_controls(heading)}\n{_explanation_text(explanation)}"
    return text


def write_scores_page(result: FileScores, out: Path, *, title: str) -> Path:
    """Write the page; it needs no other file, and forbids all connections."""
    names = ["candidate"] if result.others is None else [_name(result.candidates), _name(result.against)]
    if result.others is not None:
        head, *rows = difference_rows(result.scores, result.others, result.differences)
    else:
        head, rows = ["", "score"], [[name, percent(value)] for name, value in result.scores.values.items()]
    html = render(
        "scores.html",
        title=title,
        headline="",
        result=result,
        head=head,
        rows=rows,
        draws=describe_draws(result.scores.num_images) if result.others else "",
        groups=[
            ("Explained captions", "explained", [_page_item(both, names) for both in result.explained]),
            (
                "Largest gains and losses of CIDEr-D",
                "changed",
                [_page_item(both, names) for both in result.changed],
            ),
        ],
        ngram_head=NGRAM_HEAD,
        bleu_head=BLEU_HEAD,
    )
    write_text(out, html)
    return out


def scores_json(scores: Scores) -> dict[str, Any]:
    """Return scores as JSON, on coco-caption's scale."""
    return {
        "scores": scores.values,
        "num_images": scores.num_images,
        "references": list(scores.references),
        "empty_candidates": scores.empty_candidates,
        "notes": scores.notes,
        "signature": scores.signature,
    }


def difference_rows(
    ours: Scores,
    others: Scores,
    differences: Mapping[str, ScoreDelta],
    names: Sequence[str] = ("ours", "other"),
) -> list[list[str]]:
    """Return the head and a row for each metric: both scores, difference, significance, images won, lost, equal."""
    rows = [["", *names, f"difference, {100 * LEVEL:.0f} % interval", "significance", "images +/-/="]]
    for name, value in ours.values.items():
        delta = differences[name]
        counts = f"{delta.wins}/{delta.losses}/{delta.ties}"
        other = percent(others.values[name])
        rows.append([name, percent(value), other, delta.interval, delta.significance, counts])
    return rows


def difference_text(rows: Sequence[Sequence[str]], scores: Scores) -> str:
    """Return these rows as a table that fits 80 columns, how they were made, and the signature of the scores."""
    head, *others = rows
    table = [[*row[:3], f"{row[3]}, {row[4]}", row[5]] for row in others]
    table.insert(0, [*head[:3], f"difference, {100 * LEVEL:.0f} %", head[5]])
    draws = textwrap.wrap(describe_draws(scores.num_images), COLUMNS)
    return "\n".join([text_table(table, left=1), *draws, scores.signature])


def describe_draws(num_images: int) -> str:
    """Return a sentence on the bootstrap and the counts of images."""
    return (
        f"{DRAWS:,} paired bootstrap draws of {num_images:,} images; +/-/=: images whose own score is "
        "higher, lower, equal."
    )


def _explanation_text(one: Explanation) -> str:
    lines = _wrapped("candidate", one.candidate or "(nothing)")
    for reference in one.references:
        lines += _wrapped("reference", reference or "(nothing)")
    ngrams = _ngram_rows(one.ngrams, NUM_TEXT)
    table = [NGRAM_HEAD, *([shorten(escape_controls(row[0]), 30), *row[1:]] for row in ngrams)]
    losses = _loss_rows(one.cider)
    return "\n".join(
        [
            *lines,
            "",
            text_table(table, left=1, least=5),
            "",
            text_table([["CIDEr-D, x 100", "earned", "lost"], *losses], left=1),
            "",
            text_table([BLEU_HEAD, *_bleu_rows(one)], left=1),
            *textwrap.wrap(_corpus_sentence(one), COLUMNS),
        ]
    )


def _wrapped(name: str, text: str) -> list[str]:
    return textwrap.wrap(
        escape_controls(text), COLUMNS, initial_indent=f"{name:11}", subsequent_indent=" " * 11
    )


def _page_item(both: Sequence[Explanation], names: Sequence[str]) -> dict[str, Any]:
    return {
        "id": both[0].id,
        "references": both[0].references,
        "candidates": [
            {
                "name": name,
                "text": one.candidate,
                "score": percent(one.cider.score),
                "ngrams": _ngram_rows(one.ngrams, NUM_PAGE),
                "losses": _loss_rows(one.cider),
                "bleu": _bleu_rows(one),
                "corpus": _corpus_sentence(one),
            }
            for name, one in zip(names, both, strict=True)
        ],
    }


def _ngram_rows(parts: Sequence[NgramPart], most: int) -> list[list[str]]:
    """Return for each kind a heading, its n-grams that matter most, and the sum of its others."""
    return [
        row for fate in FATES for row in _fate_rows([part for part in parts if part.fate == fate], fate, most)
    ]


def _fate_rows(parts: Sequence[NgramPart], fate: str, most: int) -> Iterator[list[str]]:
    for part in parts[:most]:
        yield [
            part.text,
            str(part.count),
            str(part.references),
            str(part.images),
            str(part.correct),
            percent(part.earned),
            percent(part.lost),
        ]
    if rest := parts[most:]:
        earned, lost = (percent(sum(getattr(part, name) for part in rest)) for name in ("earned", "lost"))
        yield [
            f"({len(rest)} more {FATES[fate]})",
            *[NOTHING] * 3,
            str(sum(p.correct for p in rest)),
            earned,
            lost,
        ]


def _loss_rows(cider: CiderParts) -> list[list[str]]:
    losses = [[text, NOTHING, percent(getattr(cider, name))] for name, text in LOSSES.items()]
    return [
        ["n-grams", percent(cider.score), NOTHING],
        *losses,
        [f"sum {100 * MOST:.0f}", percent(cider.score), percent(MOST - cider.score)],
    ]


def _bleu_rows(one: Explanation) -> list[list[str]]:
    """Return a row for each order, the brevity penalty, and the sum: the logarithm of the image's BLEU-4."""
    bleu = one.bleu
    rows = []
    for order, (correct, total, log_precision) in enumerate(
        zip(bleu.correct, bleu.total, bleu.log_precision, strict=True), start=1
    ):
        precision = f"{100 * correct / total:.1f} %" if total else NOTHING
        rows.append(
            [f"{order}-grams", f"{correct} of {total}", precision, _logarithm(log_precision / ORDERS)]
        )
    lengths = f"{bleu.length} words, nearest {bleu.reference_length}"
    brevity = whole = NOTHING
    if bleu.log_brevity is not None:
        brevity = _logarithm(bleu.log_brevity)
        whole = _logarithm(sum(bleu.log_precision) / ORDERS + bleu.log_brevity)
    return [*rows, ["brevity", lengths, "", brevity], ["sum", "", percent(bleu.score), whole]]


def _logarithm(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"  # not -0.000


def _corpus_sentence(one: Explanation) -> str:
    text = f"BLEU-4 of all images: {percent(one.bleu.corpus)}, without this one {percent(one.bleu.corpus_without)}."
    if 0 in one.bleu.correct:
        text += " Without a correct n-gram of some order its own is about 0; its other counts still add to the sum."
    return text


def _name(path: Path | None) -> str:
    return "" if path is None else path.name

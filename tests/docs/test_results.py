"""The figures of README are those of the results page, which its captions give again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.docs.markdown import ROOT

from showtell.data.prepared import prepare
from showtell.experiments.leaderboard.evaluate import collect
from showtell.experiments.leaderboard.pages import to_markdown

PAGE = ROOT / "docs" / "results" / "flickr8k.md"
CAPTIONS = ROOT / "docs" / "results" / "captions"
METRICS = ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr-D")
ROWS = {
    "[`flickr8k`]": "flickr8k",
    "the same without": "flickr8k-without-retrieval",
    "[`flickr8k-two-encoders`]": "flickr8k-two-encoders",
    "human": "human",
}


def table(text: str, heading: str = "") -> dict[str, dict[str, str]]:
    """Return the first table after a heading: cells by the first column and by the head."""
    lines = next(
        part for part in text.partition(heading)[2].split("\n\n") if part.startswith("|")
    ).splitlines()
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return {row[0]: dict(zip(rows[0], row, strict=False)) for row in rows[2:] if len(row) == len(rows[0])}


def test_every_figure_of_the_readme_is_on_the_results_page() -> None:
    readme, page = (path.read_text(encoding="utf-8") for path in (ROOT / "README.md", PAGE))
    scores = table(page, "# flickr8k, dev")
    shown = re.findall(r"^\| (.+?) \|[^|]*\| dev \| (.+?) \|$", readme, re.M)
    assert len(shown) == len(ROWS)
    for name, cells in shown:
        row = next(row for begin, row in ROWS.items() if name.startswith(begin))
        for metric, figure in zip(METRICS, cells.split(" | "), strict=True):
            assert float(figure) == pytest.approx(float(scores[row][metric]), abs=0.05 + 1e-9)
    differences = table(page, "## Difference from flickr8k-without-retrieval")["flickr8k"]
    for value, metric, low, high in re.findall(r"([\d.]+) (\S+) \[([\d.]+), ([\d.]+)\]", readme):
        exact = [float(number) for number in re.findall(r"[+-][\d.]+", differences[metric])]
        assert [float(value), float(low), float(high)] == pytest.approx(exact, abs=0.05 + 1e-9)
    signature = re.search(r"`(showtell:\S+)`", page)
    assert signature is not None
    assert signature[0] in readme


@pytest.mark.slow
def test_the_results_page_is_made_again_from_its_captions(shared_data: Path, tmp_path: Path) -> None:
    """All but METEOR, which needs Java."""
    prepared = prepare(shared_data / "data" / "flickr8k", tmp_path / "flickr8k")
    names = ("flickr8k", "flickr8k-without-retrieval", "flickr8k-two-encoders", "flickr8k-best-rl")
    paths = [CAPTIONS / f"{name}.jsonl" for name in names]
    made = to_markdown(
        collect(paths, data=prepared.directory, baseline=paths[1]), title="flickr8k, dev", command=""
    )
    page = PAGE.read_text(encoding="utf-8")
    for heading in ("# flickr8k, dev", "## Difference from", "## Caption statistics"):
        expected = table(page, heading)
        for name, row in table(made, heading).items():
            assert row.items() <= expected[name].items()

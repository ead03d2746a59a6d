"""The page: the same images for all captioners, all captions, nothing fetched, text as text."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from showtell.data.prepared import PreparedSet
from showtell.experiments.leaderboard.evaluate import Leaderboard, collect
from showtell.experiments.leaderboard.pages import write_page


@pytest.fixture(scope="module")
def results(toy_set: PreparedSet, toy_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Leaderboard:
    return collect(
        [toy_runs / "one", toy_runs / "both"],
        data=toy_set.directory,
        evaluations=tmp_path_factory.mktemp("kept"),
    )


def keys_of(html: str) -> list[str]:
    return re.findall(r'<p class="facts">(.*?)</p>', html)


def test_each_image_has_all_captions_and_its_score(results: Leaderboard, tmp_path: Path) -> None:
    html = write_page(results, tmp_path / "page.html", title="Toys", num_images=5).read_text(encoding="utf-8")
    keys = keys_of(html)
    assert len(keys) == len(set(keys)) == 5
    assert html.count('<img src="data:image/jpeg;base64,') == 5
    assert results.human is not None
    for key, card in zip(keys, html.split('<li class="pair">')[1:], strict=True):
        captions = re.findall(r"<dt>(.*?) <small>(\d+)</small></dt><dd>(.*?)</dd>", card)
        assert [(name, int(score), unescape(text)) for name, score, text in captions] == [
            (row.name, round(100 * row.cider[key]), row.captions[key])
            for row in (*results.rows, results.human)
        ]
    assert (
        "5 of 8 images of dev, drawn by seed 0. Captioners of several seeds are represented by their first."
        in html
    )
    assert "Unknown words: <code>&lt;unk&gt;</code>, or a word" in html
    assert "http" not in re.sub(r"data:image/jpeg;base64,[^\"]+", "", html).replace("http-equiv", "")


def test_details_are_under_the_name_so_that_the_table_fits(results: Leaderboard, tmp_path: Path) -> None:
    html = write_page(results, tmp_path / "page.html", title="T", num_images=1).read_text("utf-8")
    head, _, rows = html.split("<table>", maxsplit=2)[1].partition("</thead>")
    assert re.findall(r'<th scope="col">(.*?)</th>', head) == [
        *("captioner", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D", "minutes")
    ]
    details = r"decoder attention · weights [\d.]+k · decoding beam 2, length penalty 0.5 · seeds 2"
    assert re.search(f"both <small>{details}</small>", rows)


def test_images_depend_on_the_seed_and_not_on_the_captioners(results: Leaderboard, tmp_path: Path) -> None:
    def keys(found: Leaderboard, seed: int) -> list[str]:
        page = write_page(found, tmp_path / "page.html", title="T", num_images=4, seed=seed)
        return keys_of(page.read_text(encoding="utf-8"))

    alone = replace(results, rows=results.rows[:1])
    assert keys(results, 0) == keys(alone, 0)
    assert len({tuple(keys(results, seed)) for seed in range(4)}) > 1


def test_captions_and_names_are_text_never_markup(results: Leaderboard, tmp_path: Path) -> None:
    row = results.rows[0]
    evil = replace(
        row, name="<b>one", captions=dict.fromkeys(row.captions, "<script>alert(1)</script> & \"'")
    )
    shown = replace(results, rows=[evil])
    html = write_page(shown, tmp_path / "page.html", title="<i>").read_text("utf-8")
    assert "<script>" not in html
    assert "<b>one" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp;" in html
    assert "<h1>&lt;i&gt;</h1>" in html


def test_a_missing_image_leaves_its_captions(results: Leaderboard, tmp_path: Path) -> None:
    class Moved(PreparedSet):
        def image_path(self, row: int) -> Path:
            return tmp_path / "gone.jpg"

    moved = Moved.load(results.prepared.directory)
    html = write_page(replace(results, prepared=moved), tmp_path / "page.html", title="T").read_text("utf-8")
    assert html.count("The image could not be read.") == 8
    assert len(keys_of(html)) == 8

"""The Markdown page: what it says, and the same bytes for the same runs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from showtell.data.prepared import PreparedSet
from showtell.experiments.leaderboard.evaluate import Leaderboard, collect
from showtell.experiments.leaderboard.pages import to_markdown
from showtell.system.atomic import write_summed_json


@pytest.fixture(scope="module")
def results(toy_set: PreparedSet, toy_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Leaderboard:
    return collect(
        [toy_runs / "one", toy_runs / "both"],
        data=toy_set.directory,
        baseline=toy_runs / "one",
        evaluations=tmp_path_factory.mktemp("kept"),
    )


def cells(text: str, heading: str) -> list[list[str]]:
    section = text.split(heading, maxsplit=1)[1]
    lines = re.findall(r"^\|.*\|$", section.split("\n## ", maxsplit=1)[0], flags=re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_scores_are_beside_decoder_weights_seeds_minutes_and_a_human(results: Leaderboard) -> None:
    text = to_markdown(results, title="Toys", command="showtell leaderboard")
    header, rule, one, both, human = cells(text, "# Toys")
    assert header == [
        *("captioner", "decoder", "weights", "decoding", "seeds"),
        *("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D", "minutes"),
    ]
    assert rule == ["---"] * 2 + ["---:"] + ["---"] + ["---:"] * 8
    assert one[:2] == ["one", "attention"]
    assert re.fullmatch(r"\d+\.\dk", one[2])
    assert [one[3], both[3]] == ["beam 3", "beam 2, length penalty 0.5"]
    assert [one[4], both[4], human[4]] == ["1", "2", "–"]
    assert one[5] == f"{100 * results.rows[0].scores['BLEU-1'].mean:.2f}"
    spread = results.rows[1].scores["CIDEr-D"]
    assert spread.std is not None
    assert both[10] == f"{100 * spread.mean:.2f} ± {100 * spread.std:.2f}"
    assert re.fullmatch(r"\d+\.\d", one[11])
    assert results.human is not None
    assert human[0] == "human"
    assert human[8] == f"{100 * results.human.scores['BLEU-4'].mean:.2f}"
    assert f"`{results.signature}`" in text


def test_differences_have_intervals_and_caption_statistics_are_shown(results: Leaderboard) -> None:
    text = to_markdown(results, title="Toys", command="showtell leaderboard")
    header, _, both = cells(text, "## Difference from one")
    assert header == ["captioner", "CIDEr-D", "BLEU-4", "ROUGE-L"]
    assert re.fullmatch(r"[+-]\d+\.\d\d \[[+-]\d+\.\d\d, [+-]\d+\.\d\d\], p (=|<) [01]\.\d{3}", both[1])
    header, _, *rows = cells(text, "## Caption statistics")
    assert header == [
        *("captioner", "repeats %", "bad endings %", "unknown words %", "words"),
        *("distinct words", "distinct captions %", "unseen %"),
    ]
    assert [row[0] for row in rows] == ["one", "both", "human"]
    assert rows[2][4] == "5.5"


def test_notes_name_the_images_each_epoch_was_chosen_by(results: Leaderboard) -> None:
    text = to_markdown(results, title="Toys", command="showtell leaderboard a b")
    assert "- one: the epoch was chosen by CIDEr-D on the same images.\n" in text
    assert "- both: the epoch was chosen by BLEU-4 on other images (`train`).\n" in text
    assert "± is the sample standard deviation over seeds" in text
    assert "each of 2 references scored against the image's others" in text
    assert "refs:1|" in text
    assert text.endswith("Reproduced by:\n\n```\nshowtell leaderboard a b\n```\n")


def test_notes_mark_runs_that_are_initialized_unfinished_or_foreign(
    toy_set: PreparedSet, toy_runs: Path, tmp_path: Path
) -> None:
    run = tmp_path / "cut"
    shutil.copytree(toy_runs / "one", run)
    state = json.loads((run / "last" / "trainer.json").read_text(encoding="utf-8"))
    state["progress"]["finished"] = False
    write_summed_json(run / "last" / "trainer.json", state)
    config = json.loads((run / "best" / "config.json").read_text(encoding="utf-8"))
    config["recipe"]["training"]["init_from"] = "runs/earlier"
    config["recipe"]["validation"]["subset"] = 5
    write_summed_json(run / "best" / "config.json", config)
    foreign = tmp_path / "foreign"
    shutil.copytree(run, foreign)
    config["data"] |= {"fingerprint": "f" * 64, "name": "birds"}
    config["merged_from"] = [{"decoder": "a" * 64, "weight": 0.5}, {"decoder": "b" * 64, "weight": 0.5}]
    write_summed_json(foreign / "best" / "config.json", config)
    found = collect(
        [run, foreign], data=toy_set.directory, evaluations=tmp_path / "kept", allow_other_dataset=True
    )
    text = to_markdown(found, title="T", command="c")
    assert "- cut: the epoch was chosen by CIDEr-D on 5 of the same images.\n" in text
    assert "- foreign: trained on another set (birds).\n" in text
    assert "- foreign: its weights are the mean of those of 2 captioners.\n" in text
    assert "- cut, foreign: initialized from another captioner, whose minutes are not counted.\n" in text
    assert "- cut, foreign: its training is not finished; this is its best epoch so far.\n" in text
    assert "runs/earlier" not in text


def test_the_same_runs_make_the_same_bytes(
    results: Leaderboard, toy_set: PreparedSet, toy_runs: Path, tmp_path: Path
) -> None:
    runs = [toy_runs / "one", toy_runs / "both"]
    again = collect(runs, data=toy_set.directory, baseline=runs[0], evaluations=tmp_path)
    assert to_markdown(again, title="T", command="c") == to_markdown(results, title="T", command="c")

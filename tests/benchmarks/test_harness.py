"""The harness: works take turns, ratios are medians of rounds, rows tell whether they reach their target."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.harness import ROOT, Row, Setting, Timing, apart, compare, skipped, take_turns
from benchmarks.machine import commit, describe_machine, versions
from benchmarks.material import DISTINCT, jpeg_files, made_up_corpus, made_up_words
from benchmarks.results import markdown, read_results, table, write_results
from PIL import Image

from showtell.images.load import load_image

ROWS = [
    Row("run", "walk", 3.0, 2.0, measured="1 s against 3 s"),
    Row("wait", "–", 0.5, 0.4, unit="s", at_most=True),
    skipped("fly", "walk", 0.9, "no wings | here", unit="%"),
]


def results() -> dict[str, object]:
    return {
        "format": 1,
        "date": "2026-01-02T03:04:05+00:00",
        "machine": {**describe_machine(), "threads": 2},
        "versions": versions(),
        "commit": "abc+",
        "quick": True,
        "seconds": 90.0,
        "rows": [row.to_json() for row in ROWS],
    }


@pytest.mark.thorough
def test_works_take_turns_every_second_round_backwards() -> None:
    done: list[str] = []
    timings = take_turns({"a": lambda: done.append("a"), "b": lambda: done.append("b")}, 3)
    assert "".join(done) == "ab" + "ab" + "ba" + "ab"
    assert [len(timing.rounds) for timing in timings.values()] == [3, 3]


def test_a_ratio_is_the_median_of_the_rounds_so_that_drift_cancels() -> None:
    # The machine becomes ten times as slow after the first round.
    ours, theirs = Timing((1.0, 10.0, 10.0)), Timing((3.0, 30.0, 20.0))
    assert ours.ratio(theirs) == 3.0
    assert ours.spread(theirs) == (2.0, 3.0)


def test_a_comparison_is_theirs_over_ours_or_at_most_ours_over_theirs() -> None:
    timings = {"ours": Timing((2.0,)), "theirs": Timing((6.0,))}
    faster = compare("x", "y", timings, ours="ours", theirs="theirs", target=2.0, count=12, of="words")
    assert (faster.figure, faster.reached, faster.measured) == (3.0, True, "6.0 against 2.0 words/s")
    slower = compare("x", "y", timings, ours="theirs", theirs="ours", target=2.0, at_most=True)
    assert (slower.figure, slower.reached) == (3.0, False)


def test_rows_tell_what_is_reached_and_what_was_not_measured() -> None:
    assert [row.reached for row in ROWS] == [True, False, None]
    assert "no wings" in ROWS[2].measured


def test_the_table_has_target_figure_and_answer_for_each_row() -> None:
    lines = table(results()).splitlines()
    assert re.search(r"run .*≥ 2× .*3\.00× +yes +1 s against 3 s", lines[1])
    assert re.search(r"wait .*≤ 0\.4 s +0\.50 s +no", lines[2])
    assert re.search(r"fly .*≥ 90 % +– +–  +not measured: no wings", lines[3])
    assert "abc+" in lines[-1]
    assert "2 threads" in lines[-1]


def test_results_come_back_as_markdown(tmp_path: Path) -> None:
    path = write_results(results(), tmp_path)
    assert path.name == "20260102-030405-abc-changed-quick.json"
    lines = markdown(read_results(path)).splitlines()
    assert lines[0].startswith("| work | against |")
    assert lines[2] == "| run | walk | ≥ 2× | 3.00× | yes | 1 s against 3 s |"
    assert r"no wings \| here" in lines[4]


def test_results_of_another_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(json.dumps({"format": 0}), encoding="utf-8")
    with pytest.raises(ValueError, match="format 0"):
        read_results(tmp_path / "old.json")


def test_a_process_apart_tells_the_memory_it_took() -> None:
    told = apart("tests.benchmarks.hold:hold", megabytes=64)
    assert 60e6 < told["anonymous"] - told["before"] < 110e6
    assert told["peak"] >= told["anonymous"]


def test_a_process_apart_that_fails_tells_why() -> None:
    with pytest.raises(RuntimeError, match="no megabytes"):
        apart("tests.benchmarks.hold:hold", megabytes=-1)


def test_the_machine_is_described() -> None:
    machine = describe_machine()
    assert machine["cores"] >= 1
    assert machine["memory_gb"] > 0
    assert set(machine) >= {"processor", "flags", "threads"}
    assert versions()["torch"]
    assert re.fullmatch(r"[0-9a-f]{10}\+?|unknown", commit())


def test_made_up_words_are_different_plain_words() -> None:
    words = made_up_words(10_000)
    assert len(set(words)) == 10_000
    assert all(re.fullmatch("[a-z]+", word) for word in words)


def test_a_made_up_corpus_is_the_same_each_time_and_shares_words_within_a_picture() -> None:
    corpus, again = made_up_corpus(40), made_up_corpus(40)
    assert corpus == again
    assert {len(texts) for texts in corpus.references.values()} == {5}

    def shared(key: str, other: str) -> int:
        return len(set(corpus.candidates[key].split()) & set(" ".join(corpus.references[other]).split()))

    own = sum(shared(key, key) for key in corpus.references)
    foreign = sum(shared(key, str((int(key) + 1) % 40)) for key in corpus.references)
    assert own > 1.5 * foreign


@pytest.mark.parametrize("given", [False, True])
def test_pictures_have_the_size_that_was_asked_for(
    tmp_path: Path, given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DISTINCT, (640, 480), 3)
    photographs = tmp_path / "photographs"
    if given:
        photographs.mkdir()
        Image.new("RGB", (50, 40), (200, 10, 10)).save(photographs / "one.png")
    folder = tmp_path / "made"
    folder.mkdir()
    setting = Setting(folder, images=photographs if given else None)
    paths = jpeg_files(setting, (640, 480), 70)
    assert len(paths) == 70
    picture = load_image(paths[0])
    assert picture.shape == (480, 640, 3)
    assert (picture[..., 0].mean() > 150) == given
    assert picture.std() > 5


def test_the_command_prints_a_results_table_as_markdown(tmp_path: Path) -> None:
    path = write_results(results(), tmp_path)
    command = [sys.executable, "-m", "benchmarks", "--markdown", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == markdown(read_results(path)) + "\n"

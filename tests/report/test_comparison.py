"""Several runs on one page: mean and spread of seeds, what a tuning tried, their curves, and links to each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from showtell.errors import DataError
from showtell.report import write_seeds_report, write_tuning_report
from showtell.system.atomic import write_summed_json

SCORES = ("BLEU-4", "CIDEr-D")


def write_run(directory: Path, values: list[float]) -> None:
    directory.mkdir(parents=True)
    (directory / "recipe.yaml").write_text("optimizer: {lr: 0.001}\n", encoding="utf-8")
    rows = [
        {
            "event": "validation",
            "step": 10 * epoch,
            "epoch": epoch,
            "loss": value,
            "BLEU-4": 0.1,
            "CIDEr-D": 0.2,
        }
        for epoch, value in enumerate(values, 1)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (directory / "metrics.jsonl").write_text(text, encoding="utf-8")


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    for seed, value in ((0, 0.19), (1, 0.21)):
        write_run(tmp_path / f"seed-{seed}", [3.0, 2.5 + value])
    (tmp_path / "seed-0" / "report.html").touch()
    spread = {"mean": 0.2, "std": 0.0141, "min": 0.19, "max": 0.21}
    summary = {
        "kind": "showtell seeds summary",
        "format": 1,
        "split": "dev",
        "signature": "showtell|<refs:5>",
        "scores": {"BLEU-4": spread},
        "seeds": [
            {"seed": seed, "run": f"seed-{seed}", "scores": {"BLEU-4": value}}
            for seed, value in ((0, 0.19), (1, 0.21))
        ],
    }
    write_summed_json(tmp_path / "summary.json", summary)
    return tmp_path


def trial(number: int, rate: str, loss: float | None, state: str = "done", error: str = "") -> dict[str, Any]:
    return {
        "run": f"trial-{number}",
        "values": {"optimizer.lr": rate, "decoder.name": "lstm"},
        "state": state,
        "epochs": 2,
        "best_epoch": 2,
        "loss": loss,
        "scores": {} if loss is None else {"BLEU-4": 0.123, "CIDEr-D": 0.456},
        "error": error,
    }


def write_tuning(directory: Path, trials: list[dict[str, Any]], best: str | None) -> None:
    for one in trials:
        write_run(directory / one["run"], [] if one["loss"] is None else [4.0, one["loss"]])
    table = {
        "kind": "showtell tuning table",
        "format": 1,
        "metric": "CIDEr-D",
        "split": "dev",
        "keys": ["optimizer.lr", "decoder.name"],
        "best": best,
        "options": "--set optimizer.lr=0.001" if best else "",
        "trials": trials,
    }
    write_summed_json(directory / "tuning.json", table)


def cells(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", html)
    return [
        [re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in rows
    ]


def test_seeds_show_mean_spread_each_seed_and_its_curve(seeds: Path) -> None:
    html = write_seeds_report(seeds).read_text(encoding="utf-8")
    assert cells(html) == [
        ["", "mean", "std", "min", "max", "seed 0", "seed 1"],
        ["BLEU-4", "20.00", "1.41", "19.00", "21.00", "19.00", "21.00"],
    ]
    assert "<title>seed 0, epoch 2: 2.69</title>" in html
    assert "<title>seed 1, epoch 2: 2.71</title>" in html
    assert "showtell|&lt;refs:5&gt;" in html
    assert 'href="seed-0/report.html"' in html
    assert 'href="seed-1/report.html"' not in html
    assert "optimizer: {lr: 0.001}" in html


def test_a_single_seed_has_no_spread(seeds: Path) -> None:
    summary = json.loads((seeds / "summary.json").read_text(encoding="utf-8"))
    summary["scores"]["BLEU-4"]["std"] = None
    write_summed_json(seeds / "summary.json", summary)
    assert cells(write_seeds_report(seeds).read_text(encoding="utf-8"))[1][2] == "–"


def test_a_tuning_shows_what_was_tried_and_the_best_as_options(tmp_path: Path) -> None:
    trials = [trial(0, "0.01", 3.5), trial(1, "0.001", 2.5), trial(2, "0.1", 4.5, "pruned")]
    trials.append(trial(3, "0.9", None, "failed", "a loss of nan & more"))
    write_tuning(tmp_path, trials, "trial-1")
    html = write_tuning_report(tmp_path).read_text(encoding="utf-8")
    head = ["optimizer.lr", "decoder.name", "state", "epochs", "dev loss", "BLEU-4", "CIDEr-D", "trial"]
    assert cells(html) == [
        head,
        ["0.01", "lstm", "done", "2", "3.500", "12.30", "45.60", "trial-0"],
        ["0.001", "lstm", "done", "2", "2.500", "12.30", "45.60", "trial-1"],
        ["0.1", "lstm", "pruned", "2", "4.500", "12.30", "45.60", "trial-2"],
        ["0.9", "lstm", "failed", "2", "–", "–", "–", "trial-3a loss of nan &amp; more"],
    ]
    assert html.count('<tr class="best">') == 1
    assert '<tr class="best"><th scope="row" data-name="optimizer.lr">0.001</th>' in html
    assert "<code>--set optimizer.lr=0.001</code>" in html
    assert "4 trials: 2 done, 1 pruned, 1 failed." in html
    assert "<title>done, optimizer.lr 0.001: 2.5</title>" in html
    assert "<title>pruned, optimizer.lr 0.1: 4.5</title>" in html
    assert ", decoder.name " not in html
    assert "<title>lr 0.001, name lstm, epoch 2: 2.5</title>" in html


def test_of_many_trials_only_the_best_has_a_color(tmp_path: Path) -> None:
    write_tuning(tmp_path, [trial(number, f"0.{number + 1}", 3.0) for number in range(12)], "trial-4")
    html = write_tuning_report(tmp_path).read_text(encoding="utf-8")
    assert html.count('<g class="other"') == 3 * 11
    assert html.count('<span class="key c2">lr 0.5, name lstm</span>') == 3


def test_the_legend_is_in_the_order_of_the_values(tmp_path: Path) -> None:
    rates = ("0.0005", "1e-4", "0.001")
    write_tuning(tmp_path, [trial(number, rate, 3.0) for number, rate in enumerate(rates)], "trial-1")
    html = write_tuning_report(tmp_path).read_text(encoding="utf-8")
    legend = re.findall(r'<span class="key c\d">lr (\S+), name lstm</span>', html)
    assert legend == ["1e-4", "0.0005", "0.001"] * 3


def test_a_tuning_without_a_finished_trial_has_a_report(tmp_path: Path) -> None:
    write_tuning(tmp_path, [trial(0, "0.9", None, "failed", "a loss of nan")], None)
    html = write_tuning_report(tmp_path).read_text(encoding="utf-8")
    assert "1 trial: 1 failed." in html
    assert "Nothing measured yet." in html
    assert "<code>" not in html


def test_values_never_become_markup_and_nothing_is_fetched(tmp_path: Path) -> None:
    evil = "</td><script>alert(1)</script>"
    write_tuning(tmp_path, [trial(0, evil, 3.0), trial(1, "0.1", 3.0, error=evil)], "trial-0")
    html = write_tuning_report(tmp_path).read_text(encoding="utf-8")
    assert "<script" not in html
    assert not re.search(r"https?://|@import|url\(| src=", html)
    assert "default-src 'none'" in html


def test_what_is_no_summary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*summary\.json"):
        write_seeds_report(tmp_path)
    (tmp_path / "summary.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"cannot read .*summary\.json.*same command"):
        write_seeds_report(tmp_path)
    (tmp_path / "tuning.json").write_text('{"kind": "x", "format": 2}', encoding="utf-8")
    with pytest.raises(DataError, match=r"found x, format 2; expected showtell tuning table, format 1"):
        write_tuning_report(tmp_path)

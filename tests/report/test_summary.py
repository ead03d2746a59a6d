"""What is kept of a run: a folder of Markdown, charts and images that needs nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from showtell.errors import DataError
from showtell.images.load import load_image
from showtell.report import write_summary
from showtell.system.atomic import write_summed_json

SCORES = {"BLEU-1": 0.6, "BLEU-4": 0.2, "ROUGE-L": 0.45, "CIDEr-D": 0.5}
TRIALS = [
    {"values": {"optimizer.lr": "0.0005"}, "state": "done", "epochs": 3, "loss": 2.5, "scores": SCORES},
    {"values": {"optimizer.lr": "0.5"}, "state": "failed", "epochs": 0, "loss": None, "scores": {}},
]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    (run / "best").mkdir(parents=True)
    (run / "recipe.yaml").write_text("encoder:\n  weights: /home/me/resnet50.safetensors\n", encoding="utf-8")
    rows: list[dict[str, Any]] = []
    for epoch, share in ((1, 0.5), (2, 1.0), (3, 0.9)):
        rows.append(
            {"event": "epoch", "step": epoch, "epoch": epoch, "loss": 3.25 - epoch, "elapsed_s": 60.0 * epoch}
        )
        scores = {name: share * value for name, value in SCORES.items()}
        rows.append({"event": "validation", "step": epoch, "epoch": epoch, "loss": 3.5, **scores})
    write_rows(run / "metrics.jsonl", rows)
    config = {"scores": {"values": SCORES, "signature": "showtell:test"}}
    write_summed_json(run / "best" / "config.json", config)
    Image.new("RGB", (500, 300), (200, 30, 30)).save(tmp_path / "red.png")
    predictions = [
        {
            "key": str(number),
            "split": "dev",
            "image": str(tmp_path / ("gone.png" if number == 1 else "red.png")),
            "candidate": f"a <b>dog</b> *{number}*",
            "references": ["a red | square", "two\nlines"],
            "metrics": {"CIDEr-D": number / 10},
            "words": ["a"],
            "attention": None,
            "grid": None,
        }
        for number in range(20)
    ]
    write_rows(run / "best" / "predictions.jsonl", predictions)
    return run


def test_a_summary_holds_scores_epochs_charts_and_images(run: Path, tmp_path: Path) -> None:
    page = write_summary(run, tmp_path / "summary", title="A title", num_images=8).read_text(encoding="utf-8")
    assert page.startswith("# A title\n")
    assert "| 60.00 | 20.00 | 45.00 | 50.00 |" in page
    assert "Scores × 100 of 20 images of the split dev, each" in page
    assert "3 epochs, 3 steps, 3.0 minutes" in page
    assert "`showtell:test`" in page
    assert "| **2** | 1.250 | 3.500 | 60.00 | 20.00 | 45.00 | 50.00 |" in page
    assert "| 1 | 2.250 | 3.500 | 30.00 | 10.00 | 22.50 | 25.00 |" in page
    for name in ("loss", "bleu", "cider"):
        assert f'src="{name}.svg"' in page
        drawing = ElementTree.parse(tmp_path / "summary" / f"{name}.svg").getroot()
        assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(list(drawing.iter("{http://www.w3.org/2000/svg}circle"))) >= 3
        with Image.open(tmp_path / "summary" / f"{name}.png") as image:
            assert image.size == (720, 552)
            assert len(image.convert("RGB").getcolors(maxcolors=100_000) or []) > 20
    images = sorted((tmp_path / "summary").glob("*.jpg"))
    assert len(images) == 7
    assert "(image not found)" in page
    assert {max(load_image(path).shape) for path in images} == {224}
    assert "**a &lt;b&gt;dog&lt;/b&gt; \\*19\\*** (CIDEr-D 190)" in page
    assert "- a red \\| square\n- two lines" in page


def test_a_summary_names_no_place_of_the_machine(run: Path, tmp_path: Path) -> None:
    write_summary(run, tmp_path / "summary")
    files = (tmp_path / "summary").iterdir()
    texts = [path.read_text(encoding="utf-8") for path in files if path.suffix not in {".jpg", ".png"}]
    assert "weights: resnet50.safetensors" in (tmp_path / "summary" / "recipe.yaml").read_text(
        encoding="utf-8"
    )
    assert not any("/home/me" in text or str(tmp_path) in text for text in texts)


def test_a_tuning_is_shown(run: Path, tmp_path: Path) -> None:
    tuning = tmp_path / "tuning"
    tuning.mkdir()
    table = {"kind": "showtell tuning table", "format": 1, "keys": ["optimizer.lr"], "trials": TRIALS}
    write_summed_json(tuning / "tuning.json", table)
    page = write_summary(run, tmp_path / "summary", tuning=tuning).read_text(encoding="utf-8")
    assert (
        "| `optimizer.lr` | state | epochs | validation loss | BLEU-1 | BLEU-4 | ROUGE-L | CIDEr-D |" in page
    )
    assert "| 0.0005 | done | 3 | 2.500 | 60.00 | 20.00 | 45.00 | 50.00 |" in page
    assert "| 0.5 | failed | 0 |  |  |  |  |  |" in page


def test_a_summary_is_written_again_but_never_over_something_else(run: Path, tmp_path: Path) -> None:
    for _ in range(2):
        write_summary(run, tmp_path / "summary")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it", encoding="utf-8")
    with pytest.raises(DataError, match="mine"):
        write_summary(run, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text(encoding="utf-8") == "all of it"


def test_a_run_that_was_not_evaluated_and_a_tuning_that_is_none_are_refused(
    run: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"tuning\.json"):
        write_summary(run, tmp_path / "summary", tuning=tmp_path)
    (run / "best" / "predictions.jsonl").unlink()
    with pytest.raises(DataError, match="no predictions"):
        write_summary(run, tmp_path / "summary")

"""The report: complete, self-contained, and deaf to what captions and paths try to be."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from showtell.errors import DataError
from showtell.report import write_report
from showtell.report.run import read_run, select_examples
from showtell.system.atomic import write_summed_json

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & 'quoted' {{recipe}}"
SCORES = {"BLEU-4": 0.193, "CIDEr-D": 0.4853}
STEP = {
    "lr": 0.00125,
    "grad_norm": 1.75,
    "captions_per_s": 155.5,
    "tokens_per_s": 1807.0,
    "peak_memory_gb": 1.25,
}
SIGNATURE = "showtell:0.1.0|tok:ptb-3.4.1|refs:5"


def prediction(key: str, image: Path, **changes: Any) -> dict[str, Any]:
    row = {
        "key": key,
        "image": str(image),
        "split": "dev",
        "candidate": "a red ring",
        "references": ["A red ring.", "The ring is red."],
        "metrics": {"BLEU-4": 0.25, "CIDEr-D": 1.5},
        "words": ["a", "red", "ring"],
        "attention": [[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0], [0.25] * 4, [0.25] * 4],
        "grid": [2, 2],
    }
    return row | changes


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.new("RGB", (300, 200), (200, 30, 30)).save(tmp_path / "red.png")
    return tmp_path / "red.png"


@pytest.fixture
def run(tmp_path: Path, image: Path) -> Path:
    run = tmp_path / "my run"
    (run / "best").mkdir(parents=True)
    (run / "recipe.yaml").write_text("optimizer:\n  lr: 0.001  # <b>fast</b>\n", encoding="utf-8")
    metrics = [
        {"event": "step", "step": 20, "epoch": 1, "loss": 9.0, **STEP},
        {"event": "epoch", "step": 40, "epoch": 1, "loss": 3.25, "elapsed_s": 9.0},
        {"event": "validation", "step": 40, "epoch": 1, "loss": 3.5, "BLEU-4": 0.101, "CIDEr-D": 0.2},
        {"event": "epoch", "step": 80, "epoch": 2, "loss": 2.75, "elapsed_s": 18.0},
        {"event": "validation", "step": 80, "epoch": 2, "loss": 3.0, "BLEU-4": 0.193, "CIDEr-D": 0.4853},
    ]
    write_rows(run / "metrics.jsonl", metrics)
    config = {"scores": {"values": SCORES, "signature": SIGNATURE}}
    write_summed_json(run / "best" / "config.json", config)
    write_rows(run / "best" / "predictions.jsonl", [prediction("red", image)])
    return run


class Page(HTMLParser):
    """Collects start tags with their attributes, the visible text, and the contents of scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        else:
            self.text += data

    @property
    def data(self) -> dict[str, Any]:
        return dict(json.loads(self.scripts[0]))


def read_page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_the_report_holds_curves_scores_options_and_images(run: Path) -> None:
    path = write_report(run)
    assert path == run / "report.html"
    html, page = path.read_text(encoding="utf-8"), read_page(path)
    assert "<title>training, epoch 2: 2.75</title>" in html
    assert "<title>validation, epoch 2: 3</title>" in html
    assert "<title>BLEU-4, epoch 1: 10.1</title>" in html
    assert "<title>validation, epoch 2: 48.53</title>" in html
    assert "epoch 1: 9<" not in html
    for name, value in (
        ("Learning rate", "0.00125"),
        ("Gradient norm", "1.75"),
        ("Captions", "155.5"),
        ("Tokens", "1807"),
        ("Memory", "1.25"),
    ):
        assert f"<title>{name}, step 20: {value}</title>" in html
    assert "2 epochs, 80 steps, 0.3 minutes" in page.text
    assert "my run" in page.text
    assert "48.5" in page.text
    assert SIGNATURE in page.text
    assert "lr: 0.001  # <b>fast</b>" in page.text
    (card,) = page.data["images"]
    assert card["candidate"] == "a red ring"
    assert card["references"] == ["A red ring.", "The ring is red."]
    assert card["scores"] == {"BLEU-4": 25.0, "CIDEr-D": 150.0}
    assert "wrong" not in card


def test_the_page_needs_nothing_but_itself(run: Path) -> None:
    path = write_report(run)
    html, page = path.read_text(encoding="utf-8"), read_page(path)
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest|WebSocket|import\(", html)
    assert not [
        attributes for _, attributes in page.tags if {"src", "href", "action", "data"} & set(attributes)
    ]
    assert {tag for tag, _ in page.tags}.isdisjoint({"link", "iframe", "img", "object", "embed", "base"})
    policies = [at["content"] for tag, at in page.tags if at.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    ]


def test_captions_paths_and_recipes_never_become_markup(run: Path, image: Path) -> None:
    plain = [tag for tag, _ in read_page(write_report(run)).tags]
    evil = prediction(EVIL, image, candidate=EVIL, references=[EVIL], words=EVIL.split())
    write_rows(run / "best" / "predictions.jsonl", [evil])
    (run / "recipe.yaml").write_text(EVIL, encoding="utf-8")
    config = {"scores": {"values": {EVIL: 0.5}, "signature": EVIL}}
    write_summed_json(run / "best" / "config.json", config)
    path = write_report(run, title=EVIL, headline=EVIL, verdicts={EVIL: [EVIL]})
    page = read_page(path)
    assert [tag for tag, _ in page.tags if tag in {"script", "img"}] == ["script", "script"]
    assert sorted({tag for tag, _ in page.tags}) == sorted(set(plain))
    (card,) = page.data["images"]
    assert card["candidate"] == card["references"][0] == card["wrong"][0] == card["key"] == EVIL
    assert page.text.count(EVIL) == 6


def test_attention_is_kept_word_by_word(run: Path) -> None:
    (card,) = read_page(write_report(run)).data["images"]
    assert (card["attention"]["rows"], card["attention"]["columns"]) == (2, 2)
    maps = np.frombuffer(base64.b64decode(card["attention"]["maps"]), np.uint8).reshape(-1, 2, 2)
    assert card["attention"]["peaks"] == [40, 100, 25]
    assert maps.tolist() == [[[64, 128], [191, 255]], [[255, 0], [0, 0]], [[255, 255], [255, 255]]]


def test_similar_images_that_chose_a_caption_are_beside_it(run: Path, image: Path) -> None:
    similar = [{"key": "9.jpg", "similarity": 0.5, "fraction": 0.625, "captions": ["a ring", EVIL]}]
    rows = [prediction("reranked", image, neighbours=similar), prediction("plain", image)]
    write_rows(run / "best" / "predictions.jsonl", rows)
    page = read_page(write_report(run))
    assert [card["neighbours"] for card in page.data["images"]] == [[[62, "9.jpg", ["a ring", EVIL]]], []]
    assert [tag for tag, _ in page.tags if tag in {"script", "img"}] == ["script", "script"]


def test_images_are_small_jpegs_inside_the_page(run: Path) -> None:
    (card,) = read_page(write_report(run)).data["images"]
    head, _, body = card["image"].partition(",")
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(body)[:2] == b"\xff\xd8"
    assert len(body) < 4000


def test_a_missing_image_leaves_its_caption(run: Path, image: Path, tmp_path: Path) -> None:
    rows = [prediction("gone", tmp_path / "gone.png", attention=None, grid=None), prediction("red", image)]
    write_rows(run / "best" / "predictions.jsonl", rows)
    first, second = read_page(write_report(run)).data["images"]
    assert (first["image"], first["attention"], first["candidate"]) == (None, None, "a red ring")
    assert second["image"].startswith("data:")


def test_verdicts_are_beside_their_captions(run: Path, image: Path) -> None:
    rows = [prediction(key, image) for key in ("right", "wrong", "unknown")]
    write_rows(run / "best" / "predictions.jsonl", rows)
    path = write_report(run, verdicts={"right": [], "wrong": ["there is no red ring"]})
    cards = {card["key"]: card for card in read_page(path).data["images"]}
    assert cards["right"]["wrong"] == []
    assert cards["wrong"]["wrong"] == ["there is no red ring"]
    assert "wrong" not in cards["unknown"]


@pytest.mark.thorough
def test_other_predictions_are_shown_with_the_scores_of_their_split(
    run: Path, image: Path, tmp_path: Path
) -> None:
    write_rows(tmp_path / "test.jsonl", [prediction("other", image, split="test")])
    path = write_report(
        run,
        out=tmp_path / "there.html",
        predictions=tmp_path / "test.jsonl",
        headline="On the test split.",
    )
    page = read_page(path)
    assert path == tmp_path / "there.html"
    assert [card["key"] for card in page.data["images"]] == ["other"]
    assert "split test" in page.text
    assert "BLEU-1100.0" in page.text
    assert "BLEU-419.3" not in page.text
    assert "On the test split." in page.text
    assert SIGNATURE not in page.text


def test_a_decoder_without_attention_has_no_hint_about_it(run: Path, image: Path) -> None:
    assert "Point at a word" in read_page(write_report(run)).text
    write_rows(run / "best" / "predictions.jsonl", [prediction("red", image, attention=None, grid=None)])
    assert "Point at a word" not in read_page(write_report(run)).text


def test_the_checkpoint_of_a_run_stands_for_the_run(run: Path) -> None:
    assert write_report(run / "best") == run / "report.html"
    assert "my run" in read_page(run / "report.html").text


def test_a_run_that_has_just_begun_has_a_report(run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    (run / "best" / "config.json").unlink()
    (run / "best" / "predictions.jsonl").unlink()
    page = read_page(write_report(run))
    assert page.data["images"] == []
    assert page.text.count("Nothing measured yet.") == 4
    assert "No scores yet." in page.text


def test_epochs_on_rewards_show_their_reward_and_no_loss(run: Path) -> None:
    assert "Reward" not in write_report(run).read_text(encoding="utf-8")
    rows = [
        {"event": "step", "step": 100, "epoch": 3, "loss": -0.25, "reward": 0.625, "grad_norm": None},
        {"event": "epoch", "step": 120, "epoch": 3, "loss": -0.25, "elapsed_s": 30.0},
        {
            "event": "epoch",
            "step": 125,
            "epoch": 4,
            "loss": -0.35,
            "elapsed_s": 31.0,
        },  # too short to log a step
    ]
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    html = write_report(run).read_text(encoding="utf-8")
    assert "<title>Reward, step 100: 0.625</title>" in html
    assert "<title>training, epoch 2: 2.75</title>" in html
    assert "training, epoch 3" not in html
    assert "training, epoch 4" not in html


def test_a_row_that_a_crash_cut_short_is_left_out(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"event": "validation", "ep')
    assert len(read_run(run).rows) == 5


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"is not a run: found no recipe\.yaml\. Name a directory that showtell train wrote"
    ):
        write_report(tmp_path)


def test_broken_files_are_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none\.jsonl: found no such file"):
        write_report(run, predictions=tmp_path / "none.jsonl")
    write_rows(run / "best" / "predictions.jsonl", [{"key": "a"}])
    with pytest.raises(DataError, match=r"predictions\.jsonl does not hold predictions.*showtell evaluate"):
        write_report(run)
    (run / "best" / "predictions.jsonl").write_text('{"key": "a"\n{}\n')
    with pytest.raises(DataError, match=r"cannot read .*predictions\.jsonl: found line 1"):
        write_report(run)
    write_rows(run / "best" / "predictions.jsonl", [])
    (run / "best" / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"cannot read .*config\.json"):
        write_report(run)


def test_the_choice_keeps_the_worst_the_best_and_the_order(run: Path, image: Path) -> None:
    values = np.random.default_rng(0).permutation(100) / 100
    rows = [
        prediction(f"p{index}", image, metrics={"CIDEr-D": float(value)})
        for index, value in enumerate(values)
    ]
    write_rows(run / "best" / "predictions.jsonl", rows)
    predictions = read_run(run).predictions
    chosen = select_examples(predictions, most=20, metric="CIDEr-D")
    scores = [prediction.scores["CIDEr-D"] for prediction in chosen]
    assert len(chosen) == 20
    assert set(np.sort(values)[:5]) | set(np.sort(values)[-5:]) <= set(scores)
    indices = [int(prediction.key[1:]) for prediction in chosen]
    assert indices == sorted(indices)
    page = read_page(write_report(run, num_images=20))
    assert "20 of 100 images" in page.text
    assert select_examples(predictions, most=100, metric="CIDEr-D") == predictions


def test_the_report_of_a_calibrated_captioner_has_its_reliability(run: Path) -> None:
    assert "Reliability" not in write_report(run).read_text()
    bins = [{"confidence": 0.2, "right": 0.25, "count": 8}, {"confidence": 0.8, "right": 0.75, "count": 4}]
    errors = {"word_error": 0.05, "caption_error": 0.05, "words": bins, "captions": bins}
    measured = {"data": "toy", "split": "dev", "images": 12, "cross_fitted": True, **errors}
    part = {"bias": 0.0, "weights": {"log_prob": 1.0}}
    calibration = {"rerank": None, "off": {"words": part, "caption": part}, "measured": [measured]}
    config = json.loads((run / "best" / "config.json").read_text())
    write_summed_json(run / "best" / "config.json", {**config, "calibration": calibration})
    assert "Reliability" in write_report(run).read_text()

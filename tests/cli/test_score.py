"""``showtell score`` prints a table or JSON with the signature."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from showtell.cli.main import app, main
from showtell.metrics import evaluate

REFERENCES = {"1": ["a dog runs on the grass", "a brown dog"], "2": ["a red bus", "a bus drives"]}
CANDIDATES = {"1": "a dog runs", "2": ""}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    references, candidates = tmp_path / "references.jsonl", tmp_path / "candidates.json"
    references.write_text("\n".join(json.dumps({"image": k, "captions": v}) for k, v in REFERENCES.items()))
    candidates.write_text(json.dumps([{"image_id": k, "caption": v} for k, v in CANDIDATES.items()]))
    return ["score", "--references", str(references), "--candidates", str(candidates)]


def test_the_table_is_that_of_every_other_verb(files: list[str]) -> None:
    result = CliRunner().invoke(app, files)
    scores = evaluate(REFERENCES, CANDIDATES)
    assert result.exit_code == 0
    assert result.stdout == scores.table() + "\n"
    names, values, signature = result.stdout.splitlines()
    assert names.split() == list(scores.values)
    assert values.split() == [f"{value * 100:.2f}" for value in scores.values.values()]
    assert signature == scores.signature
    assert result.stderr == "note: 1 of 2 candidates are empty; they count, and score 0\n"


def test_json_holds_raw_scores_and_nothing_else_is_on_stdout(files: list[str]) -> None:
    result = CliRunner().invoke(app, [*files, "--format", "json"])
    scores = evaluate(REFERENCES, CANDIDATES)
    assert json.loads(result.stdout) == {
        "scores": scores.values,
        "num_images": 2,
        "references": [2, 2],
        "empty_candidates": 1,
        "notes": scores.notes,
        "signature": scores.signature,
    }


def test_a_subset_needs_the_option(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(files[-1]).write_text(json.dumps([{"image_id": "1", "caption": "a dog"}]))
    monkeypatch.setattr(sys, "argv", ["showtell", *files])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "1 of 2 images have no candidate (2)" in shown.err
    assert "--subset" in shown.err
    result = CliRunner().invoke(app, [*files, "--subset"])
    assert result.exit_code == 0
    assert "images:1-of-2" in result.stdout
    assert "CIDEr-D of a single image is 0 by definition" in result.stderr


def test_an_unknown_format_is_misuse(files: list[str]) -> None:
    result = CliRunner().invoke(app, [*files, "--format", "xml"])
    assert result.exit_code == 2


def test_a_note_names_the_tokenizer_for_text_without_spaces(tmp_path: Path) -> None:
    references, candidates = tmp_path / "references.jsonl", tmp_path / "candidates.jsonl"
    captions = {"1": "一个男人在街上骑自行车。", "2": "两只狗在草地上奔跑。"}
    rows = [json.dumps({"image": key, "caption": text}) for key, text in captions.items()]
    references.write_text("\n".join(rows), encoding="utf-8")
    candidates.write_text("\n".join(rows).replace("男人", "女人"), encoding="utf-8")
    files = ["score", "--references", str(references), "--candidates", str(candidates)]
    assert "choose --tokenizer zh" in CliRunner().invoke(app, files).stderr
    result = CliRunner().invoke(app, [*files, "--tokenizer", "zh", "--format", "json"])
    found = json.loads(result.stdout)
    assert found["notes"] == []
    assert "|tok:zh-sacrebleu-" in found["signature"]
    assert found["scores"]["CIDEr-D"] > 1

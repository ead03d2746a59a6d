"""``showtell score`` prints a table or JSON with the signature."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from showtell.cli.main import app, main
from showtell.metrics import Scorer, evaluate

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


def write_other(files: list[str], captions: dict[str, str]) -> str:
    other = Path(files[-1]).with_name("other.jsonl")
    other.write_text("\n".join(json.dumps({"image": k, "caption": v}) for k, v in captions.items()))
    return str(other)


def test_against_another_file_every_score_has_a_difference_an_interval_and_a_p_value(
    files: list[str],
) -> None:
    other = write_other(files, {"1": "a cat", "2": "a red bus"})
    table = CliRunner().invoke(app, [*files, "--against", other]).stdout.splitlines()
    assert table[0] == "ours: candidates.json; other: other.jsonl"
    assert [line.split()[0] for line in table[2:8]] == list(evaluate(REFERENCES, CANDIDATES).values)
    assert table[7].endswith("1/1/0")
    assert all(len(line) <= 80 for line in table[:-1])
    result = json.loads(CliRunner().invoke(app, [*files, "--against", other, "--format", "json"]).stdout)
    _, theirs, differences = Scorer(REFERENCES).compare(CANDIDATES, {"1": "a cat", "2": "a red bus"})
    assert result["against"]["scores"] == theirs.values
    assert result["differences"] == {name: asdict(delta) for name, delta in differences.items()}


def test_a_file_that_misses_images_is_named(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_other(files, {"1": "a cat"})
    monkeypatch.setattr(sys, "argv", ["showtell", *files, "--against", other])
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"{other}: candidates and references do not fit together: found 1 of 2 images" in shown.err


def test_captions_are_explained_as_text_as_json_and_on_the_page(files: list[str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    arguments = [*files, "--explain", "1", "--explain", "2", "--explain", "1", "--html", str(page)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines()[3:])) <= 80
    assert result.stdout.count("candidate  ") == 2
    assert "candidate  (nothing)" in result.stdout
    found = json.loads(CliRunner().invoke(app, [*arguments, "--format", "json"]).stdout)
    parts = Scorer(REFERENCES).explain(CANDIDATES, ["1", "2"])
    assert found["explained"] == [{"candidate": asdict(one)} for one in parts]
    html = page.read_text(encoding="utf-8")
    assert html.count("<details open>") == 2
    assert "default-src 'none'" in html
    assert "(nothing)" in html


def test_the_page_has_the_largest_gains_and_losses_and_escapes_captions(tmp_path: Path) -> None:
    keys = [f"<i>{number}" for number in range(30)]
    ours = {key: f"a dog number{number} runs" for number, key in enumerate(keys)}
    theirs = {key: "a dog" if number % 2 else text for number, (key, text) in enumerate(ours.items())}
    paths = []
    for name, captions in (("references", ours), ("ours", ours), ("theirs", theirs)):
        paths.append(tmp_path / f"{name}.jsonl")
        paths[-1].write_text("\n".join(json.dumps({"image": k, "caption": v}) for k, v in captions.items()))
    command = ["score", "--references", str(paths[0]), "--candidates", str(paths[1])]
    page = tmp_path / "page.html"
    options = ["--against", str(paths[2]), "--html", str(page), "--num-images", "4"]
    assert CliRunner().invoke(app, [*command, *options]).exit_code == 0
    html = page.read_text(encoding="utf-8")
    assert html.count('<li class="pair">') == 4  # gains only: nothing is worse
    assert "<i>" not in html
    same = ["--against", str(paths[1]), "--html", str(page)]
    assert CliRunner().invoke(app, [*command, *same]).exit_code == 0
    assert '<li class="pair">' not in page.read_text(encoding="utf-8")


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

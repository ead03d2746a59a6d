"""Comparisons list what changed, by gain, with the scores of every other verb, and stay bounded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from html import unescape
from pathlib import Path

import pytest

from showtell.data.prepared import PreparedSet
from showtell.errors import ConfigError, DataError, ScoreError
from showtell.experiments.compare import Comparison, compare_captioners
from showtell.experiments.compare_output import to_json, to_text, write_changes, write_compare_page
from showtell.metrics import Scorer
from showtell.training.evaluate import evaluate_checkpoint

Compare = Callable[..., Comparison]


@pytest.fixture
def dev(toy_set: PreparedSet) -> dict[str, list[str]]:
    """The references of dev, by key."""
    return {toy_set.key(row): toy_set.captions(row) for row in toy_set.split_rows("dev").tolist()}


@pytest.fixture
def compare(toy_set: PreparedSet, tmp_path: Path) -> Compare:
    """Compares two sets of captions by key, as files."""

    def compare(*both: Mapping[str, str]) -> Comparison:
        for name, captions in zip("ab", both, strict=True):
            lines = [json.dumps({"key": key, "caption": text}) for key, text in captions.items()]
            (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
        return compare_captioners(tmp_path / "a.jsonl", tmp_path / "b.jsonl", data=toy_set.directory)

    return compare


@pytest.fixture
def changed(dev: dict[str, list[str]]) -> tuple[dict[str, str], dict[str, str]]:
    """Captions of which the first gets better, the second worse, and the third another of equal score."""
    before = {key: references[0] for key, references in dev.items()}
    first, second, third, *_ = before
    after = before | {second: "a <b>wrong</b> one", third: f"{before[third]}."}
    return before | {first: "a wrong one"}, after


def test_changes_are_sorted_by_gain_and_have_the_scores_of_the_scorer(
    dev: dict[str, list[str]], compare: Compare, changed: tuple[dict[str, str], dict[str, str]]
) -> None:
    result = compare(*changed)
    first, second, third, *_ = dev
    assert [change.key for change in result.changes] == [first, third, second]
    assert (result.better, result.worse) == (1, 1)
    assert result.changes[0].captions == tuple(captions[first] for captions in changed)
    old, new, differences = Scorer(dev).compare(changed[1], changed[0])
    assert result.differences == differences
    assert [scores.values for scores in result.scores] == [new.values, old.values]
    assert result.changes[0].scores == (new.per_image[first], old.per_image[first])
    values = to_json(result)
    assert values["b"]["scores"] == old.values
    assert [values[name] for name in ("changed", "better", "worse")] == [3, 1, 1]
    text = to_text(result, most=1)
    assert "A: a; B: b; 8 images of dev" in text
    assert "3 of 8 captions changed: 1 better, 1 worse, 1 equal, by the image's own CIDEr-D." in text
    assert [line.split()[-1] for line in text.splitlines() if re.match(r"[+-][\d.]+  ", line)] == [
        first,
        second,
    ]


def test_nothing_changed_is_no_error(dev: dict[str, list[str]], compare: Compare, tmp_path: Path) -> None:
    same = {key: references[0] for key, references in dev.items()}
    result = compare(same, same)
    assert "No caption of 8 changed." in to_text(result, most=10)
    assert write_changes(result, tmp_path / "changes.jsonl").read_text() == ""
    html = write_compare_page(result, tmp_path / "p.html", title="T", most=5).read_text()
    assert '<li class="pair">' not in html
    assert not result.is_below(0.0)
    assert result.is_below(0.1)


def test_worse_is_below_zero_by_its_whole_interval(dev: dict[str, list[str]], compare: Compare) -> None:
    good = {key: references[0] for key, references in dev.items()}
    result = compare(good, dict.fromkeys(good, "a wrong one"))
    assert result.is_below(0.0)
    assert result.is_below(100 * result.differences["CIDEr-D"].high + 0.01)
    assert not result.is_below(100 * result.differences["CIDEr-D"].high)
    few = compare(good, good | dict.fromkeys(list(good)[:1], "a wrong one"))
    assert few.differences["CIDEr-D"].value < 0
    assert not few.is_below(0.0)


def test_files_and_pages_have_both_captions_and_nothing_is_markup(
    dev: dict[str, list[str]],
    compare: Compare,
    changed: tuple[dict[str, str], dict[str, str]],
    toy_set: PreparedSet,
    tmp_path: Path,
) -> None:
    result = compare(*changed)
    lines = [
        json.loads(line) for line in write_changes(result, tmp_path / "c.jsonl").read_text().splitlines()
    ]
    assert [line["key"] for line in lines] == [change.key for change in result.changes]
    last = lines[-1]
    assert last["b"]["caption"] == "a <b>wrong</b> one"
    assert last["gain"] == pytest.approx(last["b"]["metrics"]["CIDEr-D"] - last["a"]["metrics"]["CIDEr-D"])
    assert last["references"] == dev[last["key"]]
    assert Path(last["image"]) == toy_set.image_path(result.changes[-1].row)
    html = write_compare_page(result, tmp_path / "page.html", title="T", most=10).read_text()
    cards = html.split('<li class="pair">')[1:]
    assert len(cards) == html.count('<img src="data:image/jpeg;base64,') == 2
    for change, card in zip((result.changes[0], result.changes[-1]), cards, strict=True):
        captions = re.findall(r"<dt>(.*?)(?: <small>\d+</small>)?</dt><dd>(.*?)</dd>", card)
        expected = [
            *zip("AB", change.captions, strict=True),
            *(("reference", text) for text in dev[change.key]),
        ]
        assert [(name, unescape(text)) for name, text in captions] == expected
    assert "<b>wrong" not in html


def test_a_captioner_is_compared_with_a_file_and_decoded_once(
    toy_set: PreparedSet,
    toy_runs: Path,
    dev: dict[str, list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "human.jsonl"
    file.write_text("\n".join(json.dumps({"key": key, "caption": texts[0]}) for key, texts in dev.items()))
    for _ in range(2):
        result = compare_captioners(
            toy_runs / "one", file, data=toy_set.directory, evaluations=tmp_path / "kept"
        )
    assert result.names == ("one", "human")
    alone = evaluate_checkpoint(toy_runs / "one", data=toy_set.directory)
    assert result.scores[0].values == alone.scores.values
    with pytest.raises(DataError, match=r"both cannot be compared: found 2 captioners.*both/seed-0"):
        compare_captioners(toy_runs / "both", file, data=toy_set.directory)


def test_a_file_that_does_not_fit_is_refused_before_anything_is_decoded(
    toy_set: PreparedSet, toy_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b.jsonl").write_text(json.dumps({"key": "other.png", "caption": "a dog"}))
    with pytest.raises(ScoreError, match=r"b\.jsonl.*8 of 8 images have no candidate"):
        compare_captioners(
            toy_runs / "one", tmp_path / "b.jsonl", data=toy_set.directory, evaluations=tmp_path / "kept"
        )
    assert "captions dev" not in capsys.readouterr().err


def test_what_cannot_be_compared_is_named(
    dev: dict[str, list[str]], compare: Compare, toy_set: PreparedSet, tmp_path: Path
) -> None:
    good = {key: references[0] for key, references in dev.items()}
    with pytest.raises(ScoreError, match=r"b\.jsonl.*1 of 8 images have no candidate"):
        compare(good, dict(list(good.items())[1:]))
    with pytest.raises(ConfigError, match="no images in split 'test'"):
        compare_captioners(tmp_path / "a.jsonl", tmp_path / "a.jsonl", data=toy_set.directory, split="test")
    (tmp_path / "text.txt").write_text("a dog")
    with pytest.raises(DataError, match="cannot read captions"):
        compare_captioners(tmp_path / "a.jsonl", tmp_path / "text.txt", data=toy_set.directory)

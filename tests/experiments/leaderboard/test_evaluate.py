"""Rows: the scores of evaluate, a human baseline by leave-one-out, nothing decoded twice, failures by name."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from showtell.data.prepared import PreparedSet, prepare
from showtell.errors import CheckpointError, ConfigError, DataError
from showtell.experiments.leaderboard import evaluate as module
from showtell.experiments.leaderboard.evaluate import Leaderboard, collect
from showtell.experiments.leaderboard.pages import to_markdown
from showtell.export.evaluate import read_training_captions
from showtell.metrics import evaluate
from showtell.metrics.caption_stats import measure
from showtell.system.atomic import write_summed_json
from showtell.training.evaluate import evaluate_checkpoint


class CountingMeteor:
    """Returns counts of one match in two words, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def counts(
        self, references: Sequence[Sequence[Sequence[str]]], candidates: Sequence[Sequence[str]]
    ) -> np.ndarray:
        self.calls += 1
        one = np.array([2, 2, 0, 0, 1, 1, *[0] * 14, 1, 1, 1], float)
        return np.repeat(one[:, None], len(candidates), axis=1)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The checkpoints that were really decoded, by the name of their run."""
    names: list[str] = []

    def watch(checkpoint: Path, **rest: Any) -> Any:
        names.append(checkpoint.parent.name)
        return evaluate_checkpoint(checkpoint, **rest)

    monkeypatch.setattr(module, "evaluate_checkpoint", watch)
    return names


@pytest.fixture
def make(toy_set: PreparedSet, tmp_path: Path) -> Callable[..., Leaderboard]:
    def make(*runs: Path, **options: Any) -> Leaderboard:
        return collect(runs, **{"data": toy_set.directory, "evaluations": tmp_path / "kept", **options})

    return make


@pytest.mark.thorough
def test_rows_have_the_scores_of_evaluate_and_seeds_their_mean_and_spread(
    toy_set: PreparedSet, toy_runs: Path, make: Callable[..., Leaderboard]
) -> None:
    results = make(toy_runs / "one", toy_runs / "both")
    one, both = results.rows
    alone = evaluate_checkpoint(toy_runs / "one", data=toy_set.directory)
    assert {name: spread.mean for name, spread in one.scores.items()} == alone.scores.values
    assert list(one.captions.values()) == alone.texts
    assert one.cider == {key: row["CIDEr-D"] for key, row in alone.scores.per_image.items()}
    assert results.signature == alone.scores.signature
    quality = measure(alone.texts, read_training_captions(toy_set))
    assert one.quality["unseen"].mean == quality.unseen
    seeds = [
        evaluate_checkpoint(toy_runs / "both" / f"seed-{seed}", data=toy_set.directory) for seed in (0, 1)
    ]
    scores = [evaluation.scores.values["CIDEr-D"] for evaluation in seeds]
    assert (both.scores["CIDEr-D"].mean, both.scores["CIDEr-D"].std) == (
        statistics.fmean(scores),
        statistics.stdev(scores),
    )
    assert list(both.captions.values()) == seeds[0].texts
    assert (one.seeds, both.seeds, one.name, both.name) == (1, 2, "one", "both")
    assert one.minutes is not None
    assert one.minutes > 0
    assert one.entry is not None
    from showtell.checkpoints.checkpoint import load_checkpoint

    decoder = load_checkpoint(toy_runs / "one").model.decoder
    assert one.num_parameters == sum(weight.numel() for weight in decoder.parameters())


def test_the_human_baseline_is_each_reference_against_the_others(
    toy_set: PreparedSet, toy_runs: Path, make: Callable[..., Leaderboard]
) -> None:
    human = make(toy_runs / "one").human
    assert human is not None
    rows = [toy_set.captions(int(row)) for row in toy_set.split_rows("dev")]
    scores = []
    for candidate, other in ((0, 1), (1, 0)):
        references = {str(place): [captions[other]] for place, captions in enumerate(rows)}
        candidates = {str(place): captions[candidate] for place, captions in enumerate(rows)}
        scores.append(evaluate(references, candidates).values)
    for name, spread in human.scores.items():
        assert spread.mean == pytest.approx(statistics.fmean(one[name] for one in scores))
    assert list(human.captions.values()) == [captions[0] for captions in rows]
    assert human.quality["words"].mean == pytest.approx(5.5)


def test_a_set_with_one_caption_per_image_has_no_human_baseline(
    toy_set: PreparedSet, toy_runs: Path, tmp_path: Path, make: Callable[..., Leaderboard]
) -> None:
    lines = [
        json.dumps(
            {
                "image": str(toy_set.image_path(row)),
                "caption": toy_set.captions(row)[0],
                "split": toy_set.split(row),
            }
        )
        for row in range(len(toy_set))
    ]
    (tmp_path / "captions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    single = prepare(tmp_path / "captions.jsonl", tmp_path / "single")
    results = make(toy_runs / "one", data=single.directory, allow_other_dataset=True)
    assert results.human is None
    assert results.rows[0].seeds == 1


def test_nothing_is_decoded_or_given_to_java_twice(
    toy_runs: Path, make: Callable[..., Leaderboard], decoded: list[str]
) -> None:
    meteor = CountingMeteor()
    first = make(toy_runs / "one", toy_runs / "both", meteor=meteor)
    # best/ of ``one`` has its captions of dev; the seeds were validated on another split.
    assert decoded == ["seed-0", "seed-1"]
    assert meteor.calls == 3 + 2
    again = make(toy_runs / "one", toy_runs / "both", meteor=meteor)
    assert (len(decoded), meteor.calls) == (2, 5)
    assert [row.scores for row in again.rows] == [row.scores for row in first.rows]
    assert first.rows[0].scores["METEOR"].mean == pytest.approx((1 - 0.6) / 2)
    assert "meteor-1.5" in first.signature


@pytest.mark.thorough
def test_a_changed_checkpoint_is_decoded_again(
    toy_set: PreparedSet, toy_runs: Path, tmp_path: Path, make: Callable[..., Leaderboard], decoded: list[str]
) -> None:
    run = tmp_path / "moved"
    shutil.copytree(toy_runs / "both" / "seed-0", run)
    make(run)
    make(run)
    assert decoded == ["moved"]
    shutil.rmtree(run / "best")
    shutil.copytree(toy_runs / "both" / "seed-1" / "best", run / "best")
    make(run)
    assert decoded == ["moved", "moved"]
    config = json.loads((run / "best" / "config.json").read_text(encoding="utf-8"))
    config["generation"]["max_tokens"] = 3
    write_summed_json(run / "best" / "config.json", config)
    shortened = make(run)
    assert len(decoded) == 3
    assert all(len(caption.split()) <= 3 for caption in shortened.rows[0].captions.values())


def test_a_captioner_that_is_replaced_while_it_is_decoded_is_left_out(
    toy_set: PreparedSet,
    toy_runs: Path,
    tmp_path: Path,
    make: Callable[..., Leaderboard],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, other = tmp_path / "moved", toy_runs / "both" / "seed-1" / "best"
    shutil.copytree(toy_runs / "both" / "seed-0", run)

    def replaced(checkpoint: Path, **rest: Any) -> Any:
        shutil.rmtree(checkpoint)
        shutil.copytree(other, checkpoint)
        return evaluate_checkpoint(checkpoint, **rest)

    monkeypatch.setattr(module, "evaluate_checkpoint", replaced)
    results = make(run, toy_runs / "one")
    assert [row.name for row in results.rows] == ["one"]
    assert "another captioner than a moment ago" in str(results.failures[run])
    # Its captions are not cached.
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_seeds_that_have_no_captioner_yet_are_noted(
    toy_runs: Path, tmp_path: Path, make: Callable[..., Leaderboard], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(toy_runs / "both", tmp_path / "both")
    shutil.rmtree(tmp_path / "both" / "seed-0" / "best")
    (row,) = make(tmp_path / "both").rows
    assert (row.seeds, row.scores["BLEU-4"].std) == (1, None)
    assert f"{tmp_path / 'both' / 'seed-0'} is left out: it has no best/ yet" in " ".join(
        capsys.readouterr().err.split()
    )


def test_a_kept_file_that_is_broken_is_written_again(
    toy_runs: Path, tmp_path: Path, make: Callable[..., Leaderboard], capsys: pytest.CaptureFixture[str]
) -> None:
    first = make(toy_runs / "one")
    (file,) = (tmp_path / "kept").iterdir()
    file.write_text(file.read_text(encoding="utf-8")[:40], encoding="utf-8")
    assert make(toy_runs / "one").rows == first.rows
    assert f"{file} is written again" in capsys.readouterr().err
    assert json.loads(file.read_text(encoding="utf-8"))["kind"] == "showtell evaluation"


@pytest.mark.thorough
def test_the_baseline_is_put_in_front_and_the_others_are_held_against_it(
    toy_runs: Path, make: Callable[..., Leaderboard]
) -> None:
    results = make(toy_runs / "both", baseline=toy_runs / "one")
    one, both = results.rows
    assert (one.name, results.baseline, one.differences) == ("one", "one", None)
    assert both.differences is not None
    for name, difference in both.differences.items():
        assert difference.value == pytest.approx(both.scores[name].mean - one.scores[name].mean, abs=1e-9)
        assert difference.low <= difference.high
    inside = make(toy_runs / "both", toy_runs / "one", baseline=toy_runs / "one")
    assert [row.name for row in inside.rows] == ["both", "one"]


def test_captioners_that_fail_are_named_and_the_rest_is_done(
    toy_set: PreparedSet,
    toy_runs: Path,
    tiny_checkpoint: Callable[[str], Path],
    tmp_path: Path,
    make: Callable[..., Leaderboard],
    capsys: pytest.CaptureFixture[str],
) -> None:
    foreign, cut, empty = tmp_path / "foreign", tmp_path / "cut", tmp_path / "empty"
    shutil.copytree(toy_runs / "one", foreign)
    config = json.loads((foreign / "best" / "config.json").read_text(encoding="utf-8"))
    config["data"] |= {"fingerprint": "f" * 64, "name": "birds"}
    write_summed_json(foreign / "best" / "config.json", config)
    shutil.copytree(toy_runs / "one", cut)
    (cut / "best" / "decoder.safetensors").write_bytes(b"cut")
    shutil.copytree(toy_runs / "both", empty)
    for seed in (0, 1):
        shutil.rmtree(empty / f"seed-{seed}" / "best")
    silent = tiny_checkpoint("lstm")
    bad = [foreign, tmp_path / "nothing", cut, silent, empty]
    results = make(*bad[:2], toy_runs / "one", *bad[2:], baseline=cut)
    assert [row.name for row in results.rows] == ["one"]
    assert (results.baseline, results.rows[0].differences) == (None, None)
    assert set(results.failures) == set(bad)
    wanted: dict[Path, tuple[type[Exception], str]] = {
        foreign: (DataError, "was trained on another set than"),
        tmp_path / "nothing": (CheckpointError, "is not a checkpoint: found no such directory"),
        cut: (CheckpointError, "other bytes (cut short"),
        silent: (DataError, "a checkpoint that does not name the set it was trained on"),
        empty: (DataError, "no seed with a best/"),
    }
    told = " ".join(capsys.readouterr().err.split())
    for path, (kind, words) in wanted.items():
        error = results.failures[path]
        assert isinstance(error, kind)
        assert words in str(error)
        assert f"{path} is left out" in told
    assert "found birds, ffffffffffff" in str(results.failures[foreign])
    with pytest.raises(DataError, match=r"nothing to compare: found .*is not a checkpoint"):
        make(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="no images in split 'test'"):
        make(toy_runs / "one", split="test")


def test_captioners_of_other_sets_may_be_allowed(
    toy_runs: Path, tiny_checkpoint: Callable[[str], Path], make: Callable[..., Leaderboard]
) -> None:
    results = make(tiny_checkpoint("lstm"), allow_other_dataset=True)
    (row,) = results.rows
    assert row.minutes is None
    assert len(row.captions) == 8


def test_rows_of_the_same_name_are_called_by_their_paths(
    toy_runs: Path, tmp_path: Path, make: Callable[..., Leaderboard]
) -> None:
    shutil.copytree(toy_runs / "one", tmp_path / "one")
    results = make(toy_runs / "one", tmp_path / "one", toy_runs / "one" / "best")
    assert [row.name for row in results.rows] == [
        (toy_runs / "one").as_posix(),
        (tmp_path / "one").as_posix(),
        "one/best",
    ]


def test_a_file_of_captions_is_a_row_like_any_other(
    toy_set: PreparedSet, toy_runs: Path, tmp_path: Path, make: Callable[..., Leaderboard]
) -> None:
    first = make(toy_runs / "one")
    path = tmp_path / "theirs.jsonl"
    rows = [json.dumps({"image": key, "caption": text}) for key, text in first.rows[0].captions.items()]
    path.write_text("\n".join(rows), encoding="utf-8")
    results = make(toy_runs / "one", path, baseline=path)
    one, other = results.rows
    assert other.name == "theirs"
    assert other.scores == one.scores
    assert one.differences is not None
    assert {delta.value for delta in one.differences.values()} == {0.0}
    alone = to_markdown(make(path), title="Toys", command="showtell leaderboard")
    assert "| captioner | BLEU-1 |" in alone
    assert f"theirs: captions of `{path.as_posix()}`." in alone


def test_a_file_of_captions_that_does_not_fit_is_left_out(
    toy_runs: Path, tmp_path: Path, make: Callable[..., Leaderboard]
) -> None:
    short, doubled = tmp_path / "short.jsonl", tmp_path / "doubled.jsonl"
    short.write_text('{"image": "nowhere", "caption": "a dog"}')
    doubled.write_text('{"image": "a", "caption": "a dog"}\n{"image": "a", "caption": "a cat"}')
    results = make(toy_runs / "one", short, doubled)
    assert [row.name for row in results.rows] == ["one"]
    assert "images have no candidate" in str(results.failures[short])
    assert "found 2 captions of a" in str(results.failures[doubled])

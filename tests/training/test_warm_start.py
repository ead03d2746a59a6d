"""A training may start from a captioner that was trained before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from showtell.checkpoints.checkpoint import load_checkpoint
from showtell.config.recipe import Recipe, parse_recipe
from showtell.data.prepared import PreparedSet
from showtell.errors import CheckpointError, ConfigError
from showtell.inference.captioner import Captioner
from showtell.report import write_summary
from showtell.training.trainer import train
from showtell.training.warm_start import nearest_words


def started(recipe: Recipe, start: Path, *, lr: float = 1e-12, **decoder: object) -> Recipe:
    values = recipe.model_dump(mode="json")
    values["training"] |= {"init_from": str(start), "ema_decay": 0.0}
    values["optimizer"]["lr"] = lr
    values["tokenizer"]["min_count"] = 3
    values["objective"] = [{"name": "cross-entropy", "epochs": 1}]
    values["decoder"] |= decoder
    return parse_recipe(values, "a recipe that goes on")


@pytest.fixture(scope="module")
def first(toy_set: PreparedSet, toy_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("first") / "run"
    train(toy_recipe, data=toy_set.directory, out=out)
    return out


def test_decoder_and_vocabulary_are_taken_over(
    toy_set: PreparedSet, toy_recipe: Recipe, first: Path, tmp_path: Path
) -> None:
    train(started(toy_recipe, first, dropout=0.1), data=toy_set.directory, out=tmp_path / "second")
    old, new = (load_checkpoint(run) for run in (first, tmp_path / "second"))
    assert new.tokenizer.sha256 == old.tokenizer.sha256
    before = old.model.decoder.state_dict()
    for name, value in new.model.decoder.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-6)


@pytest.mark.thorough
def test_going_on_asks_for_the_same_start_wherever_it_lies(
    toy_set: PreparedSet, toy_recipe: Recipe, first: Path, tmp_path: Path
) -> None:
    train(started(toy_recipe, first, lr=0.01), data=toy_set.directory, out=tmp_path / "run")
    moved = tmp_path / "moved"
    first.rename(moved)
    try:
        train(started(toy_recipe, moved, lr=0.01), data=toy_set.directory, out=tmp_path / "run")
        with pytest.raises(ConfigError, match=r"init_checkpoint: \w+… → \w+…"):
            train(
                started(toy_recipe, tmp_path / "run", lr=0.01), data=toy_set.directory, out=tmp_path / "run"
            )
    finally:
        moved.rename(first)


def test_what_does_not_fit_is_refused_before_anything_is_written(
    toy_set: PreparedSet,
    toy_recipe: Recipe,
    first: Path,
    tiny_checkpoint: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    def refuse(recipe: Recipe, kind: type[Exception], words: str) -> None:
        with pytest.raises(kind, match=words):
            train(recipe, data=toy_set.directory, out=tmp_path / "run")
        assert not (tmp_path / "run").exists()

    refuse(started(toy_recipe, first, hidden=20), ConfigError, "size mismatch")
    refuse(started(toy_recipe, tiny_checkpoint("lstm")), ConfigError, "the decoder 'lstm'")
    refuse(started(toy_recipe, tiny_checkpoint("attention")), ConfigError, "a decoder for 16 channels")
    refuse(started(toy_recipe, tmp_path / "nothing"), CheckpointError, "nothing")


@pytest.mark.thorough
def test_what_is_saved_for_elsewhere_does_not_say_where_the_start_lay(
    toy_set: PreparedSet, toy_recipe: Recipe, first: Path, tmp_path: Path
) -> None:
    train(started(toy_recipe, first), data=toy_set.directory, out=tmp_path / "second")
    Captioner.load(tmp_path / "second", device="cpu").save_pretrained(tmp_path / "saved")
    write_summary(tmp_path / "second", tmp_path / "summary")
    texts = [
        path.read_text(encoding="utf-8")
        for folder in ("saved", "summary")
        for path in (tmp_path / folder).iterdir()
        if path.suffix in {".json", ".md", ".yaml"}
    ]
    assert not any(str(first.parent) in text for text in texts)
    assert any(f"init_from: {first.name}" in text for text in texts)


@pytest.mark.thorough
def test_new_words_get_rows_of_their_forms_or_the_mean_and_are_learned(
    toy_set: PreparedSet,
    toy_recipe: Recipe,
    first: Path,
    make_set: Callable[..., PreparedSet],
    tmp_path: Path,
) -> None:
    captions = [["a greenish picture of a zebra"]] * 3
    other = make_set("other", train=captions, dev=captions)
    values = started(toy_recipe, first).model_dump(mode="json")
    values["training"]["extend_vocabulary"] = True
    train(parse_recipe(values, "a recipe"), data=other.directory, out=tmp_path / "second")
    old, new = (load_checkpoint(run) for run in (first, tmp_path / "second"))
    known = old.tokenizer.tokens
    assert new.tokenizer.tokens == [*known, "greenish", "of", "zebra"]
    before, after = (checkpoint.model.decoder.state_dict() for checkpoint in (old, new))
    for name in ("word_embedding.weight", "output.weight", "output.bias"):
        rows = before[name]
        mean = rows[4:].mean(dim=0)
        expected = torch.stack([*rows, rows[known.index("green")], mean, mean])
        torch.testing.assert_close(after[name], expected, rtol=0, atol=1e-6)
    values["optimizer"]["lr"], values["objective"][0]["epochs"] = 0.05, 30
    train(parse_recipe(values, "a recipe"), data=other.directory, out=tmp_path / "third")
    image = tmp_path / "other-source" / "dev-0.png"
    assert "zebra" in Captioner.load(tmp_path / "third", device="cpu").caption(image).text.split()


def test_rare_words_and_a_full_vocabulary_stay_as_they_are(
    toy_recipe: Recipe, first: Path, make_set: Callable[..., PreparedSet], tmp_path: Path
) -> None:
    captions = [["a zebra"], ["a zebra"], ["a zebra and a lion"]]
    other = make_set("other", train=captions, dev=captions)
    size = load_checkpoint(first).tokenizer.size
    for min_count, max_size, added in ((3, None, ["zebra"]), (1, size + 2, ["zebra", "and"]), (4, None, [])):
        values = started(toy_recipe, first).model_dump(mode="json")
        values["training"]["extend_vocabulary"] = True
        values["tokenizer"] |= {"min_count": min_count, "max_size": max_size}
        out = tmp_path / f"run-{min_count}"
        train(parse_recipe(values, "a recipe"), data=other.directory, out=out)
        assert load_checkpoint(out).tokenizer.tokens[size:] == added


@pytest.mark.parametrize(
    ("word", "form"),
    [("surfers", "surfer"), ("surfing", "surfer"), ("dogs", "dog"), ("horse", None), ("cattle", None)],
)
def test_forms_of_a_word_share_its_stem(word: str, form: str | None) -> None:
    assert nearest_words(["house", "dog", "surfer", "carpet"], [word]).get(word) == form

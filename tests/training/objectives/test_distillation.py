"""Captioners that teach: the mean of their odds, from the same memory, of words that are learned elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.config.decoders import AttentionSpec, LstmSpec
from showtell.config.recipe import Recipe, parse_recipe
from showtell.data.batches import Batch
from showtell.data.prepared import PreparedSet
from showtell.decoders.registry import build_decoder
from showtell.encoders.features import Features
from showtell.errors import CheckpointError, ConfigError
from showtell.inference.captioner import Captioner
from showtell.tokenizer import Tokenizer
from showtell.training.device import resolve_device_config
from showtell.training.objectives.distillation import TeacherEnsemble, load_teacher
from showtell.training.objectives.losses import cross_entropy
from showtell.training.setup import build_recipe_encoder
from showtell.training.train_step import TrainStep
from showtell.training.trainer import train

PAD = 0
MEMORY = Features(torch.rand(2, 4, 6), torch.rand(2, 6), torch.ones(2, 4, dtype=torch.bool))
TOKENS = torch.tensor([[[1, 4, 5, 2], [1, 6, 2, PAD]], [[1, 7, 2, PAD], [1, 2, PAD, PAD]]])


@pytest.fixture(scope="module")
def recipe(toy_recipe: Recipe, encoder_weights: Path) -> Recipe:
    values = toy_recipe.model_dump(mode="json")
    values["encoder"] |= {"trainable": False, "weights": str(encoder_weights)}
    return parse_recipe(values, "a recipe with a frozen encoder")


@pytest.fixture(scope="module")
def teacher(toy_set: PreparedSet, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("teacher") / "run"
    train(recipe, data=toy_set.directory, out=out)
    return out


def taught(recipe: Recipe, *teachers: Path, **changes: object) -> Recipe:
    values = recipe.model_dump(mode="json")
    values["objective"][0] |= {"teachers": [str(path) for path in teachers], **changes}
    return parse_recipe(values, "a recipe with teachers")


def small_captioner(seed: int) -> CaptioningModel:
    torch.manual_seed(seed)
    spec = AttentionSpec(embedding=6, hidden=5, attention=4, region_dim=7) if seed else LstmSpec(embedding=6)
    return CaptioningModel(build_decoder(spec, vocabulary=9, encoder_width=6, pad_id=PAD))


def test_the_mean_of_their_odds_is_taught_before_every_token() -> None:
    models = [small_captioner(seed) for seed in range(2)]
    found = TeacherEnsemble(models, 0.4).teacher_probs(MEMORY, TOKENS)
    real = TOKENS[:, :, 1:] != PAD
    with torch.no_grad():
        each = [model.eval()(MEMORY, TOKENS[:, :, :-1])[real].softmax(dim=1) for model in models]
    torch.testing.assert_close(found, 0.4 * (each[0] + each[1]) / 2)
    assert not found.requires_grad


def test_teachers_are_read_without_dropout() -> None:
    model = small_captioner(1)
    assert not torch.equal(*(model.train()(MEMORY, TOKENS[:, :, :-1]) for _ in range(2)))
    teachers = TeacherEnsemble([model], 1.0)
    assert torch.equal(*(teachers.teacher_probs(MEMORY, TOKENS) for _ in range(2)))


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_who_agrees_with_the_teacher_learns_from_the_words_alone(share: float) -> None:
    """Its own odds as a teacher's pull it nowhere: what is left of the gradient is the words' share."""
    model = small_captioner(1).eval()
    batch = Batch(np.arange(2), np.zeros(2, np.bool_), MEMORY, TOKENS)

    def gradients(teachers: TeacherEnsemble | None) -> torch.Tensor:
        model.zero_grad()
        cross_entropy(model, batch, label_smoothing=0.1, teachers=teachers)[0].backward()
        return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])

    alone = gradients(None)
    torch.testing.assert_close(
        gradients(TeacherEnsemble([model], share)), (1 - share) * alone, rtol=1e-4, atol=1e-6
    )
    assert float(alone.norm()) > 1


@pytest.mark.thorough
def test_going_on_asks_for_the_same_teachers(
    toy_set: PreparedSet, recipe: Recipe, teacher: Path, tmp_path: Path
) -> None:
    chosen = taught(recipe, teacher)
    once = train(chosen, data=toy_set.directory, out=tmp_path / "run")
    assert (
        train(chosen, data=toy_set.directory, out=tmp_path / "run").evaluation.texts == once.evaluation.texts
    )
    moved = tmp_path / "other"
    train(taught(recipe, teacher, distillation_weight=0.9), data=toy_set.directory, out=moved)
    with pytest.raises(ConfigError, match="teachers"):
        train(taught(recipe, moved), data=toy_set.directory, out=tmp_path / "run")


def test_who_cannot_teach_is_refused_before_anything_is_written(
    toy_set: PreparedSet, recipe: Recipe, teacher: Path, tmp_path: Path
) -> None:
    def refuse(chosen: Recipe, kind: type[Exception], words: str) -> None:
        with pytest.raises(kind, match=words):
            train(chosen, data=toy_set.directory, out=tmp_path / "run")
        assert not (tmp_path / "run").exists()

    refuse(taught(recipe, tmp_path / "nobody"), CheckpointError, "nobody")
    values = taught(recipe, teacher).model_dump(mode="json")
    values["encoder"]["preprocessing"]["interpolation"] = "bilinear"
    refuse(parse_recipe(values, "recipe"), ConfigError, "cannot be a teacher: found another encoder")
    values = taught(recipe, teacher).model_dump(mode="json")
    values["tokenizer"]["kind"] = "characters"
    refuse(
        parse_recipe(values, "recipe"),
        ConfigError,
        r"cannot be a teacher: found a vocabulary of kind words that lacks \d+ tokens; expected one of kind char",
    )


def test_a_teacher_of_another_vocabulary_teaches_the_tokens_that_it_knows(
    toy_set: PreparedSet, recipe: Recipe, teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder, device = (
        build_recipe_encoder(recipe, resolve_device_config("cpu", "fp32", 0)),
        torch.device("cpu"),
    )
    known = Tokenizer.load(teacher / "best" / "tokenizer.json")
    words = known.tokens[4:]
    same = load_teacher(teacher, known, encoder, device)
    other_words = Tokenizer.fit([" ".join([*words[:0:-1], "#", "zebra"])], min_count=1)
    capsys.readouterr()
    other = load_teacher(teacher, other_words, encoder, device)
    assert capsys.readouterr().err == (
        f"{teacher} does not teach 2 of {known.size + 1:,} tokens, which it lacks: #, zebra\n"
    )
    torch.manual_seed(0)
    memory = Features(
        *(torch.rand(1, *shape) for shape in ((4, encoder.width), (encoder.width,))), torch.ones(1, 4) > 0
    )
    texts = [f"{words[1]} {words[2]}", f"{words[1]} # {words[2]}"]

    def taught_by(model: CaptioningModel, tokenizer: Tokenizer, text: str) -> torch.Tensor:
        tokens = torch.tensor([[[1, *tokenizer.encode(text), 2]]])
        return TeacherEnsemble([model], 1.0).teacher_probs(memory, tokens)

    first, second = (taught_by(other, other_words, text) for text in texts)
    assert second[1].sum() == 0  # before the token that it does not know
    torch.testing.assert_close(first[:1], second[:1])
    torch.testing.assert_close(second[[0, 2, 3]].sum(dim=1), torch.ones(3))
    ids = [other_words.tokens.index(word) for word in known.tokens if word != words[0]]
    whole = torch.cat([taught_by(same, known, texts[0])], dim=0)
    shared = whole[:, [index for index, word in enumerate(known.tokens) if word != words[0]]]
    torch.testing.assert_close(first[:, ids], shared / shared.sum(dim=1, keepdim=True))


@pytest.mark.thorough
def test_a_student_of_a_larger_vocabulary_learns_from_a_teacher(
    toy_set: PreparedSet, recipe: Recipe, tmp_path: Path
) -> None:
    fewer = parse_recipe(
        recipe.model_dump(mode="json") | {"tokenizer": recipe.tokenizer.model_dump() | {"min_count": 14}},
        "recipe",
    )
    train(fewer, data=toy_set.directory, out=tmp_path / "teacher")
    result = train(taught(recipe, tmp_path / "teacher"), data=toy_set.directory, out=tmp_path / "run")
    assert result.progress.finished


def test_what_is_saved_for_elsewhere_does_not_say_where_a_teacher_lay(
    toy_set: PreparedSet, recipe: Recipe, teacher: Path, tmp_path: Path
) -> None:
    train(taught(recipe, teacher), data=toy_set.directory, out=tmp_path / "run")
    Captioner.load(tmp_path / "run", device="cpu").save_pretrained(tmp_path / "saved")
    text = (tmp_path / "saved" / "config.json").read_text(encoding="utf-8")
    assert str(teacher.parent) not in text
    assert json.loads(text)["recipe"]["objective"][0]["teachers"] == [teacher.name]


def born_again(recipe: Recipe, **training: object) -> Recipe:
    values = recipe.model_dump(mode="json")
    values["objective"] = [
        {"name": "cross-entropy", "epochs": 2},
        {"name": "cross-entropy", "epochs": 2, "reinit": True, "distillation_weight": 0.7},
    ]
    values["training"] |= training
    return parse_recipe(values, "a recipe that begins anew")


def test_a_phase_begins_anew_taught_by_the_best_before(
    toy_set: PreparedSet, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, taught_by, teach, step = [], set(), TeacherEnsemble.teacher_probs, TrainStep.step

    def looking_step(self: TrainStep, *rest: object) -> object:
        if self.state.progress.batch_in_epoch == self.state.progress.phase_epoch == 0:
            began.append({name: value.clone() for name, value in self.model.decoder.state_dict().items()})
        return step(self, *rest)  # type: ignore[arg-type]

    def looking_teach(self: TeacherEnsemble, *rest: object) -> torch.Tensor:
        taught_by.update(model.decoder.word_embedding.weight.sum().item() for model in self._models)
        return teach(self, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(TrainStep, "step", looking_step)
    monkeypatch.setattr(TeacherEnsemble, "teacher_probs", looking_teach)
    train(born_again(recipe), data=toy_set.directory, out=tmp_path / "run")
    alone = parse_recipe(
        born_again(recipe).model_dump(mode="json") | {"objective": [{"name": "cross-entropy", "epochs": 2}]},
        "one",
    )
    train(alone, data=toy_set.directory, out=tmp_path / "alone")
    teacher, best = (
        load_file(path / "decoder.safetensors")
        for path in (tmp_path / "run" / "teacher", tmp_path / "alone" / "best")
    )
    assert all(torch.equal(teacher[name], value) for name, value in best.items())
    assert taught_by == {teacher["word_embedding.weight"].sum().item()}
    first, second = began[:2]
    assert not torch.equal(first["word_embedding.weight"], second["word_embedding.weight"])
    assert first["word_embedding.weight"].std() == pytest.approx(
        second["word_embedding.weight"].std().item(), rel=0.3
    )


@pytest.mark.thorough
@pytest.mark.parametrize("stop_at", [4, 6])
def test_one_that_began_anew_and_was_cut_ends_with_the_same_bits(
    toy_set: PreparedSet,
    recipe: Recipe,
    tmp_path: Path,
    cut_before: Callable[[int], AbstractContextManager[None]],
    stop_at: int,
) -> None:
    chosen = born_again(recipe, save_steps=1, batch_size=8)  # two steps an epoch
    train(chosen, data=toy_set.directory, out=tmp_path / "whole")
    with cut_before(stop_at):
        train(chosen, data=toy_set.directory, out=tmp_path / "cut")
    train(chosen, data=toy_set.directory, out=tmp_path / "cut")
    whole, cut = (load_file(tmp_path / run / "last" / "trainer.safetensors") for run in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())


def test_teaching_that_cannot_be_is_refused_by_the_recipe(recipe: Recipe, toy_recipe: Recipe) -> None:
    def refuse(values: dict[str, object], words: str) -> None:
        with pytest.raises(ConfigError, match=words):
            parse_recipe(values, "recipe")

    anew = born_again(recipe).model_dump(mode="json")
    refuse(anew | {"objective": anew["objective"][1:]}, "no earlier phase to distill")
    refuse(anew | {"encoder": toy_recipe.model_dump(mode="json")["encoder"]}, "features of a frozen encoder")
    refuse(anew | {"training": anew["training"] | {"early_stopping_patience": 3}}, "would give up")
    refuse(anew | {"schedule": {"name": "plateau"}}, "would give up")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_phase_trains_on_a_graphics_card(
    toy_set: PreparedSet, recipe: Recipe, tmp_path: Path, precision: str, graphics_card: str
) -> None:
    values = recipe.model_dump(mode="json")
    values["training"]["precision"] = precision
    values["objective"] = [
        {"name": "cross-entropy", "epochs": 6},
        {"name": "cross-entropy", "epochs": 6, "reinit": True},
        {"name": "self-critical", "epochs": 1, "interpolate_init": 0.5},
    ]
    result = train(
        parse_recipe(values, "three phases"),
        data=toy_set.directory,
        out=tmp_path / "run",
        features=tmp_path / "kept",
        device=graphics_card,
    )
    assert result.evaluation.scores.values["CIDEr-D"] > 0.5
    picture = toy_set.image_path(0)
    said = [
        Captioner.load(tmp_path / "run", device=device).caption(picture).text
        for device in ("cpu", graphics_card)
    ]
    assert said[0] == said[1]

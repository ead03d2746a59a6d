"""Judging: what is scored is what was said, every picture once, whatever the batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.config.decoders import AttentionSpec
from showtell.config.encoder import EncoderSpec
from showtell.config.generation import DecodingOptions
from showtell.config.preprocessing import Preprocessing
from showtell.config.recipe import Recipe
from showtell.data.prepared import PreparedSet
from showtell.data.views import ImageSource
from showtell.decoders.registry import build_decoder
from showtell.encoders.encoder import build_encoder
from showtell.errors import ConfigError
from showtell.metrics import evaluate
from showtell.tokenizer import Tokenizer
from showtell.training.device import DeviceConfig, resolve_device_config
from showtell.training.evaluate import evaluate_checkpoint
from showtell.training.evaluator import Evaluator
from showtell.training.predictions import write_predictions
from showtell.training.trainer import train

COMPUTE = DeviceConfig(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def captioner(toy_set: PreparedSet) -> tuple[CaptioningModel, Tokenizer]:
    torch.manual_seed(3)
    captions = [text for row in toy_set.split_rows("train") for text in toy_set.captions(int(row))]
    tokenizer = Tokenizer.fit(captions, min_count=1)
    spec = EncoderSpec(name="small", width=16, trainable=True, preprocessing=Preprocessing(size=32))
    encoder = build_encoder(spec)
    decoder_spec = AttentionSpec(embedding=8, hidden=8, attention=8, region_dim=8)
    decoder = build_decoder(
        decoder_spec, vocabulary=tokenizer.size, encoder_width=16, pad_id=tokenizer.pad_id
    )
    return CaptioningModel(decoder, encoder), tokenizer


def make_judge(toy_set: PreparedSet, tokenizer: Tokenizer, pictures: int = 64) -> Evaluator:
    memories = ImageSource(toy_set, Preprocessing(size=32))
    return Evaluator(toy_set, toy_set.split_rows("dev"), memories, tokenizer, COMPUTE, pictures)


def test_what_is_scored_is_what_was_said(
    toy_set: PreparedSet, captioner: tuple[CaptioningModel, Tokenizer], tmp_path: Path
) -> None:
    model, tokenizer = captioner
    evaluation = make_judge(toy_set, tokenizer).evaluate(model, DecodingOptions(max_tokens=6), attention=True)
    write_predictions(tmp_path / "said.jsonl", toy_set, evaluation, tokenizer, (4, 4))
    rows = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["key"] for row in rows] == [toy_set.key(int(row)) for row in toy_set.split_rows("dev")]
    again = evaluate(
        {row["key"]: row["references"] for row in rows}, {row["key"]: row["candidate"] for row in rows}
    )
    assert again.values == evaluation.scores.values
    assert again.signature == evaluation.scores.signature
    for row, hypothesis in zip(rows, evaluation.hypotheses, strict=True):
        assert row["candidate"] == tokenizer.decode(hypothesis.ids)
        assert row["metrics"] == again.per_image[row["key"]]
        assert len(row["attention"]) == len(row["words"])


def test_words_of_several_pieces_have_one_map_each(toy_set: PreparedSet, tmp_path: Path) -> None:
    tokenizer = Tokenizer.fit(["one word"], kind="bpe", min_count=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = build_encoder(EncoderSpec(name="small", width=16, trainable=True))
        spec = AttentionSpec(embedding=8, hidden=8, attention=8, region_dim=8)
        decoder = build_decoder(spec, vocabulary=tokenizer.size, encoder_width=16, pad_id=tokenizer.pad_id)
    memories = ImageSource(toy_set, encoder.preprocessing)
    evaluator = Evaluator(toy_set, toy_set.split_rows("dev"), memories, tokenizer, COMPUTE)
    evaluation = evaluator.evaluate(
        CaptioningModel(decoder, encoder), DecodingOptions(max_tokens=6, min_tokens=6), attention=True
    )
    write_predictions(tmp_path / "said.jsonl", toy_set, evaluation, tokenizer, encoder.grid)
    rows = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text(encoding="utf-8").splitlines()]
    assert any(len(row["words"]) < len(row["ids"]) for row in rows)
    for row in rows:
        assert len(row["attention"]) == len(row["words"])
        assert [sum(one) for one in row["attention"]] == pytest.approx([1.0] * len(row["words"]), abs=1e-2)


def test_the_batch_changes_no_caption(
    toy_set: PreparedSet, captioner: tuple[CaptioningModel, Tokenizer]
) -> None:
    model, tokenizer = captioner
    said = [
        make_judge(toy_set, tokenizer, pictures).evaluate(model, DecodingOptions(max_tokens=6)).texts
        for pictures in (1, 3, 64)
    ]
    assert said[0] == said[1] == said[2]


@pytest.mark.thorough
def test_chinese_captions_are_trained_and_scored_as_chinese(
    caption_set: Callable[..., PreparedSet], toy_recipe: Recipe, tmp_path: Path
) -> None:
    captions = [["一个男人在街上骑自行车。", "男人骑车。"], ["两只狗在草地上奔跑。", "狗在跑。"]]
    prepared = caption_set(train=captions * 2, dev=captions)
    words = toy_recipe.tokenizer.model_copy(update={"kind": "icu", "min_count": 1})
    recipe = toy_recipe.model_copy(update={"tokenizer": words})
    scores = train(recipe, data=prepared.directory, out=tmp_path / "run").evaluation.scores
    assert "|tok:zh-sacrebleu-" in scores.signature
    assert scores.tokenizer == "zh"
    again = evaluate_checkpoint(
        tmp_path / "run", data=prepared.directory, split="dev", score_tokenizer="char"
    )
    assert "|tok:char-sacrebleu-" in again.scores.signature
    assert " " not in "".join(again.texts)


@pytest.mark.thorough
def test_evaluation_repeats_the_scores_of_the_run(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path
) -> None:
    result = train(toy_recipe, data=toy_set.directory, out=tmp_path / "run")
    again = evaluate_checkpoint(tmp_path / "run", data=toy_set.directory, split="dev")
    assert again.texts == result.evaluation.texts
    assert again.scores.values == result.evaluation.scores.values


@pytest.mark.thorough
def test_a_split_that_is_not_there_is_refused(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path
) -> None:
    train(toy_recipe, data=toy_set.directory, out=tmp_path / "run")
    with pytest.raises(ConfigError, match=r"no images in split 'test'.*one of train"):
        evaluate_checkpoint(tmp_path / "run", data=toy_set.directory, split="test")


def test_compute_says_what_it_uses() -> None:
    assert str(resolve_device_config("cpu", "fp32", 1)) == "cpu, float32, 1 threads"

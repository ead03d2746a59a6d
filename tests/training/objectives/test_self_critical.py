"""Reward training: what is sampled, what it is held against, and that the better becomes likelier."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.config.decoders import LstmSpec, StackedSpec, TransformerSpec
from showtell.config.preprocessing import Preprocessing
from showtell.config.recipe import SelfCritical
from showtell.data.batches import Batch
from showtell.decoders.base import DecoderState
from showtell.decoders.registry import build_decoder
from showtell.encoders.encoder import EncoderSpec, build_encoder
from showtell.encoders.features import Features
from showtell.generation import SpecialTokens
from showtell.training.objectives.self_critical import Reward, SelfCriticalObjective

PAD, BOS, EOS, UNK, VOCABULARY = 0, 1, 2, 3, 9
PICTURES, WIDTH, MAX_WORDS = 3, 4, 6
SPECIALS = SpecialTokens(PAD, BOS, EOS, UNK)


@pytest.fixture(params=["lstm", "stacked", "transformer"])
def model(request: pytest.FixtureRequest) -> CaptioningModel:
    torch.manual_seed(0)
    spec = {
        "lstm": LstmSpec(embedding=6, hidden=8, dropout=0.3),
        "stacked": StackedSpec(embedding=6, hidden=8, region_dim=4, heads=2, dropout=0.3),
        "transformer": TransformerSpec(hidden=8, heads=2, feed_forward=8, region_dim=4, dropout=0.3),
    }[request.param]
    return CaptioningModel(
        build_decoder(spec, vocabulary=VOCABULARY, encoder_width=WIDTH, pad_id=PAD)
    ).train()


def make_batch() -> Batch:
    regions = torch.linspace(0, 1, PICTURES * 2 * WIDTH).view(PICTURES, 2, WIDTH)
    memory = Features(regions, regions.mean(1), torch.ones(PICTURES, 2, dtype=torch.bool))
    return Batch(
        np.array([7, 3, 5]),
        np.array([False, True, False]),
        memory,
        torch.zeros(PICTURES, 2, 3, dtype=torch.int64),
    )


def build(reward: Reward, **options: object) -> SelfCriticalObjective:
    return SelfCriticalObjective(SelfCritical(**options), reward, SPECIALS, max_tokens=MAX_WORDS)  # type: ignore[arg-type]


def fives(samples: Sequence[Sequence[int]], rows: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    return np.array([float(Counter(sample)[5]) for sample in samples])


@pytest.mark.thorough
def test_samples_are_sentences_of_words_each_about_its_picture(model: CaptioningModel) -> None:
    heard: list[tuple[Sequence[Sequence[int]], np.ndarray, np.ndarray]] = []

    def listen(samples: Sequence[Sequence[int]], rows: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
        heard.append((samples, rows, mirrored))
        return np.zeros(len(samples))

    for seed in range(20):
        torch.manual_seed(seed)
        _, tokens, _ = build(listen, samples=4)(model, make_batch(), 0)
        samples, rows, mirrored = heard[-1]
        assert rows.tolist() == [7] * 4 + [3] * 4 + [5] * 4
        assert mirrored.tolist() == [False] * 4 + [True] * 4 + [False] * 4
        assert tokens == sum(len(sample) for sample in samples)
    ends = Counter(sample[-1] == EOS for samples, _, _ in heard for sample in samples)
    assert ends[True] > 20
    assert ends[False] > 20
    for samples, _, _ in heard:
        for sample in samples:
            assert not {PAD, BOS, UNK} & set(sample)
            assert EOS not in sample[:-1]
            assert len(sample) <= MAX_WORDS + 1
            assert sample[-1] == EOS or len(sample) == MAX_WORDS + 1


@pytest.mark.thorough
def test_words_are_drawn_as_likely_as_the_decoder_holds_them(model: CaptioningModel) -> None:
    firsts: Counter[int] = Counter()

    def listen(samples: Sequence[Sequence[int]], rows: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
        firsts.update(sample[0] for sample in samples[:64])
        return np.zeros(len(samples))

    batch = make_batch()
    objective = replace(build(listen, samples=64), max_tokens=0)
    for seed in range(60):
        torch.manual_seed(seed)
        objective(model, batch, 0)
    model.eval()
    with torch.no_grad():
        logits = model(batch.inputs, torch.full((PICTURES, 1, 1), BOS))[0, 0, 0]
    logits[[PAD, BOS, UNK]] = -torch.inf
    wanted = logits.softmax(0)
    for token in range(VOCABULARY):
        assert firsts[token] / (60 * 64) == pytest.approx(float(wanted[token]), abs=0.02)


@pytest.mark.parametrize("baseline", ["others", "greedy"])
def test_samples_no_better_than_the_baseline_teach_nothing(model: CaptioningModel, baseline: str) -> None:
    loss, _, parts = build(lambda samples, rows, mirrored: np.full(len(samples), 0.7), baseline=baseline)(
        model, make_batch(), 0
    )
    loss.backward()
    assert all(weight.grad is None or not bool(weight.grad.any()) for weight in model.parameters())
    assert parts["reward"] > 0


@pytest.mark.thorough
@pytest.mark.parametrize("baseline", ["others", "greedy"])
def test_what_is_rewarded_becomes_likelier(model: CaptioningModel, baseline: str) -> None:
    objective, optimizer = build(fives, baseline=baseline), torch.optim.Adam(model.parameters(), lr=0.015)
    rewards = []
    for step in range(80):
        torch.manual_seed(step)
        loss, tokens, parts = objective(model, make_batch(), 0)
        optimizer.zero_grad()
        (loss / tokens).backward()
        optimizer.step()
        rewards.append(parts["reward"] / tokens)
        assert model.training
    assert np.mean(rewards[-10:]) > np.mean(rewards[:10]) + 1.0


@pytest.mark.thorough
def test_the_gradient_is_that_of_the_weighed_log_probabilities() -> None:
    """One sampled word: the gradient of the reward's expectation, against the exact one."""
    torch.manual_seed(1)
    spec = LstmSpec(embedding=6, hidden=8, dropout=0.0)
    model = CaptioningModel(build_decoder(spec, vocabulary=VOCABULARY, encoder_width=WIDTH, pad_id=PAD))
    batch = make_batch()
    worth = torch.arange(VOCABULARY, dtype=torch.float32)

    def first(samples: Sequence[Sequence[int]], rows: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
        return np.array([float(worth[sample[0]]) for sample in samples])

    objective = SelfCriticalObjective(SelfCritical(samples=64), first, SPECIALS, max_tokens=0)
    total = torch.zeros_like(model.decoder.output.bias)
    for seed in range(60):
        torch.manual_seed(seed)
        model.zero_grad()
        loss, _, _ = objective(model, batch, 0)
        loss.backward()
        assert model.decoder.output.bias.grad is not None
        total += model.decoder.output.bias.grad / (64 * 60)
    model.zero_grad()
    logits = model(batch.inputs, torch.full((PICTURES, 1, 1), BOS))[:, 0, 0]
    logits = logits.index_fill(1, torch.tensor([PAD, BOS, UNK]), -torch.inf)
    (-(logits.softmax(1) * worth).sum()).backward()
    torch.testing.assert_close(total, model.decoder.output.bias.grad, rtol=0.1, atol=0.05)


@pytest.mark.parametrize(
    "temperature", [0.5, *(pytest.param(one, marks=pytest.mark.thorough) for one in (1.0, 2.0))]
)
def test_the_gradient_is_that_of_the_expected_reward_of_the_tempered_distribution(temperature: float) -> None:
    """Captions of up to two words and an end, drawn many times, against the sum over all of them."""
    torch.manual_seed(1)
    spec = LstmSpec(embedding=6, hidden=8, dropout=0.0)
    model = CaptioningModel(build_decoder(spec, vocabulary=VOCABULARY, encoder_width=WIDTH, pad_id=PAD))
    torch.nn.init.normal_(model.decoder.output.weight)
    batch = make_batch()

    def worth(sample: Sequence[int]) -> float:
        return sum(np.sin(place + 3.0 * token) for place, token in enumerate(sample)) + 5 * (sample[0] == EOS)

    def reward(samples: Sequence[Sequence[int]], rows: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
        return np.array([worth(sample) for sample in samples])

    def gradient() -> Tensor:
        return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])

    objective = build(reward, samples=64, temperature=temperature)
    objective = replace(objective, max_tokens=2)
    model.zero_grad()
    for seed in range(40):
        torch.manual_seed(seed)
        (objective(model, batch, 0)[0] / (64 * 40)).backward()
    found = gradient()

    model.zero_grad()
    words = [EOS, *range(4, VOCABULARY)]
    listed = list(itertools.product(words, repeat=3))
    ends = [ids.index(EOS) + 1 if EOS in ids else 3 for ids in listed]
    samples = sorted({(*ids[:end], *[EOS] * (3 - end)) for ids, end in zip(listed, ends, strict=True)})
    tokens = torch.tensor([[BOS, *ids[:-1]] for ids in samples]).expand(PICTURES, -1, -1)
    logits = model(batch.inputs, tokens).index_fill(-1, torch.tensor([PAD, BOS, UNK]), -torch.inf)
    log_probs = (logits / temperature).log_softmax(-1)  # [P, samples, 3, V]
    log_probs = log_probs.gather(-1, torch.tensor(samples).expand(PICTURES, -1, -1).unsqueeze(-1)).squeeze(-1)
    ends = [ids.index(EOS) + 1 if EOS in ids else 3 for ids in samples]
    counts = torch.tensor([[float(place < end) for place in range(3)] for end in ends])
    probabilities = (log_probs * counts).sum(-1).exp()
    assert probabilities.sum().item() == pytest.approx(PICTURES, abs=1e-4)
    values = torch.tensor([worth(ids[:end]) for ids, end in zip(samples, ends, strict=True)])
    (-(probabilities * values).sum()).backward()
    wanted = gradient()
    assert torch.cosine_similarity(found, wanted, dim=0) > 0.995
    assert float(found.norm() / wanted.norm()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("trainable", "looks"), [(False, 1), (True, 2)])
def test_a_frozen_encoder_looks_once_at_a_live_picture(trainable: bool, looks: int) -> None:
    torch.manual_seed(0)
    preprocessing = Preprocessing(size=32)
    encoder = build_encoder(EncoderSpec(name="small", width=16, trainable=True, preprocessing=preprocessing))
    encoder.spec = encoder.spec.model_copy(update={"trainable": trainable})
    spec = StackedSpec(embedding=6, hidden=8, region_dim=4, heads=2)
    decoder = build_decoder(spec, vocabulary=VOCABULARY, encoder_width=encoder.width, pad_id=PAD)
    model, calls = CaptioningModel(decoder, encoder).train(), []
    encoder.register_forward_hook(lambda *_: calls.append(1))
    pictures = torch.zeros(PICTURES, 32, 32, 3, dtype=torch.uint8)
    batch = replace(make_batch(), inputs=pictures)
    build(fives)(model, batch, 0)
    assert len(calls) == looks


@dataclass(frozen=True)
class Script(DecoderState):
    """Which sentence of which picture, int64 [P, K]."""

    PER_HYPOTHESIS = ("number",)

    number: Tensor
    picture: Tensor


class Reciter:
    """Says sentence k of picture p in ``lengths[p][k]`` words: its own number, then the end."""

    def __init__(self, lengths: Tensor) -> None:
        self.lengths, self.rows = lengths, []

    def init_state(self, features: Features, hypotheses: int) -> Script:
        pictures = torch.arange(len(self.lengths))
        self.said = torch.zeros_like(self.lengths)
        return Script(torch.arange(hypotheses).expand(len(pictures), -1), pictures)

    def step(self, tokens: Tensor, state: Script) -> tuple[Tensor, Script, None]:
        self.rows.append(tokens.numel())
        pictures = state.picture.unsqueeze(1).expand_as(state.number)
        is_over = self.said[pictures, state.number] == self.lengths[pictures, state.number]
        self.said[pictures, state.number] += 1
        numbers = 4 + self.lengths.shape[1] * pictures + state.number
        logits = torch.nn.functional.one_hot(torch.where(is_over, EOS, numbers), 4 + self.lengths.numel())
        return logits.float() * 1e4, state, None


def test_sentences_that_have_ended_leave_and_the_others_stay_their_pictures() -> None:
    lengths = torch.tensor([[3, 0, 6], [1, 1, 1], [2, 5, 9]])
    reciter = Reciter(lengths)
    objective = build(lambda *_: np.zeros(0), samples=3)
    said = objective._generate(SimpleNamespace(decoder=reciter), make_batch().inputs, greedy=False)  # type: ignore[arg-type]
    wanted = []
    for number, length in enumerate(lengths.flatten().tolist()):
        words = [4 + number] * min(length, MAX_WORDS + 1) + [EOS]
        wanted.append([BOS, *words, *[PAD] * MAX_WORDS][: MAX_WORDS + 2])
    assert said.flatten(0, 1).tolist() == wanted
    # Longest of a picture's sentences that go on, times pictures, of which those that are done leave.
    assert reciter.rows == [9, 9, 6, 4, 4, 4, 2]

"""What every decoder promises: stepping equals teacher forcing, masks, attention, first loss, learning."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from showtell.config.decoders import (
    AdaptiveSpec,
    AttentionOnAttentionSpec,
    AttentionSpec,
    LstmSpec,
    StackedSpec,
    TopDownSpec,
    TransformerSpec,
)
from showtell.decoders.registry import DECODERS, build_decoder
from showtell.encoders.features import Features
from showtell.kernels.dropout import Dropout

PICTURES, HYPOTHESES, LENGTH, REGIONS, WIDTH, VOCABULARY = 3, 2, 6, 5, 8, 11

SPECS = {
    "lstm": LstmSpec(embedding=12, hidden=10, layers=2, dropout=0.4),
    "attention": AttentionSpec(
        embedding=12, hidden=10, attention=9, region_dim=7, dropout=0.4, region_dropout=0.2
    ),
    "stacked": StackedSpec(embedding=12, hidden=10, region_dim=8, heads=2, dropout=0.4, region_dropout=0.2),
    "adaptive": AdaptiveSpec(embedding=12, hidden=10, attention=9, dropout=0.4, region_dropout=0.2),
    "top-down": TopDownSpec(
        embedding=12, hidden=10, attention=9, region_dim=7, dropout=0.4, region_dropout=0.2
    ),
    "attention-on-attention": AttentionOnAttentionSpec(
        embedding=12, hidden=10, region_dim=8, heads=2, refine_layers=2, dropout=0.4, region_dropout=0.2
    ),
    "transformer": TransformerSpec(
        hidden=12, heads=3, feed_forward=14, region_dim=8, dropout=0.4, region_dropout=0.2
    ),
}
LOOKING = sorted(set(SPECS) - {"lstm"})


def test_every_decoder_is_tested() -> None:
    assert set(SPECS) == set(DECODERS)


@pytest.fixture(params=sorted(SPECS))
def decoder(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(1)
    built = build_decoder(SPECS[request.param], vocabulary=VOCABULARY, encoder_width=WIDTH, pad_id=0)
    return built.double().eval()


def make_features(*, seed: int = 0, regions: int = REGIONS) -> Features:
    generator = torch.Generator().manual_seed(seed)
    seen = torch.rand(PICTURES, regions, WIDTH, generator=generator, dtype=torch.float64)
    return Features(seen, seen.mean(1), torch.ones(PICTURES, regions, dtype=torch.bool))


def make_tokens(*, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, VOCABULARY, (PICTURES, HYPOTHESES, LENGTH), generator=generator)


def walk(decoder: Any, features: Features, tokens: Tensor) -> tuple[Tensor, list[Tensor | None]]:
    state = decoder.init_state(features, tokens.shape[1])
    logits, looked = [], []
    for part in tokens.unbind(2):
        out, state, attention = decoder.step(part, state)
        logits.append(out)
        looked.append(attention)
    return torch.stack(logits, dim=2), looked


def test_stepping_equals_teacher_forcing(decoder: Any) -> None:
    features, tokens = make_features(), make_tokens()
    stepped, _ = walk(decoder, features, tokens)
    torch.testing.assert_close(stepped, decoder(features, tokens), rtol=1e-5, atol=1e-6)
    assert stepped.shape == (PICTURES, HYPOTHESES, LENGTH, VOCABULARY)
    assert stepped.dtype == torch.float32


def test_teacher_forcing_may_skip_padding_alone(decoder: Any) -> None:
    features, tokens = make_features(), make_tokens()
    for picture, lengths in enumerate([(6, 2), (3, 4), (5, 1)]):
        for hypothesis, length in enumerate(lengths):
            tokens[picture, hypothesis, length:] = 0
    stepped, _ = walk(decoder, features, tokens)
    real = tokens != 0
    torch.testing.assert_close(stepped[real], decoder(features, tokens)[real], rtol=1e-5, atol=1e-6)


def test_later_words_never_change_earlier_logits(decoder: Any) -> None:
    features, tokens = make_features(), make_tokens()
    changed = tokens.clone()
    changed[:, :, 3:] = (changed[:, :, 3:] % (VOCABULARY - 1)) + 1
    before, after = decoder(features, tokens), decoder(features, changed)
    torch.testing.assert_close(before[:, :, :3], after[:, :, :3], rtol=0, atol=0)
    assert not torch.equal(before[:, :, 3:], after[:, :, 3:])


def test_pictures_do_not_see_each_other(decoder: Any) -> None:
    features, tokens = make_features(), make_tokens()
    alone = Features(features.regions[1:2], features.pooled[1:2], features.mask[1:2])
    torch.testing.assert_close(
        decoder(features, tokens)[1:2], decoder(alone, tokens[1:2]), rtol=1e-6, atol=1e-7
    )


def test_hypotheses_do_not_see_each_other(decoder: Any) -> None:
    features, tokens = make_features(), make_tokens()
    torch.testing.assert_close(
        decoder(features, tokens)[:, 1:], decoder(features, tokens[:, 1:]), rtol=1e-6, atol=1e-7
    )


def test_a_state_follows_its_parents(decoder: Any) -> None:
    features, tokens = make_features(), make_tokens()
    state = decoder.init_state(features, HYPOTHESES)
    _, state, _ = decoder.step(tokens[:, :, 0], state)
    plain, _, _ = decoder.step(tokens[:, :, 1], state)
    parents = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 1]])
    selected, _, _ = decoder.step(tokens[:, :, 1].gather(1, parents), state.reorder(parents))
    wanted = plain.gather(1, parents.unsqueeze(2).expand(-1, -1, VOCABULARY))
    torch.testing.assert_close(selected, wanted, rtol=1e-6, atol=1e-7)


def test_a_state_without_some_pictures_goes_on_as_before(decoder: Any) -> None:
    features, tokens = make_features(), make_tokens()
    _, state, _ = decoder.step(tokens[:, :, 0], decoder.init_state(features, HYPOTHESES))
    whole, _, _ = decoder.step(tokens[:, :, 1], state)
    kept = torch.tensor([2, 0])
    part, _, _ = decoder.step(tokens[kept][:, :, 1], state.filter(kept))
    torch.testing.assert_close(part, whole[kept], rtol=1e-6, atol=1e-7)


def test_masked_regions_change_nothing(decoder: Any) -> None:
    features, tokens = make_features(), make_tokens()
    noise = torch.full((PICTURES, 2, WIDTH), 1e6, dtype=torch.float64)
    mask = torch.cat((features.mask, torch.zeros(PICTURES, 2, dtype=torch.bool)), dim=1)
    padded = Features(torch.cat((features.regions, noise), dim=1), features.pooled, mask)
    torch.testing.assert_close(decoder(features, tokens), decoder(padded, tokens), rtol=1e-6, atol=1e-7)
    for plain, more in zip(walk(decoder, features, tokens)[1], walk(decoder, padded, tokens)[1], strict=True):
        if plain is not None and more is not None:
            assert bool((more[..., REGIONS:] == 0).all())


@pytest.mark.parametrize("name", LOOKING)
def test_attention_is_a_distribution_over_real_regions(name: str) -> None:
    decoder = build_decoder(SPECS[name], vocabulary=VOCABULARY, encoder_width=WIDTH, pad_id=0).double().eval()
    features = make_features()
    features.mask[0, 2:] = False
    for looked in walk(decoder, features, make_tokens())[1]:
        assert looked is not None
        assert looked.shape == (PICTURES, HYPOTHESES, REGIONS)
        assert bool((looked >= 0).all())
        assert bool((looked[0, :, 2:] == 0).all())
        torch.testing.assert_close(looked.sum(-1), torch.ones(PICTURES, HYPOTHESES), rtol=0, atol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("name", LOOKING)
def test_region_order_permutes_attention_and_changes_no_logits(name: str) -> None:
    decoder = build_decoder(SPECS[name], vocabulary=VOCABULARY, encoder_width=WIDTH, pad_id=0).double().eval()
    features, tokens = make_features(), make_tokens()
    order = torch.tensor([3, 0, 4, 1, 2])
    moved = Features(features.regions[:, order], features.pooled, features.mask[:, order])
    logits, looked = walk(decoder, features, tokens)
    moved_logits, moved_looked = walk(decoder, moved, tokens)
    torch.testing.assert_close(logits, moved_logits, rtol=1e-6, atol=1e-7)
    for before, after in zip(looked, moved_looked, strict=True):
        assert before is not None
        assert after is not None
        torch.testing.assert_close(before[..., order], after, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", LOOKING)
def test_a_picture_without_a_real_region_is_refused(name: str) -> None:
    decoder = build_decoder(SPECS[name], vocabulary=VOCABULARY, encoder_width=WIDTH, pad_id=0).double()
    features = make_features()
    features.mask[1] = False
    with pytest.raises(ValueError, match="without a real region"):
        decoder.init_state(features, 1)


@pytest.mark.parametrize(
    ("spec", "width"),
    [(StackedSpec, "region_dim"), (AttentionOnAttentionSpec, "region_dim"), (TransformerSpec, "hidden")],
)
def test_heads_that_cannot_share_the_width_are_refused(spec: Any, width: str) -> None:
    with pytest.raises(ValidationError, match=f"{width} 10 is not a multiple of heads, 4"):
        spec(**{width: 10}, heads=4)


def test_gradients_of_teacher_forcing_are_those_of_stepping(decoder: Any) -> None:
    features, tokens = make_features(), make_tokens()
    tokens[0, 1, 4:] = tokens[2, 0, 3:] = 0
    real = tokens != 0
    weigh = torch.rand(int(real.sum()), VOCABULARY, generator=torch.Generator().manual_seed(4))
    found, wanted = (
        torch.autograd.grad((logits[real] * weigh).sum(), list(decoder.parameters()))
        for logits in (decoder(features, tokens), walk(decoder, features, tokens)[0])
    )
    for (name, _), one, other in zip(decoder.named_parameters(), found, wanted, strict=True):
        torch.testing.assert_close(
            one, other, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.thorough
def test_training_in_bfloat16_lowers_the_loss(decoder: Any) -> None:
    decoder = decoder.float().train()
    seen = make_features().regions.float()
    features = Features(seen, seen.mean(1), torch.ones(PICTURES, REGIONS, dtype=torch.bool))
    tokens = make_tokens()
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.01)
    losses = []
    torch.manual_seed(2)
    for _ in range(40):
        with torch.autocast("cpu", torch.bfloat16):
            held = decoder.forward_hidden(features, tokens[:, :, :-1])
            logits = decoder.project(held)
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 2), tokens[:, :, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        assert math.isfinite(loss.item())
    assert all(bool(weight.grad.isfinite().all()) for weight in decoder.parameters())
    assert sum(losses[-5:]) / 5 < losses[0] - 0.3


def test_the_first_loss_is_log_v_when_the_output_layer_is_zero(decoder: Any) -> None:
    torch.nn.init.zeros_(decoder.output.weight)
    torch.nn.init.zeros_(decoder.output.bias)
    logits = decoder(make_features(), make_tokens())
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 2), make_tokens(seed=3).flatten())
    assert loss.item() == pytest.approx(math.log(VOCABULARY), abs=1e-6)


@pytest.mark.thorough
def test_a_decoder_learns_pictures_by_heart_and_every_weight_has_a_gradient(decoder: Any) -> None:
    decoder = decoder.float().train()
    for module in decoder.modules():
        if isinstance(module, torch.nn.Dropout | Dropout):
            module.p = 0.0
        if isinstance(module, torch.nn.LSTM):
            module.dropout = 0.0
    seen = torch.rand(8, REGIONS, WIDTH, generator=torch.Generator().manual_seed(5))
    features = Features(seen, seen.mean(1), torch.ones(8, REGIONS, dtype=torch.bool))
    tokens = torch.randint(1, VOCABULARY, (8, 1, LENGTH), generator=torch.Generator().manual_seed(6))
    tokens[:, :, 0] = 1
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.02)
    for step in range(300):
        logits = decoder(features, tokens[:, :, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 2), tokens[:, :, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            without = [
                name for name, weight in decoder.named_parameters() if not bool(weight.grad.abs().sum())
            ]
            assert without == []
        optimizer.step()
        if loss.item() < 0.05:
            break
    assert loss.item() < 0.05


def test_a_graphics_card_reads_and_learns_the_same(decoder: Any, graphics_card: str) -> None:
    features, tokens = make_features(), make_tokens()
    tokens[0, 1, 3:] = 0
    found = []
    for device in ("cpu", graphics_card):
        moved = copy.deepcopy(decoder).to(device).train()
        for module in moved.modules():
            if isinstance(module, torch.nn.Dropout | Dropout):
                module.eval()
            if isinstance(module, torch.nn.LSTM):
                module.dropout = 0.0
        held = moved.forward_hidden(features.to(torch.device(device)), tokens.to(device))
        moved.project(held).log_softmax(dim=-1)[..., 2].sum().backward()
        gradients = {name: one.grad.cpu() for name, one in moved.named_parameters() if one.grad is not None}
        found.append((held.detach().cpu(), gradients))
    (held, gradients), (held_there, gradients_there) = found
    torch.testing.assert_close(held_there, held, rtol=1e-7, atol=1e-9)
    assert gradients.keys() == gradients_there.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradients_there[name], gradient, rtol=1e-6, atol=1e-8)


def test_small_gradients_reach_a_graphics_cards_recurrence_in_half_precision(
    decoder: Any, graphics_card: str
) -> None:
    decoder = decoder.float().to(graphics_card).train()
    seen = make_features().to(torch.device(graphics_card))
    features = Features(seen.regions.float(), seen.pooled.float(), seen.mask)
    with torch.autocast(graphics_card, torch.bfloat16):
        logits = decoder(features, make_tokens().to(graphics_card))
        loss = logits.float().log_softmax(dim=-1)[..., 2].sum()
    (1e-9 * loss).backward()
    assert [name for name, one in decoder.named_parameters() if not bool(one.grad.abs().sum())] == []

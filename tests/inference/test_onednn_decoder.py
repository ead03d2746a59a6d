"""Decoders made ready to tell: the same numbers as the plain ones, and no row depends on its neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from showtell.checkpoints.checkpoint import load_checkpoint
from showtell.config.decoders import (
    AdaptiveSpec,
    AttentionOnAttentionSpec,
    AttentionSpec,
    LstmSpec,
    StackedSpec,
    TopDownSpec,
    TransformerSpec,
)
from showtell.data.sources.registry import open_source
from showtell.decoders.registry import DECODERS, build_decoder
from showtell.encoders.encoder import fast_dtype
from showtell.encoders.features import Features
from showtell.generation import SpecialTokens, search
from showtell.images.load import load_image
from showtell.images.preprocess import preprocess_image
from showtell.inference import onednn_decoder as packed_module
from showtell.inference.onednn_decoder import PackedLinear, PackedLstm, can_pack, packed_decoder
from showtell.metrics import evaluate

pytestmark = pytest.mark.skipif(not can_pack(torch.float32), reason="this PyTorch has no packed products")
needs_bfloat16 = pytest.mark.skipif(
    not can_pack(torch.bfloat16), reason="this processor has no products in bfloat16 (AVX-512)"
)
BFLOAT16 = pytest.param(torch.bfloat16, marks=needs_bfloat16)

REGIONS, WIDTH, VOCABULARY = 5, 96, 130
SPECS = {
    "lstm": LstmSpec(embedding=64, hidden=64, layers=1),
    "attention": AttentionSpec(embedding=64, hidden=72, attention=64, region_dim=80),
    "stacked": StackedSpec(embedding=64, hidden=72, region_dim=64, heads=2),
    "adaptive": AdaptiveSpec(embedding=64, hidden=72, attention=64),
    "top-down": TopDownSpec(embedding=64, hidden=72, attention=64, region_dim=80),
    "attention-on-attention": AttentionOnAttentionSpec(embedding=64, hidden=72, region_dim=64, heads=2),
    "transformer": TransformerSpec(hidden=64, heads=2, feed_forward=96, region_dim=72),
}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=sorted(SPECS))
def decoder(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(1)
    built = build_decoder(SPECS[request.param], vocabulary=VOCABULARY, encoder_width=WIDTH, pad_id=0)
    for parameter in built.parameters():
        parameter.data *= 2  # so that it has opinions
    return built.eval()


def make_features(pictures: int) -> Features:
    seen = draw(pictures, REGIONS, WIDTH).abs()
    return Features(seen, seen.mean(1), torch.ones(pictures, REGIONS, dtype=torch.bool))


def walk(decoder: Any, features: Features, hypotheses: int, steps: int = 4) -> Tensor:
    """Logits [P, K, steps, V] along fixed words, each hypothesis going on from the one beside it."""
    pictures = len(features.pooled)
    tokens = torch.randint(1, VOCABULARY, (99, hypotheses, steps), generator=torch.Generator().manual_seed(2))
    parents = torch.arange(hypotheses).roll(1).expand(pictures, hypotheses)
    state = decoder.init_state(features, hypotheses)
    logits = []
    for part in tokens[:pictures].unbind(2):
        out, state, _ = decoder.step(part, state)
        state = state.reorder(parents)
        logits.append(out)
    return torch.stack(logits, dim=2)


def test_every_decoder_is_tested() -> None:
    assert set(SPECS) == set(DECODERS)


@pytest.mark.parametrize(
    ("dtype", "bound"),
    [(torch.float32, 1e-5), pytest.param(torch.bfloat16, 5e-2, marks=needs_bfloat16)],
)
def test_a_packed_decoder_tells_what_the_plain_one_tells(
    decoder: Any, dtype: torch.dtype, bound: float
) -> None:
    with torch.inference_mode():
        expected = walk(decoder, make_features(3), 2)
        found = walk(packed_decoder(decoder, dtype), make_features(3), 2)
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max()) < bound * float(expected.std())


@needs_bfloat16
def test_a_sentence_does_not_depend_on_those_beside_it_to_the_bit(decoder: Any) -> None:
    ready = packed_decoder(decoder, torch.bfloat16)
    with torch.inference_mode():
        together = walk(ready, make_features(61), 3)
        for count in (1, 2, 7, 32):
            features = make_features(61)[slice(0, count)]
            assert torch.equal(walk(ready, features, 3), together[:count])


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, BFLOAT16])
def test_a_row_is_the_same_among_any_number_of_rows(dtype: torch.dtype, exact: bool) -> None:
    layer = PackedLinear(draw(2048, 512), draw(2048, seed=1), dtype, exact=exact)
    rows = draw(200, 512, seed=2)
    with torch.inference_mode():
        together = layer(rows)
        for count in (*range(1, 20), 95, 96, 97, 191, 192, 193):
            assert torch.equal(layer(rows[:count]), together[:count])
            assert torch.equal(layer(rows[-count:]), together[-count:])


@pytest.mark.parametrize("rows", [1, 15, 96, 160])
def test_a_product_does_not_depend_on_the_number_of_threads(rows: int) -> None:
    generator, before = torch.Generator().manual_seed(0), torch.get_num_threads()
    weight, values = (torch.randn(count, 512, generator=generator) for count in (2000, rows))
    layer, products = PackedLinear(weight, None, fast_dtype("cpu"), exact=True), []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            products.append(layer(values))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(products[0], products[1])
    assert torch.equal(products[0], products[2])


@needs_bfloat16
def test_exact_products_lose_nothing_but_what_rounding_their_factors_took() -> None:
    weight, bias, rows = draw(300, 256), draw(300, seed=1), draw(7, 256, seed=2)
    rounded = nn.functional.linear(rows.bfloat16().double(), weight.bfloat16().double(), bias.double())
    with torch.inference_mode():
        exact = PackedLinear(weight, bias, torch.bfloat16, exact=True)(rows)
        plain = PackedLinear(weight, bias, torch.bfloat16)(rows)
    assert float((exact - rounded).abs().max()) < 1e-3
    assert float((plain - rounded).abs().max()) > 2e-2


@pytest.mark.parametrize("dtype", [torch.float32, BFLOAT16])
def test_no_rows_give_no_products(dtype: torch.dtype) -> None:
    with torch.inference_mode():
        assert PackedLinear(draw(64, 8), None, dtype)(torch.empty(0, 3, 8)).shape == (0, 3, 64)


def test_a_precision_that_the_processor_does_not_multiply_leaves_the_decoder_plain(
    decoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "showtell.inference.onednn_decoder.can_compute", lambda dtype: dtype != torch.bfloat16
    )
    assert packed_decoder(decoder, torch.bfloat16) is decoder
    assert packed_decoder(decoder, torch.float32) is not decoder


def test_packing_leaves_the_plain_decoder_as_it_is_and_shares_the_rest(decoder: Any) -> None:
    before = [type(part) for part in decoder.children()]
    ready = packed_decoder(decoder)
    assert [type(part) for part in decoder.children()] == before
    assert ready.word_embedding.weight is decoder.word_embedding.weight
    assert isinstance(ready.output, PackedLinear)
    assert ready.output.exact == (ready.output.dtype == torch.bfloat16)


def test_lstms_that_are_stepped_are_packed() -> None:
    stacked = build_decoder(SPECS["stacked"], vocabulary=VOCABULARY, encoder_width=WIDTH, pad_id=0).eval()
    ready: Any = packed_decoder(stacked)
    assert isinstance(ready.attention_lstm, PackedLstm)
    assert isinstance(ready.language_lstm, PackedLstm)


@pytest.mark.parametrize("name", sorted(set(SPECS) - {"lstm"}))
def test_every_product_of_a_step_but_the_narrowest_is_packed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that fell back to plain products would be right, and slow."""
    plainly = build_decoder(SPECS[name], vocabulary=VOCABULARY, encoder_width=WIDTH, pad_id=0).eval()
    ready: Any = packed_decoder(plainly)
    plain: list[int] = []
    linear = nn.functional.linear
    monkeypatch.setattr(
        nn.functional,
        "linear",
        lambda values, weight, *rest: (plain.append(weight.shape[0]), linear(values, weight, *rest))[1],
    )
    with torch.inference_mode():
        state = ready.init_state(make_features(2), 3)
        ready.step(torch.ones(2, 3, dtype=torch.int64), state)
    assert [width for width in plain if width > 1] == []  # 1: the energy of a region


def test_a_decoder_that_cannot_be_packed_is_returned(decoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert packed_decoder(decoder.double()) is decoder
    monkeypatch.setattr(packed_module, "can_pack", lambda dtype: False)
    assert packed_decoder(decoder.float()) is decoder


@pytest.mark.slow
def test_bfloat16_costs_no_score_on_real_photographs(shared_data: Path) -> None:
    run = Path(__file__).parents[2] / "runs/attention"
    if not run.is_dir():
        pytest.skip("no trained captioner at runs/attention")
    weights = shared_data / "weights/resnet50_imagenet.safetensors"
    loaded = load_checkpoint(run, encoder_weights=weights)
    assert loaded.model.encoder is not None
    examples = open_source(shared_data / "data/flickr8k").examples
    dev = [example for example in examples if example.split == "dev"][:300]
    ready = {"plain": loaded.model.decoder, "packed": packed_decoder(loaded.model.decoder, torch.bfloat16)}
    said: dict[str, dict[str, str]] = {"plain": {}, "packed": {}}
    for start in range(0, len(dev), 50):
        part = dev[start : start + 50]
        preprocessing = loaded.model.encoder.preprocessing
        pictures = np.stack([preprocess_image(load_image(one.image), preprocessing) for one in part])
        with torch.inference_mode():
            features = loaded.model.encoder(torch.from_numpy(pictures))
            for name, decoder in ready.items():
                found = search(decoder, features, loaded.generation, SpecialTokens.of(loaded.tokenizer))
                for one, (best, *_) in zip(part, found, strict=True):
                    said[name][one.key] = loaded.tokenizer.decode(best.ids)
    references = {one.key: one.captions for one in dev}
    cider = {name: evaluate(references, texts).values["CIDEr-D"] for name, texts in said.items()}
    assert abs(cider["packed"] - cider["plain"]) < 0.002  # of about 0.5
    assert sum(said["plain"][key] == said["packed"][key] for key in references) >= 0.97 * len(references)

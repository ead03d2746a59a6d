"""The hot paths stay vectorised: calls and allocations are counted, never seconds.

A loop over images, hypotheses or words that sneaks into one of them would change no result; here it fails.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.config.decoders import (
    AdaptiveSpec,
    AttentionOnAttentionSpec,
    AttentionSpec,
    LstmSpec,
    StackedSpec,
    TopDownSpec,
    TransformerSpec,
)
from showtell.config.generation import DecodingOptions
from showtell.config.preprocessing import Preprocessing
from showtell.config.recipe import SelfCritical
from showtell.data.batches import Batch
from showtell.data.features import extract_features
from showtell.data.prepared import PreparedSet
from showtell.decoders.base import BaseDecoder
from showtell.decoders.registry import build_decoder
from showtell.encoders.encoder import Encoder, EncoderSpec, build_encoder
from showtell.encoders.features import Features
from showtell.generation import SpecialTokens, search
from showtell.inference.captioner import Captioner
from showtell.metrics import Scorer, blocks, caption_table, evaluate, ngrams, rouge
from showtell.metrics import ptb_tokenizer as ptb
from showtell.metrics.reward import Rewards
from showtell.metrics.score_files import score_files
from showtell.training.objectives.losses import cross_entropy
from showtell.training.objectives.self_critical import SelfCriticalObjective

SPECIALS = SpecialTokens(pad=0, bos=1, eos=2, unk=3)
VOCABULARY, WIDTH, REGIONS, MEMORY = 11, 64, 40, 32
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "addbmm", "matmul", "linear", "dot", "mv", "einsum"}
SPECS = {
    "lstm": LstmSpec(embedding=8, hidden=8),
    "attention": AttentionSpec(embedding=8, hidden=8, attention=4, region_dim=MEMORY),
    "stacked": StackedSpec(embedding=8, hidden=8, region_dim=MEMORY, heads=2),
    "adaptive": AdaptiveSpec(embedding=8, hidden=MEMORY, attention=4),
    "top-down": TopDownSpec(embedding=8, hidden=8, attention=4, region_dim=MEMORY),
    "attention-on-attention": AttentionOnAttentionSpec(embedding=8, hidden=8, region_dim=MEMORY, heads=2),
    "transformer": TransformerSpec(hidden=MEMORY, layers=1, heads=2, feed_forward=8, region_dim=MEMORY),
}
PRODUCTS_A_WORD = {
    "lstm": 1,
    "attention": 5,
    "stacked": 2,
    "adaptive": 8,
    "top-down": 6,
    "attention-on-attention": 6,
    "transformer": 0,
}
"""Under teacher forcing: what the recurrence needs. All else is one product for all words of a batch."""


class Watch(TorchDispatchMode):
    """Counts the operations inside a block, and remembers the largest memory that one of them took, in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.largest = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls[func.overloadpacket.__name__] += 1
        held = {one.untyped_storage().data_ptr() for one in _tensors((args, kwargs))}
        for one in _tensors(result):
            storage = one.untyped_storage()
            if storage.data_ptr() not in held:
                self.largest = max(self.largest, storage.nbytes())
        return result

    @property
    def products(self) -> int:
        """How many matrix products there were."""
        return sum(count for name, count in self.calls.items() if name.strip("_") in PRODUCTS)


def _tensors(values: Any) -> Iterable[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)


@pytest.fixture(params=SPECS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def decoder_of(name: str) -> BaseDecoder:
    torch.manual_seed(0)
    return build_decoder(SPECS[name], vocabulary=VOCABULARY, encoder_width=WIDTH, pad_id=SPECIALS.pad).eval()


def features_of(images: int) -> Features:
    regions = torch.rand(images, REGIONS, WIDTH, generator=torch.Generator().manual_seed(0))
    return Features(regions, regions.mean(1), torch.ones(images, REGIONS, dtype=torch.bool))


def token_ids(images: int, hypotheses: int, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(4, VOCABULARY, (images, hypotheses, length), generator=generator)


def watch_forward(name: str, images: int, hypotheses: int, length: int) -> Watch:
    decoder, features, tokens = decoder_of(name), features_of(images), token_ids(images, hypotheses, length)
    decoder(features, tokens)  # whatever is done once only
    with torch.no_grad(), Watch() as watch:
        decoder(features, tokens)
    return watch


def watch_search(name: str, images: int, words: int, **options: Any) -> Watch:
    decoder, features = decoder_of(name), features_of(images)
    chosen = DecodingOptions(min_tokens=words, max_tokens=words, **options)
    with torch.no_grad(), Watch() as watch:
        search(decoder, features, chosen, SPECIALS)
    return watch


def counted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[Any]:
    """Return the list that gets the first argument of each call of a function or method."""
    original, calls = getattr(owner, name), []

    def calling(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments[isinstance(owner, type)])
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, calling)
    return calls


def test_a_forward_pass_is_the_same_calls_for_any_number_of_images_and_captions(name: str) -> None:
    few, many = watch_forward(name, 2, 2, 5), watch_forward(name, 7, 5, 5)
    assert few.calls == many.calls
    assert few.products > 0


def test_a_longer_caption_takes_only_the_products_of_the_recurrence(name: str) -> None:
    short, long = watch_forward(name, 3, 4, 4), watch_forward(name, 3, 4, 12)
    assert long.products - short.products <= PRODUCTS_A_WORD[name] * (12 - 4)


@pytest.mark.parametrize("name", sorted(set(SPECS) - {"lstm"}))
def test_the_memory_is_projected_once_whatever_the_words(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, passes = decoder_of(name), Counter[str]()
    for part in ("region_proj", "key_proj"):
        getattr(decoder, part).register_forward_hook(lambda *_, part=part: passes.update([part]))
    decoder(features_of(3), token_ids(3, 5, 9))
    search(decoder, features_of(3), DecodingOptions(beam_size=5, min_tokens=6, max_tokens=6), SPECIALS)
    assert passes == {"region_proj": 2, "key_proj": 2}


def test_no_pass_copies_the_memory_for_each_caption(name: str) -> None:
    images, captions = 4, 6
    # The smallest of such copies: the projected memory of each caption, in half floats.
    assert watch_forward(name, images, captions, 3).largest < images * captions * REGIONS * MEMORY * 2


def test_no_search_copies_the_memory_for_each_beam(name: str) -> None:
    images, beam_size = 4, 6
    watch = watch_search(name, images, 3, beam_size=beam_size)
    assert watch.largest < images * beam_size * REGIONS * MEMORY * 2


@pytest.mark.parametrize(
    "options", [{"beam_size": 1}, {"beam_size": 5}, {"method": "greedy"}, {"samples": 4}]
)
def test_a_search_steps_once_a_word_whatever_the_images_and_beams(options: dict[str, Any]) -> None:
    options = {"method": "sample", **options} if "samples" in options else options
    for images in (1, 6):
        decoder, steps = decoder_of("attention"), Counter[str]()
        for method in ("init_state", "step"):
            original = getattr(decoder, method)
            monkeyed = _counting(original, method, steps)
            setattr(decoder, method, monkeyed)
        chosen = DecodingOptions(min_tokens=7, max_tokens=7, **options)
        with torch.no_grad():
            search(decoder, features_of(images), chosen, SPECIALS)
        assert steps == {"init_state": 1, "step": 8}  # the last one for the end


def _counting(original: Callable[..., Any], name: str, calls: Counter[str]) -> Callable[..., Any]:
    def calling(*arguments: Any) -> Any:
        calls.update([name])
        return original(*arguments)

    return calling


def test_a_beam_search_is_the_same_calls_for_any_number_of_images(name: str) -> None:
    assert watch_search(name, 2, 5, beam_size=3).calls == watch_search(name, 9, 5, beam_size=3).calls


def test_a_beam_search_is_the_same_calls_for_any_number_of_beams(name: str) -> None:
    assert watch_search(name, 2, 5, beam_size=2).calls == watch_search(name, 2, 5, beam_size=6).calls


def test_an_optimizer_step_passes_the_network_once(name: str) -> None:
    model, passes = CaptioningModel(decoder_of(name)).train(), Counter[str]()
    init_state = model.decoder.init_state
    model.decoder.init_state = _counting(init_state, "init_state", passes)  # type: ignore[method-assign]
    tokens = torch.cat((torch.full((3, 5, 1), SPECIALS.bos), token_ids(3, 5, 6)), dim=2)
    batch = Batch(np.arange(3), np.zeros(3, bool), features_of(3), tokens)
    cross_entropy(model, batch)
    assert passes == {"init_state": 1}


def test_reward_training_draws_all_samples_of_all_images_word_by_word() -> None:
    model, steps = CaptioningModel(decoder_of("attention")), Counter[str]()
    model.decoder.step = _counting(model.decoder.step, "step", steps)  # type: ignore[method-assign]
    asked: list[int] = []

    def reward(samples: Any, rows: Any, mirrored: Any) -> Any:
        asked.append(len(samples))
        return np.arange(float(len(samples)))

    objective = SelfCriticalObjective(SelfCritical(samples=5), reward, SPECIALS, max_tokens=6)
    batch = Batch(np.arange(4), np.zeros(4, bool), features_of(4), token_ids(4, 2, 3))
    objective(model, batch, 0)
    assert steps["step"] <= 7
    assert asked == [20]


@pytest.fixture
def encoder(toy_set: PreparedSet, tmp_path: Path) -> Encoder:
    from showtell.encoders.small_cnn import SmallCnn
    from showtell.system.safetensors import save_tensors

    save_tensors(SmallCnn(16).state_dict(), tmp_path / "weights.safetensors")
    spec = EncoderSpec(name="small", width=16, preprocessing=Preprocessing(size=32))
    return build_encoder(spec, weights=tmp_path / "weights.safetensors")


@pytest.mark.thorough
def test_extraction_encodes_once_per_batch(toy_set: PreparedSet, encoder: Encoder, tmp_path: Path) -> None:
    batches: list[int] = []
    encoder.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    extract_features(toy_set, encoder, tmp_path / "features", batch_size=10)
    assert batches == [10, 10, 4]


def test_captioning_encodes_and_searches_once_per_batch(
    tiny_checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = counted(monkeypatch, Encoder, "forward")
    captioner = Captioner.load(tiny_checkpoint("attention"), device="cpu")
    batches.clear()
    images = [np.full((32, 32, 3), number, np.uint8) for number in range(11)]
    captioner.caption(images, batch_size=4)
    assert sorted(len(one) for one in batches) == [3, 4, 4]  # two batches at once


REFERENCES = {
    "a": ["A dog runs .", "The dog is here"],
    "b": ["Two cats", "A cat sleeps"],
    "c": ["Rain", "Wet"],
}
CANDIDATES = {"a": "a dog", "b": "a cat sleeps", "c": "snow"}


def test_references_are_tokenized_once_and_candidates_once_a_scoring(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenized: list[int] = []
    original = ptb.TokenVocab.tokens

    def tokens(lexicon: ptb.TokenVocab, captions: Sequence[str]) -> ngrams.Captions:
        tokenized.append(len(captions))
        return original(lexicon, captions)

    monkeypatch.setattr(ptb.TokenVocab, "tokens", tokens)
    scorer = Scorer(REFERENCES)
    assert tokenized == [6]
    scorer.score(CANDIDATES)
    scorer.score(CANDIDATES)
    assert tokenized == [6, 3, 3]


def test_a_chunk_of_a_caption_is_tokenized_once_however_often_it_occurs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chunks = counted(monkeypatch, ptb._Chunks, "__missing__")
    read = counted(monkeypatch, ptb, "_lex")
    captions = [*chain.from_iterable(REFERENCES.values()), *CANDIDATES.values()]
    for times in (1, 50):
        chunks.clear()
        read.clear()
        evaluate({key: texts * times for key, texts in REFERENCES.items()}, CANDIDATES)
        assert sorted(chunks) == sorted(set(" ".join(captions).split()))
        assert sorted(read) == [".", "A", "a"]  # all others are words


def test_bleu_and_cider_share_one_count_of_ngrams(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = counted(monkeypatch, ngrams, "_count")
    evaluate(REFERENCES, CANDIDATES)
    assert len(counts) == 2 * ngrams.ORDERS  # of all references, of all candidates


def test_scoring_sorts_as_often_for_any_number_of_captions_of_a_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts, sorts = counted(monkeypatch, ngrams, "_count"), counted(monkeypatch, ngrams, "_sorted")
    pairs = counted(monkeypatch, rouge, "_common_bits")
    seen = set()
    for times in (1, 100):
        for calls in (counts, sorts, pairs):
            calls.clear()
        names = [f"{key}{number}" for key in REFERENCES for number in range(times)]
        evaluate({name: REFERENCES[name[0]] for name in names}, {name: CANDIDATES[name[0]] for name in names})
        seen.add((len(counts), len(sorts), len(pairs)))
    assert len(seen) == 1


@pytest.mark.thorough
def test_scoring_files_keeps_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caption_table, "CAPTIONS_AT_ONCE", 4)
    monkeypatch.setattr(blocks, "BLOCK_IMAGES", 2)
    tokenized, tokens = [], ptb._Chunks.tokens

    def counting(self: Any, captions: Any) -> Any:
        tokenized.append(len(captions))
        return tokens(self, captions)

    monkeypatch.setattr(ptb._Chunks, "tokens", counting)
    truth, captions = tmp_path / "references.jsonl", tmp_path / "candidates.jsonl"
    rows = [
        {"key": f"{key}{number}", "captions": REFERENCES[key]} for number in range(5) for key in REFERENCES
    ]
    truth.write_text("".join(json.dumps(row) + "\n" for row in rows))
    captions.write_text("".join(json.dumps({"key": row["key"], "caption": "a dog"}) + "\n" for row in rows))
    score_files(truth, captions)
    # Six captions a round of three images; each is tokenized once, at most four of them together
    assert max(tokenized) == 4
    assert sum(tokenized) == 3 * 5 * (2 + 1)


def test_a_reward_reads_the_samples_and_no_reference_again(monkeypatch: pytest.MonkeyPatch) -> None:
    read = counted(monkeypatch, ngrams.NgramIndex, "_number")
    counts = counted(monkeypatch, ngrams, "_count")
    references = [[[5, 6, 7, 2], [5, 7, 2]], [[8, 9, 2], [8, 6, 2]], [[4, 2], [4, 4, 2]]]
    rewards = Rewards(references, cider=1.0, bleu=1.0)
    read.clear()
    counts.clear()
    for samples in (6, 12):
        rewards([[5, 6, 2]] * samples, np.arange(samples) % 3)
    assert [len(captions) for captions in read] == [6, 12]
    assert len(counts) == 2 * ngrams.ORDERS

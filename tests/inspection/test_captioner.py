"""The margins of captions are those of one forward pass each, and planted mismatches and equal scenes are found."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from showtell.checkpoints.checkpoint import load_checkpoint
from showtell.data.prepared import PreparedSet, prepare
from showtell.errors import ConfigError
from showtell.images.preprocess import load_and_preprocess
from showtell.inspection.captioner import Encoded, encode, find_mismatches, find_same_scenes

ROOT = Path(__file__).parents[2]


@pytest.mark.thorough
def test_margins_are_those_of_single_captions_on_single_images(
    tiny_checkpoint: Callable[[str], Path], toy_set: PreparedSet
) -> None:
    path = tiny_checkpoint("attention")
    encoded = encode(toy_set, path, split="dev", device="cpu")
    rows = toy_set.split_rows("dev")
    assert encoded.rows.tolist() == rows.tolist()
    loaded = load_checkpoint(path)
    assert loaded.model.encoder is not None
    preprocessing = loaded.model.encoder.preprocessing

    def loss(row: int, text: str) -> float:
        image = torch.from_numpy(load_and_preprocess(toy_set.image_path(row), preprocessing))
        ids = [loaded.tokenizer.bos_id, *loaded.tokenizer.encode(text), loaded.tokenizer.eos_id]
        logits = loaded.model(image[None], torch.tensor([[ids[:-1]]]))[0, 0]
        return float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum"))

    with torch.no_grad():
        for row, margins in zip(rows.tolist(), encoded.margins, strict=True):
            for text, margin in zip(toy_set.captions(row), margins, strict=True):
                others = np.mean([loss(other, text) for other in rows.tolist() if other != row])
                assert margin == pytest.approx(others - loss(row, text), abs=1e-3)


def test_captions_without_a_margin_are_mismatches(toy_set: PreparedSet) -> None:
    margins = [np.array(pair) for pair in ([5.0, 3.0], [4.0, -1.0], [0.5, 0.5], [-3.0, -2.0])]
    rows = toy_set.split_rows("dev")[:4]
    encoded = Encoded(rows, margins, np.empty((0, 0), np.float32))
    found = {(one.kind, one.row, one.caption, one.value) for one in find_mismatches(toy_set, encoded)}
    second, fourth = (toy_set.captions(int(rows[place])) for place in (1, 3))
    assert found == {
        ("mismatch", rows[1], second[1], 1.0),
        ("mismatched-image", rows[2], "", -0.5),
        ("mismatched-image", rows[3], "", 2.5),
        ("mismatch", rows[3], fourth[0], 3.0),
        ("mismatch", rows[3], fourth[1], 2.0),
    }


@pytest.mark.slow
def test_the_shipped_captioner_finds_images_with_the_captions_of_others(
    shared_data: Path, tmp_path: Path
) -> None:
    source = shared_data / "data" / "flickr8k"
    texts: dict[str, list[str]] = {}
    for line in (source / "Flickr8k.token.txt").read_text(encoding="utf-8").splitlines():
        name, caption = line.split("\t")
        texts.setdefault(name.partition("#")[0], []).append(caption)
    names = (source / "Flickr_8k.devImages.txt").read_text().split()[:24]
    captions = [texts[name] for name in names]
    captions[3], captions[9], captions[15] = captions[9], captions[15], captions[3]
    lines = [
        json.dumps({"image": str(source / "Flicker8k_Dataset" / name), "captions": some, "split": "dev"})
        for name, some in zip(names, captions, strict=True)
    ]
    (tmp_path / "set.jsonl").write_text("\n".join(lines), encoding="utf-8")
    prepared = prepare(tmp_path / "set.jsonl", tmp_path / "set")
    weights = ROOT / "models" / "resnet50.safetensors"
    encoded = encode(prepared, ROOT / "models" / "flickr8k", encoder_weights=weights, device="cpu")
    found = [one for one in find_mismatches(prepared, encoded) if one.kind == "mismatched-image"]
    assert {3} <= {one.row for one in found} <= {3, 9, 15}


def test_scenes_are_compared_by_their_features(toy_set: PreparedSet) -> None:
    vectors = np.eye(len(toy_set), dtype=np.float32)
    vectors[5] = vectors[3] * 0.9 + vectors[5] * np.sqrt(1 - 0.81)
    vectors[6] = vectors[20]
    encoded = Encoded(np.arange(len(toy_set)), [], vectors)
    found = {(one.kind, one.row, one.other) for one in find_same_scenes(toy_set, encoded)}
    assert found == {("same-scene", 5, 3), ("leaked-scene", 6, 20)}


def test_images_of_the_datastore_are_not_encoded(
    tiny_checkpoint: Callable[[str], Path], toy_set: PreparedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from showtell.inspection import captioner
    from showtell.retrieval.datastore import Datastore, Projection

    loaded = load_checkpoint(tiny_checkpoint("attention"))
    pooled = np.random.default_rng(0).normal(size=(2, 16)).astype(np.float32)
    rows = toy_set.split_rows("train")[:2].tolist()
    digests = [toy_set.sha256(row) for row in rows]
    store = Datastore.of(
        Projection(np.zeros(16, np.float32), np.eye(16, dtype=np.float32)),
        pooled,
        ["a", "b"],
        digests,
        [[], []],
    )
    with_store = dataclasses.replace(loaded, datastore=store)
    monkeypatch.setattr(captioner, "load_checkpoint", lambda *arguments, **options: with_store)
    vectors = encode(toy_set, tiny_checkpoint("attention"), split="dev", device="cpu").vectors
    assert np.allclose(vectors[rows], store.unit_vectors)
    known = np.flatnonzero(np.abs(vectors).sum(axis=1) > 0).tolist()
    assert known == sorted([*rows, *toy_set.split_rows("dev").tolist()])


def test_an_export_is_refused(toy_set: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("showtell.inspection.captioner.is_export", lambda path: True)
    with pytest.raises(ConfigError, match="an export"):
        encode(toy_set, tmp_path)

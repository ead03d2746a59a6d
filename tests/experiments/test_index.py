"""A captioner with a datastore: made, added to, carried by bundles and exports, and never judged on what it knows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from showtell.checkpoints.checkpoint import load_checkpoint
from showtell.config.recipe import load_recipe
from showtell.data.prepared import PreparedSet, prepare
from showtell.errors import CheckpointError, ConfigError, DataError
from showtell.experiments.bundle import make_bundle
from showtell.experiments.index import index_captions
from showtell.export.evaluate import evaluate
from showtell.inference.captioner import Captioner
from showtell.system.atomic import write_summed_json
from showtell.training.evaluate import evaluate_checkpoint
from showtell.training.trainer import train
from showtell.training.warm_start import sections_of


@pytest.fixture(scope="session")
def indexed(frozen_captioner: Any, toy_set: PreparedSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("indexed") / "captioner"
    index_captions(frozen_captioner.directory, out, data=toy_set.directory, retrieval_weight=20.0)
    return out


@pytest.fixture
def own(toy_set: PreparedSet, tmp_path: Path) -> PreparedSet:
    """Three images with a caption, two for training and one for dev, none of which is indexed."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for row in (20, 21, 22):
        image = Path(shutil.copy(toy_set.image_path(row), folder / f"{row}.png"))
        image.with_suffix(".txt").write_text("one old tree")
    return prepare(folder, tmp_path / "own-set")


def dev_images(toy_set: PreparedSet) -> list[Path]:
    return [toy_set.image_path(int(row)) for row in toy_set.split_rows("dev")]


def test_it_has_the_captions_of_the_split_and_new_defaults(indexed: Path, toy_set: PreparedSet) -> None:
    loaded = load_checkpoint(indexed)
    assert loaded.datastore is not None
    assert loaded.datastore.keys == [toy_set.key(int(row)) for row in toy_set.split_rows("train")]
    assert loaded.datastore.captions[0] == [text.split() for text in toy_set.captions(0)]
    chosen = loaded.generation
    assert (chosen.retrieval, chosen.beam_size, chosen.retrieval_weight) == ("rerank", 10, 20.0)
    assert "scores" not in loaded.config


def test_captions_are_reranked_and_name_their_neighbours(
    indexed: Path, frozen_captioner: Any, toy_set: PreparedSet
) -> None:
    images = dev_images(toy_set)
    captioner = Captioner.load(indexed, device="cpu")
    captions = captioner.caption(images)
    known = {toy_set.key(int(row)) for row in toy_set.split_rows("train")}
    assert all({each.key for each in caption.neighbours} <= known for caption in captions)
    assert all(caption.neighbours for caption in captions)
    plain = captioner.caption(images, retrieval="off")
    before = Captioner.load(frozen_captioner.directory, device="cpu").caption(images, beam_size=10)
    assert [each.text for each in plain] == [each.text for each in before]
    for one, other in zip(captions, plain, strict=True):
        added = {each.text for each in one.alternatives} - {each.text for each in other.alternatives}
        assert len(one.alternatives) == len(other.alternatives) + len(added)
        assert len(added) <= 1
    assert not any(caption.neighbours for caption in plain)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_captions_do_not_depend_on_the_batch(indexed: Path, toy_set: PreparedSet, batch_size: int) -> None:
    captioner = Captioner.load(indexed, device="cpu")
    whole = captioner.caption(dev_images(toy_set))
    parts = captioner.caption(dev_images(toy_set), batch_size=batch_size)
    assert [each.text for each in parts] == [each.text for each in whole]
    assert [each.score for each in parts] == pytest.approx([each.score for each in whole], abs=1e-4)


def test_bundle_and_export_carry_it(
    tiny_checkpoint: Any, ready_graphs: Path, toy_set: PreparedSet, tmp_path: Path
) -> None:
    from showtell.export.onnx import export_checkpoint

    # Its encoder is a fine-tuned one, whose features are not cached.
    place = tmp_path / "captioner"
    index_captions(tiny_checkpoint("attention"), place, data=toy_set.directory, retrieval_weight=20.0)
    make_bundle(place, tmp_path / "bundle")
    export_checkpoint(place, tmp_path / "onnx", num_compare=4)
    images = dev_images(toy_set)
    expected, bundled, exported = (
        Captioner.load(path, device="cpu").caption(images)
        for path in (place, tmp_path / "bundle", tmp_path / "onnx")
    )
    for others in (bundled, exported):
        assert [each.text for each in others] == [each.text for each in expected]
        assert [each.neighbours[0].key for each in others] == [each.neighbours[0].key for each in expected]
    options = {"data": toy_set.directory, "device": "cpu"}
    assert evaluate(place, **options).scores.values == evaluate(tmp_path / "onnx", **options).scores.values
    with pytest.raises(DataError, match="cannot be evaluated on these images"):
        evaluate(tmp_path / "onnx", split="train", **options)


def test_images_of_the_datastore_are_not_evaluated_whatever_their_names(
    indexed: Path, toy_set: PreparedSet, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"found 16 of 16 in its datastore.*0\.png.*--retrieval off"):
        evaluate_checkpoint(indexed, data=toy_set.directory, split="train")
    source = tmp_path / "photos"
    source.mkdir()
    shutil.copy(toy_set.image_path(20), source / "unseen.png")
    shutil.copy(toy_set.image_path(3), source / "renamed.png")
    rows = [
        {"image": f"{name}.png", "captions": ["a picture"], "split": "dev"} for name in ("unseen", "renamed")
    ]
    (source / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepare(source / "set.jsonl", tmp_path / "set")
    with pytest.raises(DataError, match=r"found 1 of 2 in its datastore, with their captions: renamed\.png"):
        evaluate_checkpoint(indexed, data=tmp_path / "set")
    loaded = load_checkpoint(indexed)
    off = loaded.generation.model_copy(update={"retrieval": "off"})
    assert len(evaluate_checkpoint(loaded, data=tmp_path / "set", options=off).texts) == 2


def test_near_duplicates_are_told(
    indexed: Path, toy_set: PreparedSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    source = tmp_path / "photos"
    source.mkdir()
    with Image.open(toy_set.image_path(3)) as image:
        image.save(source / "again.png", compress_level=1, pnginfo=None, dpi=(72, 72))
    (source / "set.jsonl").write_text(json.dumps({"image": "again.png", "captions": ["x"], "split": "dev"}))
    prepare(source / "set.jsonl", tmp_path / "set")
    evaluate_checkpoint(indexed, data=tmp_path / "set")
    told = capsys.readouterr().err
    assert "1 of 1 images are near-duplicates of images of the datastore" in told
    assert "again.png and 3.png" in told


def test_own_captions_are_added_and_corrections_replace(
    indexed: Path, toy_set: PreparedSet, tmp_path: Path
) -> None:
    source = tmp_path / "own"
    source.mkdir()
    shutil.copy(toy_set.image_path(0), source / "known.png")
    shutil.copy(toy_set.image_path(20), source / "new.png")
    rows = [
        {"image": f"{name}.png", "captions": ["one old tree"], "split": "train"} for name in ("known", "new")
    ]
    (source / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepare(source / "set.jsonl", tmp_path / "set")
    index_captions(indexed, tmp_path / "both", data=tmp_path / "set")
    both = load_checkpoint(tmp_path / "both")
    assert both.datastore is not None
    assert len(both.datastore) == 17
    assert both.datastore.keys[-2:] == ["known.png", "new.png"]
    assert "0.png" not in both.datastore.keys
    assert both.generation.retrieval_weight == 20.0
    index_captions(indexed, tmp_path / "alone", data=tmp_path / "set", replace_datastore=True)
    alone = load_checkpoint(tmp_path / "alone").datastore
    assert alone is not None
    assert alone.keys == ["known.png", "new.png"]


def test_retrieval_without_a_datastore_is_refused_before_anything_is_encoded(
    frozen_captioner: Any, toy_set: PreparedSet
) -> None:
    captioner = Captioner.load(frozen_captioner.directory, device="cpu")
    with pytest.raises(ConfigError, match=r"found a captioner without a datastore.*showtell index"):
        captioner.caption(dev_images(toy_set), retrieval="rerank")
    loaded = load_checkpoint(frozen_captioner.directory)
    options = loaded.generation.model_copy(update={"retrieval": "rerank"})
    with pytest.raises(ConfigError, match="without a datastore"):
        evaluate_checkpoint(loaded, data=toy_set.directory, options=options)


def test_a_captioner_trained_further_keeps_its_datastore_and_adds_the_new_images(
    indexed: Path, toy_set: PreparedSet, own: PreparedSet, tmp_path: Path
) -> None:
    epochs = ["objective.0.epochs=1"]
    train(
        load_recipe("fine-tune", epochs, sections=sections_of(indexed)),
        data=own.directory,
        out=tmp_path / "run",
    )
    old, further = load_checkpoint(indexed), load_checkpoint(tmp_path / "run")
    assert old.datastore is not None
    assert further.datastore is not None
    assert further.datastore.keys == [
        *old.datastore.keys,
        *(own.key(int(row)) for row in own.split_rows("train")),
    ]
    assert (further.datastore.vectors[:16] == old.datastore.vectors).all()
    assert further.generation == old.generation
    with pytest.raises(DataError, match="found 16 of 16 in its datastore"):
        evaluate_checkpoint(tmp_path / "run", data=toy_set.directory, split="train")
    off = [*epochs, "generation.retrieval=off"]
    train(
        load_recipe("fine-tune", off, sections=sections_of(indexed)), data=own.directory, out=tmp_path / "off"
    )
    assert load_checkpoint(tmp_path / "off").datastore is None


def test_known_validation_images_are_refused_before_training(
    indexed: Path, toy_set: PreparedSet, tmp_path: Path
) -> None:
    recipe = load_recipe("fine-tune", ["validation.split=train"], sections=sections_of(indexed))
    with pytest.raises(DataError, match="in its datastore"):
        train(recipe, data=toy_set.directory, out=tmp_path / "run")


def test_generated_splits_that_are_left_out_are_named(
    indexed: Path, own: PreparedSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index_captions(indexed, tmp_path / "more", data=own.directory)
    assert "1 images of other splits, which prepare generated, are not indexed" in capsys.readouterr().err


def test_features_cannot_change_under_a_datastore(indexed: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--flip-average cannot be used"):
        make_bundle(indexed, tmp_path / "bundle", flip_average=True)


def test_a_datastore_of_one_image_says_that_it_reranks_nothing_and_cannot_compare_more(
    frozen_captioner: Any, toy_set: PreparedSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own").mkdir()
    shutil.copy(toy_set.image_path(0), tmp_path / "own" / "0.png")
    row = {"image": "0.png", "captions": ["one old tree"], "split": "train"}
    (tmp_path / "own" / "set.jsonl").write_text(json.dumps(row))
    prepare(tmp_path / "own" / "set.jsonl", tmp_path / "set")
    index_captions(frozen_captioner.directory, tmp_path / "one", data=tmp_path / "set")
    assert "no caption is reranked before it has a second image" in capsys.readouterr().err
    captions = Captioner.load(tmp_path / "one", device="cpu").caption(dev_images(toy_set))
    assert {(each.key, each.fraction) for caption in captions for each in caption.neighbours} == {
        ("0.png", 0.0)
    }
    assert capsys.readouterr().err.count("no caption is reranked before it has a second image") == 1
    index_captions(tmp_path / "one", tmp_path / "more", data=toy_set.directory)
    assert "compares images by 0 components" in capsys.readouterr().err
    index_captions(tmp_path / "more", tmp_path / "again", data=tmp_path / "set")
    assert "warning" not in capsys.readouterr().err


def test_a_captioner_of_another_method_gets_beams_to_choose_among(
    frozen_captioner: Any, toy_set: PreparedSet, tmp_path: Path
) -> None:
    greedy = tmp_path / "greedy"
    shutil.copytree(frozen_captioner.directory, greedy)
    config = json.loads((greedy / "config.json").read_text())
    config["generation"]["method"] = "greedy"
    write_summed_json(greedy / "config.json", config)
    index_captions(greedy, tmp_path / "indexed", data=toy_set.directory)
    generation = load_checkpoint(tmp_path / "indexed").generation
    assert (generation.method, generation.beam_size) == ("beam", 10)


def test_what_cannot_be_written_is_refused_before_images_are_encoded(
    frozen_captioner: Any, toy_set: PreparedSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CheckpointError, match=r"found other files \(notes\.txt\)"):
        index_captions(frozen_captioner.directory, tmp_path, data=toy_set.directory)
    assert "datastore" not in capsys.readouterr().err


def test_an_export_is_not_indexed(ready_graphs: Path, toy_set: PreparedSet, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="of an export, the one that it was exported from"):
        index_captions(ready_graphs, tmp_path / "out", data=toy_set.directory)


def test_images_without_a_caption_of_words_are_told(
    frozen_captioner: Any, toy_set: PreparedSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own").mkdir()
    for number, texts in ((20, ["one old tree", "..."]), (21, ["!"])):
        shutil.copy(toy_set.image_path(number), tmp_path / "own")
        row = {"image": f"{number}.png", "captions": texts, "split": "train"}
        with (tmp_path / "own" / "set.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
    prepare(tmp_path / "own" / "set.jsonl", tmp_path / "set")
    made = index_captions(frozen_captioner.directory, tmp_path / "out", data=tmp_path / "set").datastore
    assert (made.keys, made.captions[0]) == (["20.png"], [["one", "old", "tree"]])
    assert "images left out, without a caption of words: 1" in capsys.readouterr().err


def test_a_datastore_names_no_folder_of_this_machine(
    frozen_captioner: Any, toy_set: PreparedSet, tmp_path: Path
) -> None:
    places = [toy_set.image_path(20), Path("folder/21.png")]
    (tmp_path / "folder").mkdir()
    shutil.copy(toy_set.image_path(21), tmp_path / places[1])
    rows = [{"image": str(place), "captions": ["one old tree"], "split": "train"} for place in places]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepare(tmp_path / "set.jsonl", tmp_path / "set")
    made = index_captions(frozen_captioner.directory, tmp_path / "out", data=tmp_path / "set").datastore
    assert made.keys == ["20.png", "folder/21.png"]

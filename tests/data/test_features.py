"""The feature cache: equal to live features, never stale, never half taken for whole, safe to kill."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tests.forks import exit_code, fork

from showtell.config.preprocessing import Preprocessing
from showtell.data import feature_cache, feature_writer
from showtell.data import features as features_module
from showtell.data.feature_cache import cache_bytes
from showtell.data.features import extract_features
from showtell.data.prepared import PreparedSet, prepare
from showtell.data.views import CachedFeatures
from showtell.encoders.encoder import Encoder, EncoderSpec, build_encoder
from showtell.encoders.resnet import ResNet
from showtell.errors import DataError
from showtell.images.load import load_image
from showtell.images.preprocess import preprocess_image
from showtell.system.atomic import write_summed_json
from showtell.system.locks import locked_directory

COUNT = 21
PREPROCESSING = Preprocessing(size=64)


@pytest.fixture(scope="module")
def encoder(resnet18_weights: Path) -> Encoder:
    return build_encoder(EncoderSpec(name="resnet18", preprocessing=PREPROCESSING), weights=resnet18_weights)


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedSet:
    """A set of 21 pictures: 14 to train, 7 for dev, mixed."""
    folder = tmp_path / "source"
    folder.mkdir()
    generator = np.random.default_rng(0)
    lines = []
    for number in range(COUNT):
        pixels = generator.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((72, 60)).save(folder / f"{number:02}.png")
        split = "train" if number % 3 else "dev"
        lines.append(
            json.dumps({"image": f"{number:02}.png", "caption": f"picture {number}", "split": split})
        )
    (folder / "captions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return prepare(folder / "captions.jsonl", tmp_path / "set")


def live(prepared: PreparedSet, encoder: Encoder, row: int) -> tuple[np.ndarray, np.ndarray]:
    picture = preprocess_image(load_image(prepared.image_path(row)), encoder.preprocessing)
    features = encoder(torch.from_numpy(picture)[None])
    return features.regions[0].numpy(), features.pooled[0].numpy()


def test_cached_features_are_the_live_ones(prepared: PreparedSet, encoder: Encoder, tmp_path: Path) -> None:
    cache = extract_features(prepared, encoder, tmp_path / "cache", batch_size=4)
    assert cache.regions.shape == (COUNT, 4, 512)
    assert cache.pooled.shape == (COUNT, 512)
    assert cache.regions.dtype == cache.pooled.dtype == np.float16
    assert cache.done.all()
    for row in range(COUNT):
        regions, pooled = live(prepared, encoder, row)
        # 2^-8: what bfloat16 may differ by where another batch size takes another kernel.
        np.testing.assert_allclose(cache.regions[row], regions, rtol=2**-8, atol=1e-3)
        np.testing.assert_allclose(cache.pooled[row], pooled, rtol=2**-8, atol=1e-3)


@pytest.mark.thorough
def test_reopened_cache_is_the_same(prepared: PreparedSet, encoder: Encoder, tmp_path: Path) -> None:
    written = extract_features(prepared, encoder, tmp_path / "cache")
    opened = extract_features(prepared, encoder, tmp_path / "cache")
    assert np.array_equal(opened.regions, written.regions)
    assert np.array_equal(opened.pooled, written.pooled)
    with pytest.raises(ValueError, match="read-only"):
        opened.pooled[0, 0] = 1


def test_finished_cache_is_not_made_again(
    prepared: PreparedSet, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract_features(prepared, encoder, tmp_path / "cache")
    monkeypatch.setattr(features_module, "_load", None)  # nothing may be read
    assert extract_features(prepared, encoder, tmp_path / "cache").done.all()


def test_splits_are_added_one_by_one(prepared: PreparedSet, encoder: Encoder, tmp_path: Path) -> None:
    cache = extract_features(prepared, encoder, tmp_path / "cache", rows=prepared.split_rows("dev"))
    assert cache.done.tolist() == [row in prepared.split_rows("dev") for row in range(COUNT)]
    before = np.array(cache.regions[prepared.split_rows("dev")])
    whole = extract_features(prepared, encoder, tmp_path / "cache")
    assert whole.done.all()
    assert np.array_equal(whole.regions[prepared.split_rows("dev")], before)


def test_size_is_reported_before(
    prepared: PreparedSet, encoder: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extract_features(prepared, encoder, tmp_path / "cache", rows=prepared.split_rows("dev"))
    assert "features of 7 images: 0.0 MB in" in capsys.readouterr().err
    extract_features(prepared, encoder, tmp_path / "cache")
    assert "features of 14 images: 0.1 MB in" in capsys.readouterr().err
    extract_features(prepared, encoder, tmp_path / "cache")
    assert "features of" not in capsys.readouterr().err
    files = sum((tmp_path / "cache" / name).stat().st_size for name in ("regions.f16", "pooled.f16"))
    assert files == cache_bytes(COUNT, 4, 512) == 2 * COUNT * 5 * 512


def test_too_little_room_is_refused_before_anything_is_written(
    prepared: PreparedSet, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(
        DataError, match=r"not enough disk space .* found 1.0 MB free; expected 67.2 MB.*another disk"
    ):
        extract_features(prepared, encoder, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_room_is_needed_for_the_missing_images_locked(
    prepared: PreparedSet, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev = prepared.split_rows("dev")
    enough = cache_bytes(len(dev), encoder.regions, encoder.width) + feature_cache.SPARE_BYTES
    usage = shutil.disk_usage(tmp_path)._replace(free=enough)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    extract_features(prepared, encoder, tmp_path / "cache", rows=dev)
    with pytest.raises(DataError, match="not enough disk space"):
        extract_features(prepared, encoder, tmp_path / "cache")
    usage = usage._replace(free=0)
    assert extract_features(prepared, encoder, tmp_path / "cache", rows=dev).done.sum() == len(dev)


def test_resuming_in_another_precision_is_noted(
    prepared: PreparedSet, encoder: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert encoder.weights is not None
    first, other = (
        build_encoder(encoder.spec, weights=encoder.weights, dtype=dtype)
        for dtype in (torch.bfloat16, torch.float32)
    )
    extract_features(prepared, first, tmp_path / "cache", rows=prepared.split_rows("dev"))
    assert "continues in" not in capsys.readouterr().err
    extract_features(prepared, other, tmp_path / "cache")
    assert "was started in bfloat16 and continues in float32" in capsys.readouterr().err


def change_weights(encoder: Encoder, prepared: PreparedSet, tmp_path: Path) -> tuple[Encoder, PreparedSet]:
    torch.manual_seed(1)
    save_file(ResNet(18).state_dict(), tmp_path / "other.safetensors")
    return build_encoder(encoder.spec, weights=tmp_path / "other.safetensors"), prepared


def change_preprocessing(
    encoder: Encoder, prepared: PreparedSet, tmp_path: Path
) -> tuple[Encoder, PreparedSet]:
    spec = encoder.spec.model_copy(update={"preprocessing": Preprocessing(size=64, resize="crop")})
    return build_encoder(spec, weights=encoder.weights), prepared


def change_set(encoder: Encoder, prepared: PreparedSet, tmp_path: Path) -> tuple[Encoder, PreparedSet]:
    source = tmp_path / "source" / "captions.jsonl"
    source.write_text(source.read_text().replace("picture 3", "another picture"))
    return encoder, prepare(source, tmp_path / "other set")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (change_weights, r"encoder.weights is \w{64}, not \w{64}"),
        (change_preprocessing, "encoder.preprocessing.resize is squash, not crop"),
        (change_set, r"prepared set is \w{64}, not \w{64}"),
    ],
)
def test_stale_cache_is_refused_by_name(
    prepared: PreparedSet,
    encoder: Encoder,
    tmp_path: Path,
    change: Callable[..., tuple[Encoder, PreparedSet]],
    field: str,
) -> None:
    extract_features(prepared, encoder, tmp_path / "cache")
    other_encoder, other_set = change(encoder, prepared, tmp_path)
    with pytest.raises(DataError, match=rf"cache is stale: found {field}. Delete it or choose another"):
        extract_features(other_set, other_encoder, tmp_path / "cache")
    assert extract_features(prepared, encoder, tmp_path / "cache").done.all()


def test_directory_of_something_else_is_left_locked(
    prepared: PreparedSet, encoder: Encoder, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="is not a feature cache: found a prepared set"):
        extract_features(prepared, encoder, prepared.directory)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match=r"other files \(letter.txt\). Choose an empty or new directory"):
        extract_features(prepared, encoder, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    with pytest.raises(DataError, match=r"cannot write .*letter.txt: found (File exists|Not a directory)"):
        extract_features(prepared, encoder, tmp_path / "mine" / "letter.txt")


@pytest.mark.parametrize("name", ["regions.f16", "pooled.f16", "done.bitmap", "sums.u64"])
def test_broken_cache_is_refused(prepared: PreparedSet, encoder: Encoder, tmp_path: Path, name: str) -> None:
    extract_features(prepared, encoder, tmp_path / "cache")
    path = tmp_path / "cache" / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=rf"is broken: found {name} of [\d,]+ bytes"):
        extract_features(prepared, encoder, tmp_path / "cache")
    path.unlink()
    with pytest.raises(DataError, match=f"is broken: found no {name}"):
        extract_features(prepared, encoder, tmp_path / "cache")


def test_no_flipped_bit_is_read_and_the_row_is_extracted_again(
    prepared: PreparedSet, encoder: Encoder, tmp_path: Path
) -> None:
    cache = extract_features(prepared, encoder, tmp_path / "cache")
    whole = {name: np.array(getattr(cache, name)) for name in ("regions", "pooled")}
    rows = np.arange(len(prepared), dtype=np.int64)
    generator = np.random.default_rng(0)
    for name in ("regions.f16", "pooled.f16", "sums.u64"):
        path = tmp_path / "cache" / name
        for place in generator.integers(path.stat().st_size, size=8).tolist():
            content = bytearray(path.read_bytes())
            content[place] ^= 1 << int(generator.integers(8))
            path.write_bytes(content)
            damaged = extract_features(prepared, encoder, tmp_path / "cache")
            row = place * len(prepared) // len(content)
            with pytest.raises(
                DataError, match=rf"is damaged: found other \w+ of image {row} than were extracted"
            ):
                CachedFeatures([damaged]).load(rows, np.zeros(len(rows), np.bool_))
            mended = extract_features(prepared, encoder, tmp_path / "cache")
            for part, values in whole.items():
                assert np.array_equal(getattr(mended, part), values)
            CachedFeatures([mended]).load(rows, np.zeros(len(rows), np.bool_))


def test_a_damaged_cache_that_may_only_be_read_is_to_be_deleted(
    prepared: PreparedSet, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = extract_features(prepared, encoder, tmp_path / "cache")
    path = tmp_path / "cache" / "pooled.f16"
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    monkeypatch.setattr(feature_cache, "forget_row", lambda bitmap, row: False)
    with pytest.raises(DataError, match="Delete the directory and extract again"):
        cache.read("pooled", 0)


def test_a_cache_of_an_earlier_version_has_no_sums_and_is_read_with_a_note(
    prepared: PreparedSet, encoder: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = extract_features(prepared, encoder, tmp_path / "cache", rows=np.arange(5))
    path = tmp_path / "cache" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    del manifest["sums"]
    write_summed_json(path, manifest)
    (tmp_path / "cache" / "sums.u64").unlink()
    capsys.readouterr()
    old = extract_features(prepared, encoder, tmp_path / "cache")
    assert "is of an earlier version, without sums" in capsys.readouterr().err
    assert np.array_equal(old.read("regions", 3), expected.read("regions", 3))
    assert old.done.all()


def test_a_cache_of_another_number_of_rows_is_refused(
    prepared: PreparedSet, encoder: Encoder, tmp_path: Path
) -> None:
    extract_features(prepared, encoder, tmp_path / "cache")
    path = tmp_path / "cache" / "manifest.json"
    write_summed_json(path, {**json.loads(path.read_text(encoding="utf-8")), "rows": 10**12})
    with pytest.raises(DataError, match=rf"found 1000000000000 rows .*expected {len(prepared)} rows"):
        extract_features(prepared, encoder, tmp_path / "cache")


def test_creation_that_stopped_before_the_manifest_is_begun_again(
    prepared: PreparedSet, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(feature_cache, "write_manifest", stop)
        with pytest.raises(KeyboardInterrupt):
            extract_features(prepared, encoder, tmp_path / "cache")
    assert extract_features(prepared, encoder, tmp_path / "cache").done.all()


def test_images_that_are_gone_or_changed_stop_nothing_and_are_named(
    prepared: PreparedSet, encoder: Encoder, tmp_path: Path
) -> None:
    whole = np.array(extract_features(prepared, encoder, tmp_path / "whole", batch_size=4).regions)
    kept = {}
    for row, content in ((3, b"not a picture"), (4, None), (11, prepared.image_path(12).read_bytes())):
        path = prepared.image_path(row)
        kept[path] = path.read_bytes()
        path.unlink()
        if content is not None:
            path.write_bytes(content)
    with pytest.raises(DataError, match="3 of 21 images have no features, the others are done") as raised:
        extract_features(prepared, encoder, tmp_path / "cache", batch_size=4)
    assert "03.png has changed since the set was prepared" in str(raised.value)
    assert "04.png: found No such file" in str(raised.value)
    assert "11.png has changed" in str(raised.value)
    with pytest.raises(DataError, match="3 of 3 images have no features"):
        extract_features(prepared, encoder, tmp_path / "cache", batch_size=4)
    for path, content in kept.items():
        path.write_bytes(content)
    cache = extract_features(prepared, encoder, tmp_path / "cache", batch_size=4)
    np.testing.assert_allclose(cache.regions, whole, rtol=2**-8, atol=1e-3)


def test_cached_features_of_an_edited_image_are_refused(
    prepared: PreparedSet, encoder: Encoder, tmp_path: Path
) -> None:
    few = np.arange(5)
    extract_features(prepared, encoder, tmp_path / "cache", rows=few)
    prepared.image_path(2).write_bytes(prepared.image_path(12).read_bytes())
    prepared.image_path(3).unlink()
    prepared = PreparedSet.load(prepared.directory)
    with pytest.raises(DataError, match=r"^1 image has changed since .* was prepared: found 02\.png\. Run"):
        extract_features(prepared, encoder, tmp_path / "cache", rows=few)
    cached = extract_features(prepared, encoder, tmp_path / "cache", rows=few[3:])
    assert cached.done[:5].all()


def test_every_image_gone_is_reported(prepared: PreparedSet, encoder: Encoder, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "source")
    with pytest.raises(DataError, match=r"21 of 21 images have no features.* and 11 more"):
        extract_features(prepared, encoder, tmp_path / "cache")


@pytest.mark.parametrize("call", [0, 4, 12])
def test_full_disk_is_reported_and_what_is_done_stays(
    prepared: PreparedSet, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    calls = 0
    write = os.pwrite

    def fill_up(descriptor: int, block: memoryview, offset: int) -> int:
        nonlocal calls
        calls += 1
        if calls > call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, block, offset)

    monkeypatch.setattr(feature_writer, "SYNC_INTERVAL_S", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fill_up)
        with pytest.raises(
            DataError, match=r"No space left on device. Free some space and run the same command again"
        ):
            extract_features(prepared, encoder, tmp_path / "cache", batch_size=4)
    done = np.unpackbits(np.fromfile(tmp_path / "cache" / "done.bitmap", np.uint8), count=COUNT)
    assert int(done.sum()) == {0: 0, 4: 4, 12: 12}[call]  # four writes a batch of four
    cache = extract_features(prepared, encoder, tmp_path / "cache", batch_size=4)
    for row in (0, COUNT - 1):
        np.testing.assert_allclose(cache.regions[row], live(prepared, encoder, row)[0], rtol=2**-8, atol=1e-3)


def test_short_writes_are_finished(
    prepared: PreparedSet, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, block, offset: write(file, block[:1000], offset))
    cache = extract_features(prepared, encoder, tmp_path / "cache")
    np.testing.assert_allclose(cache.regions[20], live(prepared, encoder, 20)[0], rtol=2**-8, atol=1e-3)


def test_killed_extraction_resumes_where_it_stopped(
    prepared: PreparedSet, encoder: Encoder, tmp_path: Path
) -> None:
    directory = tmp_path / "cache"

    def extract_until_killed() -> None:
        write, calls = os.pwrite, 0

        def die(*arguments: Any) -> int:
            nonlocal calls
            calls += 1
            if calls == 10:  # four writes a batch: within the third
                os.kill(os.getpid(), signal.SIGKILL)
            return write(*arguments)

        feature_writer.SYNC_INTERVAL_S = 0.0
        os.pwrite = die
        extract_features(prepared, encoder, directory, batch_size=4)

    assert exit_code(fork(extract_until_killed)) == -signal.SIGKILL
    done = np.unpackbits(np.fromfile(directory / "done.bitmap", np.uint8), count=COUNT)
    assert done.nonzero()[0].tolist() == list(range(8))
    before = np.array(np.fromfile(directory / "regions.f16", np.float16).reshape(COUNT, 4, 512)[:8])
    resumed = extract_features(prepared, encoder, directory, batch_size=4)
    assert np.array_equal(resumed.regions[:8], before)
    whole = extract_features(prepared, encoder, tmp_path / "whole", batch_size=4)
    np.testing.assert_allclose(resumed.regions, whole.regions, rtol=2**-8, atol=1e-3)


def extract_with_another(prepared: PreparedSet, encoder: Encoder, cache: Path, killed_at: int) -> None:
    """Extract features, from the first image on, beside another process, which writes what it loaded too."""
    features_module.CLAIMED_ROWS = feature_writer.CLAIMED_ROWS = 8
    features_module.BATCHES_AHEAD = 1
    feature_writer.SYNC_INTERVAL_S = 0.0
    load, loaded = features_module._load, list[int]()

    def load_with_the_other(prepared: PreparedSet, row: int, preprocessing: Preprocessing) -> Any:
        loaded.append(row)
        Path(f"{cache}{os.getpid()}").touch()
        if len(loaded) == 1:
            while len(list(cache.parent.glob(f"{cache.name}?*"))) < 2:
                time.sleep(0.01)
        if len(loaded) == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return load(prepared, row, preprocessing)

    features_module._load = load_with_the_other
    features_module.usable_cores = lambda: 1
    assert extract_features(prepared, encoder, cache, batch_size=4).done.all()
    Path(f"{cache}{os.getpid()}").write_text(" ".join(map(str, loaded)))


@pytest.mark.parametrize("killed_at", [0, 6])
def test_two_processes_fill_a_cache_together_and_one_finishes_what_a_killed_one_had(
    prepared: PreparedSet, encoder: Encoder, tmp_path: Path, killed_at: int
) -> None:
    cache = tmp_path / "cache"
    both = [fork(extract_with_another, prepared, encoder, cache, last) for last in (0, killed_at)]
    assert [exit_code(pid) for pid in both] == [0, -signal.SIGKILL if killed_at else 0]
    rows = [set(map(int, Path(f"{cache}{pid}").read_text().split())) for pid in both]
    if killed_at:
        assert len(rows[0]) > 8
    else:
        assert min(map(len, rows)) > 0
        assert not rows[0] & rows[1]
        assert rows[0] | rows[1] == set(range(COUNT))
    found, whole = (extract_features(prepared, encoder, tmp_path / name) for name in ("cache", "whole"))
    np.testing.assert_allclose(found.regions, whole.regions, rtol=2**-8, atol=1e-3)
    assert [found.read("pooled", row).size for row in range(COUNT)] == [512] * COUNT


def test_a_process_waits_for_one_that_opens_the_cache(
    prepared: PreparedSet, encoder: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").mkdir()
    with ThreadPoolExecutor(1) as pool:
        with locked_directory(tmp_path / "cache"):
            other = pool.submit(extract_features, prepared, encoder, tmp_path / "cache")
            with pytest.raises(TimeoutError):
                other.result(timeout=0.3)
            assert list((tmp_path / "cache").iterdir()) == []
        assert other.result().done.all()
    assert "waiting for another process that opens" in capsys.readouterr().err


def test_trainable_encoder_has_no_cache(prepared: PreparedSet, tmp_path: Path) -> None:
    encoder = build_encoder(EncoderSpec(name="small", trainable=True, width=16))
    with pytest.raises(DataError, match="features of a trainable encoder cannot be cached"):
        extract_features(prepared, encoder, tmp_path / "cache")


def test_layout_is_checked_before_a_cache_is_begun(
    prepared: PreparedSet, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        Encoder, "verify_stride_layout", lambda self, pictures: asked.append(tuple(pictures.shape))
    )
    extract_features(prepared, encoder, tmp_path / "of one layout", rows=prepared.split_rows("train"))
    assert asked == []
    monkeypatch.setattr(Encoder, "has_stride_variants", True)
    extract_features(prepared, encoder, tmp_path / "cache", rows=prepared.split_rows("train"))
    extract_features(prepared, encoder, tmp_path / "cache")
    assert asked == [(14, 64, 64, 3)]


def test_a_cache_without_regions_is_refused_to_readers(
    prepared: PreparedSet, encoder: Encoder, tmp_path: Path
) -> None:
    cache = extract_features(prepared, encoder, tmp_path / "cache", regions=False)
    assert cache.regions.shape == (len(prepared), 0, encoder.width)
    assert cache.pooled.shape == (len(prepared), encoder.width)
    with pytest.raises(DataError, match=rf"is stale: found regions is 0, not {encoder.regions}"):
        extract_features(prepared, encoder, tmp_path / "cache")
    whole = extract_features(prepared, encoder, tmp_path / "whole")
    assert np.array_equal(whole.pooled, cache.pooled)
    same = extract_features(prepared, encoder, tmp_path / "whole", regions=False)
    assert same.regions.shape == whole.regions.shape

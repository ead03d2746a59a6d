"""An export in use: the facade's captions without torch, and broken ones refused by name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from showtell.errors import CheckpointError, ConfigError, EncoderError, MissingExtraError
from showtell.export.onnx import Exported
from showtell.inference.captioner import Captioner
from showtell.inference.onnx_backend import OnnxBackend
from showtell.inference.onnx_files import ENCODER, INIT, STEP, is_export, weights_of
from showtell.inference.onnx_sessions import OnnxSessionLoader, int8_overflows
from showtell.system.atomic import write_summed_json

Picture = npt.NDArray[np.uint8]


def picture(seed: int) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (5, 4, 3), np.uint8).repeat(8, 0).repeat(8, 1)


def load(directory: Path) -> OnnxBackend:
    return OnnxBackend(OnnxSessionLoader(directory))


@pytest.fixture(scope="module")
def both(exported: Exported, tiny_checkpoint: Callable[[str], Path]) -> tuple[Captioner, Captioner]:
    """The captioner that runs with torch, and its export."""
    return Captioner.load(tiny_checkpoint("attention"), device="cpu"), Captioner.load(exported.directory)


@pytest.fixture
def copied(exported: Exported, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported.directory, tmp_path / "copy"))


def test_threads_of_a_graph_stop_spinning_when_it_has_run(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, told = onnxruntime.InferenceSession, []

    def noting(path: str, options: Any, **rest: Any) -> Any:
        told.append(options.get_session_config_entry("session.force_spinning_stop"))
        return opened(path, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", noting)
    load(exported.directory)
    assert told == ["1", "1", "1"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "greedy"},
        {"beam_size": 5, "no_repeat_ngram_size": 2, "length_penalty": 0.5},
        {"beam_size": 6, "beam_groups": 3, "repetition_penalty": 1.5},
        {"samples": 3, "temperature": 0.9, "top_k": 6, "top_p": 0.9, "seed": 7},
        {"samples": 3, "without_replacement": True},
    ],
    ids=["default", "greedy", "beam", "groups", "sample", "without replacement"],
)
@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_the_facade_says_the_same_with_an_export(
    both: tuple[Captioner, Captioner], options: dict[str, Any], batch_size: int
) -> None:
    ours, theirs = both
    pictures = [picture(seed) for seed in range(7)]
    expected = ours.caption(pictures, attention=True, **options)
    found = theirs.caption(pictures, attention=True, batch_size=batch_size, **options)
    assert len({one.text for one in found}) > 2
    for one, other in zip(found, expected, strict=True):
        assert [said.text for said in one.alternatives] == [said.text for said in other.alternatives]
        assert (one.text, one.words, one.truncated) == (other.text, other.words, other.truncated)
        assert one.score == pytest.approx(other.score, abs=1e-4)
        assert one.word_log_probs == pytest.approx(other.word_log_probs, abs=1e-4)
        np.testing.assert_allclose(one.attention, other.attention, atol=1e-4)


def test_an_export_has_the_checkpoint_s_options_grid_and_preprocessing(
    both: tuple[Captioner, Captioner],
) -> None:
    ours, theirs = both
    for name in ("options", "grid", "preprocessing"):
        assert getattr(theirs, name) == getattr(ours, name)


@pytest.mark.thorough
def test_nothing_of_torch_is_imported(exported: Exported) -> None:
    code = (
        "import sys, numpy as np\n"
        "from showtell import Captioner\n"
        f"captioner = Captioner.load({str(exported.directory)!r})\n"
        "pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)\n"
        "said = captioner.caption(pictures, attention=True) + captioner.caption(pictures, samples=2)\n"
        "assert all(one.error is None for one in said)\n"
        "assert {'torch', 'onnx', 'pyarrow'}.isdisjoint(sys.modules), sys.modules.keys()\n"
        "print(len(said))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "6\n"), run.stderr


def test_without_onnxruntime_its_extra_is_named(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"onnxruntime, for exports.*pip install -e '\.\[onnx\]'"):
        Captioner.load(exported.directory)


@pytest.mark.parametrize(
    "name", [ENCODER, INIT, STEP, weights_of(ENCODER), weights_of(STEP), "tokenizer.json"]
)
def test_a_file_that_was_cut_is_refused_by_name(copied: Path, name: str) -> None:
    content = (copied / name).read_bytes()
    for place in (0, len(content) // 2, len(content) - 1):
        (copied / name).write_bytes(content[:place])
        with pytest.raises(
            CheckpointError, match=f"{name} is not the file that this export was written with"
        ):
            Captioner.load(copied)
    (copied / name).unlink()
    with pytest.raises(CheckpointError, match=f"cannot read .*{name}: found No such file"):
        Captioner.load(copied)


def change(directory: Path, change_it: Callable[[dict[str, Any]], Any]) -> None:
    path = directory / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    change_it(config)
    write_summed_json(path, config)


@pytest.mark.parametrize(
    ("change_it", "words"),
    [
        (lambda config: config.update(format=2), "found showtell export, format 2; expected showtell export"),
        (
            lambda config: config.update(vocabularies=3),
            r"unknown key 'vocabularies'\. Did you mean 'vocabulary'",
        ),
        (lambda config: config.pop("generation"), "'generation': Field required"),
        (lambda config: config["encoder"].update(precision="int4"), r"'encoder\.precision'"),
        (lambda config: config["files"].pop(STEP), r"found no SHA-256 of step\.onnx under files"),
        (
            lambda config: config.update(vocabulary=5),
            r"tokenizer\.json does not fit the decoder: found \d+ tokens",
        ),
    ],
    ids=["format", "unknown", "missing", "value", "sums", "vocabulary"],
)
def test_a_configuration_that_cannot_be_used_is_refused_by_its_key(
    copied: Path, change_it: Callable[[dict[str, Any]], Any], words: str
) -> None:
    change(copied, change_it)
    with pytest.raises(CheckpointError, match=words):
        Captioner.load(copied)


def test_what_is_no_export_is_a_checkpoint_or_nothing(copied: Path, tmp_path: Path) -> None:
    assert is_export(copied)
    assert not is_export(tmp_path)
    (copied / "config.json").write_text("{", encoding="utf-8")
    assert not is_export(copied)
    with pytest.raises(CheckpointError, match="is not an export"):
        load(copied)


def test_a_graph_that_is_none_is_refused(copied: Path) -> None:
    import hashlib

    (copied / STEP).write_bytes(b"no graph")
    digest = hashlib.sha256(b"no graph").hexdigest()
    change(copied, lambda config: config["files"].update({STEP: digest}))
    with pytest.raises(
        CheckpointError, match=r"step\.onnx cannot be run: found .*Try another version of onnxruntime"
    ):
        Captioner.load(copied)


def test_numbers_that_features_cannot_hold_are_refused(exported: Exported) -> None:
    backend = load(exported.directory)
    seen = backend.encode(np.zeros((1, 32, 32, 3), np.uint8))
    backend._encoder = lambda values: {  # type: ignore[assignment]
        "regions": np.full_like(seen.regions, np.inf),
        "pooled": seen.pooled,
        "mask": seen.mask,
    }
    with pytest.raises(
        EncoderError, match="the features of small cannot be used: found values that are not finite"
    ):
        backend.encode(np.zeros((1, 32, 32, 3), np.uint8))


@pytest.mark.parametrize("device", ["cuda:x", "mps", "gpu", "cpu:1"])
def test_a_device_that_onnxruntime_has_not_is_misuse(exported: Exported, device: str) -> None:
    with pytest.raises(ConfigError, match=f"the device '{device}' cannot be used with an export"):
        Captioner.load(exported.directory, device=device)


def test_an_export_takes_no_weights_and_is_no_checkpoint_to_save(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found an export, which holds its encoder"):
        Captioner.load(exported.directory, encoder_weights=tmp_path / "weights.safetensors")
    with pytest.raises(ConfigError, match="cannot be saved as a checkpoint"):
        Captioner.load(exported.directory).save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_a_batch_is_looked_at_in_parts_and_seen_the_same_to_the_bit(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = load(exported.directory)
    encoder, looks = backend._encoder, []

    def watched(values: dict[str, Picture]) -> dict[str, npt.NDArray[Any]]:
        looks.append(len(values["images"]))
        return encoder(values)

    backend._encoder = watched  # type: ignore[assignment]
    pictures = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), np.uint8)
    whole = backend.encode(pictures)
    monkeypatch.setattr("showtell.inference.onnx_backend.ENCODER_PIXELS", 3 * 32 * 32)
    parts = backend.encode(pictures)
    assert looks == [7, 3, 3, 1]
    for name in ("regions", "pooled", "mask"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_weights_lie_beside_the_graphs_where_they_are_mapped(exported: Exported) -> None:
    for name in (ENCODER, INIT, STEP):
        held = onnx.load(exported.directory / name, load_external_data=False).graph.initializer
        assert all(len(one.raw_data) < 1024 for one in held)
    assert (exported.directory / weights_of(ENCODER)).stat().st_size > 1024


def test_a_configuration_edited_by_hand_is_refused_in_words(copied: Path) -> None:
    path = copied / "config.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"beam_size": 3', '"beam_size": 2'), encoding="utf-8"
    )
    with pytest.raises(CheckpointError, match=r"other values than were written.*Export the checkpoint again"):
        Captioner.load(copied)


def test_a_load_that_fails_leaves_nothing_running(copied: Path) -> None:
    change(copied, lambda config: config.pop("generation"))
    before = threading.active_count()
    with pytest.raises(CheckpointError, match="Field required"):
        Captioner.load(copied)
    assert threading.active_count() == before


@pytest.mark.thorough
def test_as_many_threads_as_told(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    told: list[int] = []
    session = onnxruntime.InferenceSession

    def watched(path: str, options: Any, **rest: Any) -> Any:
        told.append(options.intra_op_num_threads)
        return session(path, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", watched)
    monkeypatch.setattr("showtell.inference.onnx_sessions.thread_count", lambda asked: 10 + asked)
    load(exported.directory)
    Captioner.load(exported.directory, threads=3)
    assert told == [10, 10, 10, 13, 13, 13]


@pytest.mark.parametrize(
    ("machine", "flags", "overflows"),
    [
        ("x86_64", "flags : fpu avx2 avx512f", True),
        ("AMD64", "flags : fpu avx2 avx_vnni", False),
        ("x86_64", "flags : fpu amx_int8 amx_tile", False),
        ("aarch64", "", False),
        ("x86_64", None, True),
    ],
)
def test_exact_sums_are_asked_for_where_8_bits_may_overflow(
    tmp_path: Path, machine: str, flags: str | None, overflows: bool
) -> None:
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(flags)
    assert int8_overflows(machine, tmp_path / "cpuinfo") is overflows


def test_confidence_is_that_of_the_checkpoint(
    copied: Path, tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    weights = {
        "words": {"bias": 1.0, "weights": {"log_prob": 0.5}},
        "caption": {"bias": 0.0, "weights": {"words": 1.0, "log_prob": 0.5}},
    }
    checkpoint = Path(shutil.copytree(tiny_checkpoint("attention"), tmp_path / "checkpoint"))
    for directory in (copied, checkpoint):
        config = json.loads((directory / "config.json").read_text())
        write_summed_json(
            directory / "config.json", {**config, "calibration": {"rerank": None, "off": weights}}
        )
    images = [picture(seed) for seed in range(3)]
    ours, theirs = (
        Captioner.load(directory, device="cpu").caption(images) for directory in (copied, checkpoint)
    )
    for one, other in zip(ours, theirs, strict=True):
        assert one.confidence is not None
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)
        assert one.word_confidences == pytest.approx(other.word_confidences, abs=1e-4)


def test_unsure_below_needs_a_calibration(both: tuple[Captioner, Captioner]) -> None:
    for captioner in both:
        with pytest.raises(ConfigError, match="unsure_below"):
            captioner.caption(picture(1), unsure_below=0.5)

"""TensorBoard, Weights & Biases (offline) and MLflow (files): read back, resumed, and never fatal later."""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from showtell.config.recipe import Recipe, dump_recipe
from showtell.errors import MissingExtraError, ShowtellError
from showtell.training import tracking
from showtell.training.tracking import Trackers, flatten, read_metrics, require_trackers

SCORES = {"BLEU-4": 0.19, "CIDEr-D": 0.48}


@pytest.fixture
def run(tmp_path: Path, toy_recipe: Recipe) -> Path:
    run = tmp_path / "my run"
    run.mkdir()
    (run / "recipe.yaml").write_text(dump_recipe(toy_recipe), encoding="utf-8")
    return run


def track(run: Path, name: str, resume_step: int, steps: range, scores: Mapping[str, float] | None) -> None:
    """Log a session's steps and a validation at its end, as a training does."""
    trackers = Trackers([name], resume_step=resume_step)
    trackers.start(run)
    for step in steps:
        trackers.log(step, {"event": "step", "epoch": 1, "loss": 1.0 / step, "lr": 0.01})
    trackers.log(steps[-1], {"event": "validation", "epoch": 1, "CIDEr-D": 0.4})
    trackers.finish(scores)


def test_tensorboard_shows_no_step_twice_and_the_scores(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    track(run, "tensorboard", 0, range(1, 9), None)
    time.sleep(1.1)  # event files are read in the order of the second in their names
    track(run, "tensorboard", 5, range(6, 8), SCORES)
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("step/loss")] == [1, 2, 3, 4, 5, 6, 7]
    assert events.Scalars("final/CIDEr-D")[0].value == pytest.approx(0.48)
    [options] = (run / "tensorboard").glob("*/hparams.yml")
    assert yaml.safe_load(options.read_text(encoding="utf-8"))["optimizer.lr"] == 0.01


def read_wandb(path: Path) -> list[Any]:
    """Return the records of a .wandb file: LevelDB's log format after a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, whole, records = path.read_bytes(), 7, b"", []
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in {1, 4}:  # a whole record, or the last piece of one
            records.append(Record.FromString(whole))
            whole = b""
    return records


def test_wandb_offline_resumes_the_same_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    import wandb

    track(run, "wandb", 0, range(1, 9), None)
    track(run, "wandb", 5, range(6, 11), SCORES)
    # `finish` sends the last records to wandb's process and does not wait until they are in the file; wandb does that
    # when Python exits, by this call.
    wandb.teardown()
    id_ = json.loads((run / "trackers.json").read_text(encoding="utf-8"))["wandb"]
    # Directories are named by the second, and by a number within a second.
    files = sorted((run / "wandb").glob(f"offline-run-*/run-{id_}.wandb"))
    assert len(files) == len(list((run / "wandb").glob("offline-run-*"))) == 2
    records = [record for file in files for record in read_wandb(file)]
    history: list[dict[str, Any]] = []
    for record in records:
        if record.HasField("history"):
            items = record.history.item
            history.append({item.key or item.nested_key[0]: json.loads(item.value_json) for item in items})
    steps = [row["_step"] for row in history if "step/loss" in row]
    # Steps 6 to 8 were done twice, with the same numbers, and are logged once.
    assert steps == list(range(1, 11))
    assert [row["validation/CIDEr-D"] for row in history if "validation/CIDEr-D" in row] == [0.4, 0.4]
    assert {record.run.run_id for record in records if record.HasField("run")} == {id_}
    config = {
        item.key: json.loads(item.value_json)
        for record in records
        if record.HasField("config")
        for item in record.config.update
    }
    assert config["optimizer.lr"] == 0.01
    summary = {
        item.key or item.nested_key[0]: json.loads(item.value_json)
        for record in records
        if record.HasField("summary")
        for item in record.summary.update
    }
    assert summary["final/CIDEr-D"] == 0.48


def test_mlflow_resumes_the_same_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    track(run, "mlflow", 0, range(1, 9), None)
    client = MlflowClient(tracking_uri=(run / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("showtell")
    (found,) = client.search_runs([experiment.experiment_id])
    track(run, "mlflow", 5, range(6, 11), SCORES)
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_id == json.loads((run / "trackers.json").read_text(encoding="utf-8"))["mlflow"]
    assert (found.info.run_name, found.info.status) == ("my run", "FINISHED")
    losses = client.get_metric_history(found.info.run_id, "step/loss")
    assert [(metric.step, metric.value) for metric in losses] == [(step, 1.0 / step) for step in range(1, 11)]
    assert found.data.metrics["final/CIDEr-D"] == 0.48
    assert found.data.params["optimizer.lr"] == "0.01"
    assert found.data.params["objective.0.epochs"] == "2"


def test_mlflow_uses_the_store_that_its_variables_name(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "server").as_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "captions")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    track(run, "mlflow", 0, range(1, 3), SCORES)
    client = MlflowClient()
    experiment = client.get_experiment_by_name("captions")
    assert len(client.search_runs([experiment.experiment_id])) == 1
    assert not (run / "mlflow").exists()


class Broken:
    """A service whose network fails after its first row."""

    calls = 0

    def log(self, values: Mapping[str, Any], step: int) -> None:
        Broken.calls += 1
        if step > 1:
            raise ConnectionError("network is unreachable")

    def finish(self) -> None:
        raise AssertionError("a service that failed is not used again")


def test_a_service_that_fails_later_is_reported_once_and_ends_nothing(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "_start_tracker", lambda *_: Broken())
    Broken.calls = 0
    track(run, "wandb", 0, range(1, 6), SCORES)
    assert Broken.calls == 2
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert warnings == [
        "warning: the tracker 'wandb' failed and gets no more numbers (network is unreachable); "
        "metrics.jsonl has all of them"
    ]
    assert [row["step"] for row in read_metrics(run)] == [1, 2, 3, 4, 5, 5]


def test_a_service_that_cannot_start_is_reported_before_training(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no API key\nand more")

    monkeypatch.setattr(tracking, "_start_tracker", refuse)
    trackers = Trackers(["wandb"], resume_step=0)
    with pytest.raises(
        ShowtellError, match=r"'wandb' cannot start: found no API key\..*training\.trackers=\[\]"
    ):
        trackers.start(run)


def test_a_missing_package_outside_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aim", None)
    with pytest.raises(ShowtellError, match=r"'aim' is not available.*pip install aim"):
        require_trackers(["aim"])


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb"), ("mlflow", "mlflow")]
)
def test_a_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    for loaded in [known for known in sys.modules if known == module or known.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingExtraError, match=rf"the tracker '{name}' is not available.*install -e '\.\[track\]'"
    ):
        require_trackers([name])


def test_options_are_flattened_as_set_takes_them() -> None:
    options = {"a": {"b": 1}, "c": [{"d": 2}, {"d": 3}], "e": [4, 5]}
    assert flatten(options) == {"a.b": 1, "c.0.d": 2, "c.1.d": 3, "e": [4, 5]}

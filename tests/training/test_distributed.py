"""Several processes that train as one, started the way a user starts them."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.forks import exit_code, fork

from showtell.config.recipe import Recipe, dump_recipe, parse_recipe
from showtell.data.prepared import PreparedSet, prepare
from showtell.errors import ConfigError
from showtell.training.device import resolve_device_config
from showtell.training.distributed import DistributedContext, distributed_context, is_main_process
from showtell.training.tracking import read_metrics
from showtell.training.trainer import train

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ACCELERATE = [
    *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
    *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
]
LIMIT_S = 240


def start(command: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=environment,
        check=False,
    )


COLLECTIVES = """
import sys

import torch
from showtell.errors import DataError
from showtell.training.distributed import ProcessError, is_main_process, distributed_context

def fail():
    raise DataError("nothing there")

with distributed_context(torch.device("cpu")) as all_:
    numbers = [torch.full((2, 2), float(all_.rank + 1)), torch.tensor(0.5)]
    all_.all_reduce(numbers)
    assert [one.tolist() for one in numbers] == [[[3.0, 3.0], [3.0, 3.0]], 1.0]
    mine = all_.shard(list(range(7)))
    assert mine == [[0, 2, 4, 6], [1, 3, 5]][all_.rank]
    assert all_.gather_in_order(mine) == list(range(7))
    assert all_.gather(all_.rank) == [0, 1]
    assert all_.run_on_rank0(lambda: all_.rank) == 0
    assert is_main_process() == all_.is_main_process == (all_.rank == 0)
    try:
        all_.run_on_rank0(fail)
    except DataError:
        assert all_.is_main_process
    except ProcessError as error:
        assert not all_.is_main_process
        assert "the main process failed: found nothing there" in str(error)
    with open(sys.argv[1], "a") as file:
        file.write(str(all_.rank))
    all_.wait_for_all()
    assert len(open(sys.argv[1]).read()) == 2
    print("done", flush=True)
"""


@pytest.fixture
def collectives(tmp_path: Path) -> Iterator[list[str]]:
    """A script of several processes, which write their ranks in their order, and its argument."""
    script, order = tmp_path / "script.py", tmp_path / "order"
    script.write_text(COLLECTIVES, encoding="utf-8")
    yield [str(script), str(order)]
    assert sorted(order.read_text(encoding="utf-8")) == ["0", "1"]


def test_what_processes_hold_is_added_up_and_put_in_order(
    collectives: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def run(rank: str) -> None:
        os.environ.update(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE="2")
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        sys.argv = collectives
        runpy.run_path(collectives[0])

    codes = list(map(exit_code, [fork(run, rank) for rank in "01"]))
    printed = capfd.readouterr()
    assert codes == [0, 0], printed.err
    assert printed.out.count("done") == 2


@pytest.mark.thorough
def test_processes_of_torchrun_do_so_too(collectives: list[str]) -> None:
    done = start(TORCHRUN, *collectives)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done") == 2


def test_one_process_needs_nobody() -> None:
    with distributed_context(torch.device("cpu")) as alone:
        assert alone == DistributedContext(0, 1)
        numbers = torch.ones(2)
        alone.all_reduce([numbers])
        assert numbers.tolist() == [1.0, 1.0]
        assert alone.gather_in_order(alone.shard([3, 4])) == [3, 4]
        assert alone.gather(5) == [5]


def test_a_launcher_that_starts_one_process_of_many_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    with distributed_context(torch.device("cpu")) as alone:
        assert alone.world_size == 1
    assert "accelerate launch --cpu starts one process" in capsys.readouterr().err


def test_several_processes_do_not_share_one_card(monkeypatch: pytest.MonkeyPatch) -> None:
    from showtell.training import device as device_module

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(device_module, "choose_device", lambda name, **_: torch.device(name))
    assert not is_main_process()
    assert str(resolve_device_config("cuda", "fp32", 1).device) == "cuda:1"
    with pytest.raises(
        ConfigError, match=r"'cuda:0' cannot be used: found several processes.*GPU's number out"
    ):
        resolve_device_config("cuda:0", "fp32", 1)


@pytest.fixture
def still_recipe(toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path) -> Recipe:
    """The toy recipe with a frozen encoder and no dropout: what a picture gives depends on it alone."""
    train(toy_recipe, data=toy_set.directory, out=tmp_path / "looked")
    shutil.copy(tmp_path / "looked" / "best" / "encoder.safetensors", tmp_path / "encoder.safetensors")
    values = toy_recipe.model_dump(mode="json")
    values["encoder"] |= {"trainable": False, "weights": str(tmp_path / "encoder.safetensors")}
    values["decoder"] |= {"dropout": 0.0, "region_dropout": 0.0}
    # 16 pictures in batches of 5: one process has no picture of the last batch.
    values["training"] |= {"batch_size": 5, "save_steps": 1}
    values["objective"][0]["epochs"] = 3
    values["data"]["flip"] = True
    recipe = parse_recipe(values, "the still recipe")
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    return recipe


def train_arguments(tmp_path: Path, toy_set: PreparedSet, name: str) -> list[str]:
    return [
        *("-m", "showtell", "train", str(tmp_path / "recipe.yaml")),
        *(
            "--data",
            str(toy_set.directory),
            "-o",
            str(tmp_path / name),
            "--features",
            str(tmp_path / f"seen-{name}"),
        ),
    ]


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "last" / "trainer.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate"])
def test_two_processes_train_what_one_trains(
    toy_set: PreparedSet, still_recipe: Recipe, tmp_path: Path, launcher: list[str]
) -> None:
    one = train(still_recipe, data=toy_set.directory, out=tmp_path / "one", features=tmp_path / "seen")
    done = start(launcher, *train_arguments(tmp_path, toy_set, "two"))
    assert done.returncode == 0, done.stderr
    alone, together = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    assert alone.keys() == together.keys()
    for name, value in alone.items():
        # Measured: 8e-7 after ten steps of 0.01.
        assert torch.allclose(value, together[name], atol=1e-5, rtol=0), name
    # One process wrote and spoke, and each picture was judged once.
    assert done.stdout == one.evaluation.scores.table() + "\n"
    assert done.stderr.count("epoch 3: loss") == 1
    rows = [row for row in read_metrics(tmp_path / "two") if row["event"] == "validation"]
    expected = [row for row in read_metrics(tmp_path / "one") if row["event"] == "validation"]
    for row, like in zip(rows, expected, strict=True):
        assert row["loss"] == pytest.approx(like["loss"], abs=1e-5)
    said = (tmp_path / "two" / "best" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["candidate"] for line in said] == one.evaluation.texts
    assert "in each of 2 processes" in (tmp_path / "two" / "log.txt").read_text(encoding="utf-8")
    again = start(launcher, *train_arguments(tmp_path, toy_set, "two"))
    assert again.stdout == done.stdout


@pytest.mark.slow
def test_two_killed_processes_go_on_to_the_same_bits(
    toy_set: PreparedSet, still_recipe: Recipe, tmp_path: Path
) -> None:
    done = start(TORCHRUN, *train_arguments(tmp_path, toy_set, "whole"))
    assert done.returncode == 0, done.stderr
    command = [*TORCHRUN, *train_arguments(tmp_path, toy_set, "cut")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment, start_new_session=True
    ) as killed:
        deadline = time.monotonic() + LIMIT_S
        while not (tmp_path / "cut" / "last").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(killed.pid, signal.SIGKILL)
    assert not json.loads((tmp_path / "cut" / "last" / "trainer.json").read_text(encoding="utf-8"))[
        "progress"
    ]["finished"]
    done = start(TORCHRUN, *train_arguments(tmp_path, toy_set, "cut"))
    assert done.returncode == 0, done.stderr
    whole, cut = weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut")
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


@pytest.mark.slow
def test_a_failure_of_one_process_ends_all_with_its_message(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path
) -> None:
    shutil.copytree(toy_set.directory.parent, tmp_path / "pictures")
    (tmp_path / "recipe.yaml").write_text(dump_recipe(toy_recipe), encoding="utf-8")
    broken = prepare(tmp_path / "pictures" / "captions.jsonl", tmp_path / "set")
    path = broken.image_path(int(broken.split_rows("dev")[1]))
    # Of the same size and time, so that only the process that decodes it notices.
    status = path.stat()
    path.write_bytes(b"no picture".ljust(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    done = start(TORCHRUN, *train_arguments(tmp_path, broken, "run"))
    assert done.returncode == 1
    assert f"error: cannot read {path}: found a text file" in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_a_failure_of_the_main_process_is_told_once(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text(dump_recipe(toy_recipe), encoding="utf-8")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine", encoding="utf-8")
    done = start(TORCHRUN, *train_arguments(tmp_path, toy_set, "run"))
    assert done.returncode == 1
    assert done.stderr.count("is not a showtell run") == 1

"""Captioning in several processes, some of which are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.bulk.stub_captioner import StubCaptioner, stub_workers

from showtell.bulk.caption_files import caption_files
from showtell.bulk.engine import ThisProcess
from showtell.bulk.sidecars import OnExisting, Sidecars
from showtell.bulk.workers import Workers
from showtell.errors import ConfigError, ShowtellError
from showtell.inference.backend import read_facts
from showtell.inference.captioner import Captioner

Write = Callable[[Path, Iterable[str]], None]


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("showtell.bulk.sources.listing.UNIT_IMAGES", 10)


def here() -> ThisProcess:
    return ThisProcess(StubCaptioner())  # type: ignore[arg-type]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.thorough
def test_several_processes_write_what_one_writes(
    tmp_path: Path, write_images: Write, small_units: None
) -> None:
    write_images(tmp_path / "in", [f"{number}.png" for number in range(50)])
    (tmp_path / "in" / "7.png").write_bytes(b"")
    call = partial(caption_files, sources=[tmp_path / "in"], form="jsonl", batch_size=3)
    expected = call(here(), output=tmp_path / "one.jsonl")
    assert call(stub_workers(2), output=tmp_path / "two.jsonl") == expected
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()


@pytest.mark.slow
def test_several_processes_with_networks_write_what_one_writes(
    tmp_path: Path, write_images: Write, tiny_checkpoint: Callable[[str], Path], small_units: None
) -> None:
    checkpoint = tiny_checkpoint("attention")
    write_images(tmp_path / "in", [f"{number}.png" for number in range(50)])
    call = partial(caption_files, sources=[tmp_path / "in"], form="jsonl", all_hypotheses=True, batch_size=3)
    expected = call(Captioner.load(checkpoint, device="cpu"), output=tmp_path / "one.jsonl")
    loads = [partial(Captioner.load, checkpoint, device="cpu", threads=1)] * 2
    assert call(Workers(loads, *read_facts(checkpoint)), output=tmp_path / "two.jsonl") == expected
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()


def test_an_image_that_ends_its_process_twice_is_an_error_and_the_others_are_captioned(
    tmp_path: Path, write_images: Write, small_units: None, capfd: pytest.CaptureFixture[str]
) -> None:
    names = [f"{number:02d}.png" for number in range(27)]
    write_images(tmp_path / "in", names)
    deadly = tmp_path / "in" / "deadly.png"
    (tmp_path / "in" / "15.png").write_bytes(b"")  # an image in error is in no batch either
    call = partial(caption_files, form="jsonl", batch_size=4)
    call(here(), [tmp_path / "in"], output=tmp_path / "one.jsonl")
    (tmp_path / "in" / "15.png").rename(deadly)
    sources = [deadly if name == "15.png" else tmp_path / "in" / name for name in names]
    report = call(stub_workers(2), sources, output=tmp_path / "two.jsonl")
    expected = rows(tmp_path / "one.jsonl")
    error = f"cannot caption {deadly}: found the process that captioned it ended by signal 9, 2 times"
    expected[15] = {"path": str(deadly), "error": error}
    assert rows(tmp_path / "two.jsonl") == expected
    assert report.problems == [error]
    assert "ended by signal 9; a new one starts" in capfd.readouterr().err


@pytest.mark.thorough
def test_images_that_end_a_process_only_together_are_captioned_alone(
    tmp_path: Path, write_images: Write, small_units: None
) -> None:
    write_images(tmp_path / "in", ["a.png", "crowd.png", "z.png"])
    report = caption_files(stub_workers(1), [tmp_path / "in"], output=tmp_path / "out", batch_size=3)
    assert (report.num_captioned, report.num_failed) == (3, 0)


@pytest.mark.thorough
def test_workers_that_are_killed_from_outside_cost_no_caption(
    tmp_path: Path, write_images: Write, small_units: None
) -> None:
    write_images(tmp_path / "in", [f"{number}.png" for number in range(60)])
    call = partial(caption_files, sources=[tmp_path / "in"], form="jsonl", batch_size=4)
    call(here(), output=tmp_path / "one.jsonl")
    engine = stub_workers(2, pause=0.01)
    events = engine.events

    def killing(*arguments: Any, **options: Any) -> Any:
        for number, event in enumerate(events(*arguments, **options)):
            if number in (5, 30):
                os.kill(workers_of(os.getpid())[0], signal.SIGKILL)
            yield event

    engine.events = killing  # type: ignore[method-assign]
    assert call(engine, output=tmp_path / "two.jsonl").num_captioned == 60
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()


def workers_of(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
        except OSError:  # ended meanwhile
            continue
    return [each for each in sorted(found) if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]


@pytest.mark.thorough
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_a_signal_ends_all_processes_and_keeps_what_is_done(
    tmp_path: Path, write_images: Write, number: int, code: int
) -> None:
    write_images(tmp_path / "in", [f"{number}.png" for number in range(300)])
    script = (
        "from pathlib import Path; from showtell.bulk.caption_files import caption_files;"
        "from tests.bulk.stub_captioner import stub_workers\n"
        "if __name__ == '__main__':\n"
        f" caption_files(stub_workers(2, pause=0.01), [Path({str(tmp_path / 'in')!r})],"
        f" output=Path({str(tmp_path / 'out')!r}), batch_size=4)"
    )
    (tmp_path / "run.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)) + f"{os.pathsep}."}
    with subprocess.Popen(
        [sys.executable, tmp_path / "run.py"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stderr is not None
        deadline = time.monotonic() + 60
        while len(workers_of(run.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.5)
        workers = workers_of(run.pid)
        os.killpg(run.pid, number)  # as a terminal does
        told = run.stderr.read()
        assert run.wait(20) == code, told
    assert "captions are kept in" in told
    assert "spawn" not in told
    assert len(workers) == 2
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_errors_of_a_worker_are_those_of_the_captioner(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, ["a.png"])
    call = partial(caption_files, sources=[tmp_path], output=tmp_path / "out", attention=tmp_path / "maps")
    with pytest.raises(ConfigError, match="attention cannot be returned: found no networks"):
        call(stub_workers(1))


def test_a_worker_that_cannot_start_ends_the_call(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, ["a.png"])
    engine = Workers([partial(os._exit, 5)], {}, StubCaptioner.options)  # type: ignore[list-item]
    with pytest.raises(ShowtellError, match="a worker cannot be started: found its end by exit code 5"):
        caption_files(engine, [tmp_path], output=tmp_path / "out")


def test_captions_of_several_processes_need_a_file(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, ["a.png"])
    with pytest.raises(ConfigError, match=r"cannot go to standard output: .* -o captions\.jsonl"):
        caption_files(stub_workers(2), [tmp_path])


def test_a_command_that_an_image_kills_does_so_twice_and_then_goes_on(
    tmp_path: Path, write_images: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "in", ["a.png", "deadly.png", "z.png"])
    call = partial(
        caption_files,
        sources=[tmp_path / "in"],
        output=tmp_path / "out.jsonl",
        form="jsonl",
        in_child=lambda: stub_workers(1),
    )

    for _ in range(2):
        if (pid := os.fork()) == 0:
            call(here())
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert call(here()).num_captioned == 2
    assert ["error" in row for row in rows(tmp_path / "out.jsonl")] == [False, True, False]


@pytest.mark.parametrize("mode", ["skip", "append"])
def test_a_command_for_sidecars_that_an_image_kills_goes_on_too(
    tmp_path: Path, write_images: Write, mode: OnExisting
) -> None:
    write_images(tmp_path, ["a.png", "deadly.png", "z.png"])
    output = Sidecars([tmp_path], on_existing=mode)
    call = partial(caption_files, sources=[tmp_path], output=output, in_child=lambda: stub_workers(1))
    for _ in range(2):
        if (pid := os.fork()) == 0:
            call(here())
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    report = call(here())
    assert (report.num_captioned, report.num_failed) == (2, 1)
    assert {path.name for path in tmp_path.iterdir()} == {*("a.png", "deadly.png", "z.png"), "a.txt", "z.txt"}


def test_calls_that_were_interrupted_in_order_are_not_counted_as_killed(
    tmp_path: Path, write_images: Write
) -> None:
    write_images(tmp_path / "in", ["a.png", "b.png"])
    interrupted = here()

    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt
        yield

    interrupted.events = interrupt  # type: ignore[method-assign]
    call = partial(caption_files, sources=[tmp_path / "in"], output=tmp_path / "out", in_child=no_child)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            call(interrupted)
    assert call(here()).num_captioned == 2


def no_child() -> Any:
    raise AssertionError("no other process is needed")

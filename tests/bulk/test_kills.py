"""A job is killed at random moments, again and again, and ends as an undisturbed one. ``-m slow`` for long runs."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from showtell.system.atomic import sha256_file

Write = Callable[[Path, Iterable[str]], None]

_SCRIPT = """
import sys
from pathlib import Path
from showtell.bulk.caption_files import caption_files
from showtell.bulk.engine import ThisProcess
from showtell.bulk.sources import listing
from showtell.bulk.workers import Workers
from tests.bulk.stub_captioner import StubCaptioner, load_slow
listing.UNIT_IMAGES = 16
if __name__ == "__main__":
    kind, source, output = sys.argv[1:]
    if kind == "ray":
        from showtell.bulk.ray_engine import RayEngine
        engine = RayEngine(load_slow, StubCaptioner.facts, StubCaptioner.options, workers=2, threads=1)
    elif kind == "workers":
        engine = Workers([load_slow] * 2, StubCaptioner.facts, StubCaptioner.options)
    else:
        engine = ThisProcess(StubCaptioner(0.01))
    output = Path(output)
    if kind == "object storage":
        from tests.bulk.stub_object_storage import register
        register(output.parent)
        output = f"s3://bucket/{output.name}"
    caption_files(engine, [Path(source)], output=output, form="jsonl", batch_size=4)
"""


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["here", "object storage"])
def test_a_job_that_is_killed_five_times_ends_as_an_undisturbed_one(
    tmp_path: Path, write_images: Write, kind: str
) -> None:
    if kind == "object storage":
        pytest.importorskip("fsspec")
    kill_and_resume(tmp_path, write_images, kind, images=120, kills=5, longest=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["here", "object storage", "workers"])
def test_a_job_that_is_killed_fifty_times_ends_as_an_undisturbed_one(
    tmp_path: Path, write_images: Write, kind: str
) -> None:
    kill_and_resume(tmp_path, write_images, kind, images=4_000, kills=50, longest=0.3)


@pytest.mark.slow
def test_a_job_of_ray_that_is_killed_twenty_times_ends_as_an_undisturbed_one(
    tmp_path: Path, write_images: Write
) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install -e '.[ray]'")
    kill_and_resume(tmp_path, write_images, "ray", images=3_000, kills=20, longest=3.0)


def kill_and_resume(
    folder: Path, write_images: Write, kind: str, *, images: int, kills: int, longest: float
) -> None:
    """Kill a process of a job, any of them, some seconds after its first new part, until it has been done so often.

    Of killed jobs no process may be left. The names of what was killed are printed.
    """
    write_images(folder / "in", [f"{number:04d}.png" for number in range(images)])
    for number in range(5, images, 50):
        (folder / "in" / f"{number:04d}.png").write_bytes(b"")
    (folder / "job.py").write_text(_SCRIPT)
    expected = folder / "expected.jsonl"
    assert start(folder, "here", expected).wait() == 0
    out, random_kill, killed = folder / "out.jsonl", random.Random(0), list[str]()
    while len(killed) < kills and not out.exists():
        run = start(folder, kind, out)
        while run.poll() is None and len(killed) < kills:
            before = num_parts(out)
            while run.poll() is None and num_parts(out) == before:
                time.sleep(0.005)
            time.sleep(random_kill.uniform(0, longest))
            victim = random_kill.choice(processes_of(run.pid) or [(run.pid, "driver")])
            with suppress(ProcessLookupError):
                os.kill(victim[0], signal.SIGKILL)
                killed.append(victim[1])
        if kind == "ray":
            end_ray(run)
        run.wait()
    print(kind, "killed:", {name: killed.count(name) for name in sorted(set(killed))}, "done:", out.exists())
    while not out.exists():
        assert start(folder, kind, out).wait() == 0
    assert len(killed) == kills
    assert sha256_file(out) == sha256_file(expected)
    assert not list(folder.glob("out.jsonl.parts/*"))


def start(folder: Path, kind: str, output: Path) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])}
    return subprocess.Popen(
        [sys.executable, folder / "job.py", kind, folder / "in", output],
        env=environment,
        stderr=subprocess.DEVNULL,
    )


def num_parts(output: Path) -> int:
    return len(list(output.with_name(f"{output.name}.parts").glob("*-*.jsonl")))


def processes_of(driver: int) -> list[tuple[int, str]]:
    """Return one process, the driver, a worker or a raylet, with its name; each name as often as the others."""
    by_name: dict[str, list[int]] = {"driver": [driver]}
    parents, commands = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(path.name)] = (path / "cmdline").read_bytes()
    for pid, command in commands.items():
        ancestors, up = set(), pid
        while (up := parents.get(up, 0)) > 1:
            ancestors.add(up)
        if driver in ancestors:
            if b"spawn_main" in command or command.startswith(b"ray::MapWorker"):
                by_name.setdefault("worker", []).append(pid)
            elif b"raylet/raylet" in command[:200]:
                by_name.setdefault("raylet", []).append(pid)
    name = random.choice(sorted(by_name))
    return [(random.choice(by_name[name]), name)]


def end_ray(run: subprocess.Popen[bytes]) -> None:
    """Wait until Ray has ended after its driver or its raylet."""
    try:
        run.wait(60)
    except subprocess.TimeoutExpired:
        run.kill()
    time.sleep(1)

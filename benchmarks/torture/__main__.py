"""Fail the k-th file operation of each command, for every k, and run the command again.

    python -m benchmarks.torture [--quick] [--only JOB]     # Linux with a C compiler; `make torture`

A preloaded library fails opens, reads, writes, syncs and renames below a folder with ENOSPC (and all later ones),
EIO or EMFILE, or cuts a write in half. Each run must end with code 0 or 3, or with one error line; the same command
without faults must then end well, with the bytes of an undisturbed run and no temporary files.
"""

import argparse
import ctypes
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
FAULTS = {"ENOSPC": (errno.ENOSPC, 1), "EIO": (errno.EIO, 0), "EMFILE": (errno.EMFILE, 0), "short": (0, 0)}
TIMED = {
    "log.txt",
    "metrics.jsonl",
    "evaluation.json",
    "trainer.json",
    "compared.json",
    "study.db",
    "report.html",
}
"""Files that hold times."""
SMALL = """
tokenizer: {min_count: 1}
encoder: {name: small, width: 16, trainable: TRAINABLE, preprocessing: {size: 32}}
decoder: {name: attention, embedding: 8, hidden: 8, attention: 8, region_dim: 8}
objective: [{name: cross-entropy, epochs: 1}]
training: {batch_size: 8, precision: fp32, threads: 1}
"""
JOBS = {
    "prepare": ["prepare", "source", "-o", "set"],
    "train": ["train", "trainable.yaml", "--data", "set", "-o", "run"],
    "features": [
        "train",
        "frozen.yaml",
        "--data",
        "set",
        "-o",
        "frozen",
        "--encoder-weights",
        "encoder.safetensors",
    ],
    "caption": ["caption", "captioner", "source", "-o", "captions.jsonl"],
    "bundle": ["bundle", "captioner", "-o", "bundled"],
    "report": ["report", "captioner"],
    "tune": [
        "tune",
        "trainable.yaml",
        "--data",
        "set",
        "-o",
        "tuned",
        "--grid",
        "--search",
        "optimizer.lr=0.01,0.1",
    ],
    "export": ["export", "captioner", "-o", "exported"],
}
NEEDS = {"prepare": ["source"], "report": ["captioner", "set", "source"], "export": ["captioner"]}


def main() -> None:
    """Parse the command line, try the faults, print what was tried, and exit with 1 if anything was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="three places of each fault in each command")
    parser.add_argument("--only", choices=JOBS, help="one command")
    options = parser.parse_args()
    if "TORTURE" not in os.environ:
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "shim.so"
            compile_command = ["cc", "-shared", "-fPIC", "-O2", "-o", library, HERE / "shim.c", "-ldl"]
            subprocess.run(compile_command, check=True)
            added = {"LD_PRELOAD": str(library), "TORTURE": folder, "OMP_NUM_THREADS": "1"}
            again = [sys.executable, "-m", "benchmarks.torture", *sys.argv[1:]]
            sys.exit(subprocess.run(again, env={**os.environ, **added}, check=False).returncode)
    # Loaded once: each run is a fork.
    import torch  # noqa: F401

    import showtell.cli.main
    import showtell.inference.captioner
    import showtell.training.trainer  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        material = Path(folder) / "material"
        make_material(material)
        faulty = 0
        for job in [options.only] if options.only else JOBS:
            faulty += torture(job, material, Path(folder), quick=options.quick)
    sys.exit(1 if faulty else 0)


def make_material(folder: Path) -> None:
    """Write a tiny set, recipes, and a trained captioner with its run."""
    source = folder / "source"
    source.mkdir(parents=True)
    generator, rows = np.random.default_rng(0), []
    for number in range(20):
        Image.fromarray(generator.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(
            source / f"{number}.png"
        )
        captions = [f"a {'red' if number % 2 else 'blue'} dog runs", "the dog"]
        split = "train" if number < 14 else "dev"
        rows.append(json.dumps({"image": f"{number}.png", "captions": captions, "split": split}))
    (source / "captions.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for name, text in (("trainable", "true"), ("frozen", "false")):
        (folder / f"{name}.yaml").write_text(SMALL.replace("TRAINABLE", text), encoding="utf-8")
    for arguments in (JOBS["prepare"], [*JOBS["train"][:-1], "captioner"]):
        code, output, _ = run(arguments, folder, folder / "nothing", -1, 0, 0)
        assert code == 0, output
    shutil.copy(folder / "captioner" / "best" / "encoder.safetensors", folder)


def run(
    arguments: list[str], folder: Path, below: Path, at: int, number: int, stays: int
) -> tuple[int, str, int]:
    """Run a command in a fork; return its code (negative: a signal), its output, and its file operations."""
    log, counted = folder.parent / "log", folder.parent / "counted"
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.chdir(folder)
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            sys.argv = ["showtell", *arguments]
            shim = ctypes.CDLL(None)
            shim.torture_arm(str(below).encode(), ctypes.c_long(at), number, stays)
            try:
                from showtell.cli.main import main as showtell

                showtell()
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:
                import traceback

                traceback.print_exc()
            counted.write_text(str(shim.torture_count()))
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    return (
        os.waitstatus_to_exitcode(status),
        log.read_text(encoding="utf-8", errors="replace"),
        int(counted.read_text() or 0) if counted.exists() else 0,
    )


def torture(job: str, material: Path, folder: Path, *, quick: bool) -> int:
    """Try the faults of a command; print a row of the table, and what was wrong; return how many were."""
    arguments, work = JOBS[job], folder / "work"

    def fresh() -> None:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(material, work)
        for needless in ("set",) if job == "prepare" else ():
            shutil.rmtree(work / needless)

    fresh()
    code, output, operations = run(arguments, work, work, -1, 0, 0)
    assert code == 0, output
    expected, wrong, tried, codes = contents(work), list[str](), 0, Counter[int]()
    places = range(operations)
    if quick:
        places = sorted({operations * part // 4 for part in (1, 2, 3)})
    for fault, (number, stays) in FAULTS.items():
        for place in places:
            fresh()
            tried += 1
            code, output, _ = run(arguments, work, work, place, number, stays)
            codes[code] += 1
            problems = []
            errors = [line for line in output.splitlines() if line.startswith("error:")]
            if "Traceback" in output or code < 0 or code == 70 or (code in (1, 2) and len(errors) != 1):
                problems.append(f"ended with {code}: {output[-600:]}")
            code, output, _ = run(arguments, work, work, -1, 0, 0)
            if code:
                problems.append(f"did not resume: {output[-600:]}")
            elif different := differences(expected, contents(work)):
                problems.append(f"another result: {different}")
            wrong += [f"{job}, {fault} at {place}: {problem}" for problem in problems]
    counts = ", ".join(f"code {code}: {count}" for code, count in sorted(codes.items()))
    print(f"{job}: {operations} operations, {tried} faults ({counts}), {len(wrong)} wrong", flush=True)
    for text in wrong:
        print(f"  {text}", flush=True)
    return len(wrong)


def contents(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file by its path; of files that hold times only that they exist."""
    return {
        path.relative_to(folder).as_posix(): ""
        if path.name in TIMED
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """Return the paths of files that are missing, added or different."""
    return sorted(path for path in expected.keys() | found.keys() if expected.get(path) != found.get(path))


if __name__ == "__main__":
    main()

#!/bin/sh
# Threads of torch 2.13.0 (CPU build for Linux) wait for one another in libgomp, which keeps a waiting thread on its core
# for some hundred thousand turns of a loop before it sleeps. Where more processes want to run than there are cores, the
# thread that the others wait for is the one without a core: two threads that multiply small matrices beside four busy
# processes take several times as long and several times the processor time as with GOMP_SPINCOUNT=10000, which costs
# nothing on an idle machine. PyTorch does not lower it, and libgomp does so by itself only if it was asked for more
# threads than there are cores: it does not know of other processes.
#
# Prints seconds and processor time of both, alone and beside four busy processes, on two cores; fails if the waiting
# no longer takes half as much processor time again beside them.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat > "$folder/products.py" <<'PYTHON'
import os
import resource
import time

import torch

torch.set_num_threads(2)
a, b = torch.randn(256, 512), torch.randn(512, 512)
for _ in range(50):
    torch.tanh(a @ b)
start = time.perf_counter()
for _ in range(1500):
    torch.tanh(a @ b)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_utime)
PYTHON
cat > "$folder/compare.py" <<'PYTHON'
import os
import statistics
import subprocess
import sys

os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:2]))
plain = {key: value for key, value in os.environ.items() if not key.startswith(("GOMP_", "OMP_"))}
settings = {"as it is": {}, "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"}}


def run(script, added, num_busy):
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(num_busy)]
    try:
        done = subprocess.run(
            [sys.executable, script], env=plain | added, capture_output=True, text=True, check=True
        )
        return tuple(map(float, done.stdout.split()))
    finally:
        for process in busy:
            process.kill()
            process.wait()


processor = {}
for num_busy in (0, 4):
    for name, added in settings.items():
        rounds = [run(sys.argv[1], added, num_busy) for _ in range(3)]
        seconds, used = (statistics.median(each) for each in zip(*rounds))
        processor[name, num_busy] = used
        print(f"{num_busy} busy processes, {name:20}: {seconds:6.1f} s, {used:5.1f} s of processor time")
sys.exit(processor["as it is", 4] < 1.5 * processor["GOMP_SPINCOUNT=10000", 4])
PYTHON
"$folder/venv/bin/python" "$folder/compare.py" "$folder/products.py"
echo "threads of torch that wait keep their cores, and take them from the thread that they wait for"

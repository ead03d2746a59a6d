#!/bin/sh
# pyarrow 26.0.1 beside pandas 3.1.1: creating an array, creating a scalar, or reading an integer array as NumPy imports
# pandas, although no pandas object is involved. It costs about 0.2 s and tens of MB once per process, and only where
# pandas happens to be installed, so a program gets slower when an unrelated package is added to its environment.
# Array.from_buffers() and reading the buffers by numpy.frombuffer() do not import it.
#
# Prints what each call imports, and fails if that changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pyarrow==26.0.1 pandas==3.1.1 numpy==2.4.6
cat > "$folder/call.py" <<'PYTHON'
import resource
import sys
import time

import numpy as np
import pyarrow as pa

numbers = np.arange(3)
built = pa.Array.from_buffers(pa.int64(), 3, [None, pa.py_buffer(numbers)])
calls = {
    "from_buffers": lambda: pa.Array.from_buffers(pa.int64(), 3, [None, pa.py_buffer(numbers)]),
    "frombuffer": lambda: np.frombuffer(built.buffers()[1], np.int64),
    "to_pylist": lambda: built.to_pylist(),
    "array": lambda: pa.array([b"a", b"b"], pa.binary()),
    "scalar": lambda: pa.scalar(-1, pa.int64()),
    "to_numpy": lambda: built.to_numpy(),
}
name = sys.argv[1]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
calls[name]()
seconds = time.perf_counter() - start
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
imported = "pandas" in sys.modules
print(f"{name:13} imports pandas: {imported!s:5} {1e3 * seconds:6.1f} ms {memory / 1024:5.0f} MB")
sys.exit(imported != (name in {"array", "scalar", "to_numpy"}))
PYTHON
for call in from_buffers frombuffer to_pylist array scalar to_numpy; do
  "$folder/venv/bin/python" "$folder/call.py" "$call"
done
echo "pyarrow imports pandas in array(), scalar() and to_numpy()"

"""A process of its own for one function, and how much memory it takes.

python -m benchmarks.apart MODULE:FUNCTION '{"argument": "value"}'
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

SAMPLE_INTERVAL_S = 0.01
MEBIBYTE = 2**20


class Memory:
    """The most resident memory of this process while a block runs, in bytes (Linux).

    Attributes:
        peak: All of it, as the kernel counted it.
        anonymous: Without the pages of mapped files, which the kernel takes back when it needs them; sampled.
    """

    peak = 0
    anonymous = 0

    @contextlib.contextmanager
    def watched(self) -> Iterator[Memory]:
        """Forget the peak that was before, then watch."""
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        over = threading.Event()

        def sample() -> None:
            while not over.wait(SAMPLE_INTERVAL_S):
                self.anonymous = max(self.anonymous, status("RssAnon"))

        self.anonymous = status("RssAnon")
        watcher = threading.Thread(target=sample, daemon=True)
        watcher.start()
        try:
            yield self
        finally:
            over.set()
            watcher.join()
            self.peak = status("VmHWM")
            self.anonymous = max(self.anonymous, status("RssAnon"))


def status(name: str) -> int:
    """Return a line of ``/proc/self/status`` in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"this system does not report {name}; the benchmarks need Linux")


def main() -> None:
    """Call the function and print what it returned as one line of JSON."""
    module, _, name = sys.argv[1].partition(":")
    function = getattr(importlib.import_module(module), name)
    print(json.dumps(function(**json.loads(sys.argv[2]))))


if __name__ == "__main__":
    main()

"""The peak of a process's memory, for tests that measure it in a process of their own.

Not ``ru_maxrss``, which on Linux starts at the peak of the process that started it: a suite that has grown hides
what a test measures.
"""

from pathlib import Path


def peak_bytes() -> int:
    """Return the largest resident size of this process so far."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (peak,) = (line for line in lines if line.startswith("VmHWM:"))
    return 1024 * int(peak.split()[1])

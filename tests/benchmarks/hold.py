"""What a test lets a process of its own do."""

from __future__ import annotations

from benchmarks.apart import Memory, status


def hold(megabytes: int) -> dict[str, int]:
    """Fill so much memory; return what this process held before and then, in bytes."""
    if megabytes < 0:
        raise ValueError("no megabytes")
    before = status("RssAnon")
    with Memory().watched() as memory:
        held = bytearray(b"x") * (megabytes * 10**6)
    return {"before": before, "anonymous": memory.anonymous, "peak": memory.peak, "held": len(held)}

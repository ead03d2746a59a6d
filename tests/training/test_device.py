"""Which threads a run uses where the system tells little."""

from __future__ import annotations

import os

import pytest
import torch

from showtell.training.device import resolve_compute


def test_cores_are_counted_where_no_affinity_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    resolve_compute("cpu", "fp32", 0)
    assert used == [7]

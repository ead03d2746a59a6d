"""Which threads a run uses where the system tells little."""

from __future__ import annotations

import pytest
import torch

from showtell.training.device import resolve_device_config


def test_several_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr("showtell.system.device.usable_cores", lambda: 6)
    monkeypatch.setattr("showtell.system.cpu.usable_cores", lambda: 6)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    resolve_device_config("cpu", "fp32", 0)
    assert used == [3]

"""Fixtures that several tests share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import settings
from PIL import Image

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("fixed")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data and weights, or a skip that says what is missing."""
    folder = Path(os.environ.get("SHOWTELL_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data at {folder} (set SHOWTELL_SHARED)")
    return folder


@pytest.fixture(scope="session")
def write_pictures() -> Callable[[Path, Iterable[str]], None]:
    """Write a small PNG under each name (whatever its suffix), its pixels and so its bytes made from the name."""

    def write(folder: Path, names: Iterable[str]) -> None:
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.frombytes("RGB", (4, 2), hashlib.sha256(name.encode()).digest()[:24]).save(path, "PNG")

    return write

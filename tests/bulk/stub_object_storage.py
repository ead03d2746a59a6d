"""Object storage in a folder, for the tests of processes that are killed: objects appear whole, under ``s3://``."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem


def register(folder: Path) -> None:
    """Let ``s3://bucket/NAME`` be in a folder, in this process."""

    class StubObjectStorage(LocalFileSystem):
        protocol = "s3"

        @classmethod
        def _strip_protocol(cls, path: Any) -> Any:
            return str(path).replace("s3://bucket", str(folder), 1)

        def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
            handle, upload = tempfile.mkstemp(dir=folder, prefix=".upload-")
            os.close(handle)
            shutil.copyfile(lpath, upload)
            Path(rpath).parent.mkdir(exist_ok=True)
            Path(upload).replace(rpath)

    fsspec.register_implementation("s3", StubObjectStorage, clobber=True)

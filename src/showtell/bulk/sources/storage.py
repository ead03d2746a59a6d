"""Files at addresses of object storage, ``s3://...``, by fsspec; temporary errors are tried again, with back-off."""

import errno
import io
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

from showtell.errors import ConfigError, DataError, import_extra, reason
from showtell.images.listing import natural_key
from showtell.system.reading import open_file

_URL = re.compile(r"(?P<protocol>[A-Za-z][A-Za-z0-9+.-]+)://")
_WAITS = (0.5, 1.0, 2.0, 4.0)  # seconds
_PERMANENT = (
    *(FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError),
    *(ImportError, NotImplementedError, TypeError, ValueError),
)
_BLOCK = 4 * 2**20  # bytes
_OBJECT_STORAGE = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss", "memory"}
_DELETED_AT_ONCE = 1000


def is_url(source: str) -> bool:
    """Return whether a source is an address."""
    return _URL.match(source) is not None


def check_local(output: Path | str) -> None:
    """Raise a ConfigError if an output is an address, of which ``Path`` makes ``s3:/...``."""
    address = str(output).replace(":/", "://", 1) if isinstance(output, Path) else output
    if is_url(address):
        raise ConfigError(
            f"cannot write to {address}",
            found="an address",
            expected="a path on this machine",
            mend="Write there, then copy it to the address",
        )


def check_object_storage(url: str) -> None:
    """Raise a ConfigError if what is written at an address may appear before it is whole."""
    protocol, _, path = url.partition("://")
    if protocol.lower() not in _OBJECT_STORAGE or not path.partition("/")[2].strip("/"):
        raise ConfigError(
            f"cannot write to {url}",
            found="no file name" if protocol.lower() in _OBJECT_STORAGE else f"{protocol}://",
            expected="a path on this machine, or a file on object storage: s3://, gs://, az://",
            mend="Write on this machine, then copy the file to the address",
        )


def open_binary(source: str) -> IO[bytes]:
    """Open a file of this machine or at an address.

    One at an address is read in blocks, the next of which is fetched ahead.

    Raises:
        OSError: it is a local file that cannot be opened.
        DataError: it cannot be reached.
    """
    if not is_url(source):
        return open_file(Path(source))
    files, path = file_system(source)
    from fsspec.spec import AbstractBufferedFile

    class RemoteFile(AbstractBufferedFile):  # type: ignore[misc]
        def readinto(self, buffer: Any) -> int:
            # The cache reads twice what is longer than it.
            data = self.read(min(len(buffer), self.blocksize))
            buffer[: len(data)] = data
            return len(data)

        def _fetch_range(self, start: int, end: int) -> bytes:
            end = min(end, self.size)
            return _patiently(source, partial(_cat_range, files, path, start, end)) if start < end else b""

    size = _patiently(source, lambda: files.size(path))
    cache = {"cache_type": "background", "cache_options": {"maxblocks": 4}}
    remote: Any = RemoteFile(files, path, block_size=_BLOCK, size=size, **cache)
    return cast(IO[bytes], io.BufferedReader(remote, 2**16))


def _cat_range(files: Any, path: str, start: int, end: int) -> bytes:
    data: bytes = files.cat_file(path, start=start, end=end)
    if len(data) != end - start:
        raise OSError(f"{len(data):,} bytes in place of {end - start:,}")
    return data


def read_bytes(url: str, limit: int) -> bytes:
    """Return what is at an address, at most a byte more than the limit.

    Raises:
        DataError: it cannot be reached.
    """
    files, path = file_system(url)
    try:
        data: bytes = _patiently(url, lambda: files.cat_file(path, start=0, end=limit + 1))
    except DataError as error:
        # S3 has no bytes 0 to N of an empty file.
        if getattr(error.__cause__, "errno", 0) != errno.EINVAL or _patiently(url, lambda: files.size(path)):
            raise
        data = b""
    return data


def read_object(url: str) -> bytes | None:
    """Return what is at an address, None if there is nothing; a DataError if it cannot be reached."""
    files, path = file_system(url)
    content: bytes | None = _patiently(url, lambda: files.cat_file(path), missing=None)
    return content


@contextmanager
def put_file(url: str) -> Iterator[Path]:
    """Yield a temporary path; what is there when the block succeeds becomes the object at an address.

    Raises:
        DataError: it cannot be written.
    """
    files, path = file_system(url)
    with tempfile.NamedTemporaryFile(prefix="showtell-") as file:
        yield Path(file.name)
        _patiently(
            url,
            lambda: files.put_file(file.name, path),
            failed="write",
            mend="Check the address and the rights to write there",
        )


def exists(place: Path | str) -> bool:
    """Return whether there is a file of this machine, or anything at an address."""
    if isinstance(place, Path):
        return place.exists()
    files, path = file_system(place)
    return bool(_patiently(place, lambda: files.exists(path)))


def list_names(url: str) -> list[str]:
    """Return the names of the objects in a folder, none if there is no such folder."""
    files, path = file_system(url)
    files.invalidate_cache()
    found = _patiently(url, lambda: files.ls(path, detail=False), missing=[])
    return [name.rpartition("/")[2] for name in found]


def delete_objects(urls: Iterable[str]) -> None:
    """Delete what is at addresses, a thousand at a time; what is gone already is no error."""
    remaining = iter(urls)
    while some := list(islice(remaining, _DELETED_AT_ONCE)):
        files, _ = file_system(some[0])
        paths = [file_system(url)[1] for url in some]
        _patiently(some[0], partial(files.rm, paths), failed="delete", missing=None)


def list_folder(url: str, *, recursive: bool) -> list[str] | None:
    """Return the files in a folder in natural order, without hidden ones; None: it is a file.

    Raises:
        DataError: it does not exist, or cannot be reached.
    """
    files, path = file_system(url)
    if _patiently(url, lambda: files.info(path))["type"] != "directory":
        return None
    found = _patiently(url, lambda: files.find(path, maxdepth=None if recursive else 1))
    names = [name[len(path.rstrip("/")) :].lstrip("/") for name in found]
    shown = (name for name in names if not any(part.startswith(".") for part in name.split("/")))
    ordered = sorted(shown, key=lambda name: [natural_key(part) for part in name.split("/")])
    return [f"{url.rstrip('/')}/{name}" for name in ordered]


def expand_glob(url: str) -> list[str]:
    """Return the files of a pattern in natural order, or the address itself if there is a file of this name.

    Raises:
        DataError: it cannot be reached.
    """
    files, path = file_system(url)
    if _patiently(url, lambda: files.exists(path)):
        return [url]
    found = _patiently(url, lambda: files.glob(path, detail=True))
    names = [name for name, facts in found.items() if facts["type"] == "file"]
    return [str(files.unstrip_protocol(name)) for name in sorted(names, key=natural_key)]


def file_system(url: str) -> tuple[Any, str]:
    """Return fsspec's file system of an address, and the path in it.

    Raises:
        DataError: there is none, or its package is not installed.
        MissingExtraError: fsspec is not installed.
    """
    match = _URL.match(url)
    protocol = match["protocol"].lower() if match else ""
    if protocol in {"http", "https"}:
        raise DataError(
            f"cannot read {url}",
            found="a web address",
            expected="a file or object storage",
            mend="Download it",
        )
    core = import_extra("fsspec.core", extra="bulk", need="the package 'fsspec'")
    try:
        files, path = core.url_to_fs(url)
    except ImportError as error:
        raise DataError(f"cannot read {url}", found=str(error), mend=_install(protocol)) from error
    except Exception as error:  # credentials, for example: of any type
        raise DataError(f"cannot read {url}", found=reason(error), mend="Check the address") from error
    return files, path


def _install(protocol: str) -> str:
    from fsspec.registry import known_implementations

    package = known_implementations.get(protocol, {}).get("class", "fsspec").partition(".")[0]
    return "" if package == "fsspec" else f"Run: pip install {package}"


def _patiently(
    url: str,
    do: Callable[[], Any],
    *,
    failed: str = "read",
    mend: str = "Check the address",
    missing: Any = NotImplemented,
) -> Any:
    """Return the result, after a few more tries where an error may be temporary; a DataError of the last one.

    ``missing`` is the result where there is nothing at the address; without it, that is an error too.
    """
    for wait in (*_WAITS, None):
        try:
            return do()
        except Exception as error:  # each file system has its own
            is_missing = isinstance(error, FileNotFoundError)
            if is_missing and missing is not NotImplemented:
                return missing
            is_refused = getattr(error, "errno", 0) == errno.EINVAL
            if wait is None or is_refused or isinstance(error, _PERMANENT):
                found = "no such file" if is_missing and failed == "read" else reason(error)
                raise DataError(f"cannot {failed} {url}", found=found, mend=mend) from error
            time.sleep(wait)
    raise AssertionError

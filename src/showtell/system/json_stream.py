"""Arrays of large JSON files, element by element: as objects, COCO's annotations take five times their size."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ijson

from showtell.errors import DataError

_BUFFER = 2**20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_array(file: Path, name: str) -> Iterator[Any]:
    """Yield the elements of an array of a UTF-8 JSON file; nothing if the file has no such array.

    Args:
        file: With or without a byte order mark.
        name: Key of the array in the top-level object.

    Raises:
        DataError: the file cannot be read, is truncated, or is not JSON.
    """
    try:
        with file.open("rb") as content:
            if content.read(len(_BYTE_ORDER_MARK)) != _BYTE_ORDER_MARK:
                content.seek(0)
            yield from ijson.items(content, f"{name}.item", use_float=True, buf_size=_BUFFER)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"cannot read {file}", found=reason, mend="Check the path") from error
    except ijson.JSONError as error:
        found = " ".join(str(error).split())
        raise DataError(
            f"{file} is not JSON in UTF-8", found=found[:200], mend="Download the file again"
        ) from error

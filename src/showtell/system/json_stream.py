"""Arrays of large JSON files, element by element: as objects, COCO's annotations take five times their size."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ijson

from showtell.errors import DataError
from showtell.system.atomic import cannot_read

_BUFFER = 2**20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_array(file: Path, name: str) -> Iterator[Any]:
    """Yield the elements of the array ``name`` of the top-level object in a UTF-8 JSON file; none if there is none.

    A file that cannot be read, is truncated or is not JSON is a DataError; a byte order mark is skipped.
    """
    try:
        with file.open("rb") as content:
            if content.read(len(_BYTE_ORDER_MARK)) != _BYTE_ORDER_MARK:
                content.seek(0)
            yield from ijson.items(content, f"{name}.item", use_float=True, buf_size=_BUFFER)
    except OSError as error:
        raise cannot_read(file, error) from error
    except ijson.JSONError as error:
        found = " ".join(str(error).split())
        mend = "Download the file again"
        raise DataError(f"{file} is not JSON in UTF-8", found=found[:200], mend=mend) from error

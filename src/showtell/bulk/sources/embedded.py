"""Images in rows of tables and datasets: bytes, structs of bytes and a path, or paths."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from showtell.bulk.sources.storage import is_url
from showtell.bulk.units import Failure, UnitImage
from showtell.data.sources.columns import Columns, find_column
from showtell.data.sources.hub_dataset import EMBEDDED_COLUMNS, ID_COLUMNS, NAME_COLUMNS, image_parts
from showtell.errors import DataError
from showtell.images.load import NamedBytes
from showtell.images.refusals import Limits


class EmbeddedImages:
    """Finds the image of a row, and its key: path, name or id in the row, else ``WHERE#NUMBER``.

    ``load`` returns the image at a path or an address, which in the row is relative to ``folder``.
    """

    def __init__(
        self,
        columns: Iterable[str],
        image: str,
        *,
        where: str,
        folder: str,
        load: Callable[[str], UnitImage],
    ) -> None:
        columns = [column for column in columns if column != image]
        keys = (find_column(columns, names) for names in (NAME_COLUMNS, ID_COLUMNS))
        self._image, self._keys = image, [key for key in keys if key is not None]
        self._where, self._folder, self._load = where, folder, load

    @property
    def columns(self) -> list[str]:
        """The columns that are needed."""
        return [self._image, *self._keys]

    def image(self, row: Mapping[str, Any], number: int) -> UnitImage:
        """Return the image of a row, number ``number`` of the table."""
        data, path = image_parts(row.get(self._image))
        named = (str(row[key]).strip() for key in self._keys if row.get(key) is not None)
        key = path or next(filter(None, named), "") or f"{self._where}#{number}"
        if data is not None:
            limit = Limits().max_bytes
            return NamedBytes(data, key) if len(data) <= limit else Failure.of(key, f"{len(data):,} bytes")
        if not path:
            return Failure.of(key, f"nothing in '{self._image}'")
        if not is_url(path):
            path = f"{self._folder}/{path}" if is_url(self._folder) else str(Path(self._folder, path))
        return self._load(path)


def find_image_column(source: str, columns: Sequence[str], *, embedded: Sequence[str], wanted: str) -> str:
    """Return ``wanted``, else the column of ``embedded`` images with a usual name or the only one, else any with one.

    Raises:
        ConfigError: there is no column ``wanted``.
        DataError: there is no column of images.
    """
    usual = Columns(image=wanted, image_names=EMBEDDED_COLUMNS)
    usual.check(columns, source)
    column = None if wanted else usual.find_image(embedded) or (embedded[0] if len(embedded) == 1 else None)
    column = column or usual.find_image(columns)
    if column is None:
        raise DataError(
            f"cannot read {source}",
            found=f"the columns {', '.join(columns) or '(none)'}",
            expected="a column of images",
            mend="If there is one, name it: --image-column",
        )
    return column

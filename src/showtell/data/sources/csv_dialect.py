"""Rows of delimited text as a human reads them: a quotation mark encloses a field only if it is closed properly.

A field between quotation marks, doubled inside, ends at a delimiter or at the end of its row; it may contain
delimiters and line breaks (RFC 4180). All other quotation marks are text. A field continues on the next line only if
the row then has as many fields as the header, and never across a line that resembles a row by its image name.
"""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from showtell.images.formats import IMAGE_SUFFIXES

MAX_FIELD = 131_072  # characters of a field of several lines, the default limit of the module csv


@dataclass(frozen=True)
class CsvDialect:
    """Delimiter and columns of a table, as its header has them."""

    delimiter: str = ","
    width: int = 0  # number of columns
    image: int = 0  # position of the image column
    open_ended: bool = False  # the last field may contain delimiters without quotation marks
    cr_ends_rows: bool = False  # the header ends with a carriage return alone
    skip_space: bool = False  # a space after the delimiter is no text, as in the header

    @cached_property
    def _field(self) -> re.Pattern[str]:
        end, space = re.escape(self.delimiter), " *" if self.skip_space else ""
        return re.compile(rf'{space}"((?:[^"]|"")*+)"(?={end}|\Z)|[^{end}]*')

    def rows(self, lines: Iterable[str], header: int = 1) -> Iterator[tuple[int, list[str]]]:
        """Yield line number and fields of the rows below the line of the ``header``, but for empty ones.

        ``lines`` have their ends: LF, CR or both.
        """
        source, kind = _Lines(lines, header), ""
        while (line := source.take()) is not None:
            number = source.number
            if not self.cr_ends_rows and line.endswith("\r"):
                line = self._with_carriage_returns(line, source, kind)
            text = line.rstrip("\r\n")
            if '"' not in text:
                fields = text.split(self.delimiter, self.width - 1 if self.open_ended else -1)
            else:
                fields = self._quoted(line, source, kind) or self.split(text)
            if text:
                if not kind and len(fields) == self.width:
                    kind = _kind(fields[self.image].strip())
                yield number, fields

    def split(self, text: str) -> list[str]:
        """Return the fields of one line: those that are closed properly without their quotation marks."""
        fields: list[str] = []
        end = -1
        while end < len(text):
            start = end + 1
            match = self._field.match(text, start)
            if match is None or (
                self.open_ended and len(fields) == self.width - 1 and match.end() < len(text)
            ):
                return [*fields, text[start:]]
            end = match.end()
            fields.append(match[0] if match[1] is None else match[1].replace('""', '"'))
        return fields

    def _quoted(self, first: str, source: "_Lines", kind: str) -> list[str] | None:
        """Return the fields of a row, with the lines on which it continues; None: a quotation mark is not closed."""
        fields = self._parse([first])
        if fields and len(fields) <= self.width:
            return fields
        taken: list[str] = []
        if not kind and self.image == 0:
            kind = _kind(first.partition(self.delimiter)[0].strip('" '))

        def lines() -> Iterator[str]:
            yield first
            known, size = self._image_names(first, kind), 0
            while size < MAX_FIELD and (line := source.take()) is not None:
                taken.append(line)
                size += len(line)
                names = self._image_names(line, kind)
                # Where all names are quoted, one without quotation marks is part of a caption.
                if known and any(name.startswith('"') == known[0].startswith('"') for name in names):
                    return
                known = known or names
                yield line

        fields = self._parse(lines())
        if fields and len(fields) == self.width:
            return fields
        source.put_back(taken)
        return None

    def _parse(self, lines: Iterable[str]) -> list[str] | None:
        """Return the fields of a row if it is properly quoted (RFC 4180)."""
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True, skipinitialspace=self.skip_space)
        try:
            return next(reader)
        except csv.Error:
            return None

    def _with_carriage_returns(self, row: str, source: "_Lines", kind: str) -> str:
        """Return a row with the lines after a carriage return that is text, as Python before 3.13 writes it."""
        while row.endswith("\r") and len(row) < MAX_FIELD and (line := source.take()) is not None:
            before, after = row.count(self.delimiter), line.count(self.delimiter)
            is_complete = before == self.width - 1
            if before + after >= self.width or (is_complete and self._image_names(line, kind)):
                source.put_back([line])
                break
            row += line
        return row

    def _image_names(self, line: str, kind: str) -> list[str]:
        """Return the fields of a line, in the place of the image from either end, that resemble image names.

        A line of one field is no row, which has an image and a caption.
        """
        fields = line.rstrip("\r\n").split(self.delimiter)
        if len(fields) < min(2, self.width):
            return []
        places = {self.image, len(fields) - self.width + self.image}
        names = [fields[place].strip() for place in places if 0 <= place < len(fields)]
        return [name for name in names if _resembles_image(name.strip('"'), kind)]


class _Lines:
    """Lines that can be put back, with the number of the current one."""

    def __init__(self, lines: Iterable[str], number: int) -> None:
        self._lines, self._returned, self.number = iter(lines), deque[str](), number

    def take(self) -> str | None:
        line = self._returned.popleft() if self._returned else next(self._lines, None)
        self.number += line is not None
        return line

    def put_back(self, lines: list[str]) -> None:
        self._returned.extendleft(reversed(lines))
        self.number -= len(lines)


def _resembles_image(name: str, kind: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) or (kind != "" and _kind(name) == kind)


def _kind(name: str) -> str:
    """Return the suffix of a file name; of a name without one, its runs of letters and digits as one each."""
    suffix = re.search(r"\.[a-z]\w{1,4}$", name.lower())
    return suffix[0] if suffix else re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", name))

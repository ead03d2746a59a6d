"""Columns of captioned tables: their usual names, the user's choice among them, and captions that a cell holds."""

import ast
import json
import re
import string
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from showtell.errors import ConfigError, did_you_mean

IMAGE_COLUMNS = (
    *("image", "file_name", "filename", "image_path", "image_name", "path", "file"),
    *("image_file", "image_file_name", "img", "img_path", "filepath", "file_path"),
)
NAME_COLUMNS = (*IMAGE_COLUMNS, "image_id", "id")
"""Where images are files, an id may be the name of one."""
CAPTION_COLUMNS = (
    *("caption", "captions", "text", "texts", "sentence", "sentences"),
    *("description", "alt_text", "txt", "report", "comment", "comments"),
)
SPLIT_COLUMNS = ("split", "subset", "set", "set_name", "partition")
_SEPARATORS = re.compile(r"[\s_-]+")
_NUMBERED = re.compile(r"(caption|text|sentence|comment)\.?\d+")
_CAPTION_ENDING = re.compile(r".*(?:caption|description)s?")
_STRING = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_ITEM = rf"(?:{_STRING}|None|nan|\.\.\.)"
_ITEMS = re.compile(rf"\[\s*{_ITEM}(?:(?:\s+{_ITEM})*|(?:\s*,\s*{_ITEM})*)\s*\]", re.DOTALL)
_ARRAY = "array("
_ARRAY_END = re.compile(r"\],?\s*(?:shape=\(\d+,\),?\s*)?(?:dtype=[^()]*)?\)")
_CLOSING = frozenset("])}" + string.whitespace)
_LONGEST_LIST = 1_000_000  # characters


@dataclass(frozen=True)
class Columns:
    """The columns that the user names, and the usual names of the others."""

    image: str = ""
    caption: str = ""
    image_names: tuple[str, ...] = NAME_COLUMNS

    def __bool__(self) -> bool:
        return bool(self.image or self.caption)

    def find_image(self, columns: Iterable[str]) -> str | None:
        """Return the image column, if there is one."""
        return find_column(columns, [self.image] if self.image else self.image_names)

    def find_captions(self, columns: Iterable[str]) -> list[str]:
        """Return the caption columns: a known name and its numbered ones, else those, else the only ``*_caption``."""
        columns = list(columns)
        named = find_column(columns, [self.caption] if self.caption else CAPTION_COLUMNS)
        if self.caption:
            return [named] if named else []
        matches = {column: _NUMBERED.fullmatch(normal(column)) for column in columns}
        if named:
            return [
                named,
                *(column for column, match in matches.items() if match and match[1] == normal(named)),
            ]
        numbered = [column for column, match in matches.items() if match]
        endings = [column for column in columns if _CAPTION_ENDING.fullmatch(normal(column))]
        return numbered or (endings if len(endings) == 1 else [])

    def check(self, columns: Iterable[str], where: str) -> None:
        """Raise a ConfigError if ``where`` lacks a column that the user names."""
        columns = list(columns)
        for option, name in (("--image-column", self.image), ("--caption-column", self.caption)):
            if name and find_column(columns, [name]) is None:
                raise ConfigError(
                    f"{where} has no column for {option} {name}",
                    found=", ".join(columns) or "no columns",
                    mend=did_you_mean(name, columns),
                )

    @property
    def expected(self) -> str:
        """Return the columns that a table needs, for an error message."""
        image, caption = self.image or ", ".join(self.image_names), self.caption or ", ".join(CAPTION_COLUMNS)
        return f"an image column ({image}) and a caption column ({caption})"


CHOOSE = "choose columns with --image-column and --caption-column"


def normal(column: str) -> str:
    """Return a column's name in lower case, without spaces, hyphens and underscores."""
    return _SEPARATORS.sub("", column).lower()


def find_column(columns: Iterable[str], names: Sequence[str]) -> str | None:
    """Return the column with the first of ``names`` that occurs, else the first that is `normal` to occur."""
    columns = list(columns)
    by_name = {normal(column): column for column in reversed(columns)}
    forms = ((name if name in columns else by_name.get(normal(name))) for name in names)
    return next((column for column in forms if column is not None), None)


def caption_texts(record: Mapping[str, Any], columns: Sequence[str]) -> tuple[str, ...]:
    """Return the captions in these columns of a record; ValueError: it has none, or they are no texts.

    A column holds a text, a list, or a list written as text. Of several columns, empty ones are passed over.
    """
    if len(columns) == 1 and isinstance(value := record.get(columns[0]), str) and value[-1:] not in _CLOSING:
        return (value,)  # of nearly all records
    texts: list[str] = []
    for column in columns:
        values = as_list(record.get(column))
        # Some datasets keep sentences in Karpathy's format.
        values = [text.get("raw") if isinstance(text, dict) else text for text in values]
        if len(columns) > 1:
            values = [text for text in values if text is not None and text != ""]
        if ... in values:
            raise ValueError(f"{column} is a list that was shortened: it has '...' in place of some texts")
        if not all(isinstance(text, str) for text in values):
            raise ValueError(f"{column} is neither text nor a list of texts")
        texts += values
    if not texts and len(columns) > 1:
        raise ValueError(f"no caption in {', '.join(columns)}")
    return tuple(texts)


def as_list(value: Any) -> list[Any]:
    """Return the values of a cell: of a list, of a list written as text, or the only one."""
    if isinstance(value, str):
        if value[-1:] not in _CLOSING:
            return [value]
        found = parse_list(value)
        return [value] if found is None else found
    return list(value) if isinstance(value, (list, tuple)) else [value]


def parse_list(text: str) -> list[Any] | None:
    """Return a list of texts that is written as text, in the form of JSON, Python or NumPy; None if it is no list.

    A set is a list too. NaN and ``...`` among texts are None and Ellipsis.

    >>> parse_list("['A dog.' 'A cat.']")
    ['A dog.', 'A cat.']
    """
    text = text.strip()
    if len(text) > _LONGEST_LIST:
        return None
    end = text.rfind("]")
    if text.startswith(_ARRAY) and _ARRAY_END.fullmatch(text, end):
        text = text[len(_ARRAY) : end + 1]
    if text[:1] == "{" and text[1:-1].strip():
        text = f"[{text[1:-1]}]" if text[-1] == "}" else ""
    if (text[:1], text[-1:]) not in (("[", "]"), ("(", ")")):
        return None
    with warnings.catch_warnings(action="ignore", category=SyntaxWarning):
        # Python joins texts without a comma, which is how NumPy writes them, and does not know nan.
        is_plain = _ITEMS.fullmatch(text)
        values = (
            [_evaluate(item[0]) for item in re.finditer(_ITEM, text, re.DOTALL)]
            if is_plain
            else _evaluate(text)
        )
    if values == []:
        return []
    is_list = isinstance(values, (list, tuple))
    return list(values) if is_list and any(isinstance(value, (str, dict, list)) for value in values) else None


def _evaluate(text: str) -> Any:
    """Return the value of a JSON or Python literal, or None."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None

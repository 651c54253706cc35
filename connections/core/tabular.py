"""Writes rows as CSV, JSON or NDJSON, and reads rows of CSV: one at a time to limit memory use."""

import csv
import json
import string
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from django.views.decorators.debug import sensitive_variables

from connections.core.text import printable_json

Row = dict[str, Any]


@dataclass(frozen=True)
class Columns[T]:
    """The columns of an export, in order: each name with the function that returns its value."""

    values: dict[str, Callable[[T], Any]]

    def row(self, item: T) -> Row:
        """The row of one item."""
        return {name: value(item) for name, value in self.values.items()}


@sensitive_variables()
def split_cells(row: str) -> list[str] | None:
    """The cells of one row of CSV, which can contain keys. None if it isn't valid."""
    try:
        [cells] = csv.reader([row], strict=True)
    except (csv.Error, ValueError):
        return None
    return cells


class AsJson(dict[str, Any]):
    """A value that is written as JSON in one CSV cell."""


CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
}
# Spreadsheets treat a cell that begins with one of these as a formula.
FORMULA_STARTS = ("=", "+", "-", "@")
# Almost every cell of a long export starts with one of these or is empty.
_HARMLESS_STARTS = frozenset(["", *string.ascii_letters, *string.digits, "[", "{"])
# Spaces that a spreadsheet might ignore before a formula.
SPACES = " \u00a0\u3000"


def write[T](*, items: Iterable[T], columns: Columns[T], file_format: str) -> Iterator[str]:
    """The rows of the items as chunks of text."""
    writers: dict[str, Callable[[], Iterator[str]]] = {
        "csv": lambda: _csv(items, columns),
        "json": lambda: _json(map(columns.row, items)),
        "ndjson": lambda: (_to_json(columns.row(item)) + "\n" for item in items),
    }
    return writers[file_format]()


# json.dumps would make a new encoder for each row.
_encode = json.JSONEncoder(ensure_ascii=False).encode


def _to_json(value: Any) -> str:
    return printable_json(_encode(value))


def _json(rows: Iterable[Row]) -> Iterator[str]:
    before = "[\n"
    for row in rows:
        yield before + _to_json(row)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


class _Echo:
    """A file for csv.writer that makes writerow return the text."""

    def write(self, text: str) -> str:
        return text


def _csv[T](items: Iterable[T], columns: Columns[T]) -> Iterator[str]:
    writer: Any = csv.writer(_Echo())
    # Excel reads a file as UTF-8 only if it begins with a byte order mark.
    yield "\ufeff"
    yield writer.writerow(columns.values)
    for item in items:
        yield writer.writerow([as_cell(value(item)) for value in columns.values.values()])


def as_cell(value: Any) -> str:
    """A value as the text of one CSV cell, escaped so that no spreadsheet runs it as a formula."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else _as_text(value)
    # Avoids the slower checks below.
    if text[:1] in _HARMLESS_STARTS:
        return text
    return "'" + text if _is_escaped(text) else text


def without_escape(cell: str) -> str:
    """The text of a cell that `as_cell` wrote."""
    return cell[1:] if cell.startswith("'") and _is_escaped(cell[1:]) else cell


def _is_escaped(text: str) -> bool:
    """Whether it starts like a formula or like one that is escaped already."""
    return _starts_like_a_formula(text.lstrip("'"))


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        try:
            return "; ".join(value)
        except TypeError:
            return _to_json(value)
    if isinstance(value, dict):
        if isinstance(value, AsJson):
            return _to_json(value)
        return str(value.get("name") or value.get("id") or "")
    return str(value)


def _starts_like_a_formula(text: str) -> bool:
    """Whether a formula, or a character that hides what follows, comes first.

    Normalizes with NFKC, because East Asian spreadsheets read the full-width ＝ as =.
    """
    first = text.lstrip(SPACES)[:1]
    is_formula = unicodedata.normalize("NFKC", first).startswith(FORMULA_STARTS)
    return is_formula or not first.isprintable()


def as_time(at: datetime | None) -> str | None:
    """An ISO 8601 time in UTC, or None."""
    return at.isoformat() if at else None


def parse_time(text: str, *, of_date: time = time.min) -> datetime:
    """An ISO 8601 time, UTC if it has no offset. A date is its day's `of_date`.

    Raises ValueError.
    """
    try:
        at = datetime.combine(date.fromisoformat(text), of_date)
    except ValueError:
        at = datetime.fromisoformat(text)
    try:
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except OverflowError as error:
        raise ValueError(text) from error

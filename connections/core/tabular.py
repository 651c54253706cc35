"""Write rows as CSV, JSON or NDJSON, one at a time to limit memory use."""

import csv
import io
import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Columns[T]:
    """The columns of an export, in order: each name with the function that gives its value."""

    values: dict[str, Callable[[T], Any]]

    def row(self, item: T) -> Row:
        """The row of one item."""
        return {name: value(item) for name, value in self.values.items()}


class AsJson(dict[str, Any]):
    """A value that is written as JSON in one CSV cell."""


CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
}
# Spreadsheets treat a cell that begins with one of these as a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
# Spaces that a spreadsheet may ignore before a formula.
SPACES = " \u00a0\u3000"


def write[T](*, items: Iterable[T], columns: Columns[T], file_format: str) -> Iterator[str]:
    """The rows of the items as chunks of text."""
    rows = map(columns.row, items)
    writers: dict[str, Callable[[], Iterator[str]]] = {
        "csv": lambda: _csv(rows, tuple(columns.values)),
        "json": lambda: _json(rows),
        "ndjson": lambda: (json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
    }
    return writers[file_format]()


def _json(rows: Iterable[Row]) -> Iterator[str]:
    before = "[\n"
    for row in rows:
        yield before + json.dumps(row, ensure_ascii=False)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _csv(rows: Iterable[Row], columns: tuple[str, ...]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    # Excel reads a file as UTF-8 only if it begins with a byte order mark.
    yield "\ufeff"
    writer.writerow(columns)
    for row in rows:
        writer.writerow([as_cell(row[column]) for column in columns])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def as_cell(value: Any) -> str:
    """A value as the text of one CSV cell, escaped so that no spreadsheet runs it as a formula."""
    if value is None:
        return ""
    if isinstance(value, AsJson):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        value = value.get("name") or value.get("id") or ""
    if isinstance(value, list):
        simple = all(isinstance(item, str) for item in value)
        value = "; ".join(value) if simple else json.dumps(value, ensure_ascii=False)
    text = str(value)
    return "'" + text if _starts_like_a_formula(text) else text


def _starts_like_a_formula(text: str) -> bool:
    """Normalizes with NFKC, because East Asian spreadsheets read the full-width ＝ as =."""
    first = text.lstrip(SPACES)[:1]
    return unicodedata.normalize("NFKC", first).startswith(FORMULA_STARTS)


def as_time(at: datetime | None) -> str | None:
    """An ISO 8601 time in UTC, or None."""
    return at.isoformat() if at else None

"""Imports CSV files whose lines are applied one by one: a failed line doesn't affect others."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404

from connections.core.errors import DomainError, InvalidInputError
from connections.core.tabular import without_escape


@dataclass(kw_only=True)
class ImportResult:
    """The outcome of each line. `set` and `unchanged` name lines, `failed` also says why.

    `changes` has what a preview says would change, by line.
    """

    set: list[dict[str, Any]] = field(default_factory=list)
    unchanged: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    changes: dict[int, list[str]] = field(default_factory=dict)

    @property
    def document(self) -> dict[str, list[dict[str, Any]]]:
        """As commands print it."""
        return {"set": self.set, "unchanged": self.unchanged, "failed": self.failed}

    @property
    def lines(self) -> list[str]:
        """A sentence for each line, as commands print it without --json."""
        return [
            f"line {row['line']}: {outcome}{': ' + row['error'] if 'error' in row else ''}"
            for outcome, rows in self.document.items()
            for row in rows
        ]


# Whether a row changed anything, for a preview what it changes, or why it failed.
type Outcome = bool | list[str] | DomainError | PermissionDenied | Http404


def import_csv(
    content: bytes,
    *,
    columns: Sequence[str],
    apply_all: Callable[[list[dict[str, str]]], Iterable[Outcome]],
    named_by: Sequence[str],
) -> ImportResult:
    """Apply the rows and return the outcome of each. `apply_all` returns them in the same order.

    `named_by` are the columns that name a row in the result. Other columns than `columns` are
    ignored, so that an export can be imported. Raises InvalidInputError for `file`.
    """
    # Read first, so that a file that can't be read changes nothing.
    rows = list(_read_rows(content, columns=columns))
    outcomes = iter(apply_all([row for _, row in rows if not isinstance(row, str)]))
    result = ImportResult()
    for line, row in rows:
        if isinstance(row, str):
            result.failed.append({"line": line, "error": row})
            continue
        outcome = next(outcomes)
        if isinstance(outcome, Http404):
            result.failed.append({"line": line, "error": "Not found: check the IDs and names."})
        elif isinstance(outcome, Exception):
            result.failed.append({"line": line, "error": str(outcome)})
        else:
            named = {"line": line} | {name: row[name] for name in named_by}
            (result.unchanged if outcome is False else result.set).append(named)
            if isinstance(outcome, list):
                result.changes[line] = outcome
    return result


def one_by_one(
    apply: Callable[[dict[str, str]], bool],
) -> Callable[[list[dict[str, str]]], Iterator[Outcome]]:
    """Apply each row by itself. `apply` returns whether it changed anything."""

    def apply_all(rows: list[dict[str, str]]) -> Iterator[Outcome]:
        for row in rows:
            try:
                yield apply(row)
            except (Http404, DomainError, PermissionDenied) as error:
                yield error

    return apply_all


def _read_rows(
    content: bytes, *, columns: Sequence[str]
) -> Iterator[tuple[int, dict[str, str] | str]]:
    """The line on which each row starts, and its cells by column, or why they can't be used."""
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        header = [cell.strip().lower() for cell in next(reader, [])]
        if not set(columns) <= set(header):
            raise InvalidInputError(
                {"file": f"The first line must be the header: {','.join(columns)}."}
            )
        line = reader.line_num + 1
        for cells in reader:
            if len(cells) != len(header) and any(cells):
                yield line, "It has another number of cells than the header."
            elif any(cells):
                row = dict(zip(header, map(without_escape, cells), strict=True))
                used = {name: row[name].strip() for name in columns}
                can_be_stored = "\0" not in "".join(used.values())
                yield (
                    line,
                    used if can_be_stored else "It contains a character that can't be stored.",
                )
            line = reader.line_num + 1
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidInputError({"file": f"Line {line} isn't valid UTF-8."}) from None
    except csv.Error:
        raise InvalidInputError(
            {"file": f"Line {reader.line_num} isn't valid CSV. Check its quotes."}
        ) from None

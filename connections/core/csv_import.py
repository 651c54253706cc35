"""Imports CSV files whose lines are applied one by one: a failed line doesn't affect others."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404

from connections.core.errors import DomainError, InvalidInputError
from connections.core.tabular import without_escape


@dataclass(kw_only=True)
class ImportResult:
    """The outcome of each line. `set` and `unchanged` name lines, `failed` also says why."""

    set: list[dict[str, Any]] = field(default_factory=list)
    unchanged: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)

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


def import_csv(
    content: bytes,
    *,
    columns: Sequence[str],
    apply: Callable[[dict[str, str]], bool],
    named_by: Sequence[str],
) -> ImportResult:
    """Apply each row and return the outcome of each. `apply` returns whether it changed anything.

    `named_by` are the columns that name a row in the result. Other columns than `columns` are
    ignored, so that an export can be imported. Raises InvalidInputError for `file`.
    """
    result = ImportResult()
    # Read first, so that a file that can't be read changes nothing.
    for line, row in list(_read_rows(content, columns=columns)):
        try:
            if row is None:
                raise InvalidInputError({"line": "It has another number of cells than the header."})
            if "\0" in "".join(row.values()):
                raise InvalidInputError({"line": "It contains a character that can't be stored."})
            named = {"line": line} | {name: row[name] for name in named_by}
            (result.set if apply(row) else result.unchanged).append(named)
        except Http404:
            result.failed.append({"line": line, "error": "Not found: check the IDs and names."})
        except (DomainError, PermissionDenied) as error:
            result.failed.append({"line": line, "error": str(error)})
    return result


def _read_rows(
    content: bytes, *, columns: Sequence[str]
) -> Iterator[tuple[int, dict[str, str] | None]]:
    """The line on which each row starts, and its cells by column; None for too few or too many."""
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        header = [cell.strip().lower() for cell in next(reader, [])]
        if not set(columns) <= set(header):
            raise InvalidInputError(
                {"file": f"The first line must be the header: {','.join(columns)}."}
            )
        line = reader.line_num + 1
        for cells in reader:
            if any(cells):
                row = dict(zip(header, map(without_escape, cells), strict=False))
                is_whole = len(cells) == len(header)
                yield line, {name: row[name].strip() for name in columns} if is_whole else None
            line = reader.line_num + 1
    except (csv.Error, UnicodeDecodeError):
        raise InvalidInputError({"file": "The file isn't valid CSV in UTF-8."}) from None

"""Folding: the events of a record, in order, give the rows of the record.

Each event has in `rows` the columns that it set, by the name of the row, and in `names` those that
are people's names, as texts with references. One function puts them together for every kind of
record, so that any change of a row that no event made is found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from connections.verifier.events import Event
from connections.verifier.messages import fill

# The columns of each row of a record, by the name of the row, such as "attempt 1".
Rows = dict[str, dict[str, Any]]


def fold(events: Iterable[Event]) -> Rows:
    """The rows of a record, from its events, oldest first."""
    rows: Rows = {}
    for event in events:
        for key, columns in event.rows.items():
            for name in _names_in(key):
                if columns is None:
                    rows.pop(name, None)
                else:
                    rows.setdefault(name, {}).update(columns)
    return rows


def _names_in(key: str) -> Iterator[str]:
    """The rows that a key names: “decision 3 4” is “decision 3” and “decision 4”."""
    kind, *numbers = key.split(" ")
    yield from (f"{kind} {number}" for number in numbers) if numbers else (kind,)


def differences(rows: Mapping[str, Mapping[str, Any]], folded: Rows) -> Iterator[str]:
    """How the rows of a record differ from what its events set. Empty values count as missing."""
    for name in sorted(rows.keys() | folded.keys()):
        if name not in folded:
            yield fill("no event records the row “{}”", name)
        elif name not in rows:
            yield fill("the row “{}” is missing", name)
        else:
            stored, recorded = rows[name], folded[name]
            for column in sorted(stored.keys() | recorded.keys()):
                if not _is_same(stored.get(column), recorded.get(column)):
                    yield fill("“{}” of the row “{}” is not what its events set", column, name)


def _is_same(stored: Any, recorded: Any) -> bool:
    return bool(stored == recorded) or (stored in _EMPTY and recorded in _EMPTY)


_EMPTY: tuple[Any, ...] = (None, "", [], {})


def rows_named(rows: Rows, kind: str) -> list[dict[str, Any]]:
    """The rows “kind 1”, “kind 2” and so on of a record, in the order of their numbers."""
    numbers = (name.partition(" ")[2] for name in rows if name.startswith(f"{kind} "))
    return [
        rows[f"{kind} {number}"]
        for number in sorted(numbers, key=lambda number: (len(number), number))
    ]


def digest_of_rows(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row that stands for rows that are too many for an event."""
    digest = hashlib.sha256()
    for row in rows:
        text = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digest.update(text.encode("utf-8", "surrogatepass") + b"\n")
    return {"count": len(rows), "sha256": digest.hexdigest()}

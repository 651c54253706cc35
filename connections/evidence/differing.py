"""Counts and describes the records of one kind that don't match their audit events."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

# Raised when a column has a value of the wrong type, because SQLite stores any value.
UNREADABLE = (ValueError, TypeError, AttributeError, KeyError)
UNREADABLE_TEXT = "it contains something that can't be read"
# How many differences a message describes, and how many IDs it names for one of them.
MAX_DESCRIBED = 10
# How many IDs of missing records are kept, so that memory stays bounded.
_MAX_MISSING = 1000


@dataclass(kw_only=True)
class DifferingRecords:
    """How many records don't match their events, and descriptions of the first ones."""

    # What a record is, such as "deletion". Its plural is regular.
    noun: str
    count: int = 0
    ids: list[str] = field(default_factory=list)
    descriptions: list[str] = field(default_factory=list)
    _missing: set[str] = field(default_factory=set)

    def add(self, record_id: str, difference: str) -> None:
        """Count and describe one record."""
        self.describe(f"{self.noun.capitalize()} {record_id}: {difference}.", ids=[record_id])

    def add_missing(self, record_ids: Collection[str]) -> None:
        """Count each of these once, even if called again for more events of the same record."""
        for record_id in sorted(set(record_ids) - self._missing):
            if len(self._missing) < _MAX_MISSING:
                self._missing.add(record_id)
                self.add(record_id, f"its events exist, but the {self.noun} itself is missing")

    def describe(self, sentence: str, *, ids: Sequence[str]) -> None:
        """Count one difference, of the record with this ID or of one among these records."""
        self.count += 1
        if len(self.descriptions) < MAX_DESCRIBED:
            self.ids.extend(ids[:MAX_DESCRIBED])
            self.descriptions.append(sentence)

    @property
    def message(self) -> str:
        """The count and the descriptions, in a few sentences."""
        described = " ".join(self.descriptions)
        if self.count == 1:
            return described
        return f"{self.count} {self.noun}s do not match their events, among them: {described}"


def format_id(stored: Any) -> str:
    """A stored ID in the form that events have; unchanged if it isn't a UUID."""
    try:
        return str(UUID(str(stored)))
    except ValueError:
        return str(stored)

"""Reading the stored events one after the other, and naming the first that is not in order."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from django.db import connection

from connections import chain
from connections.models import ErasableValue

PIECE = 2000
_COLUMNS = (
    "seq, hash, text, at, code, actor_kind, actor_id, actor, request_id, subject_type, "
    "subject_id, sentence"
)

# One event, in the order of the columns.
type Row = tuple[Any, ...]


class Fault(StrEnum):
    """What is wrong with a record."""

    EDITED = "edited"  # the text of an event, or a hash, was changed
    DELETED = "deleted"  # an event is missing
    INSERTED = "inserted"  # an event stands where none was
    REORDERED = "reordered"  # events changed places
    REHASHED = "re-hashed"  # whole in itself, and not what a checkpoint has seen
    TRUNCATED = "truncated"  # shorter than a checkpoint has seen it
    OTHER_KEY = "other_key"  # a checkpoint is signed with a key that is not ours
    CHECKPOINT = "checkpoint"  # a stored checkpoint is not what was signed
    COLUMN = "column"  # a column says something else than the event's text
    VALUE = "value"  # a name or an address is not the one that the events were written with
    HEAD = "head"  # the end of the chain is not where the head row says


class BrokenError(Exception):
    """The first fault that was met, and the first event that cannot be relied on."""

    def __init__(self, fault: Fault, seq: int, message: str) -> None:
        super().__init__(message)
        self.fault, self.seq, self.message = fault, seq, message


def pieces(*, upto: int) -> Iterator[list[Row]]:
    """The events up to this number, some thousand at a time."""
    seq = 0
    query = (
        f"SELECT {_COLUMNS} FROM connections_auditevent "  # noqa: S608 - our own column names
        "WHERE seq > %s AND seq <= %s ORDER BY seq LIMIT %s"
    )
    while True:
        with connection.cursor() as cursor:
            cursor.execute(query, [seq, upto, PIECE])
            rows = cursor.fetchall()
        if not rows:
            return
        yield rows
        seq = rows[-1][0]


def check_row(
    row: Row, *, expected: int, previous: bytes, values: dict[str, str]
) -> tuple[bytes, bytes]:
    """The hash and the leaf of the event that must stand here. Raises BrokenError.

    `previous` is the hash of the one before, `values` the commitments of `values_kept`.
    """
    seq, stored_hash, text = row[:3]
    if seq != expected:
        raise BrokenError(Fault.DELETED, expected, f"Event {expected} is missing.")
    data = text.encode()
    found = chain.event_hash(previous, data)
    document = _document(text)
    if document is None or document.get("seq") != seq or found.hex() != stored_hash:
        _name_fault(seq, document)
    _check_copies(row, document, values)
    return found, chain.leaf_hash(data)


def _document(text: str) -> dict[str, Any] | None:
    try:
        document = json.loads(text)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _name_fault(seq: int, document: dict[str, Any] | None) -> None:
    says = document.get("seq") if document else None
    if not isinstance(says, int) or says == seq:
        raise BrokenError(
            Fault.EDITED, seq, f"Event {seq} was edited, or the hash of the one before it was."
        )
    if says == seq - 1:
        raise BrokenError(
            Fault.INSERTED, says, f"Event {says} was put in: the one after it bears its number."
        )
    if says > seq and not _is_anywhere(seq):
        raise BrokenError(
            Fault.DELETED, seq, f"Event {seq} is missing, and later ones bear other numbers."
        )
    raise BrokenError(
        Fault.REORDERED, seq, f"Event {says} stands in the place of {seq}: they were reordered."
    )


def _is_anywhere(seq: int) -> bool:
    """Whether some row holds the text of this event."""
    for rows in pieces(upto=2**63 - 1):
        for row in rows:
            document = _document(row[2])
            if document is not None and document.get("seq") == seq:
                return True
    return False


def _check_copies(row: Row, document: Any, values: dict[str, str]) -> None:
    seq = row[0]
    try:
        is_same = _has_same_columns(row, document)
        refs = document["refs"].items()
    except (KeyError, TypeError, AttributeError):
        raise BrokenError(
            Fault.EDITED, seq, f"Event {seq} is not of the form that events have."
        ) from None
    if not is_same:
        raise BrokenError(
            Fault.COLUMN,
            seq,
            f"A column of event {seq} does not say what its text says; the text is whole.",
        )
    for number, commitment in refs:
        if values.get(number) != commitment:
            raise BrokenError(
                Fault.VALUE,
                seq,
                f"Erasable value {number} is not the one that event {seq} was written with.",
            )


def _has_same_columns(row: Row, document: dict[str, Any]) -> bool:
    actor, subject = document["actor"], document["subject"]
    is_same: bool = (
        row[4] == document["code"]
        and row[5] == actor["kind"]
        and row[7] == actor["name"]
        and row[8] == document["request_id"]
        and row[9] == (subject["type"] if subject else "")
        and row[10] == (subject["id"] if subject else "")
        and row[11] == document["sentence"]
        and _uuid_text(row[6]) == actor["id"]
        and _time_text(row[3]) == document["at"]
    )
    return is_same


def values_kept() -> dict[str, str]:
    """Number → commitment of every erasable value; what is not erased is checked to give it."""
    commitments = {}
    for one in ErasableValue.objects.order_by("number").iterator():
        given = one.commitment
        if one.erased_at is None:
            try:
                salt = bytes.fromhex(one.salt)
            except ValueError:
                salt = b""
            given = chain.commitment(salt=salt, kind=one.kind, value=one.value)
        # One that was changed then differs from what the events hold.
        commitments[str(one.number)] = given
    return commitments


def _uuid_text(value: Any) -> str | None:
    """A UUID as the text has it; SQLite keeps 32 digits."""
    if isinstance(value, str) and len(value) == 32:
        return f"{value[:8]}-{value[8:12]}-{value[12:16]}-{value[16:20]}-{value[20:]}"
    return None if value is None else str(value)


def _time_text(value: Any) -> str:
    """A time as the text has it; SQLite keeps `YYYY-MM-DD HH:MM:SS`, with a fraction if any."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    whole, _, fraction = str(value).partition(".")
    return f"{whole.replace(' ', 'T')}.{fraction:0<6}Z"

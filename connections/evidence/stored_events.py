"""Reads the stored events in order and finds the first one that was tampered with."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db import connection

from connections.audit import EventCode, chain
from connections.core.database import read_in_chunks
from connections.models import AuditEvent, PersonalValue
from connections.verifier.events import commitment_of
from connections.verifier.merkle import leaf_hash

BATCH_SIZE = 2000
# The time as text, because converting it in the database driver takes longer than all the hashing.
_TIMES = {"sqlite": "CAST(at AS TEXT)", "postgresql": "to_char(at AT TIME ZONE 'UTC', '{}')"}
_TIME_FORMAT = "YYYY-MM-DD HH24:MI:SS.US"
_COLUMNS = (
    "seq, previous, hash, text, {}, code, actor_kind, actor_id, actor, request_id, subject_type, "
    "subject_id, sentence"
)

_decode = json.JSONDecoder().raw_decode

# One event, in the order of the columns.
type EventRow = tuple[Any, ...]


class Fault(StrEnum):
    """The kinds of damage that a verification finds."""

    EDITED = "edited"  # the text of an event, or a hash, was changed
    DELETED = "deleted"  # an event is missing
    INSERTED = "inserted"  # an event was added between others
    REORDERED = "reordered"  # events switched places
    REHASHED = "re-hashed"  # hashes were recomputed: valid, but not those chained or signed before
    TRUNCATED = "truncated"  # shorter than a checkpoint or verification says
    OTHER_KEY = "other_key"  # a checkpoint is signed with a key of another installation
    ROTATION = "rotation"  # a key was replaced without both keys having signed it
    CHECKPOINT = "checkpoint"  # a stored checkpoint is not the one that was signed
    COLUMN = "column"  # a column differs from the event's text
    VALUE = "value"  # a name or an address differs from the one in the events
    DELETION = "differing_deletion"  # a deletion or an attempt differs from its events
    ACCESS_REQUEST = "differing_access_request"  # as differing_deletion, for an access request
    CHANGE = "differing_change"  # a change or its acknowledgement differs from its event
    BATCH = "differing_batch"  # a bulk deletion differs from its events
    ACCESS_REVIEW = "differing_access_review"  # it, a row or a decision differs from its events
    PROTECTION = "differing_protection"  # a protection or its removal differs from its event
    AGREEMENT = "differing_agreement"  # a version of an agreement differs from its event
    HOLD = "differing_hold"  # a hold or its release differs from its event
    HEAD = "head"  # the head row doesn't match the last event


class AuditFault(Exception):
    """The first fault found, and the first event that can't be relied on.

    If only a range is known, the first bad event is between `seq` and `at_latest`.
    """

    def __init__(
        self, fault: Fault, seq: int, message: str, *, at_latest: int | None = None
    ) -> None:
        super().__init__(message)
        self.fault, self.seq, self.message = fault, seq, message
        self.at_latest = seq if at_latest is None else at_latest


@dataclass(frozen=True, kw_only=True)
class StoredValues:
    """The erasable values by the number that texts refer to."""

    # "" for a value that was tampered with.
    commitments: dict[str, str]
    # None for the address of an unknown person.
    person_ids: dict[str, str | None]


def row_batches(*, upto: int) -> Iterator[list[EventRow]]:
    """The rows of the events up to this number, oldest first, in batches."""
    return batches_of(_COLUMNS.format(_TIMES[connection.vendor].format(_TIME_FORMAT)), upto=upto)


def batches_of(columns: str, *, upto: int) -> Iterator[list[EventRow]]:
    """These columns of the events up to this number, oldest first, in batches. The first is seq."""
    query = (
        f"SELECT {columns} FROM connections_auditevent "  # noqa: S608 - our own column names
        "WHERE seq > %s AND seq <= %s ORDER BY seq LIMIT %s"
    )
    seq = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(query, [seq, upto, BATCH_SIZE])
            rows = cursor.fetchall()
        if not rows:
            return
        yield rows
        seq = rows[-1][0]


def verify_row(
    row: EventRow, *, expected: int, previous: str, proved: int, values: StoredValues
) -> tuple[dict[str, Any], bytes]:
    """Verify the row of event `expected`. Return its document and its leaf hash.

    `previous` is the hash of the event before, in hex. `proved` is the size of the last correct
    checkpoint. Raises AuditFault.
    """
    seq, chained_to, _, text = row[:4]
    if seq != expected:
        raise AuditFault(Fault.DELETED, expected, f"Event {expected} is missing.")
    data = text.encode()
    document = _document(text)
    if document is None or document.get("seq") != seq or not _has_valid_hash(row, data):
        _raise_fault(seq, document)
    if chained_to != previous and seq == 1:
        raise AuditFault(Fault.EDITED, 1, "Event 1 is chained to something before it.")
    if chained_to != previous:
        # This event's hash is valid, so the event before it was changed.
        raise AuditFault(
            Fault.REHASHED,
            seq - 1,
            f"Event {seq} was chained to a different event than the one before it now: "
            f"{seq - 1} was changed and its hash recomputed, and perhaps others after {proved}.",
        )
    _verify_copies(row, document, values)
    return document or {}, leaf_hash(data)


def _has_valid_hash(row: EventRow, data: bytes) -> bool:
    try:
        previous = bytes.fromhex(row[1])
    except ValueError:
        return False
    stored: str = row[2]
    return chain.event_hash(previous, data).hex() == stored


def _document(text: str) -> dict[str, Any] | None:
    try:
        # Faster than `json.loads`, which also looks for surrounding white space.
        document, end = _decode(text)
    except ValueError:
        return None
    return document if isinstance(document, dict) and end == len(text) else None


def _raise_fault(seq: int, document: dict[str, Any] | None) -> None:
    seq_in_text = document.get("seq") if document else None
    if not isinstance(seq_in_text, int) or seq_in_text == seq:
        raise AuditFault(Fault.EDITED, seq, f"Event {seq} was edited, or its hash was.")
    if seq_in_text == seq - 1:
        raise AuditFault(
            Fault.INSERTED,
            seq_in_text,
            f"Event {seq_in_text} was inserted: the next one has its number.",
        )
    if seq_in_text > seq and not _has_text_of(seq):
        raise AuditFault(
            Fault.DELETED, seq, f"Event {seq} is missing, and later ones were renumbered."
        )
    raise AuditFault(
        Fault.REORDERED,
        seq,
        f"Event {seq_in_text} is in the place of event {seq}: they were reordered.",
    )


def _has_text_of(seq: int) -> bool:
    """Whether any row has the text of this event."""
    for rows in row_batches(upto=2**63 - 1):
        for row in rows:
            document = _document(row[3])
            if document is not None and document.get("seq") == seq:
                return True
    return False


def _verify_copies(row: EventRow, document: Any, values: StoredValues) -> None:
    seq = row[0]
    try:
        is_same = _has_same_columns(row, document)
        refs = document["refs"].items()
        actor_id, actor_name = document["actor"]["id"], document["actor"]["name"]
    except (KeyError, TypeError, AttributeError):
        raise AuditFault(
            Fault.EDITED, seq, f"Event {seq} doesn't have the form of an event."
        ) from None
    if not is_same:
        raise AuditFault(
            Fault.COLUMN,
            seq,
            f"A column of event {seq} differs from its text; the text is intact.",
        )
    for number, commitment in refs:
        is_the_same = values.commitments.get(number) == commitment
        if is_the_same and actor_id and actor_name == f"{{name:{number}}}":
            is_the_same = values.person_ids.get(number) == actor_id
        if not is_the_same:
            raise AuditFault(
                Fault.VALUE,
                seq,
                f"Erasable value {number} is not the one that event {seq} was written with, or was "
                "emptied without an event that records the person's erasure.",
            )


def _has_same_columns(row: EventRow, document: dict[str, Any]) -> bool:
    actor, subject = document["actor"], document["subject"] or {"type": "", "id": ""}
    actor_and_subject = (
        *(actor["name"], document["request_id"], subject["type"], subject["id"]),
        document["sentence"],
    )
    return (
        row[5:7] == (document["code"], actor["kind"])
        and row[8:] == actor_and_subject
        and _format_uuid(row[7]) == actor["id"]
        and _is_same_time(row[4], document["at"])
    )


def load_values() -> StoredValues:
    """Load and verify every erasable value.

    A value must match its commitment, and an erased value needs an event about the person's
    erasure. A value that fails gets an empty commitment, so that the first event that refers to it
    is reported.
    """
    values = StoredValues(commitments={}, person_ids={})
    first_of: dict[UUID, int] = {}
    emptied: dict[str, str | None] = {}
    for value in read_in_chunks(PersonalValue.objects.all(), key="number", chunk_size=BATCH_SIZE):
        first = value.number
        if value.person_id is not None:
            first = first_of.setdefault(value.person_id, value.number)
        is_as_stored = value.person_number == first and _matches_commitment(value)
        number = str(value.number)
        values.commitments[number] = value.commitment if is_as_stored else ""
        values.person_ids[number] = str(value.person_id) if value.person_id else None
        if value.erased_at is not None:
            emptied[number] = values.person_ids[number]
    # Queried last, so that the event of a concurrent erasure is found.
    erasures = AuditEvent.objects.filter(code=EventCode.PERSON_ERASED, subject_type="person")
    erased = set(erasures.values_list("subject_id", flat=True)) if emptied else set()
    unexplained = {number: "" for number, person in emptied.items() if person not in erased}
    values.commitments.update(unexplained)
    return values


def _matches_commitment(value: PersonalValue) -> bool:
    if value.erased_at is not None:
        return True
    try:
        salt = bytes.fromhex(value.salt)
    except ValueError:
        return False
    return commitment_of(salt, value.kind, value.value) == value.commitment


def _format_uuid(value: Any) -> str | None:
    """A stored UUID as it is written in an event's text.

    SQLite stores 32 digits without hyphens.
    """
    if isinstance(value, str) and len(value) == 32:
        return f"{value[:8]}-{value[8:12]}-{value[12:16]}-{value[16:20]}-{value[20:]}"
    return None if value is None else str(value)


def _is_same_time(stored: str, in_text: str) -> bool:
    """Whether a stored time equals the time in the text. SQLite omits a zero fraction."""
    day, clock = in_text[:10], in_text[11:26]
    return stored == f"{day} {clock}" or stored == f"{day} {clock.removesuffix('.000000')}"

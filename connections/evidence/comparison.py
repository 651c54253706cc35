"""Compares every record with its own audit events, in both directions.

Bundles and the verification of the audit log both use `compare_record`. Its rules are in
connections/verifier/, so that a bundle is checked offline by the same rules. Which columns
events have is in connections/audit/events.py.
"""

import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import batched
from typing import Any
from uuid import UUID

from django.db import connection

from connections.core.database import consistent_read
from connections.core.text import uuid_or_none
from connections.evidence.differing import UNREADABLE, UNREADABLE_TEXT, DifferingRecords, format_id
from connections.evidence.records import (
    RecordKind,
    compare_record,
    existing_ids,
    kind_of,
    load_rows,
)
from connections.models import AuditEvent, PersonalValue
from connections.verifier.events import ACCESS_REQUEST, DELETION, Event
from connections.verifier.folding import Rows
from connections.verifier.messages import VerificationFailed
from connections.verifier.rules import Ends

logger = logging.getLogger(__name__)

# Records per query.
BATCH_SIZE = 500


def value_row(value: PersonalValue) -> dict[str, Any]:
    """An erasable value in the form that bundles contain."""
    is_kept = value.erased_at is None
    return {
        "commitment": value.commitment,
        "kind": value.kind,
        "number": value.number,
        "person_number": value.person_number,
        "salt": value.salt if is_kept else None,
        "value": value.value if is_kept else None,
    }


def find_missing(kind: RecordKind, *, ids: Collection[str]) -> set[str]:
    """The IDs among these, which come from events, of records that have no row."""
    pks = {text: uuid_or_none(text) for text in ids}
    existing: set[UUID] = set()
    for some in batched({pk for pk in pks.values() if pk}, BATCH_SIZE):
        existing |= existing_ids(kind, ids=some)
    return {text for text, pk in pks.items() if pk not in existing}


def compare_all(kind: RecordKind, *, differing: DifferingRecords) -> Iterator[None]:
    """Compare all stored records of a kind, in batches. Yield after each batch.

    A record that differs is read again in one consistent read, so that concurrent changes cause no
    false alarm.
    """
    for ids in _id_batches(kind):
        suspects = _find_differences(kind, ids)
        if suspects:
            with consistent_read():
                suspects = _find_differences(kind, list(suspects))
        for record_id, difference in suspects.items():
            differing.add(format_id(record_id), difference)
        yield


def _id_batches(kind: RecordKind) -> Iterator[list[Any]]:
    """The IDs of all records as the database returns them, valid or not."""
    meta = kind.main.model._meta
    column = meta.get_field(kind.main.record).column  # type: ignore[union-attr]
    # One at a time where each can have thousands of rows.
    limit = 1 if kind.many else BATCH_SIZE
    query = f"SELECT DISTINCT {column} FROM {meta.db_table} {{}} ORDER BY {column} LIMIT {limit}"  # noqa: S608 - our own names
    where, last = "", list[Any]()
    while True:
        with connection.cursor() as cursor:
            cursor.execute(query.format(where), last)
            ids = [record_id for (record_id,) in cursor.fetchall()]
        if not ids:
            return
        yield ids
        where, last = f"WHERE {column} > %s", ids[-1:]


def _find_differences(kind: RecordKind, ids: Sequence[Any]) -> dict[Any, str]:
    """The records among these that don't match their events, with the first difference."""
    try:
        return _compare(kind, ids)
    except UNREADABLE:
        if len(ids) > 1:
            return {
                key: what
                for record_id in ids
                for key, what in _find_differences(kind, [record_id]).items()
            }
        logger.exception("%s %s can't be compared.", kind.noun.capitalize(), format_id(ids[0]))
        return {ids[0]: UNREADABLE_TEXT}


def _compare(kind: RecordKind, ids: Sequence[Any]) -> dict[Any, str]:
    pks = [UUID(str(record_id)) for record_id in ids]
    records = load_rows(kind, ids=pks)
    documents, texts = read_events(subject_type=kind.name, subject_ids=[str(pk) for pk in pks])
    # SQLite stores any text as an ID. A row whose ID is written differently can't be looked up by
    # it, and no event refers to it.
    field = kind.main.model._meta.get_field(kind.main.record)
    suspects: dict[Any, str] = {}
    ends = _read_ends(records) if kind.name == ACCESS_REQUEST else Ends()
    for pk, record_id in zip(pks, ids, strict=True):
        if field.get_db_prep_value(pk, connection) != record_id:  # type: ignore[union-attr]
            suspects[record_id] = "it can't be found by its ID"
            continue
        try:
            events = [Event(document, texts) for document in documents.get(str(pk), [])]
            rows = records.get(pk, {})
            differences = compare_record(kind, rows=rows, events=events)
            differences += filter(None, [ends.problem(rows.get(ACCESS_REQUEST, {}))])
        except VerificationFailed as error:
            differences = [str(error).rstrip(".")]
        if differences:
            suspects[record_id] = differences[0]
    return suspects


def _read_ends(records: Mapping[UUID, Rows]) -> Ends:
    """The deletions that these access requests name."""
    ends = Ends()
    named = (rows.get(ACCESS_REQUEST, {}).get("deletion_id") for rows in records.values())
    deletions = load_rows(kind_of(DELETION), ids=[UUID(pk) for pk in named if pk])
    for pk, rows in deletions.items():
        ends.add(str(pk), rows.get(DELETION, {}))
    return ends


def read_events(
    *, subject_type: str, subject_ids: Sequence[str]
) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Event documents by subject, oldest first, and the text that each reference stands for."""
    rows = AuditEvent.objects.filter(subject_type=subject_type, subject_id__in=subject_ids)
    documents: dict[str, list[Any]] = {}
    numbers: set[int] = set()
    for subject, text in rows.order_by("seq").values_list("subject_id", "text"):
        document = json.loads(text)
        documents.setdefault(subject, []).append(document)
        numbers |= {int(number) for number in document["refs"]}
    values = PersonalValue.objects.filter(number__in=numbers) if numbers else ()
    return documents, {str(value.number): value.shown for value in values}

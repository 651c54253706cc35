"""Compares deletions and their attempts with their own audit events, in both directions.

Bundles and the verification of the audit log both use `compare_deletion`. Its rules are in
connections/verifier/, so that a bundle is checked offline by the same rules.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import batched
from typing import Any
from uuid import UUID

from django.db import connection

from connections.audit.chain import canonical_text
from connections.core import tabular
from connections.core.database import consistent_read
from connections.deletions.export import deletion_row
from connections.evidence.differing import UNREADABLE, UNREADABLE_TEXT, DifferingRecords, format_id
from connections.models import AccessReview, AuditEvent, Batch, Deletion, PersonalValue
from connections.verifier.deletions import deletion_differences
from connections.verifier.events import DELETION, Event
from connections.verifier.messages import VerificationFailed

logger = logging.getLogger(__name__)

# Deletions per query.
_BATCH_SIZE = 500
# How many IDs of missing deletions are kept, so that memory stays bounded.
_MAX_MISSING = 1000


@dataclass(frozen=True, kw_only=True)
class ComparedDeletion:
    """A deletion as an export row, that row as text, and how it differs from its events."""

    row: tabular.Row
    text: str
    differences: list[str]


@dataclass(kw_only=True)
class DifferingDeletions(DifferingRecords):
    """The deletions that don't match their events."""

    noun: str = "deletion"
    _missing: set[str] = field(default_factory=set)

    def add_missing(self, deletion_ids: Collection[str]) -> None:
        """Count each of these once, even if called again for more events of the same deletion."""
        for deletion_id in sorted(set(deletion_ids) - self._missing):
            if len(self._missing) < _MAX_MISSING:
                self._missing.add(deletion_id)
                self.add(deletion_id, "its events exist, but the deletion itself is missing")


# --- One deletion -------------------------------------------------------------------------------


def compare_deletion(*, deletion: Deletion, events: Sequence[Event]) -> ComparedDeletion:
    """Compare a deletion (with its attempts) with all of its own events, oldest first."""
    row = deletion_row(deletion)
    settled = next((event for event in events if event.details.get("state") == "settled"), None)
    if settled is not None and settled.is_actor_erased:
        # Erasing a person keeps the plain copies of a name that other people have too.
        row["settled_by"] = settled.actor
    text = canonical_text(row)
    # Parsed again because the canonical text replaces some characters, as the events do.
    row = json.loads(text)
    return ComparedDeletion(
        row=row,
        text=text,
        differences=[
            *deletion_differences(row, events),
            *_body_differences(deletion),
            *_approval_time_differences(deletion, events),
        ],
    )


def _approval_time_differences(deletion: Deletion, events: Sequence[Event]) -> Iterator[str]:
    """Compare the stored time of approval with the events. Only the newest one is stored."""
    approved = [event.details for event in events if event.code == "deletion.approved"]
    times = [details["approved_at"] for details in approved if details.get("approved_at")]
    stored = deletion.approved_at.isoformat() if deletion.approved_at else None
    if stored != (times[-1] if times else None):
        yield "its time of approval is not the last one in its events"


def _body_differences(deletion: Deletion) -> Iterator[str]:
    """Find the attempts whose stored body doesn't match its recorded SHA-256."""
    for attempt in deletion.attempts.all():
        body = bytes(attempt.body)
        if attempt.body_sha256 != (hashlib.sha256(body).hexdigest() if body else ""):
            yield f"the body of attempt {attempt.number} is not the one that was recorded"


def as_stored_in_events(document: tabular.Row) -> tabular.Row:
    """The document with some characters replaced, as the texts of events have them."""
    row: tabular.Row = json.loads(canonical_text(document))
    return row


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


# --- All of them --------------------------------------------------------------------------------


def find_missing_deletions(deletion_ids: Collection[str]) -> set[str]:
    """The IDs among these, which come from events, that no deletion has."""
    found = {deletion_id: _parse_uuid(deletion_id) for deletion_id in deletion_ids}
    there: set[UUID] = set()
    for some in batched({each for each in found.values() if each}, _BATCH_SIZE):
        there |= set(Deletion.objects.filter(pk__in=some).values_list("pk", flat=True))
    return {text for text, pk in found.items() if pk not in there}


def compare_all_deletions(differing: DifferingDeletions) -> Iterator[None]:
    """Compare all deletions, newest first, in batches. Yield after each batch.

    A deletion that differs is read again in one consistent read, so that concurrent changes cause
    no false alarm.
    """
    for ids in _id_batches():
        suspects = _find_differences(ids)
        if suspects:
            with consistent_read():
                suspects = _find_differences(list(suspects))
        for deletion_id, difference in suspects.items():
            differing.add(format_id(deletion_id), difference)
        yield


def _id_batches() -> Iterator[list[Any]]:
    """The IDs of all deletions as the database returns them, valid or not, newest first."""
    query = "SELECT requested_at, id FROM connections_deletion {} ORDER BY requested_at DESC, "
    query += f"id DESC LIMIT {_BATCH_SIZE}"
    where, last = "", list[Any]()
    while True:
        with connection.cursor() as cursor:
            cursor.execute(query.format(where), last)
            rows = cursor.fetchall()
        if not rows:
            return
        yield [deletion_id for _, deletion_id in rows]
        where, last = "WHERE (requested_at, id) < (%s, %s)", list(rows[-1])


def _find_differences(ids: Sequence[Any]) -> dict[Any, str]:
    """The deletions among these that don't match their events, with the first difference."""
    try:
        return _compare_deletions(ids)
    except UNREADABLE:
        if len(ids) > 1:
            return {
                key: what
                for deletion_id in ids
                for key, what in _find_differences([deletion_id]).items()
            }
        logger.exception("Deletion %s cannot be compared with its events.", format_id(ids[0]))
        return {ids[0]: UNREADABLE_TEXT}


def _compare_deletions(ids: Sequence[Any]) -> dict[Any, str]:
    by_pk = {UUID(str(deletion_id)): deletion_id for deletion_id in ids}
    rows = Deletion.objects.filter(pk__in=by_pk).select_related("break_glass_review")
    deletions = list(rows.prefetch_related("attempts", "approvals"))
    documents, shown = read_events(
        subject_type=DELETION, subject_ids=[str(deletion.pk) for deletion in deletions]
    )
    # SQLite stores any text as an ID. A row whose ID is written differently can't be looked up by
    # it, and no event refers to it.
    field = Deletion._meta.pk
    stored = {field.get_db_prep_value(deletion.pk, connection) for deletion in deletions}
    found: dict[Any, str] = {
        deletion_id: "it can't be found by its ID"
        for deletion_id in ids
        if deletion_id not in stored
    }
    for deletion in deletions:
        own = documents.get(str(deletion.pk), [])
        try:
            events = [Event(document, shown) for document in own]
            differences = compare_deletion(deletion=deletion, events=events).differences
        except VerificationFailed as error:
            differences = [str(error).rstrip(".")]
        if differences:
            found.setdefault(by_pk[deletion.pk], differences[0])
    return found


def compare_all[M: (Batch, AccessReview)](
    model: type[M],
    *,
    subject_type: str,
    ids_in_events: set[str],
    compare: Callable[[M, Sequence[Event]], Iterable[str]],
    differing: DifferingRecords,
) -> Iterator[None]:
    """Compare all records of a model. Yield after each.

    `compare` returns the differences between one record and its events, oldest first. A record that
    differs is read again in one consistent read, so that concurrent changes cause no false alarm.
    """
    pks = set(model._default_manager.values_list("pk", flat=True))
    for missing in sorted(ids_in_events - {str(pk) for pk in pks}):
        differing.add(missing, f"its events exist, but the {differing.noun} itself is missing")

    for pk in pks:
        differences = _compare_one(model, pk, subject_type=subject_type, compare=compare)
        if differences:
            with consistent_read():
                differences = _compare_one(model, pk, subject_type=subject_type, compare=compare)
        if differences:
            differing.add(str(pk), differences[0])
        yield


def _compare_one[M: (Batch, AccessReview)](
    model: type[M],
    pk: UUID,
    *,
    subject_type: str,
    compare: Callable[[M, Sequence[Event]], Iterable[str]],
) -> list[str]:
    try:
        documents, shown = read_events(subject_type=subject_type, subject_ids=[str(pk)])
        events = [Event(document, shown) for document in documents.get(str(pk), [])]
        return list(compare(model._default_manager.get(pk=pk), events))
    except VerificationFailed as error:
        return [str(error).rstrip(".")]
    except UNREADABLE:
        logger.exception("%s %s cannot be compared with its events.", subject_type, pk)
        return [UNREADABLE_TEXT]


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


def _parse_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None

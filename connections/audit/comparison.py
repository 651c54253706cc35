"""Comparing every deletion and its attempts with their own events, in both directions.

`compare` is the one comparison: a bundle is made with it, and a verification of the whole record
calls it for each deletion. The rules themselves are in connections/verifier/verify.py, so that a
bundle is checked by the same ones offline.
"""

import hashlib
import json
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import batched
from typing import Any
from uuid import UUID

from django.db import connection

from connections.audit.chain import canonical_text
from connections.audit.export import deletion_row
from connections.core import tabular
from connections.core.database import consistent_read
from connections.models import AuditEvent, Deletion, PersonalValue
from connections.verifier import verify

logger = logging.getLogger(__name__)

# So many deletions are read with their events at a time.
_BATCH_SIZE = 500
# So many of those that differ are told one by one.
_MAX_DESCRIBED = 10
# So many ids of missing deletions are kept, so that memory stays flat whatever was removed.
_MAX_MISSING = 1000

# A column holds something that its type cannot: SQLite stores whatever it is given.
_UNREADABLE = (ValueError, TypeError, AttributeError, KeyError)


@dataclass(frozen=True, kw_only=True)
class ComparedDeletion:
    """A deletion as every export has it, that row's text, and how it differs from its events."""

    row: tabular.Row
    text: str
    differences: list[str]


@dataclass(kw_only=True)
class DifferingDeletions:
    """The deletions that do not match their events: how many, and the first of them in words."""

    count: int = 0
    ids: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    _missing: set[str] = field(default_factory=set)

    def add(self, deletion_id: str, difference: str) -> None:
        """Count one deletion."""
        self.count += 1
        if len(self.told) < _MAX_DESCRIBED:
            self.ids.append(deletion_id)
            self.told.append(f"Deletion {deletion_id}: {difference}.")

    def add_missing(self, deletion_ids: Collection[str]) -> None:
        """Count each of these once, however many of its events are met."""
        for deletion_id in sorted(set(deletion_ids) - self._missing):
            if len(self._missing) < _MAX_MISSING:
                self._missing.add(deletion_id)
                self.add(deletion_id, "its events are there, the deletion itself is missing")

    @property
    def message(self) -> str:
        """All of it in a few sentences."""
        one = self.count == 1
        several = f"{self.count} deletions do not match their events, among them: "
        return f"{'' if one else several}{' '.join(self.told)}"


# --- One deletion -------------------------------------------------------------------------------


def compare_deletion(*, deletion: Deletion, events: Sequence[verify.Event]) -> ComparedDeletion:
    """The deletion, with its attempts fetched, beside all of its own events, oldest first."""
    row = deletion_row(deletion)
    settled = next((one for one in events if one.details.get("state") == "settled"), None)
    if settled is not None and settled.is_actor_erased:
        # The plain copy of a name that others bear too is left when a person is erased.
        row["settled_by"] = settled.actor
    text = canonical_text(row)
    # Read back: what no encoding can hold is replaced in it, as it is in the events.
    row = json.loads(text)
    return ComparedDeletion(
        row=row,
        text=text,
        differences=[
            *verify.differences(row, events),
            *_body_differences(deletion),
            *_approval_time_differences(deletion, events),
        ],
    )


def _approval_time_differences(deletion: Deletion, events: Sequence[verify.Event]) -> Iterator[str]:
    """The column, which a row shows only for the sending that its approvals covered."""
    approved = [one for one in events if one.code == "deletion.approved"]
    times = [one.details["approved_at"] for one in approved if one.details.get("approved_at")]
    stored = deletion.approved_at.isoformat() if deletion.approved_at else None
    # Events of an earlier version held no time.
    is_known = bool(times) or not approved
    if is_known and stored != (times[-1] if times else None):
        yield "its time of approval is not the last one that the events tell of"


def _body_differences(deletion: Deletion) -> Iterator[str]:
    """The attempts whose stored body is not the one whose SHA-256 was recorded."""
    for attempt in deletion.attempts.all():
        body = bytes(attempt.body)
        if attempt.body_sha256 != (hashlib.sha256(body).hexdigest() if body else ""):
            yield f"the body of attempt {attempt.number} is not the one that was recorded"


def value_row(one: PersonalValue) -> dict[str, Any]:
    """An erasable value as a bundle and its verifier have it."""
    is_kept = one.erased_at is None
    return {
        "commitment": one.commitment,
        "kind": one.kind,
        "number": one.number,
        "person_number": one.person_number,
        "salt": one.salt if is_kept else None,
        "value": one.value if is_kept else None,
    }


# --- All of them --------------------------------------------------------------------------------


def find_missing_deletions(deletion_ids: Collection[str]) -> set[str]:
    """Those of these ids, as events have them, that no deletion has."""
    found = {each: _parse_uuid(each) for each in deletion_ids}
    there: set[UUID] = set()
    for some in batched({each for each in found.values() if each}, _BATCH_SIZE):
        there |= set(Deletion.objects.filter(pk__in=some).values_list("pk", flat=True))
    return {text for text, pk in found.items() if pk not in there}


def compare_all_deletions(differing: DifferingDeletions) -> Iterator[None]:
    """Compare every deletion there is, newest first, some hundred at a time; pauses after each.

    What is written meanwhile raises no alarm: whatever differs is read once more, at one moment.
    """
    for ids in _id_batches():
        suspects = _find_differences(ids)
        if suspects:
            with consistent_read():
                suspects = _find_differences(list(suspects))
        for deletion_id, difference in suspects.items():
            differing.add(_format_id(deletion_id), difference)
        yield


def _id_batches() -> Iterator[list[Any]]:
    """Every deletion's id as the database has it, whatever it holds, newest first."""
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
    """Those of these deletions that do not match their events, and how each differs."""
    try:
        return _compare_deletions(ids)
    except _UNREADABLE:
        if len(ids) > 1:
            return {key: what for each in ids for key, what in _find_differences([each]).items()}
        logger.exception("Deletion %s cannot be compared with its events.", _format_id(ids[0]))
        return {ids[0]: "it holds something that cannot be read"}


def _compare_deletions(ids: Sequence[Any]) -> dict[Any, str]:
    by_pk = {UUID(str(each)): each for each in ids}
    rows = Deletion.objects.filter(pk__in=by_pk).select_related("break_glass_review")
    deletions = list(rows.prefetch_related("attempts", "approvals"))
    documents, shown = _events_of(deletions)
    # SQLite stores whatever it is given: a row whose ID is not as the product writes it is on no
    # page by its ID, and no event is about it.
    field = Deletion._meta.pk
    stored = {field.get_db_prep_value(one.pk, connection) for one in deletions}
    found: dict[Any, str] = {
        each: "it can't be found by its ID" for each in ids if each not in stored
    }
    for deletion in deletions:
        own = documents.get(str(deletion.pk), [])
        try:
            events = [verify.Event(each, shown) for each in own]
            told = compare_deletion(deletion=deletion, events=events).differences
        except verify.VerificationFailed as error:
            told = [str(error).rstrip(".")]
        if told:
            found.setdefault(by_pk[deletion.pk], told[0])
    return found


def _events_of(deletions: Sequence[Deletion]) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """By deletion, its events' documents, oldest first; and what each reference is read as."""
    rows = AuditEvent.objects.filter(
        subject_type="deletion", subject_id__in=[str(one.pk) for one in deletions]
    )
    documents: dict[str, list[Any]] = {}
    numbers: set[int] = set()
    for subject, text in rows.order_by("seq").values_list("subject_id", "text"):
        document = json.loads(text)
        documents.setdefault(subject, []).append(document)
        numbers |= {int(number) for number in document["refs"]}
    values = PersonalValue.objects.filter(number__in=numbers) if numbers else ()
    return documents, {str(one.number): verify.shown_as(value_row(one)) for one in values}


def _parse_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _format_id(deletion_id: Any) -> str:
    pk = _parse_uuid(str(deletion_id))
    return str(pk or deletion_id)

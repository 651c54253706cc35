"""Appends events to the audit log, in the transaction of the change they describe."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Max

from connections.access.actor import Actor
from connections.audit import chain, personal_data, signing
from connections.audit.personal_data import ReferencedValue, Sentence
from connections.audit.recorded_columns import Rows
from connections.core import clock
from connections.models import (
    AccessReview,
    Agreement,
    AuditEvent,
    AuditHead,
    Batch,
    Change,
    ChangeRequest,
    Credential,
    EventCode,
    Hold,
    Org,
    OrgConnectionKey,
    Person,
    Step,
    with_values,
)
from connections.notification_queue import outbox
from connections.verifier.merkle import leaf_hash

# What an event is about. An event about an org connection has its ID, with the site in its details.
type Subject = (
    ChangeRequest
    | Batch
    | AccessReview
    | Agreement
    | Credential
    | Person
    | Org
    | Change
    | OrgConnectionKey
    | Hold
)

# Each of these closes a request and is followed immediately by a checkpoint.
SETTLING_CODES = frozenset(
    kind.event_code(step)
    for kind in ChangeRequest.__subclasses__()
    for step in (Step.SETTLED, Step.WITHDRAWN, Step.DECLINED)
)


@dataclass(frozen=True, kw_only=True)
class EventDraft:
    """What an event will say, without its actor and its subject.

    `details` holds strings, whole numbers, booleans, nulls, and lists and dicts of these. It never
    holds a key or a person's name. `rows` has the columns that the action set, by row.
    """

    code: EventCode
    sentence: Sentence
    details: dict[str, Any] = field(default_factory=dict)
    rows: Rows = field(default_factory=dict)


# A draft with its actor and a reference to its subject.
type _Pending = tuple[EventDraft, Actor, dict[str, str] | None]

# The events that the current `atomic` block will append. None outside such a block.
_pending_events: ContextVar[list[_Pending] | None] = ContextVar(
    "audit_pending_events", default=None
)


@contextmanager
def atomic(*, durable: bool = False, savepoint: bool = True) -> Iterator[list[AuditEvent]]:
    """A transaction whose events are appended together, right before its commit.

    Every service that records events opens its transaction with this function. It locks the chain's
    head last and only for a few milliseconds, so that two transactions can't deadlock on it and
    several events cost hardly more than one. A nested block adds its events to the outer one;
    without a `savepoint`, an error in it also rolls back the outer one. The list that it yields is
    filled with the appended events when the outermost block ends. `durable` works as in Django's
    `transaction.atomic`. Raises database errors.
    """
    outer = _pending_events.get()
    with transaction.atomic(durable=durable, savepoint=savepoint or outer is None):
        if outer is not None:
            size = len(outer)
            try:
                yield []
            except BaseException:
                # The block's changes are rolled back, so its events must not be recorded.
                del outer[size:]
                raise
            return
        pending: list[_Pending] = []
        token = _pending_events.set(pending)
        appended: list[AuditEvent] = []
        try:
            yield appended
        finally:
            _pending_events.reset(token)
        appended += _append(pending)


def record(
    *,
    code: EventCode,
    actor: Actor,
    sentence: Sentence,
    subject: Subject | None = None,
    details: dict[str, Any] | None = None,
    rows: Rows | None = None,
) -> None:
    """Record an event and queue its notifications. `details` and `rows` are as in EventDraft.

    The surrounding `atomic` block appends the event when it ends; without a block it is appended
    immediately. Call this in the block that makes the change, so that no change happens without its
    event.

    Raises TypeError for other details, and database errors; in an `atomic` block, when it ends.
    """
    draft = EventDraft(code=code, sentence=sentence, details=details or {}, rows=rows or {})
    event = (draft, actor, reference(subject) if subject else None)
    pending = _pending_events.get()
    if pending is None:
        with transaction.atomic(savepoint=False):
            _append([event])
    else:
        pending.append(event)


def _append(pending: list[_Pending]) -> list[AuditEvent]:
    """Append the events to the chain, and keep its head locked until the commit."""
    if not pending:
        return []
    now = clock.now_in_query()
    head = AuditHead.objects.select_for_update().annotate(now=now).get()
    at = head.now
    values = personal_data.store_values(
        value for draft, actor, _ in pending for value in _values_in(draft, actor)
    )
    frontier = chain.parse_frontier(head.frontier)
    events = []
    for draft, actor, subject in pending:
        about = {"at": f"{at:%Y-%m-%dT%H:%M:%S.%f}Z", "seq": head.size + 1, "subject": subject}
        text = chain.canonical_text(about | _document(draft, actor, values))
        data = text.encode()
        chain.extend(frontier, size=head.size, leaf=leaf_hash(data))
        previous = head.hash
        head.hash = chain.event_hash(bytes.fromhex(previous), data).hex()
        head.size += 1
        columns = copied_columns(json.loads(text))
        events.append(AuditEvent(text=text, previous=previous, hash=head.hash, at=at, **columns))
    AuditEvent.objects.bulk_create(events)
    head.frontier = chain.format_frontier(frontier)
    head.save(update_fields=["size", "hash", "frontier"])
    has_settled = any(draft.code in SETTLING_CODES for draft, _, _ in pending)
    if has_settled or signing.reaches_checkpoint_size(head.size, added=len(events)):
        signing.sign_new_head(head, at=at)
    outbox.enqueue(events=events)
    return events


def _values_in(draft: EventDraft, actor: Actor) -> Iterator[ReferencedValue]:
    """The personal data that an event refers to."""
    in_rows = [value for columns in draft.rows.values() for value in (columns or {}).values()]
    pieces = [personal_data.name_of(actor), *draft.sentence.pieces_of(actor), *in_rows]
    return (piece for piece in pieces if isinstance(piece, ReferencedValue))


def _document(draft: EventDraft, actor: Actor, values: personal_data.Values) -> dict[str, Any]:
    """The part of an event's document that its action determines: see docs/EVIDENCE.md."""
    stored = {values[value] for value in _values_in(draft, actor)}
    return {
        "actor": {
            "id": str(actor.person.pk) if actor.person else None,
            "kind": actor.kind,
            "name": values.text_of([personal_data.name_of(actor)]),
        },
        "code": draft.code,
        "details": draft.details | _rows_document(draft.rows, values),
        "format": chain.FORMAT,
        "refs": {str(value.number): value.commitment for value in stored},
        "request_id": actor.request_id,
        "sentence": values.text_of(draft.sentence.pieces_of(actor)),
    }


def _rows_document(rows: Rows, values: personal_data.Values) -> dict[str, Any]:
    """The rows as an event's details have them: names apart, because they are references."""
    names = {
        key: {
            column: values.text_of([value])
            for column, value in columns.items()
            if isinstance(value, ReferencedValue)
        }
        for key, columns in rows.items()
        if columns
    }
    names = {key: columns for key, columns in names.items() if columns}
    plain = {
        key: columns
        and {name: value for name, value in columns.items() if name not in names.get(key, {})}
        for key, columns in rows.items()
    }
    return ({"rows": plain} if rows else {}) | ({"names": names} if names else {})


def reference(subject: Subject) -> dict[str, str]:
    """How an event refers to its subject: a type and an ID."""
    if isinstance(subject, OrgConnectionKey):
        return {"id": str(subject.connection_id), "type": "org_connection"}
    if isinstance(subject, Org):
        return {"id": subject.org_id, "type": "org"}
    if isinstance(subject, AccessReview):
        return {"id": str(subject.pk), "type": "access_review"}
    if isinstance(subject, ChangeRequest):
        return {"id": str(subject.pk), "type": subject.noun}
    return {"id": str(subject.pk), "type": type(subject).__name__.lower()}


def copied_columns(document: dict[str, Any]) -> dict[str, Any]:
    """The columns that copy parts of an event's text, except the time."""
    actor, subject = document["actor"], document["subject"] or {"type": "", "id": ""}
    return {
        "seq": document["seq"],
        "code": document["code"],
        "actor_kind": actor["kind"],
        "actor_id": UUID(actor["id"]) if actor["id"] else None,
        "stored_actor": actor["name"],
        "request_id": document["request_id"],
        "subject_type": subject["type"],
        "subject_id": subject["id"],
        "stored_sentence": document["sentence"],
    }


def newest_at(requests: Sequence[ChangeRequest]) -> dict[UUID, datetime]:
    """When the newest event about each of these requests was recorded."""
    about = {reference(request)["id"]: request.pk for request in requests}
    nouns = {request.noun for request in requests}
    events = AuditEvent.objects.filter(subject_type__in=nouns, subject_id__in=about)
    newest = events.order_by().values("subject_id").annotate(newest=Max("seq")).values("newest")
    rows = AuditEvent.objects.filter(seq__in=newest).values_list("subject_id", "at")
    return {about[subject_id]: at for subject_id, at in rows}


def events_of(*, subject: Subject) -> list[AuditEvent]:
    """Every event about one subject, oldest first."""
    about = reference(subject)
    events = AuditEvent.objects.filter(subject_type=about["type"], subject_id=about["id"])
    return with_values(events.order_by("seq"))

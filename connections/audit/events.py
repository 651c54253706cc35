"""Appends events to the audit log, in the transaction of the change they describe.

An event has the columns that its action set, in `rows`: a mapping from the row's name to its
columns. `connections/verifier/folding.py` puts them together again, so that folding a record's
events gives its rows.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import ForeignKey, Max, Model

from connections.access.actor import Actor
from connections.audit import chain, personal_data, signing
from connections.audit.chain import canonical_text, clean
from connections.audit.personal_data import ReferencedValue, Sentence
from connections.core import clock
from connections.models import (
    AccessRequest,
    AccessRequestApproval,
    AccessRequestAttempt,
    AccessReview,
    AccessReviewDecision,
    AccessReviewReviewer,
    AccessReviewRow,
    Agreement,
    Approval,
    Attempt,
    AuditEvent,
    AuditHead,
    Batch,
    BatchRow,
    BreakGlassReview,
    Change,
    ChangeRequest,
    Credential,
    Deletion,
    EventCode,
    Hold,
    Org,
    OrgConnectionKey,
    OwnerDecision,
    Person,
    Protection,
    ProtectionRemoval,
    Step,
    with_values,
)
from connections.notification_queue import outbox
from connections.verifier.merkle import leaf_hash

# The columns of a row by name. A person's name is a reference, which the event stores as one.
type Columns = dict[str, Any]
# By the name of the row: "deletion", or "attempt 1". None removes a row. "decision 3 4" sets the
# same columns of two rows.
type Rows = dict[str, Columns | None]

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
        "details": draft.details | _token_document(actor) | _rows_document(draft.rows, values),
        "format": chain.FORMAT,
        "refs": {str(value.number): value.commitment for value in stored},
        "request_id": actor.request_id,
        "sentence": values.text_of(draft.sentence.pieces_of(actor)),
    }


def _token_document(actor: Actor) -> dict[str, Any]:
    """The token with which a program acted, as an event's details have it."""
    if actor.token is None:
        return {}
    return {"token": {"id": str(actor.token.pk), "name": actor.token.name}}


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


# The columns that no event has, and why. Nothing else of a recorded row can change unnoticed.
_NOT_RECORDED_OF_REQUESTS = {
    "id": "the event is about it",
    "due_at": "when a worker looks at it next; nothing is concluded from it",
    "expires_at": "extended for rows that a rate limit held back",
    "last_checked_at": "the newest check, which has an event of its own",
    "last_check_listed": "as last_checked_at",
    "search_text": "made of other columns and of comments",
}
NOT_RECORDED: dict[type[Model], dict[str, str]] = {
    Deletion: _NOT_RECORDED_OF_REQUESTS,
    Attempt: {"id": "its number identifies it", "deletion": "the deletion that the event is about"},
    Approval: {"id": "in its name", "deletion": "the deletion that the event is about"},
    BreakGlassReview: {"deletion": "the deletion that the event is about"},
    AccessRequest: {
        **_NOT_RECORDED_OF_REQUESTS,
        "end_due_at": "as due_at",
        "last_check_outcome": "as last_checked_at",
        "step": "follows from kind and removed_at, as a trigger requires",
    },
    AccessRequestAttempt: {
        "id": "its number identifies it",
        "access_request": "the access request that the event is about",
    },
    AccessRequestApproval: {
        "id": "in its name",
        "access_request": "the access request that the event is about",
    },
    Batch: {
        "id": "the event is about it",
        "expires_at": "when a draft, request or approval runs out",
        "problems_in_a_row": "counted again from nothing after each pause",
    },
    BatchRow: {"batch": "the bulk deletion that the event is about"},
    AccessReview: {
        "id": "the event is about it",
        "week_reminder_at": "each reminder has an event of its own",
        "day_reminder_at": "as week_reminder_at",
        "overdue_reminder_at": "as week_reminder_at",
        "repeat_failed_at": "each failure has an event of its own",
    },
    AccessReviewReviewer: {
        "id": "the person identifies it",
        "review": "the access review that the event is about",
    },
    AccessReviewRow: {
        "review": "the access review that the event is about",
        "owner": "in the details of the start, of each change and of each decision",
    },
    AccessReviewDecision: {"id": "in its name"},
    Agreement: {"id": "the event is about it"},
    OwnerDecision: {"agreement": "the agreement that the event is about"},
    Hold: {"id": "the event is about it"},
    Protection: {"id": "in its name"},
    ProtectionRemoval: {"protection": "in its name", "id": "its protection identifies it"},
}


def recorded_fields(model: type[Model]) -> list[str]:
    """The columns of a model that events have, by the names of their attributes."""
    left_out = NOT_RECORDED.get(model, {})
    fields = model._meta.concrete_fields
    return [field.attname for field in fields if field.name not in left_out]


def row_of(row: Model, *, actor: Actor | None = None) -> Columns:
    """Every recorded column of a new row that isn't empty. `actor` is that of the event."""
    values = {name: getattr(row, name) for name in recorded_fields(type(row))}
    return without_empty(_with_references(type(row), columns_of(values), actor=actor))


def changes_of(model: type[Model], *, values: Mapping[str, Any], actor: Actor) -> Columns:
    """These new values, by field, as an event has them: recorded columns only, empty ones too."""
    left_out = NOT_RECORDED.get(model, {})
    named = {
        model._meta.get_field(name).attname: value.pk if isinstance(value, Model) else value  # type: ignore[union-attr]
        for name, value in values.items()
        if name not in left_out
    }
    return _with_references(model, columns_of(named), actor=actor)


def changed(row: Model, *names: str, actor: Actor) -> Columns:
    """These columns of a row that was just changed."""
    values = {name: getattr(row, name) for name in names}
    return changes_of(type(row), values=values, actor=actor)


def columns_of(values: Mapping[str, Any]) -> Columns:
    """Stored values as JSON."""
    return {name: _as_json(value) for name, value in values.items()}


def without_empty(columns: Columns) -> Columns:
    """The columns that aren't empty. In a row, a missing column is an empty one."""
    return {name: value for name, value in columns.items() if value not in (None, "", [], {})}


def _as_json(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes | memoryview):
        return hashlib.sha256(value).hexdigest() if value else ""
    return value


@cache
def name_columns(model: type[Model]) -> dict[str, str | None]:
    """The columns with a person's name, each with the column of the person's ID if it has one."""
    people = {
        field.name: field.attname
        for field in model._meta.concrete_fields
        if isinstance(field, ForeignKey) and field.related_model is Person
    }
    names: dict[str, str | None] = {f"{name}_name": attname for name, attname in people.items()}
    if model is AccessReviewReviewer:
        names = {"name": people["person"]}
    fields = [field.name for field in model._meta.concrete_fields]
    only_names = {name: None for name in fields if name.endswith("_by_name") and name not in names}
    return {name: attname for name, attname in (names | only_names).items() if name in fields}


def _with_references(model: type[Model], columns: Columns, *, actor: Actor | None) -> Columns:
    """The columns with references in place of people's names."""
    for name, id_column in name_columns(model).items():
        if not columns.get(name):
            continue
        person_id = columns.get(id_column) if id_column else _actor_id(actor, columns[name])
        if person_id:
            columns[name] = ReferencedValue(
                kind=personal_data.Kind.NAME, person_id=UUID(person_id), text=columns[name]
            )
    return columns


def _actor_id(actor: Actor | None, name: str) -> str | None:
    """The ID of the actor, whose name a column without an ID has."""
    if actor is None or clean(actor.name) != name:
        raise ValueError("A name without a person's ID must be that of the event's actor.")
    return str(actor.person.pk) if actor.person else None


def digest_of_rows(rows: Iterable[Columns]) -> Columns:
    """How many rows a record has, and a SHA-256 over them, for a record with thousands of them."""
    count, digest = 0, hashlib.sha256()
    for columns in rows:
        digest.update(f"{canonical_text(columns)}\n".encode())
        count += 1
    return {"count": count, "sha256": digest.hexdigest()}

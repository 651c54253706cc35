"""The columns of rows as events contain them, so that folding a record's events gives its rows.

An event has the columns that its action set, in `rows`: a mapping from the row's name to its
columns. `connections/verifier/folding.py` puts them together again.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.db.models import ForeignKey, Model

from connections.access.actor import Actor
from connections.audit import personal_data
from connections.audit.chain import canonical_text, clean
from connections.audit.personal_data import ReferencedValue
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
    Batch,
    BatchRow,
    BreakGlassReview,
    Deletion,
    Hold,
    Person,
    Protection,
    ProtectionRemoval,
)

# The columns of a row by name. A person's name is a reference, which the event stores as one.
type Columns = dict[str, Any]
# By the name of the row: "deletion", or "attempt 1". None removes a row. "decision 3 4" sets the
# same columns of two rows.
type Rows = dict[str, Columns | None]

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

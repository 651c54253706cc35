"""Every kind of record, with its tables: their rows are what folding its events must give.

A new kind is one more entry of KINDS, its events' `rows`, and its rules in
connections/verifier/rules.py if folding can't show everything.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import F, Model

from connections.audit.events import (
    Columns,
    columns_of,
    digest_of_rows,
    name_columns,
    recorded_fields,
    without_empty,
)
from connections.evidence.stored_events import Fault
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
    OwnerDecision,
    Protection,
    ProtectionRemoval,
)
from connections.verifier.events import (
    ACCESS_REQUEST,
    ACCESS_REVIEW,
    AGREEMENT,
    BATCH,
    DELETION,
    HOLD,
    ORG_CONNECTION,
    Event,
)
from connections.verifier.folding import Rows, differences, fold
from connections.verifier.rules import RULES


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with rows of a record, each named "<name> <number>".

    `record` leads to the ID of the record, and `number` to the number. Without a number, a record
    has one row at most.
    """

    name: str
    model: type[Model]
    record: str
    number: str = ""


@dataclass(frozen=True, kw_only=True)
class RecordKind:
    """A kind of record: what its events are about, and the tables with its rows.

    The rows of `many` are so many that events have only a digest of all rows of a record.
    """

    name: str
    noun: str
    fault: Fault
    tables: tuple[Table, ...]
    many: Table | None = None

    @property
    def main(self) -> Table:
        """The table whose rows' IDs are those of the records."""
        return self.tables[0]


KINDS = (
    RecordKind(
        name=DELETION,
        noun="deletion",
        fault=Fault.DELETION,
        tables=(
            Table(name="deletion", model=Deletion, record="id"),
            Table(name="attempt", model=Attempt, record="deletion_id", number="number"),
            Table(name="approval", model=Approval, record="deletion_id", number="id"),
            Table(name="break_glass_review", model=BreakGlassReview, record="deletion_id"),
        ),
    ),
    RecordKind(
        name=ACCESS_REQUEST,
        noun="access request",
        fault=Fault.ACCESS_REQUEST,
        tables=(
            Table(name="access_request", model=AccessRequest, record="id"),
            Table(
                name="attempt",
                model=AccessRequestAttempt,
                record="access_request_id",
                number="number",
            ),
            Table(
                name="approval",
                model=AccessRequestApproval,
                record="access_request_id",
                number="id",
            ),
        ),
    ),
    RecordKind(
        name=BATCH,
        noun="bulk deletion",
        fault=Fault.BATCH,
        tables=(Table(name="batch", model=Batch, record="id"),),
        many=Table(name="batch_rows", model=BatchRow, record="batch_id", number="position"),
    ),
    RecordKind(
        name=ACCESS_REVIEW,
        noun="access review",
        fault=Fault.ACCESS_REVIEW,
        tables=(
            Table(name="access_review", model=AccessReview, record="id"),
            Table(
                name="reviewer", model=AccessReviewReviewer, record="review_id", number="person_id"
            ),
            Table(
                name="decision", model=AccessReviewDecision, record="row__review_id", number="id"
            ),
        ),
        many=Table(
            name="access_review_rows", model=AccessReviewRow, record="review_id", number="position"
        ),
    ),
    RecordKind(
        name=ORG_CONNECTION,
        noun="protected connection",
        fault=Fault.PROTECTION,
        tables=(
            Table(name="protection", model=Protection, record="connection_id", number="id"),
            Table(
                name="protection_removal",
                model=ProtectionRemoval,
                record="protection__connection_id",
                number="protection_id",
            ),
        ),
    ),
    RecordKind(
        name=AGREEMENT,
        noun="agreement",
        fault=Fault.AGREEMENT,
        tables=(
            Table(name="agreement", model=Agreement, record="id"),
            Table(name="owner_decision", model=OwnerDecision, record="agreement_id"),
        ),
    ),
    RecordKind(
        name=HOLD,
        noun="hold",
        fault=Fault.HOLD,
        tables=(Table(name="hold", model=Hold, record="id"),),
    ),
)


def kind_of(name: str) -> RecordKind:
    """The kind with this name."""
    return next(kind for kind in KINDS if kind.name == name)


def load_rows(kind: RecordKind, *, ids: Collection[UUID]) -> dict[UUID, Rows]:
    """The stored rows of these records. A record without a row is left out."""
    records: dict[UUID, Rows] = {}
    for table in kind.tables:
        for record, number, columns in _read(table, ids):
            name = f"{table.name} {number}" if table.number else table.name
            records.setdefault(record, {})[name] = columns
    if kind.many:
        for record, rows in records.items():
            rows[kind.many.name] = digest_of_rows(iterate_many(kind, record=record))
    if kind.name == BATCH:
        # Drafts are not recorded.
        records = {pk: rows for pk, rows in records.items() if _is_requested(rows)}
    return records


def _is_requested(rows: Rows) -> bool:
    batch = rows.get("batch", {})
    return "requested_at" in batch or "confirmed_at" in batch


def iterate_many(kind: RecordKind, *, record: UUID) -> Iterator[Columns]:
    """The rows of a record that events have only a digest of, in their order."""
    if kind.many:
        for _, _, columns in _read(kind.many, [record], ordered=True):
            yield columns


def _read(
    table: Table, ids: Collection[UUID], *, ordered: bool = False
) -> Iterator[tuple[UUID, Any, Columns]]:
    """The record, number and columns of each row. Read as dicts, which is faster than models."""
    rows = table.model._default_manager.filter(**{f"{table.record}__in": ids})
    rows = rows.order_by(table.number) if ordered else rows.order_by()
    number = table.number or table.record
    values = rows.values(
        *recorded_fields(table.model), of_record=F(table.record), of_number=F(number)
    )
    for row in values:
        record, at = row.pop("of_record"), row.pop("of_number")
        yield record, at, without_empty(columns_of(row))


def compare_record(kind: RecordKind, *, rows: Rows, events: Sequence[Event]) -> list[str]:
    """How a record differs from its events, oldest first.

    Replaces names of erased people in `rows` that are stored without the person's ID: erasing a
    person keeps these copies where other people have the same name.
    """
    folded = fold(events)
    if not rows and not folded:
        # The draft of a plan, which is not recorded.
        return []
    for table in kind.tables:
        for column, id_column in name_columns(table.model).items():
            name = str(folded.get(table.name, {}).get(column, ""))
            if id_column is None and name.startswith("erased person no. ") and table.name in rows:
                rows[table.name][column] = name
    return [*differences(rows, folded), *RULES[kind.name](rows, events)]


def existing_ids(kind: RecordKind, *, ids: Iterable[UUID]) -> set[UUID]:
    """Those of these records that have a row in the main table."""
    table = kind.main
    rows = table.model._default_manager.filter(**{f"{table.record}__in": list(ids)})
    return set(rows.order_by().values_list(table.record, flat=True))

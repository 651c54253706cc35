"""Writing rows out as CSV, JSON or NDJSON, one at a time, so that memory stays flat."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from connections.models import Approval, Attempt, AuditEvent, Deletion, GlassReview

if TYPE_CHECKING:
    from connections.services.org_connections.inventory import InventoryRow

Row = dict[str, Any]


class AsJson(dict[str, Any]):
    """A value that one CSV cell holds as JSON."""


CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
}
# A spreadsheet takes a cell that begins with one of these for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def write(*, rows: Iterable[Row], columns: tuple[str, ...], file_format: str) -> Iterator[str]:
    """The rows as text in pieces. `columns` are the keys of a row, in the order of a CSV."""
    writers: dict[str, Callable[[], Iterator[str]]] = {
        "csv": lambda: _csv(rows, columns),
        "json": lambda: _json(rows),
        "ndjson": lambda: (json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
    }
    return writers[file_format]()


def _json(rows: Iterable[Row]) -> Iterator[str]:
    before = "[\n"
    for row in rows:
        yield before + json.dumps(row, ensure_ascii=False)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _csv(rows: Iterable[Row], columns: tuple[str, ...]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    # Excel takes a file for UTF-8 only when it begins with this mark.
    yield "\ufeff"
    writer.writerow(columns)
    for row in rows:
        writer.writerow([as_cell(row[column]) for column in columns])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def as_cell(value: Any) -> str:
    """A value as the text of one CSV cell that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, AsJson):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        value = value.get("name") or value.get("id") or ""
    if isinstance(value, list):
        simple = all(isinstance(item, str) for item in value)
        value = "; ".join(value) if simple else json.dumps(value, ensure_ascii=False)
    text = str(value)
    return "'" + text if text.lstrip(" ").startswith(FORMULA_STARTS) else text


DELETION_COLUMNS = (
    "id",
    "site",
    "credential",
    "credential_fingerprint",
    "connection_id",
    "source_org",
    "source_org_id",
    "sink_org",
    "sink_org_id",
    "connection_types",
    "is_reviewed",
    "policy",
    "state",
    "outcome",
    "cause",
    "reason",
    "ticket",
    "requested_by",
    "requested_at",
    "confirmed_by",
    "confirmed_at",
    "approved_by",
    "approved_at",
    "sent_at",
    "settled_by",
    "settled_at",
    "settled_reason",
    "verified_at",
    "contradicted_at",
    "http_status",
    "errors",
    "attempts",
    "broke_glass",
)


def deletion_row(deletion: Deletion) -> Row:
    """One deletion with its attempts, as every export gives it. Times are ISO 8601 in UTC."""
    attempts = list(deletion.attempts.all())
    last = attempts[-1] if attempts else None
    approved = [a for a in deletion.approvals.all() if a.decision == Approval.Decision.APPROVED]
    return {
        "id": str(deletion.id),
        "site": deletion.site,
        "credential": deletion.credential_name,
        "credential_fingerprint": deletion.credential_fingerprint,
        "connection_id": str(deletion.connection_id),
        "source_org": {"id": deletion.source_org_id, "name": deletion.source_org_name},
        "source_org_id": deletion.source_org_id,
        "sink_org": {"id": deletion.sink_org_id, "name": deletion.sink_org_name},
        "sink_org_id": deletion.sink_org_id,
        "connection_types": deletion.connection_types,
        "is_reviewed": deletion.is_reviewed,
        "policy": deletion.policy,
        "state": deletion.state,
        "outcome": deletion.outcome or None,
        "cause": deletion.cause or None,
        "reason": deletion.reason,
        "ticket": deletion.ticket,
        "requested_by": deletion.requested_by_name,
        "requested_at": as_time(deletion.requested_at),
        "confirmed_by": deletion.confirmed_by_name or None,
        "confirmed_at": as_time(deletion.confirmed_at),
        "approved_by": [approval.approver_name for approval in approved],
        "approved_at": as_time(deletion.approved_at),
        "sent_at": as_time(deletion.sending_at),
        "settled_by": deletion.settled_by_name or None,
        "settled_at": as_time(deletion.settled_at),
        "settled_reason": deletion.settled_reason,
        "verified_at": as_time(deletion.verified_at),
        "contradicted_at": as_time(deletion.contradicted_at),
        "http_status": last.http_status if last else None,
        "errors": last.errors if last else [],
        "attempts": [_attempt_row(attempt) for attempt in attempts],
        "broke_glass": _glass_row(deletion) if deletion.glass_broken_at else None,
    }


def _glass_row(deletion: Deletion) -> Row:
    review: GlassReview | None = getattr(deletion, "glass_review", None)
    return {
        "name": deletion.glass_broken_by_name,
        "at": as_time(deletion.glass_broken_at),
        "reason": deletion.glass_reason,
        "reviewed_by": review.reviewer_name if review else None,
        "reviewed_at": as_time(review.reviewed_at) if review else None,
        "review_note": review.note if review else None,
    }


def _attempt_row(attempt: Attempt) -> Row:
    return {
        "number": attempt.number,
        "credential": attempt.credential_name,
        "credential_fingerprint": attempt.credential_fingerprint,
        "was_read_before": attempt.was_read_before,
        "sent_at": as_time(attempt.claimed_at),
        "answered_at": as_time(attempt.answered_at),
        "verdict": attempt.verdict or None,
        "cause": attempt.cause or None,
        "is_late": attempt.is_late,
        "duration_ms": attempt.duration_ms,
        "http_status": attempt.http_status,
        "errors": attempt.errors,
        "body_sha256": attempt.body_sha256 or None,
    }


CONNECTION_COLUMNS = (
    "id",
    "site",
    "source_org",
    "source_org_id",
    "sink_org",
    "sink_org_id",
    "connection_types",
    "created_at",
    "created_by",
    "created_by_disabled",
    "created_by_service_account",
    "seen_by",
    "as_of",
    "protected",
)


def connection_row(row: "InventoryRow") -> Row:
    """One org connection as listed; `as_of` is when the newest of its credentials was read."""
    snapshot = row.snapshot
    return {
        "id": str(snapshot.connection_id),
        "site": snapshot.site,
        "source_org": {"id": snapshot.source_org_id, "name": snapshot.source_org_name},
        "source_org_id": snapshot.source_org_id,
        "sink_org": {"id": snapshot.sink_org_id, "name": snapshot.sink_org_name},
        "sink_org_id": snapshot.sink_org_id,
        "connection_types": snapshot.connection_types,
        "created_at": as_time(snapshot.connection_created_at),
        "created_by": {
            "id": snapshot.creator_id,
            "name": snapshot.creator_name,
            "disabled": snapshot.creator_is_disabled,
            "service_account": snapshot.creator_is_service_account,
        },
        "created_by_disabled": snapshot.creator_is_disabled,
        "created_by_service_account": snapshot.creator_is_service_account,
        "seen_by": [credential.name for credential in row.seen_by],
        "as_of": as_time(snapshot.last_seen_at),
        "protected": row.protection is not None,
    }


EVENT_COLUMNS = (
    "seq",
    "at",
    "code",
    "actor",
    "actor_kind",
    "actor_id",
    "subject_type",
    "subject_id",
    "request_id",
    "sentence",
    "details",
    "hash",
    "text",
)


def event_row(event: AuditEvent) -> Row:
    """One event with its names read out; `text` is what is stored, and what the hash covers."""
    return {
        "seq": event.seq,
        "at": as_time(event.at),
        "code": event.code,
        "actor": event.actor_name,
        "actor_kind": event.actor_kind,
        "actor_id": str(event.actor_id) if event.actor_id else None,
        "subject_type": event.subject_type or None,
        "subject_id": event.subject_id or None,
        "request_id": event.request_id or None,
        "sentence": event.sentence,
        "details": AsJson(event.details),
        "hash": event.hash,
        "text": event.text,
    }


def as_time(at: datetime | None) -> str | None:
    """An ISO 8601 time in UTC, or None."""
    return at.isoformat() if at else None

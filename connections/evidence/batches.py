"""Bulk deletions as bundles contain them, and compared with their own audit events.

Their rows are compared as deletions.
"""

from collections.abc import Iterator, Sequence

from django.db.models import F

from connections.audit import EventCode
from connections.core.tabular import Row, as_time
from connections.evidence.comparison import as_stored_in_events, compare_all
from connections.evidence.differing import DifferingRecords
from connections.models import AuditEvent, Batch
from connections.verifier.events import BATCH, Event
from connections.verifier.plans import Plan

_ENDS = (
    EventCode.BATCH_DECLINED,
    EventCode.BATCH_CANCELLED,
    EventCode.BATCH_EXPIRED,
    EventCode.BATCH_FINISHED,
)
# The events whose details repeat a time, by the time's column.
_TIMES = {
    "approved_at": (EventCode.BATCH_APPROVED,),
    "confirmed_at": (EventCode.BATCH_CONFIRMED,),
    "paused_at": (EventCode.BATCH_PAUSED,),
    "resumed_at": (EventCode.BATCH_RESUMED,),
    "ended_at": _ENDS,
}


def plan_document(batch: Batch) -> Row:
    """A bulk deletion that was requested, without the rows of its plan."""
    return as_stored_in_events(
        {
            "id": str(batch.pk),
            "state": batch.state,
            "origin": batch.origin,
            "filter": batch.filter_text,
            "site": batch.site,
            "org": {"id": batch.org_id, "name": batch.org_name},
            "access_review": str(batch.access_review_id) if batch.access_review_id else None,
            "count": batch.deletions.count(),
            "digest": batch.digest,
            "approval_digest": batch.approval_digest,
            "policy": batch.policy,
            "reason": batch.reason,
            "ticket": batch.ticket,
            "stop_at_first_problem": batch.stop_at_first_problem,
            "created_at": as_time(batch.created_at),
            "requested_at": as_time(batch.requested_at),
        }
    )


def iterate_plan_rows(batch: Batch) -> Iterator[Row]:
    """All rows of its plan, removed ones too, with their deletions, by position."""
    deletions = dict(batch.deletions.order_by().values_list("batch_row", "pk"))
    for row in batch.rows.order_by("position"):
        deletion = deletions.get(row.pk)
        yield as_stored_in_events(
            {
                "position": row.position,
                "reference": row.reference,
                "source_org": row.source_org,
                "sink_org": row.sink_org,
                "connection_types": row.connection_types,
                "digest": row.digest,
                "credential_id": str(row.credential_id or ""),
                "problem": row.problem,
                "removed_at": as_time(row.removed_at),
                "deletion": str(deletion) if deletion else None,
            }
        )


def compare_all_batches(differing: DifferingRecords) -> Iterator[None]:
    """Compare all bulk deletions that were requested. Drafts are not recorded. Yield after each."""
    requested = AuditEvent.objects.filter(code=EventCode.BATCH_REQUESTED).order_by()
    return compare_all(
        Batch,
        subject_type=BATCH,
        ids_in_events=set(requested.values_list("subject_id", flat=True)),
        compare=_differences,
        differing=differing,
    )


def _differences(batch: Batch, events: Sequence[Event]) -> Iterator[str]:
    requested = next((event for event in events if event.code == EventCode.BATCH_REQUESTED), None)
    if requested is None:
        if batch.requested_at or batch.confirmed_at:
            yield "it has no event of its request"
        return
    plan = Plan(plan_document(batch), events)
    yield from plan.differences(iterate_plan_rows(batch))
    confirmed = _last(events, EventCode.BATCH_CONFIRMED)
    declined = _last(events, EventCode.BATCH_DECLINED)
    requester = str(batch.requested_by_id) if batch.requested_by_id else None
    own_row = {"site": F("batch_row__site"), "connection_id": F("batch_row__connection_id")}
    matches = {
        "deletions": batch.deletions.filter(**own_row).count() == plan.document["count"],
        # Only the person who drafted it can request it, and the request copies the name.
        "created_by": (batch.created_by_id, batch.created_by_name)
        == (batch.requested_by_id, batch.requested_by_name),
        "requested_by": requester == requested.details.get("requested_by")
        and requested.sentence.startswith(f"{batch.requested_by_name} requested "),
        "confirmed_by": (str(batch.confirmed_by_id or ""), batch.confirmed_by_name)
        == ((confirmed.actor_id or "", confirmed.actor) if confirmed else ("", "")),
        "paused_by": _is_actor(batch.paused_by_name, of=_last(events, EventCode.BATCH_PAUSED)),
        "pause_cause": (batch.pause_cause, batch.pause_credential_name) == _pause_after(events),
        "ended_by": _is_actor(batch.ended_by_name, of=_last(events, *_ENDS)),
        "ended_reason": batch.ended_reason == (declined.details["reason"] if declined else ""),
    }
    for column, codes in _TIMES.items():
        event = _last(events, *codes)
        recorded = event.details.get(column) if event else None
        matches[column] = as_time(getattr(batch, column)) == recorded
    yield from (f"“{key}” does not match its events" for key, same in matches.items() if not same)


def _last(events: Sequence[Event], *codes: EventCode) -> Event | None:
    return next((event for event in reversed(events) if event.code in codes), None)


def _is_actor(name: str, *, of: Event | None) -> bool:
    """Whether this stored name is the name of the event's actor or, without an event, is empty."""
    if of is None:
        return not name
    # Erasing a person keeps the plain copies of a name that other people have too.
    return of.is_actor_erased or name == of.actor


def _pause_after(events: Sequence[Event]) -> tuple[str, str]:
    """Why it was paused, and for which credential. Empty once it was resumed."""
    last = _last(events, EventCode.BATCH_PAUSED, EventCode.BATCH_RESUMED)
    if last is None or last.code == EventCode.BATCH_RESUMED:
        return "", ""
    return last.details["cause"], last.details["credential"]

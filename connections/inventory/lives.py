"""What happened to one org connection, beside what was seen of it: acts, returns, its like."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Max, Min, Q

from connections.access import visibility
from connections.access.actor import Actor
from connections.audit.events import EventCode
from connections.models import AuditEvent, Deletion, OrgConnectionSnapshot, with_values

# So many events of one connection are told; the record of acts has them all.
MOST_EVENTS = 400
# Of a deletion these belong to its own page: how it was read, sent and answered in detail. Who
# looked for what is out of their reach is for auditors, and could fill a life.
_DETAILS = (
    EventCode.ACCESS_REFUSED,
    EventCode.DELETION_RECHECK_FAILED,
    EventCode.DELETION_ANSWERED,
    EventCode.DELETION_ANSWERED_LATE,
    EventCode.DELETION_WAITING,
    EventCode.DELETION_CHECKED,
)


@dataclass(frozen=True, kw_only=True)
class Reappearance:
    """It was listed again under the same id, after a listing had lacked it."""

    at: datetime
    seen_by: str
    # When it had been listed last before.
    last_seen_at: datetime


@dataclass(frozen=True, kw_only=True)
class SimilarConnection:
    """Another connection of the same two orgs, which there was before or after this one."""

    connection_id: UUID
    began_at: datetime
    last_seen_at: datetime


def events_about(
    *, site: str, connection_id: UUID, deletions: Sequence[Deletion]
) -> list[AuditEvent]:
    """What was done about it, oldest first, the newest 400: of its deletions what matters."""
    ids = [str(deletion.pk) for deletion in deletions]
    about = Q(subject_type="deletion", subject_id__in=ids) | Q(
        subject_type="org_connection", subject_id=str(connection_id)
    )
    rows = AuditEvent.objects.filter(about).exclude(code__in=_DETAILS).order_by("-seq")
    events = with_values(rows[:MOST_EVENTS])
    return [event for event in reversed(events) if event.details.get("site", site) == site]


def tells_of_sight(event: AuditEvent) -> bool:
    """Whether a listing had shown the connection just before; a look for it alone is not kept."""
    if event.code == EventCode.DELETION_SENDING:
        return bool(event.details.get("was_rechecked"))
    return event.code in {EventCode.DELETION_STILL_PRESENT, EventCode.DELETION_CONTRADICTED}


def reappearances_of(
    snapshots: Iterable[OrgConnectionSnapshot], *, deletions: Iterable[Deletion]
) -> list[Reappearance]:
    """When it was back, by what each credential saw; `snapshots` are oldest first.

    A change makes a new snapshot too. It is a return when nothing changed, since only an absence
    ends a snapshot then, or when a deletion was settled in between.
    """
    settled = [deletion.settled_at for deletion in deletions if deletion.settled_at]
    before: dict[UUID, OrgConnectionSnapshot] = {}
    returns: list[Reappearance] = []
    for snapshot in snapshots:
        earlier = before.get(snapshot.credential_id)
        before[snapshot.credential_id] = snapshot
        if earlier is None or not _was_gone_between(earlier, snapshot, settled=settled):
            continue
        # The other end noticed the same absence, and the same return.
        if returns and earlier.last_seen_at <= returns[-1].at:
            continue
        returns.append(
            Reappearance(
                at=snapshot.first_seen_at,
                seen_by=snapshot.credential.name,
                last_seen_at=earlier.last_seen_at,
            )
        )
    return returns


def _was_gone_between(
    earlier: OrgConnectionSnapshot, later: OrgConnectionSnapshot, *, settled: list[datetime]
) -> bool:
    if earlier.snapshot_values() == later.snapshot_values():
        return True
    return any(earlier.last_seen_at <= at <= later.first_seen_at for at in settled)


def similar_connections(*, newest: OrgConnectionSnapshot, actor: Actor) -> list[SimilarConnection]:
    """The other connections of the same two orgs within reach, oldest first."""
    if not newest.source_org_id or not newest.sink_org_id:
        return []
    of_both = OrgConnectionSnapshot.objects.filter(
        site=newest.site, source_org_id=newest.source_org_id, sink_org_id=newest.sink_org_id
    )
    rows = (
        visibility.visible(of_both, actor=actor)
        .exclude(connection_id=newest.connection_id)
        .order_by()
        .values("connection_id")
        .annotate(
            made_at=Min("connection_created_at"),
            first_seen_at=Min("first_seen_at"),
            last_seen_at=Max("last_seen_at"),
        )
    )
    found = [
        SimilarConnection(
            connection_id=row["connection_id"],
            began_at=row["made_at"] or row["first_seen_at"],
            last_seen_at=row["last_seen_at"],
        )
        for row in rows
    ]
    return sorted(found, key=lambda each: each.began_at)

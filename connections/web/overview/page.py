"""What stands on the overview: what waits, the estate, the last twelve weeks."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import (
    Case,
    Count,
    IntegerField,
    Value,
    When,
)

from connections.access import approvers, permissions, visibility
from connections.access.actor import Actor
from connections.audit.verifications import last_verification
from connections.core import clock
from connections.deletions import history
from connections.deletions.kinds import OutcomeGroup, outcome_group_of
from connections.inventory import protections
from connections.inventory.org_connections import credentials_in_use, is_stale, newest_listings
from connections.models import (
    OPEN_STATES,
    AuditVerification,
    Credential,
    Deletion,
    OrgConnectionSnapshot,
    Outcome,
    State,
)
from connections.notifications import delivery_log
from connections.operations import heartbeats, recorded_times
from connections.web.overview.pending import Pending, pending

WEEKS = 12
LATEST = 8


@dataclass(frozen=True, kw_only=True)
class Week:
    """The deletions asked for in one week, from Monday 00:00 UTC."""

    begins_at: datetime
    counts: Counter[OutcomeGroup]


@dataclass(frozen=True, kw_only=True)
class InventorySummary:
    """How much is known, and how old the oldest part of it is."""

    orgs: int
    sites: int
    connections: int
    failed: int
    other_end_only: int
    # Connections that are protected, listed or not.
    protected: int
    oldest_at: datetime | None
    is_stale: bool


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Everything on the page, as of `at`."""

    at: datetime
    credentials: list[Credential]
    waits: Pending
    estate: InventorySummary
    weeks: list[Week]
    latest: list[Deletion]
    four_eyes: approvers.ApprovalGaps
    has_worker: bool
    # When a worker that has not ended in order was last heard of.
    worker_seen_at: datetime | None
    # Notices that could not be delivered; 0 for whoever can do nothing about it.
    given_up: int
    # The newest recorded time, when it lies in the future: a clock is wrong or was.
    time_ahead: datetime | None
    # The newest verification of the record of acts.
    verification: AuditVerification | None


def overview(*, actor: Actor) -> Overview:
    """Look at everything once; asks Datadog nothing. Raises PermissionDenied.

    The number of queries is fixed. What is counted goes back twelve weeks, what needs somebody
    goes back for ever, and both are read off an index.
    """
    permissions.require(permissions.can_see(actor), "see the overview")
    now = clock.now()
    credentials = credentials_in_use(actor=actor)
    since = first_week(now)
    worker_seen_at = heartbeats.last_seen_at()
    return Overview(
        at=now,
        credentials=credentials,
        waits=pending(actor=actor, credentials=credentials, now=now),
        estate=_estate(actor=actor, credentials=credentials, now=now),
        weeks=_weeks(actor=actor, since=since),
        latest=history.newest_deletions(actor=actor, limit=LATEST),
        four_eyes=approvers.approval_gaps(credentials=credentials),
        has_worker=heartbeats.is_alive(worker_seen_at, now=now),
        worker_seen_at=worker_seen_at,
        given_up=delivery_log.count_given_up(actor=actor, now=now),
        time_ahead=recorded_times.find_time_ahead(now=now),
        verification=last_verification(),
    )


def first_week(now: datetime) -> datetime:
    """Monday 00:00 UTC of the first of the twelve weeks of which `now` is in the last."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=midnight.weekday(), weeks=WEEKS - 1)


def _estate(*, actor: Actor, credentials: list[Credential], now: datetime) -> InventorySummary:
    within = {credential.pk for credential in credentials}
    listings = {pk: each for pk, each in newest_listings(now=now).items() if pk in within}
    current = visibility.visible(
        OrgConnectionSnapshot.objects.filter(is_current=True, credential__retired_at=None),
        actor=actor,
    )
    seen = current.order_by().values("site", "connection_id").distinct()
    ends = {
        org_id
        for name in ("source_org_id", "sink_org_id")
        for org_id in current.order_by().values_list(name, flat=True).distinct()
    }
    ours = {credential.org_id for credential in credentials if credential.org_id}
    newest = list(listings.values())
    return InventorySummary(
        orgs=len(ours),
        sites=len({credential.site for credential in credentials if credential.org_id}),
        connections=seen.count(),
        failed=sum(not listing.is_complete for listing in newest),
        other_end_only=len(ends - ours),
        protected=len(
            visibility.visible_protections(protections.active_protections(), actor=actor)
        ),
        oldest_at=min((listing.started_at for listing in newest), default=None),
        is_stale=any(
            is_stale(listings.get(each.pk), now=now) for each in credentials if each.org_id
        ),
    )


def _weeks(*, actor: Actor, since: datetime) -> list[Week]:
    begins = [since + timedelta(weeks=number) for number in range(WEEKS)]
    # Comparisons that the database makes by itself: truncating a date on SQLite calls Python.
    week = Case(
        *(
            When(requested_at__gte=at, then=Value(number))
            for number, at in reversed(list(enumerate(begins)))
        ),
        output_field=IntegerField(),
    )
    every = visibility.visible(Deletion.objects.filter(requested_at__gte=since), actor=actor)
    recent = every.order_by().annotate(week=week)
    weeks = [Week(begins_at=at, counts=Counter()) for at in begins]
    # Apart, so that the many settled ones are counted on an index without reading a row.
    settled = recent.filter(outcome__in=list(Outcome)).values("week", "outcome")
    for row in settled.annotate(count=Count("*")):
        weeks[row["week"]].counts[
            outcome_group_of(state=State.SETTLED, outcome=row["outcome"])
        ] += row["count"]
    still_open = recent.filter(state__in=OPEN_STATES)
    for number, state in still_open.values_list("week", "state"):
        weeks[number].counts[outcome_group_of(state=state, outcome="")] += 1
    return weeks

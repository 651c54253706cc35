"""What stands on the overview: what needs this person, the estate, the last twelve weeks."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import (
    Case,
    Count,
    Exists,
    IntegerField,
    OuterRef,
    QuerySet,
    Value,
    When,
)

from connections import clock, policies
from connections.actors import Actor
from connections.models import (
    OPEN_STATES,
    Approval,
    AuditVerification,
    Credential,
    Deletion,
    OrgConnectionSnapshot,
    Outcome,
    State,
)
from connections.services import (
    break_glass,
    four_eyes,
    heartbeats,
    history,
    notice_log,
    protections,
    reach,
    transitions,
)
from connections.services.kinds import Kind, kind_of
from connections.services.org_connections import credentials_in_use, is_stale, newest_listings
from connections.services.verifications import last_verification

WEEKS = 12
# Of each kind; the history shows the rest.
SHOWN = 5
LATEST = 8


@dataclass(frozen=True, kw_only=True)
class NeedsYou:
    """What somebody should look at, oldest first, at most one more than SHOWN of each kind."""

    # Unknown, and sent without effect.
    in_doubt: list[Deletion]
    # Settled as gone, and yet some credential in use still lists it.
    contradicted: list[Deletion]
    # Answered 200, and no listing ever proved it; nothing looks any more by itself.
    never_verified: list[Deletion]
    # Sent without the approvals they needed, and nobody has looked back at it.
    glass_broken: list[Deletion]
    # Asked by others under four eyes, and not yet decided by this person.
    to_approve: list[Deletion]
    # Their own: approved, or asked and held back before anything was sent.
    to_confirm: list[Deletion]
    # Not verified, or failing the last time they were used.
    credentials: list[Credential]


@dataclass(frozen=True, kw_only=True)
class Week:
    """The deletions asked for in one week, from Monday 00:00 UTC."""

    begins_at: datetime
    counts: Counter[Kind]


@dataclass(frozen=True, kw_only=True)
class Estate:
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
    needs_you: NeedsYou
    estate: Estate
    weeks: list[Week]
    latest: list[Deletion]
    four_eyes: four_eyes.Standing
    has_worker: bool
    # When a worker that has not ended in order was last heard of.
    worker_seen_at: datetime | None
    # Notices that could not be delivered; 0 for whoever can do nothing about it.
    given_up: int
    # The newest verification of the record of acts.
    verification: AuditVerification | None


def overview(*, actor: Actor) -> Overview:
    """Look at everything once; asks Datadog nothing. Raises PermissionDenied.

    The number of queries is fixed. What is counted goes back twelve weeks, what needs somebody
    goes back for ever, and both are read off an index.
    """
    policies.require(policies.can_see(actor), "see the overview")
    now = clock.now()
    credentials = credentials_in_use(actor=actor)
    since = first_week(now)
    worker_seen_at = heartbeats.last_seen_at()
    return Overview(
        at=now,
        credentials=credentials,
        needs_you=_needs_you(actor=actor, credentials=credentials, now=now),
        estate=_estate(actor=actor, credentials=credentials, now=now),
        weeks=_weeks(actor=actor, since=since),
        latest=history.newest_deletions(actor=actor, limit=LATEST),
        four_eyes=four_eyes.standing(credentials=credentials),
        has_worker=heartbeats.is_alive(worker_seen_at, now=now),
        worker_seen_at=worker_seen_at,
        given_up=notice_log.count_given_up(actor=actor, now=now),
        verification=last_verification(),
    )


def first_week(now: datetime) -> datetime:
    """Monday 00:00 UTC of the first of the twelve weeks of which `now` is in the last."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=midnight.weekday(), weeks=WEEKS - 1)


def _needs_you(*, actor: Actor, credentials: list[Credential], now: datetime) -> NeedsYou:
    listed = OrgConnectionSnapshot.objects.filter(
        site=OuterRef("site"),
        connection_id=OuterRef("connection_id"),
        is_current=True,
        credential__retired_at=None,
    )
    every = reach.within(Deletion.objects.all(), actor=actor)
    in_doubt = every.filter(state__in=[State.UNKNOWN, State.STILL_PRESENT], settled_at=None)
    # Of a connection with a newer deletion in doubt, that one says it all.
    newer = in_doubt.filter(site=OuterRef("site"), connection_id=OuterRef("connection_id"))
    contradicted = every.filter(~Exists(newer), Exists(listed), contradicted_at__isnull=False)
    never_verified = every.filter(
        outcome=Outcome.DELETED, verified_at=None, contradicted_at=None, due_at=None
    )
    asked = _not_sent_yet(every)
    return NeedsYou(
        in_doubt=_oldest(in_doubt),
        contradicted=_oldest(contradicted),
        never_verified=_oldest(never_verified),
        glass_broken=_oldest(break_glass.unreviewed(actor=actor)),
        to_approve=_to_approve(asked, actor=actor),
        to_confirm=_to_confirm(asked, actor=actor, now=now),
        credentials=[each for each in credentials if not each.is_verified or each.last_error],
    )


def _oldest(deletions: QuerySet[Deletion]) -> list[Deletion]:
    return list(deletions.order_by("requested_at", "id")[: SHOWN + 1])


def _not_sent_yet(every: QuerySet[Deletion]) -> list[Deletion]:
    """Asked for or approved, oldest first: few, since none of them lasts longer than two days.

    Whose they are is sorted out here: the database would rather read all that a person ever asked.
    """
    asked = every.filter(state__in=[State.REQUESTED, State.APPROVED], settled_at=None)
    return list(asked.order_by("requested_at", "id"))


def _to_approve(asked: list[Deletion], *, actor: Actor) -> list[Deletion]:
    if actor.person is None or not policies.can_approve_any(actor):
        return []
    awaited = [
        deletion
        for deletion in asked
        if transitions.awaits_approval(deletion) and policies.can_approve(actor, deletion=deletion)
    ]
    decided = Approval.objects.filter(approver=actor.person, deletion__in=awaited)
    mine = set(decided.values_list("deletion_id", flat=True))
    return [deletion for deletion in awaited if deletion.pk not in mine][: SHOWN + 1]


def _to_confirm(asked: list[Deletion], *, actor: Actor, now: datetime) -> list[Deletion]:
    if actor.person is None or not policies.can_delete(actor):
        return []
    return [
        deletion
        for deletion in asked
        if actor.person.pk in {deletion.requested_by_id, deletion.glass_broken_by_id}
        and not transitions.is_being_read(deletion, now=now)
        and not transitions.awaits_approval(deletion)
    ][: SHOWN + 1]


def _estate(*, actor: Actor, credentials: list[Credential], now: datetime) -> Estate:
    within = {credential.pk for credential in credentials}
    listings = {pk: each for pk, each in newest_listings().items() if pk in within}
    current = reach.within(
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
    return Estate(
        orgs=len(ours),
        sites=len({credential.site for credential in credentials if credential.org_id}),
        connections=seen.count(),
        failed=sum(not listing.is_complete for listing in newest),
        other_end_only=len(ends - ours),
        protected=len(reach.protections_within(protections.protections_held(), actor=actor)),
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
    every = reach.within(Deletion.objects.filter(requested_at__gte=since), actor=actor)
    recent = every.order_by().annotate(week=week)
    weeks = [Week(begins_at=at, counts=Counter()) for at in begins]
    # Apart, so that the many settled ones are counted on an index without reading a row.
    settled = recent.filter(outcome__in=list(Outcome)).values("week", "outcome")
    for row in settled.annotate(count=Count("*")):
        weeks[row["week"]].counts[kind_of(state=State.SETTLED, outcome=row["outcome"])] += row[
            "count"
        ]
    still_open = recent.filter(state__in=OPEN_STATES)
    for number, state in still_open.values_list("week", "state"):
        weeks[number].counts[kind_of(state=state, outcome="")] += 1
    return weeks

"""What access requests gave to pairs of orgs, and when a worker looks at the end of it."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, time, timedelta

from django.db.models import Q

from connections.agreements.agreed import PAIRS_PER_QUERY, find_agreements
from connections.models import (
    GAVE_ACCESS,
    SEEN,
    AccessRequest,
    Agreement,
    AuditEvent,
    EventCode,
    OrgPair,
    State,
    of_these_pairs,
)

_DAY = timedelta(days=1)
_SOON = timedelta(minutes=15)


def find_grants(
    pairs: Collection[OrgPair], *, before: datetime | None = None
) -> dict[OrgPair, AccessRequest]:
    """The access request that last gave each of these pairs access, if given `before` then.

    The order is that of the audit log, because the clock might have been set back in between.
    """
    completed = defaultdict[OrgPair, list[AccessRequest]](list)
    wanted = list(set(pairs))
    for start in range(0, len(wanted), PAIRS_PER_QUERY):
        of_pairs = of_these_pairs(wanted[start : start + PAIRS_PER_QUERY])
        if before:
            of_pairs &= Q(settled_at__lt=before)
        for row in AccessRequest.objects.filter(GAVE_ACCESS, of_pairs):
            completed[OrgPair(row.site, row.source_org_id, row.sink_org_id)].append(row)
    return {pair: _last_of(rows) for pair, rows in completed.items()}


def _last_of(rows: list[AccessRequest]) -> AccessRequest:
    """The one that was settled last."""
    if len(rows) == 1:
        return rows[0]
    by_id = {str(row.pk): row for row in rows}
    settled = AuditEvent.objects.filter(
        code=EventCode.ACCESS_REQUEST_SETTLED, subject_id__in=by_id
    ).order_by("-seq")
    return by_id[settled.values_list("subject_id", flat=True)[0]]


def day_after(day: date) -> datetime:
    """When a last day is over, in UTC. The last one that there is never is."""
    return datetime.combine(min(day, date.max - _DAY) + _DAY, time.min, UTC)


def approved_end(grant: AccessRequest, *, today: date) -> date | None:
    """The end that the request names, unless the connection has been dealt with at that end."""
    is_over = grant.ends_on is not None and grant.ends_on < today and grant.deletion_id
    return None if is_over else grant.ends_on


def automatic_end(grant: AccessRequest, *, today: date) -> date | None:
    """The last day before Org Admin deletes the connection by itself."""
    return approved_end(grant, today=today) if grant.outcome in SEEN else None


def find_automatic_end(
    pair: OrgPair, *, today: date, before: datetime | None = None
) -> date | None:
    """The last day before Org Admin deletes the pair's connection, as was known `before` then."""
    grant = find_grants([pair], before=before).get(pair)
    return automatic_end(grant, today=today) if grant else None


def first_end(grant: AccessRequest, agreement: Agreement | None) -> date | None:
    """The last day that the request names, or an earlier one in the agreement of its pair."""
    return _first(grant.ends_on, agreement)


def _first(ends_on: date | None, agreement: Agreement | None) -> date | None:
    days = (ends_on, agreement.ends_on if agreement else None)
    return min(filter(None, days), default=None)


def schedule_ends(agreements: Iterable[Agreement]) -> None:
    """Make the ends of access due on the day that its new agreement says, or as it was approved."""
    by_pair = {agreement.pair: agreement for agreement in agreements}
    for pair, grant in find_grants(by_pair).items():
        schedule_end(grant, agreement=by_pair[pair])


def schedule_end(grant: AccessRequest, *, agreement: Agreement | None) -> None:
    """Make the end of this access due on its day."""
    day = first_end(grant, agreement)
    grant.end_due_at = day_after(day) if day else None
    AccessRequest.objects.filter(pk=grant.pk).update(end_due_at=grant.end_due_at)


def look_again_at_ends(pairs: Iterable[OrgPair], *, orgs: Q, now: datetime) -> None:
    """Make ends due that had passed, because a sync showed these pairs differently from before.

    `orgs` selects requests of the org that was synced.
    """
    undecided = {State.REQUESTED, State.APPROVED}
    # What is due soon is looked at anyway, and a worker might handle it now.
    rests = Q(end_due_at=None) | Q(end_due_at__gt=now + _SOON)
    rests |= Q(deletion__state__in=undecided)
    rows = AccessRequest.objects.filter(GAVE_ACCESS, orgs, rests)
    columns = ("pk", "ends_on", "deletion__state", "site", "source_org_id", "sink_org_id")
    changed = set(pairs)
    found = [
        (pk, ends_on, state, OrgPair(*pair))
        for pk, ends_on, state, *pair in rows.values_list(*columns)
        if OrgPair(*pair) in changed
    ]
    agreements = find_agreements({pair for *_, pair in found}) if found else {}
    today = now.date()
    due = [
        pk
        for pk, ends_on, state, pair in found
        if state in undecided or (_first(ends_on, agreements.get(pair)) or today) < today
    ]
    if due:
        AccessRequest.objects.filter(pk__in=due).update(end_due_at=now)

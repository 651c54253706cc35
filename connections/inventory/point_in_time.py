"""The org connections that the newest complete syncs before a moment showed."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import chain
from uuid import UUID

from django.db.models import Case, Exists, F, Min, OuterRef, QuerySet, Subquery, When

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.core import clock
from connections.core.errors import InvalidInputError, NotKeptError
from connections.core.tabular import parse_time
from connections.core.text import format_time
from connections.models import (
    Change,
    Credential,
    Org,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    Sync,
    SyncDay,
)

# An org counts as covered if its newest complete sync was at most this old.
COVERED_FOR = timedelta(days=1)
# Of deleted syncs, only the end is kept. Snapshots have the start, at most this much earlier.
_LONGEST_SYNC = timedelta(minutes=5)

# A site and an org's ID.
type _OrgKey = tuple[str, str]
type _Times[Key] = dict[Key, list[datetime]]


@dataclass(frozen=True, kw_only=True)
class PastConnection:
    """One org connection as the newest sync by then showed it."""

    snapshot: OrgConnectionSnapshot
    # The visible credentials whose newest sync showed it, retired ones too.
    listed_by: list[Credential]
    # The newest sync that is known to have shown it by then.
    as_of: datetime
    # Whether a change happened between the last sync that showed this state and the first one after
    # it, so that the state might have been a different one already.
    is_changing: bool


@dataclass(frozen=True, kw_only=True)
class NotCovered:
    """An org that had no complete sync in the day before the moment."""

    org: Org
    # When its newest complete sync by then ended. None without one.
    last_synced_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class PastInventory:
    """What was known at a moment. Both lists are sorted by name."""

    at: datetime
    connections: list[PastConnection]
    not_covered: list[NotCovered]


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A credential, and its newest complete sync by the moment.

    The sync began between `earliest` and `latest`, which are equal while its row is kept.
    """

    credential: Credential
    earliest: datetime
    latest: datetime
    ended_at: datetime

    @property
    def org(self) -> _OrgKey:
        return self.credential.site, self.credential.org_id

    def shows(self, snapshot: OrgConnectionSnapshot) -> bool:
        """Whether the sync listed the connection as in the snapshot."""
        is_begun = snapshot.first_seen_at <= self.latest
        return is_begun and snapshot.last_seen_at >= self.earliest

    def as_of(self, snapshot: OrgConnectionSnapshot) -> datetime:
        """The newest sync that is known to have listed the snapshot by the moment."""
        return min(snapshot.last_seen_at, self.latest)


def parse_moment(text: str) -> datetime:
    """The moment in ISO 8601, UTC if it has no offset; a date ends at 23:59:59.

    Raises InvalidInputError.
    """
    try:
        return parse_time(text, of_date=time(23, 59, 59))
    except ValueError as error:
        message = "Use a time such as 2026-01-31T14:00:00Z, or a date such as 2026-01-31."
        raise InvalidInputError({"at": message}) from error


def list_connections_at(*, actor: Actor, at: datetime) -> PastInventory:
    """The visible connections that each credential's newest complete sync ended by `at` showed.

    From snapshots, which are kept for good, and syncs. Where an org's syncs were deleted, the days
    on which it was synced and the recorded changes say which snapshots were still valid. A
    connection that was removed by then isn't listed, even if one side had not been synced since.

    Raises PermissionDenied, InvalidInputError for the future, and NotKeptError if no complete sync
    by `at` is known.
    """
    permissions.require(permissions.can_see(actor), "see org connections")
    if clock.is_ahead(at, now=clock.now()):
        raise InvalidInputError({"at": f"{format_time(at)} is in the future."})
    sources = _find_sources(actor=actor, at=at)
    if not sources:
        raise NotKeptError(_not_kept_text(actor=actor, at=at))
    listed = _find_listed(sources)
    ends, changes = _find_changes(since=min(source.earliest for source in sources.values()), at=at)
    connections = []
    for key, snapshots in listed.items():
        by_age = [
            (sources[snapshot.credential_id].as_of(snapshot), snapshot.pk, snapshot)
            for snapshot in snapshots
            if not any(snapshot.last_seen_at < end <= at for end in ends[key])
        ]
        if not by_age:
            continue
        as_of, _, newest = max(by_age)
        org_keys = ((key.site, newest.source_org_id), (key.site, newest.sink_org_id))
        detected = [*ends[key], *chain.from_iterable(changes[each] for each in (key, *org_keys))]
        connections.append(
            PastConnection(
                snapshot=newest,
                listed_by=_credentials(sources[each.credential_id] for *_, each in by_age),
                as_of=as_of,
                is_changing=any(detected_at > as_of for detected_at in detected),
            )
        )
    connections.sort(key=_sort_key)
    return PastInventory(
        at=at,
        connections=connections,
        not_covered=_find_not_covered(sources.values(), actor=actor, at=at),
    )


def _find_sources(*, actor: Actor, at: datetime) -> dict[UUID, _Source]:
    """The visible credentials with a complete sync that ended by `at`, by ID.

    A retired one is left out once another credential of its org was synced later, because nobody
    would ever report what the retired one listed as removed.
    """
    syncs = Sync.objects.filter(
        credential=OuterRef("pk"), is_complete=True, started_at__lte=at, finished_at__lte=at
    ).order_by("-started_at", "-id")
    days = SyncDay.objects.filter(
        site=OuterRef("site"), org_id=OuterRef("org_id"), first_at__lte=at
    ).order_by("-day")
    newest_of_day = Case(When(newest_at__lte=at, then=F("newest_at")), default=F("first_at"))
    rows = visibility.visible(Credential.objects.exclude(org_id=""), actor=actor, by="pk").annotate(
        sync_started_at=Subquery(syncs.values("started_at")[:1]),
        sync_finished_at=Subquery(syncs.values("finished_at")[:1]),
        day_at=Subquery(days.annotate(at=newest_of_day).values("at")[:1]),
    )
    sources: dict[UUID, _Source] = {}
    for row in rows:
        if row.sync_started_at:
            started_at, ended_at = row.sync_started_at, row.sync_finished_at
            times = {"earliest": started_at, "latest": started_at, "ended_at": ended_at}
        elif row.day_at and row.created_at <= at:
            earliest = row.day_at - _LONGEST_SYNC
            times = {"earliest": earliest, "latest": at, "ended_at": row.day_at}
        else:
            continue
        sources[row.pk] = _Source(credential=row, **times)
    newest: dict[_OrgKey, datetime] = {}
    for source in sources.values():
        newest[source.org] = max(source.earliest, newest.get(source.org, source.earliest))
    return {
        pk: source
        for pk, source in sources.items()
        if not _is_retired(source.credential, at=at) or source.earliest == newest[source.org]
    }


def _is_retired(credential: Credential, *, at: datetime) -> bool:
    return credential.retired_at is not None and credential.retired_at <= at


def _not_kept_text(*, actor: Actor, at: datetime) -> str:
    own = Credential.objects.filter(site=OuterRef("site"), org_id=OuterRef("org_id"))
    days = SyncDay.objects.filter(Exists(visibility.visible(own, actor=actor, by="pk")))
    first_at = days.aggregate(first=Min("first_at"))["first"]
    if first_at is None:
        return "No complete sync is stored."
    return (
        f"Nothing is stored about {format_time(at)}. "
        f"The first complete sync that is known ended at {format_time(first_at)}."
    )


def _find_listed(
    sources: dict[UUID, _Source],
) -> dict[OrgConnectionKey, list[OrgConnectionSnapshot]]:
    """The snapshots that the syncs showed: of each credential and connection, the newest."""
    rows = OrgConnectionSnapshot.objects.filter(
        credential__in=sources,
        first_seen_at__lte=max(source.latest for source in sources.values()),
        last_seen_at__gte=min(source.earliest for source in sources.values()),
    )
    newest: dict[tuple[UUID, UUID], OrgConnectionSnapshot] = {}
    for row in rows.order_by("first_seen_at", "pk"):
        if sources[row.credential_id].shows(row):
            newest[row.credential_id, row.connection_id] = row
    listed: dict[OrgConnectionKey, list[OrgConnectionSnapshot]] = defaultdict(list)
    for row in newest.values():
        listed[row.key].append(row)
    return listed


def _find_changes(
    *, since: datetime, at: datetime
) -> tuple[_Times[OrgConnectionKey], _Times[OrgConnectionKey | _OrgKey]]:
    """When changes that might have happened by `at` were detected, after `since`.

    First what ended each connection, then what else changed about each connection or org.
    """
    ends: _Times[OrgConnectionKey] = defaultdict(list)
    others: _Times[OrgConnectionKey | _OrgKey] = defaultdict(list)
    rows = Change.objects.filter(earliest_at__lte=at, detected_at__gt=since).order_by()
    for change in rows.exclude(kind=Change.Kind.APPEARED):
        key = change.key
        if change.kind == Change.Kind.RECREATED and change.before:
            former = UUID(change.before["connection_id"])
            key = OrgConnectionKey(site=change.site, connection_id=former)
        if key is None:
            others[change.site, change.org_id].append(change.detected_at)
        elif change.kind in {Change.Kind.REMOVED, Change.Kind.RECREATED}:
            ends[key].append(change.detected_at)
        else:
            others[key].append(change.detected_at)
    return ends, others


def _credentials(sources: Iterable[_Source]) -> list[Credential]:
    credentials = (source.credential for source in sources)
    return sorted(credentials, key=lambda credential: credential.name.casefold())


def _sort_key(row: PastConnection) -> tuple[str, ...]:
    snapshot = row.snapshot
    names = (snapshot.source_org_name.casefold(), snapshot.sink_org_name.casefold())
    return (*names, snapshot.site, snapshot.connection_id.hex)


def _find_not_covered(
    sources: Collection[_Source], *, actor: Actor, at: datetime
) -> list[NotCovered]:
    ended: dict[_OrgKey, datetime] = {}
    for source in sources:
        ended[source.org] = max(source.ended_at, ended.get(source.org, source.ended_at))
    orgs: QuerySet[Org] = visibility.visible_orgs(actor=actor).filter(first_seen_at__lte=at)
    return [
        NotCovered(org=org, last_synced_at=last_synced_at)
        for org in orgs
        for last_synced_at in [ended.get((org.site, org.org_id))]
        if last_synced_at is None or at - last_synced_at > COVERED_FOR
    ]

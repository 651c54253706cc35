"""Connections missing from a complete sync, until it is clear whether they were removed.

A credential can stop listing a connection that others still list. The connection counts as removed
once every credential in use that listed it has a complete sync without it. A credential whose syncs
have failed for 24 hours is not waited for any longer.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from connections.changes.known import connection_fields, connection_state
from connections.core.time_limits import LIST_LAG
from connections.datadog.responses import AttemptResult
from connections.models import (
    Attempt,
    Change,
    Credential,
    Deletion,
    KnownConnection,
    Org,
    OrgConnectionSnapshot,
    Sync,
)

# A sync that began up to this long before a DELETE can still show its effect.
MAX_SYNC_TIME = timedelta(minutes=1)
# A credential's last complete sync counts until its syncs have failed for this long.
FAILING_LIMIT = timedelta(hours=24)
# A DELETE with one of these results might have removed the connection. A refused one can't have.
_MIGHT_HAVE_DELETED = ("", AttemptResult.DELETED, AttemptResult.AMBIGUOUS)


def record_loss(*, site: str, connection_ids: Collection[UUID], lacked_at: datetime) -> None:
    """Note that a complete sync, begun at `lacked_at`, lacks connections that should be there.

    Whether they were removed is known once the other credentials that list them are synced.
    """
    if connection_ids:
        KnownConnection.objects.filter(
            site=site, connection_id__in=connection_ids, is_present=True, lost_at=None
        ).update(lost_at=lacked_at)


def mark_removed(rows: Iterable[KnownConnection], *, site: str, at: datetime) -> None:
    """Establish at the end of a sync that connections were removed."""
    of_site = {"site": site, "connection_id__in": {row.connection_id for row in rows}}
    KnownConnection.objects.filter(**of_site).update(
        is_present=False, lost_at=None, established_at=at
    )
    # Also for credentials that failed or were retired, because they won't update their own
    # snapshots.
    OrgConnectionSnapshot.objects.filter(**of_site, is_current=True).update(is_current=False)


def find_credentials_that_count(*, site: str, now: datetime) -> set[UUID]:
    """The credentials in use, except those whose syncs have failed for FAILING_LIMIT.

    What their last complete syncs listed still counts.
    """
    syncs = Sync.objects.filter(credential=OuterRef("pk")).order_by("-started_at", "-id")
    limit = now - FAILING_LIMIT
    recent = syncs.filter(started_at__gt=limit)
    was_complete = syncs.filter(started_at__lte=limit).values("is_complete")[:1]
    in_use = Credential.objects.filter(site=site, retired_at=None)
    counting = in_use.annotate(was_complete=Coalesce(Subquery(was_complete), True)).filter(
        Exists(recent.filter(is_complete=True)) | Q(was_complete=True)
    )
    return set(counting.values_list("pk", flat=True))


def is_any_lost(*, site: str) -> Exists:
    """Whether any connection of the site is lost, as an expression for a query that runs anyway."""
    return Exists(KnownConnection.objects.filter(site=site, lost_at__isnull=False))


def settle_losses(
    *, sync: Sync, gone: Collection[UUID] = (), deleted: Collection[UUID] = ()
) -> list[Change]:
    """The removals that a sync confirms. Connections that are still listed are no longer lost.

    Only a sync of a credential that has listed a connection can decide whether it was removed.
    `gone` holds connections that should be there but that this complete sync lacks. `deleted` holds
    connections whose deletion it verifies.
    """
    site, now = sync.credential.site, sync.finished_at
    listings = OrgConnectionSnapshot.objects.filter(
        site=site, connection_id=OuterRef("connection_id"), credential=sync.credential_id
    )
    orgs = Org.objects.filter(site=site)
    # The site is on both sides of OR so that SQLite uses an index for each.
    is_lost = Q(site=site, lost_at__isnull=False)
    is_lost |= Q(site=site, connection_id__in=gone, is_present=True)
    rows = KnownConnection.objects.filter(is_lost, Exists(listings)).annotate(
        source_org_name=Subquery(orgs.filter(org_id=OuterRef("source_org_id")).values("name")),
        sink_org_name=Subquery(orgs.filter(org_id=OuterRef("sink_org_id")).values("name")),
    )
    lost = list(rows)
    for row in lost:
        if row.lost_at is None:
            row.lost_at = sync.started_at
    observers = _Observers(sync=sync, lost=lost, deleted=deleted)
    still_listed = {row.connection_id for row in lost if observers.is_still_listed(row)}
    if still_listed:
        of_site = KnownConnection.objects.filter(site=site)
        of_site.filter(connection_id__in=still_listed).update(lost_at=None)
    removed = [
        row
        for row in lost
        if row.connection_id not in still_listed and not observers.awaits_sync(row)
    ]
    settled = still_listed.union(row.connection_id for row in removed)
    record_loss(site=site, connection_ids=set(gone) - settled, lacked_at=sync.started_at)
    if not removed:
        return []
    mark_removed(removed, site=site, at=now)
    names = {row.source_org_id: row.source_org_name or "" for row in removed}
    names |= {row.sink_org_id: row.sink_org_name or "" for row in removed}
    return _build_removals(removed, names=names, observers=observers)


def _build_removals(
    removed: Sequence[KnownConnection], *, names: dict[str, str], observers: "_Observers"
) -> list[Change]:
    site = removed[0].site
    # A deletion explains only one removal. If the connection came back, someone else removed it
    # next.
    attempts = attempts_that_might_have_removed(removed, site=site, unexplained_only=True)
    changes = []
    for row in removed:
        detected_at = row.lost_at or row.last_shown_at
        attempt = attempts.get(row.connection_id)
        changes.append(
            Change(
                kind=Change.Kind.REMOVED,
                **connection_fields(row, names=names),
                before=connection_state(row),
                detected_at=detected_at,
                earliest_at=min(row.last_shown_at, detected_at),
                deletion=attempt.deletion if attempt else None,
                needs_attention=attempt is None,
                observed_by=observers.no_longer_listing(row),
                not_checked_by=observers.not_checked(row),
            )
        )
    return changes


@dataclass(frozen=True, kw_only=True)
class _LastListing:
    """The newest snapshot of a connection by one credential in use, and the credential's syncs."""

    connection_id: UUID
    credential_id: UUID
    is_current: bool
    last_seen_at: datetime
    # When the credential's newest sync and its newest complete sync began.
    tried_at: datetime | None
    completed_at: datetime | None
    # When a verification of Org Admin's deletion of the connection began.
    verified_at: datetime | None

    @property
    def is_listing(self) -> bool:
        """Whether the credential's newest complete sync still lists the connection."""
        return self.is_current or self._was_ended_by_verification

    @property
    def _was_ended_by_verification(self) -> bool:
        """Whether verifying a deletion, and not a sync with its credential, ended the snapshot."""
        is_of_newest_sync = self.completed_at is None or self.last_seen_at >= self.completed_at
        return (
            self.verified_at is not None
            and self.last_seen_at < self.verified_at
            and is_of_newest_sync
        )


class _Observers:
    """The credentials in use that have listed lost connections, and what they list now."""

    def __init__(
        self, *, sync: Sync, lost: Sequence[KnownConnection], deleted: Collection[UUID]
    ) -> None:
        site, self.now = sync.credential.site, sync.finished_at
        self._site = site
        syncs = Sync.objects.filter(credential=OuterRef("credential"))
        syncs = syncs.order_by("-started_at", "-id")
        verified = Deletion.objects.filter(
            site=site, connection_id=OuterRef("connection_id"), verified_at__isnull=False
        ).order_by("-verified_at")
        snapshots = OrgConnectionSnapshot.objects.filter(
            site=site,
            connection_id__in=[row.connection_id for row in lost],
            credential__retired_at=None,
        )
        rows = snapshots.order_by("pk").values(
            *("connection_id", "credential_id", "is_current", "last_seen_at"),
            tried_at=Subquery(syncs.values("started_at")[:1]),
            completed_at=Subquery(syncs.filter(is_complete=True).values("started_at")[:1]),
            verified_at=Subquery(verified.values("verified_at")[:1]),
        )
        newest = {(row["connection_id"], row["credential_id"]): _LastListing(**row) for row in rows}
        self._of: dict[UUID, list[_LastListing]] = defaultdict(list)
        for listing in newest.values():
            if listing.connection_id in deleted:
                listing = replace(
                    listing,
                    verified_at=max(listing.verified_at or sync.started_at, sync.started_at),
                )
            self._of[listing.connection_id].append(listing)

    @cached_property
    def _that_count(self) -> set[UUID]:
        # Not read where nothing lists a lost connection, as after a deletion.
        return find_credentials_that_count(site=self._site, now=self.now)

    def _listing(self, row: KnownConnection) -> list[_LastListing]:
        return [listing for listing in self._of[row.connection_id] if listing.is_listing]

    def is_still_listed(self, row: KnownConnection) -> bool:
        """Whether a credential has listed it since it was lost."""
        return any(
            row.lost_at is not None and listing.last_seen_at >= row.lost_at
            for listing in self._listing(row)
        )

    def awaits_sync(self, row: KnownConnection) -> bool:
        """Whether a credential that lists it needs a complete sync, or has to fail for longer."""
        return any(
            not self._is_after_loss(listing.tried_at, row)
            or listing.credential_id in self._that_count
            for listing in self._listing(row)
        )

    def no_longer_listing(self, row: KnownConnection) -> list[str]:
        """The credentials that listed it and whose complete sync since then lacks it."""
        return [
            str(listing.credential_id)
            for listing in self._of[row.connection_id]
            if not listing.is_listing and self._is_after_loss(listing.completed_at, row)
        ]

    def not_checked(self, row: KnownConnection) -> list[str]:
        """The credentials that list it and whose syncs have failed for too long."""
        return [str(listing.credential_id) for listing in self._listing(row)]

    @staticmethod
    def _is_after_loss(at: datetime | None, row: KnownConnection) -> bool:
        return at is not None and row.lost_at is not None and at >= row.lost_at


def attempts_that_might_have_deleted() -> QuerySet[Attempt]:
    """The attempts that might have removed their connection, oldest first, with their deletions."""
    rows = Attempt.objects.filter(verdict__in=_MIGHT_HAVE_DELETED)
    return rows.select_related("deletion").order_by("claimed_at", "pk")


def attempts_that_might_have_removed(
    rows: Iterable[KnownConnection], *, site: str, unexplained_only: bool = False
) -> dict[UUID, Attempt]:
    """The last attempt that might have removed each connection, by its ID.

    With `unexplained_only`, leaves out deletions that a change is already linked to.
    """
    by_id = {row.connection_id: row for row in rows}
    attempts = (
        attempts_that_might_have_deleted()
        .only("claimed_at", "answered_at", "deletion__connection_id")
        .filter(deletion__site=site, deletion__connection_id__in=by_id)
    )
    if unexplained_only:
        attempts = attempts.filter(deletion__changes=None)
    return {
        attempt.deletion.connection_id: attempt
        for attempt in attempts
        if might_have_removed(attempt, row=by_id[attempt.deletion.connection_id])
    }


def might_have_removed(attempt: Attempt, *, row: KnownConnection) -> bool:
    """Whether it was sent before the connection was gone, and no sync listed it long afterwards."""
    gone_by = row.lost_at if row.is_present else row.established_at
    if gone_by and attempt.claimed_at > gone_by + MAX_SYNC_TIME:
        return False
    listed_until = (attempt.answered_at or attempt.claimed_at) + LIST_LAG
    return row.last_shown_at <= listed_until

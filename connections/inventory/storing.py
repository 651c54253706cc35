"""Stores what a sync fetched: its result, a snapshot of each connection, and what changed."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef, Q, Subquery

from connections import audit
from connections.access.actor import Actor
from connections.agreements.approved import look_again_at_ends
from connections.changes import detection, losses
from connections.core import clock
from connections.datadog.payloads import ListedOrg, OrgConnection
from connections.inventory import contradictions, rate_limits, sync_schedule
from connections.inventory.fetching import SyncResult
from connections.models import (
    SNAPSHOT_FIELD_NAMES,
    Credential,
    OrgConnectionSnapshot,
    OrgPair,
    Sync,
    SyncDay,
    snapshot_digest,
)


def store(result: SyncResult, *, actor: Actor, deleted: Collection[UUID] = ()) -> Sync | None:
    """Store one sync: its result, a snapshot of each connection, changes and contradictions.

    Stores nothing, and returns None, if nothing was requested or the keys' org wasn't checked. A
    sync that began before one that is already stored changes no snapshot, because it is older.
    `deleted` holds connections that were deleted and that this complete sync lacks, so they are
    gone for every credential.
    """
    credential, started_at = result.credential, result.started_at
    if credential is None or started_at is None or not result.is_checked:
        return None
    owner = result.identity
    own_org = owner.org if owner else ListedOrg(id=credential.org_id, name="")
    with audit.atomic(savepoint=False):
        lock_snapshots(site=credential.site)
        before = _read_state_before(credential=credential, result=result)
        now = before.now
        is_outdated = False
        if before.last_complete_at and before.last_complete_at > started_at:
            # A sync from the future was stored before the clock was set back.
            newer = Sync.objects.filter(
                credential=credential,
                is_complete=True,
                started_at__gt=started_at,
                finished_at__lte=now,
            )
            is_outdated = newer.exists()
        sync = Sync.objects.create(
            credential=credential,
            started_at=started_at,
            finished_at=now,
            is_complete=result.is_complete,
            count=len(result.org_connections),
            **result.failure,
        )
        gone: list[UUID] = []
        if not is_outdated:
            gone, changed = _store_snapshots(
                credential=credential, result=result, seen_at=started_at, deleted=deleted
            )
            if changed:
                org = Q(source_org_id=credential.org_id) | Q(sink_org_id=credential.org_id)
                of_org = org & Q(site=credential.site)
                look_again_at_ends(changed, orgs=of_org, now=now)
        elif deleted:
            record_absence(site=credential.site, connection_ids=deleted, lacked_at=started_at)
        record_use(
            credential_id=credential.pk,
            at=now,
            failure=None if result.is_complete else result.failure,
            sync_due_at=sync_schedule.next_due_at(
                now=now, has_just_failed=not result.is_complete and before.was_complete is not False
            ),
        )
        if result.is_complete:
            _record_day(site=credential.site, org_id=own_org.id, at=now)
        rate_limits.record(
            site=credential.site,
            org_id=own_org.id,
            rate_limits=result.rate_limits,
            now=now,
        )
        if before.might_be_contradicted:
            contradictions.flag_contradictions(sync=sync, listed=_ids_of(result), actor=actor)
        detection.process_sync(
            sync=sync,
            listed=result.org_connections,
            own_org=own_org,
            last_complete_at=before.last_complete_at,
            gone=gone,
            deleted=deleted,
            might_be_lost=before.might_be_lost or bool(gone or deleted),
            is_outdated=is_outdated,
            actor=actor,
        )
    return sync


def _ids_of(result: SyncResult) -> set[UUID]:
    return {UUID(item.id) for item in result.org_connections}


def _record_day(*, site: str, org_id: str, at: datetime) -> None:
    SyncDay.objects.bulk_create(
        [SyncDay(site=site, org_id=org_id, day=at.date(), first_at=at, newest_at=at)],
        update_conflicts=True,
        unique_fields=["site", "org_id", "day"],
        update_fields=["newest_at"],
    )


@dataclass(frozen=True, kw_only=True)
class _StateBefore:
    """What storing a sync needs to know, read in one statement once the snapshots are locked."""

    now: datetime
    last_complete_at: datetime | None
    # Of the newest sync. None without one.
    was_complete: bool | None
    # Nearly always false, which avoids a search.
    might_be_contradicted: bool
    might_be_lost: bool


def _read_state_before(*, credential: Credential, result: SyncResult) -> _StateBefore:
    newest = Sync.objects.filter(credential=OuterRef("pk"))
    complete = newest.filter(is_complete=True)
    closed = contradictions.closed_as_gone(site=credential.site, listed=_ids_of(result))
    row = Credential.objects.filter(pk=credential.pk).values(
        now=clock.now_in_query(),
        last_complete_at=Subquery(complete.values("started_at")[:1]),
        was_complete=Subquery(newest.values("is_complete")[:1]),
        might_be_contradicted=Exists(closed),
        might_be_lost=losses.is_any_lost(site=credential.site),
    )
    return _StateBefore(**row.get())


def lock_snapshots(*, site: str = "") -> None:
    """Let only one transaction at a time change the snapshots of a site, or of all sites.

    Both sides list the same connection, so the syncs of two orgs change the same rows in different
    orders and would deadlock without this. SQLite has only one writer anyway. No transaction that
    holds this lock waits for the network.
    """
    if connection.features.has_select_for_update:
        credentials = Credential.objects.order_by("pk")
        if site:
            credentials = credentials.filter(site=site)
        list(credentials.select_for_update(no_key=True).values_list("pk"))


def _store_snapshots(
    *,
    credential: Credential,
    result: SyncResult,
    seen_at: datetime,
    deleted: Collection[UUID],
) -> tuple[list[UUID], set[OrgPair]]:
    """Store what was listed.

    Return the connections that a complete sync no longer lists, and the pairs of those that are
    new, different or gone.
    """
    rows = OrgConnectionSnapshot.objects.filter(credential=credential, is_current=True).order_by()
    # Almost all connections are unchanged, so don't build model objects for them.
    current = {
        connection_id: (pk, values)
        for pk, connection_id, *values in rows.values_list(
            "pk", "connection_id", *SNAPSHOT_FIELD_NAMES
        )
    }
    new: list[OrgConnectionSnapshot] = []
    replaced: list[int] = []
    for item in result.org_connections:
        pk, values = current.pop(UUID(item.id), (None, None))
        if pk and values == list(snapshot_values(item).values()):
            continue
        if pk:
            replaced.append(pk)
        new.append(_build_snapshot(credential=credential, item=item, seen_at=seen_at))
    not_listed = [pk for pk, _ in current.values()]
    changed = {OrgPair(each.site, each.source_org_id, each.sink_org_id) for each in new}
    if result.is_complete:
        names = ("source_org_id", "sink_org_id")
        source, sink = (SNAPSHOT_FIELD_NAMES.index(name) for name in names)
        changed |= {OrgPair(credential.site, row[source], row[sink]) for _, row in current.values()}
    gone = list(current) if result.is_complete else []
    ended = replaced + not_listed if gone else replaced
    # Usually both are empty, and building a query would be wasted work.
    if ended or deleted:
        condition = Q(pk__in=ended)
        if deleted:
            condition |= _snapshots_before(seen_at, site=credential.site, connection_ids=deleted)
        OrgConnectionSnapshot.objects.filter(condition).update(is_current=False)
    # The remaining rows were listed without changes.
    rows.exclude(pk__in=not_listed).update(last_seen_at=seen_at)
    OrgConnectionSnapshot.objects.bulk_create(new)
    return list({*gone, *deleted}), changed


def _snapshots_before(at: datetime, *, site: str, connection_ids: Collection[UUID]) -> Q:
    return Q(site=site, connection_id__in=connection_ids, is_current=True, last_seen_at__lt=at)


def record_absence(*, site: str, connection_ids: Collection[UUID], lacked_at: datetime) -> None:
    """Store that deleted connections were missing from a complete sync that stores nothing else.

    Call it while the site's snapshots are locked.
    """
    losses.record_loss(site=site, connection_ids=connection_ids, lacked_at=lacked_at)
    ended = _snapshots_before(lacked_at, site=site, connection_ids=connection_ids)
    OrgConnectionSnapshot.objects.filter(ended).update(is_current=False)


def record_use(
    *,
    credential_id: UUID,
    at: datetime,
    failure: dict[str, object] | None,
    sync_due_at: datetime | None = None,
) -> None:
    """Store that this credential was used with Datadog and, if that failed, why.

    `sync_due_at` is given after a sync.
    """
    last_error = failure and {"at": at.isoformat()} | failure
    schedule = {"sync_due_at": sync_due_at} if sync_due_at else {}
    Credential.objects.filter(pk=credential_id).update(
        last_used_at=at, last_error=last_error, **schedule
    )


def snapshot_values(item: OrgConnection) -> dict[str, Any]:
    """The snapshot fields of one listed connection, in the order of SNAPSHOT_FIELD_NAMES."""
    return {
        "source_org_id": item.source_org.id,
        "source_org_name": item.source_org.name,
        "sink_org_id": item.sink_org.id,
        "sink_org_name": item.sink_org.name,
        "connection_types": list(item.connection_types),
        "connection_created_at": item.created_at,
        "creator_id": item.created_by.id,
        "creator_name": item.created_by.name,
        "creator_is_disabled": item.created_by.disabled,
        "creator_is_service_account": item.created_by.service_account,
    }


def _build_snapshot(
    *, credential: Credential, item: OrgConnection, seen_at: datetime
) -> OrgConnectionSnapshot:
    snapshot = OrgConnectionSnapshot(
        credential=credential,
        site=credential.site,
        connection_id=UUID(item.id),
        first_seen_at=seen_at,
        last_seen_at=seen_at,
        **snapshot_values(item),
    )
    snapshot.digest = snapshot_digest(site=credential.site, connection_id=item.id, fields=snapshot)
    return snapshot

"""Syncing: reads an org's connections from Datadog and stores what it lists.

If a listed connection has a deletion that was closed as gone, the contradiction is flagged.
"""

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Self
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery

from connections import audit
from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.changes import detection, losses
from connections.core import clock
from connections.core.causes import Cause
from connections.core.errors import UnavailableError
from connections.core.sites import UnknownSiteError, get_site
from connections.crypto.encryption import EncryptionError, KeyRingError
from connections.datadog.client import DatadogClient
from connections.datadog.payloads import KeyOwner, Org, OrgConnection
from connections.datadog.responses import DatadogError, RateLimit
from connections.inventory import rate_limits, sync_schedule
from connections.inventory.rate_limits import OrgKey
from connections.models import (
    GONE_OUTCOMES,
    SNAPSHOT_FIELD_NAMES,
    Credential,
    Deletion,
    OrgConnectionSnapshot,
    Outcome,
    SnapshotFields,
    State,
    Sync,
    snapshot_digest,
)
from connections.net.http import pool

# The deadline of one sync, in seconds.
SYNC_SECONDS = 10.0
SYNC_RETENTION = timedelta(days=90)
OLD_SYNCS_AT_ONCE = 2_000


def open_client(*, credential: Credential) -> DatadogClient:
    """A client with the credential's keys. This is the only place where keys are decrypted for use.

    Raises UnavailableError, before anything is sent, when the keys can't be decrypted or the site
    or proxy is misconfigured.
    """
    try:
        return DatadogClient(
            base_url=get_site(credential.site).base_url,
            keys=credential.open_keys(),
            proxy_url=settings.DATADOG_PROXY or None,
            ca_bundle=settings.DATADOG_CA_BUNDLE or None,
        )
    except KeyRingError as error:
        problem = UnavailableError(str(error), cause=Cause.KEY_RING_UNUSABLE)
    except EncryptionError as error:
        problem = UnavailableError(str(error), cause=Cause.KEYS_NOT_OPENED)
    except (UnknownSiteError, ValueError) as error:
        problem = UnavailableError(str(error), cause=Cause.CANNOT_BE_ASKED)
    # Raised here so that its context contains no exception from the key code.
    raise problem


# The argument is how long to wait for the slot, in seconds.
type RequestSlot = Callable[[float], AbstractContextManager[object]]


@dataclass(frozen=True, kw_only=True)
class SyncResult:
    """The result of one sync. Only a complete one proves that a connection is absent."""

    org_connections: tuple[OrgConnection, ...] = ()
    is_complete: bool = False
    cause: str = ""
    http_status: int | None = None
    errors: tuple[str, ...] = ()
    identity: KeyOwner | None = None
    # What the responses said about the org's rate limits.
    rate_limits: tuple[RateLimit, ...] = ()
    # The name of the credential; set by `fetch_org`.
    listed_by: str = ""
    # When it began, by the database's clock; set by `fetch_org`.
    started_at: datetime | None = None

    @classmethod
    def from_error(cls, error: DatadogError) -> Self:
        """The result of a sync that failed with this error."""
        return cls(cause=error.cause, http_status=error.http_status, errors=error.errors)

    @property
    def failure(self) -> dict[str, object]:
        """Why it is not complete, in the form that columns and events store."""
        return {
            "cause": self.cause,
            "http_status": self.http_status,
            "errors": list(self.errors),
        }

    def find(self, connection_id: UUID) -> OrgConnection | None:
        """The connection with this ID, if it was listed."""
        wanted = str(connection_id)
        return next((item for item in self.org_connections if item.id == wanted), None)


@pool()
def fetch_connections(
    *,
    client: DatadogClient,
    org_id: str,
    deadline_seconds: float = SYNC_SECONDS,
    find: UUID | None = None,
    identity: KeyOwner | None = None,
    request_slot: RequestSlot = nullcontext,
) -> SyncResult:
    """List the connections and check the keys' org. Never raises for a failure at Datadog.

    `org_id` is the org that the credential is pinned to; keys of another org make the result
    incomplete. Both requests are sent at the same time. With `find`, the org is checked after the
    list, and only if the connection is not listed, because only absence needs that proof.
    `identity` is the keys' owner, if it is already known. Each request is sent inside a
    `request_slot`, and waiting for the slot counts toward the deadline.
    """
    deadline = time.monotonic() + deadline_seconds
    list_connections = partial(_list_connections, client, deadline, request_slot)
    if identity:
        found = _with_checked_owner(list_connections(), owner=identity, org_id=org_id)
    elif find:
        found = list_connections()
        if found.is_complete and not found.find(find):
            owner = _fetch_owner(client, deadline, request_slot)
            found = _with_checked_owner(found, owner=owner, org_id=org_id)
    else:
        fetch_owner = partial(_fetch_owner, client, deadline, request_slot)
        with ThreadPoolExecutor(max_workers=1) as thread:
            owner_fetched = thread.submit(copy_context().run, fetch_owner)
            listed = list_connections()
        found = _with_checked_owner(listed, owner=owner_fetched.result(), org_id=org_id)
    return replace(found, rate_limits=client.rate_limits)


def _seconds_until(deadline: float) -> float:
    return max(0.1, deadline - time.monotonic())


def _list_connections(
    client: DatadogClient, deadline: float, request_slot: RequestSlot
) -> SyncResult:
    try:
        with request_slot(_seconds_until(deadline)):
            listing = client.list_org_connections(deadline_seconds=_seconds_until(deadline))
    except DatadogError as error:
        return SyncResult.from_error(error)
    return SyncResult(
        org_connections=listing.org_connections,
        is_complete=listing.is_complete,
        cause=listing.cause or "",
        http_status=listing.http_status,
        errors=listing.errors,
    )


def _fetch_owner(
    client: DatadogClient, deadline: float, request_slot: RequestSlot
) -> KeyOwner | DatadogError:
    try:
        with request_slot(_seconds_until(deadline)):
            return client.whoami(deadline_seconds=_seconds_until(deadline))
    except DatadogError as error:
        return error


def _with_checked_owner(
    listed: SyncResult, *, owner: KeyOwner | DatadogError, org_id: str
) -> SyncResult:
    """The list, complete only if the keys are known to belong to the org."""
    if isinstance(owner, DatadogError):
        return SyncResult.from_error(owner) if listed.is_complete else listed
    if owner.org.id != org_id:
        return SyncResult(cause=Cause.ANOTHER_ORG, http_status=200, identity=owner)
    return replace(listed, identity=owner) if listed.is_complete else listed


def open_client_or_failure(*, credential: Credential) -> DatadogClient | SyncResult:
    """A client, or the failed result of a credential whose keys can't be decrypted.

    Raises UnavailableError when no credential's keys can be decrypted.
    """
    try:
        return open_client(credential=credential)
    except UnavailableError as error:
        if error.cause == Cause.KEY_RING_UNUSABLE:
            raise
        return SyncResult(cause=error.cause)


def fetch_or_failure(client: DatadogClient | SyncResult, *, credential: Credential) -> SyncResult:
    """`fetch_connections` for a thread pool.

    If the client couldn't be made, return that failure.
    """
    if isinstance(client, SyncResult):
        return client
    return fetch_connections(
        client=client,
        org_id=credential.org_id,
        request_slot=partial(
            rate_limits.request_slot, site=credential.site, org_id=credential.org_id
        ),
    )


def sync_org(
    *,
    credential: Credential,
    actor: Actor,
    client: DatadogClient | None = None,
    find: UUID | None = None,
    now: datetime | None = None,
) -> SyncResult:
    """Sync with one credential: fetch its connections and store the result.

    The arguments are those of `fetch_org` and `store_result`.
    """
    result = fetch_org(credential=credential, client=client, find=find, now=now)
    store_result(credential=credential, result=result, find=find, actor=actor)
    return result


def fetch_org(
    *,
    credential: Credential,
    client: DatadogClient | None = None,
    find: UUID | None = None,
    now: datetime | None = None,
    deadline_seconds: float = SYNC_SECONDS,
) -> SyncResult:
    """What Datadog lists for one credential, not stored. Raises UnavailableError.

    Callers that already have them can pass `client` and `now`, which is the time read before
    anything is requested. `find` is as in `fetch_connections`.
    """
    client = client or open_client(credential=credential)
    started_at = now or clock.now()
    fetched = fetch_connections(
        client=client, org_id=credential.org_id, find=find, deadline_seconds=deadline_seconds
    )
    return replace(fetched, started_at=started_at, listed_by=credential.name)


def store_result(
    *,
    credential: Credential,
    result: SyncResult,
    find: UUID | None = None,
    actor: Actor,
    deleted: Collection[UUID] = (),
) -> None:
    """Store what `fetch_org` returned, if anything was requested.

    With `find`, a list that shows that connection was not checked for completeness, so it is not
    stored. `deleted` is as in `store_sync`.
    """
    if result.started_at and not (find and result.find(find)):
        store_sync(
            credential=credential,
            fetched=result,
            started_at=result.started_at,
            actor=actor,
            deleted=deleted,
        )


def store_sync(
    *,
    credential: Credential,
    fetched: SyncResult,
    started_at: datetime,
    actor: Actor,
    deleted: Collection[UUID] = (),
) -> Sync:
    """Store one sync: its result, a snapshot of each connection, changes and contradictions.

    A sync that began before one that is already stored changes no snapshot, because it is older.
    `deleted` holds connections that were deleted and that this complete sync lacks, so they are
    gone for every credential.
    """
    named = fetched.identity
    own_org = named.org if named else Org(id=credential.org_id, name="")
    with audit.atomic(savepoint=False):
        lock_snapshots(site=credential.site)
        before = _read_state_before(credential=credential, fetched=fetched)
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
        listing = Sync.objects.create(
            credential=credential,
            started_at=started_at,
            finished_at=now,
            is_complete=fetched.is_complete,
            count=len(fetched.org_connections),
            **fetched.failure,
        )
        gone: list[UUID] = []
        if not is_outdated:
            gone = _store_snapshots(
                credential=credential, fetched=fetched, seen_at=started_at, deleted=deleted
            )
        elif deleted:
            record_absence(site=credential.site, connection_ids=deleted, lacked_at=started_at)
        failure = None if fetched.is_complete else fetched.failure
        record_use(
            credential_id=credential.pk,
            at=now,
            failure=failure,
            sync_due_at=sync_schedule.next_due_at(now=now),
        )
        rate_limits.record(
            site=credential.site,
            org_id=own_org.id,
            rate_limits=fetched.rate_limits,
            now=now,
        )
        if before.might_be_contradicted:
            flag_contradictions(
                site=credential.site,
                listed={UUID(item.id) for item in fetched.org_connections},
                started_at=started_at,
                now=now,
                listed_by=credential.name,
                actor=actor,
            )
        detection.process_sync(
            sync=listing,
            listed=fetched.org_connections,
            own_org=own_org,
            last_complete_at=before.last_complete_at,
            gone=gone,
            deleted=deleted,
            might_be_lost=before.might_be_lost or bool(gone or deleted),
            is_outdated=is_outdated,
            actor=actor,
        )
    return listing


@dataclass(frozen=True, kw_only=True)
class _StateBefore:
    """What storing a sync needs to know, read in one statement once the snapshots are locked."""

    now: datetime
    last_complete_at: datetime | None
    # Nearly always false, which avoids a search.
    might_be_contradicted: bool
    might_be_lost: bool


def _read_state_before(*, credential: Credential, fetched: SyncResult) -> _StateBefore:
    complete = Sync.objects.filter(credential=OuterRef("pk"), is_complete=True)
    listed = {UUID(item.id) for item in fetched.org_connections}
    row = Credential.objects.filter(pk=credential.pk).values(
        now=clock.now_in_query(),
        last_complete_at=Subquery(complete.values("started_at")[:1]),
        might_be_contradicted=Exists(_closed_as_gone(site=credential.site, listed=listed)),
        might_be_lost=losses.is_any_lost(site=credential.site),
    )
    return _StateBefore(**row.get())


def _closed_as_gone(*, site: str, listed: Collection[UUID]) -> QuerySet[Deletion]:
    """The closed deletions that these listed connections contradict, whenever they were closed.

    A 200 that has not been verified yet is left out, because Datadog's list can lag.
    """
    awaiting_verification = Q(outcome=Outcome.DELETED, verified_at=None, due_at__isnull=False)
    return Deletion.objects.filter(
        site=site,
        connection_id__in=listed,
        state=State.SETTLED,
        outcome__in=GONE_OUTCOMES,
        contradicted_at=None,
    ).exclude(awaiting_verification)


def lock_snapshots(*, site: str) -> None:
    """Let only one transaction at a time change the snapshots of a site.

    Both sides list the same connection, so the syncs of two orgs change the same rows in different
    orders and would deadlock without this. SQLite has only one writer anyway. No transaction that
    holds this lock waits for the network.
    """
    if connection.features.has_select_for_update:
        in_order = Credential.objects.filter(site=site).order_by("pk")
        list(in_order.select_for_update(no_key=True).values_list("pk"))


def lock_all_snapshots() -> None:
    """Like `lock_snapshots` for every site: no sync is stored until this transaction ends."""
    if connection.features.has_select_for_update:
        in_order = Credential.objects.order_by("pk")
        list(in_order.select_for_update(no_key=True).values_list("pk"))


def _store_snapshots(
    *,
    credential: Credential,
    fetched: SyncResult,
    seen_at: datetime,
    deleted: Collection[UUID],
) -> list[UUID]:
    """Store what was listed. Return the connections that a complete sync no longer lists."""
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
    for item in fetched.org_connections:
        pk, values = current.pop(UUID(item.id), (None, None))
        if pk and values == list(snapshot_values(item).values()):
            continue
        if pk:
            replaced.append(pk)
        new.append(build_snapshot(credential=credential, item=item, seen_at=seen_at))
    not_listed = [pk for pk, _ in current.values()]
    gone = list(current) if fetched.is_complete else []
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
    return list({*gone, *deleted})


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


def snapshot_fields(item: OrgConnection) -> SnapshotFields:
    """One listed connection as snapshot fields."""
    return OrgConnectionSnapshot(**snapshot_values(item))


def build_snapshot(
    *, credential: Credential, item: OrgConnection, seen_at: datetime
) -> OrgConnectionSnapshot:
    """An unsaved snapshot of one listed connection."""
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


STALE_AFTER = timedelta(minutes=5)


def credentials_in_use(*, actor: Actor) -> list[Credential]:
    """Every visible credential that is not retired, by name."""
    return list(
        visibility.visible(Credential.objects.filter(retired_at=None), actor=actor, by="pk")
    )


def sync_orgs(
    *, actor: Actor, credentials: list[Credential] | None = None, only_stale: bool = False
) -> list[Sync]:
    """Sync every visible org, or those of the given credentials. Raises PermissionDenied.

    `only_stale` is for syncs that an open page starts. It leaves out orgs synced within the last 5
    minutes, orgs that another process is syncing or will sync within a minute, and orgs held back
    because less than a tenth of a rate limit remains. Credentials that were never
    verified are left out too: they are pinned to no org, so their lists would prove nothing. A
    failure of one org is stored as its result and affects no other.
    """
    permissions.require(permissions.can_sync(actor), "sync connections")
    chosen = credentials_in_use(actor=actor) if credentials is None else credentials
    chosen = [credential for credential in chosen if credential.org_id]
    if only_stale:
        now = clock.now()
        held_back = rate_limits.held_back_until(now=now)
        newest = newest_syncs(now=now)
        stale = [
            credential
            for credential in chosen
            if is_stale(newest.get(credential.pk), now=now)
            and OrgKey.of(credential) not in held_back
        ]
        chosen = sync_schedule.claim(stale, now=now) if stale else []
    return sync_credentials(credentials=chosen, actor=actor)


def is_stale(listing: Sync | None, *, now: datetime) -> bool:
    """Whether an org should be synced: never synced, or last synced more than 5 minutes ago."""
    return listing is None or clock.elapsed_since(listing.started_at, now=now) > STALE_AFTER


def sync_credentials(*, credentials: list[Credential], actor: Actor) -> list[Sync]:
    """Sync the given credentials in parallel. Return the stored syncs in the same order.

    The threads only fetch. Keys are decrypted and rows written only by the caller's thread. Each
    sync is stored as soon as it is fetched, so that an org that can't be reached delays no other.
    """
    if not credentials:
        return []
    started_at = clock.now()
    clients = [open_client_or_failure(credential=credential) for credential in credentials]
    stored: dict[UUID, Sync] = {}
    with pool(), ThreadPoolExecutor(max_workers=sync_schedule.ORGS_AT_ONCE) as threads:
        fetching = {
            # Each thread gets a copy of the context so that all share the connections.
            threads.submit(
                copy_context().run, fetch_or_failure, client, credential=credential
            ): credential
            for client, credential in zip(clients, credentials, strict=True)
        }
        for fetched in as_completed(fetching):
            credential = fetching[fetched]
            stored[credential.pk] = store_sync(
                credential=credential,
                fetched=fetched.result(),
                started_at=started_at,
                actor=actor,
            )
    return [stored[credential.pk] for credential in credentials]


def delete_old_syncs() -> int:
    """Delete up to OLD_SYNCS_AT_ONCE syncs whose retention has ended. Return how many.

    The newest complete sync of each credential stays, because the next one is compared with it.
    Syncs are stored in the order of their numbers, so only the first ones are read.
    """
    complete = Sync.objects.filter(credential=OuterRef("pk"), is_complete=True)
    kept = Credential.objects.annotate(newest=Subquery(complete.values("pk")[:1]))
    first = Sync.objects.order_by("pk").values("pk")[:OLD_SYNCS_AT_ONCE]
    old = Sync.objects.filter(pk__in=first, started_at__lt=clock.now() - SYNC_RETENTION)
    count, _ = old.exclude(pk__in=kept.filter(newest__isnull=False).values("newest")).delete()
    return count


def newest_syncs(*, now: datetime) -> dict[UUID, Sync]:
    """The newest sync of each credential in use, by credential ID."""
    return _newest(Sync.objects.all(), of=Credential.objects.filter(retired_at=None), now=now)


def newest_complete_syncs(newest: Mapping[UUID, Sync], *, now: datetime) -> dict[UUID, Sync]:
    """The newest complete sync of each credential in `newest`, which has the newest syncs."""
    complete = {pk: sync for pk, sync in newest.items() if sync.is_complete}
    failed = Credential.objects.filter(pk__in=newest.keys() - complete.keys())
    return complete | _newest(Sync.objects.filter(is_complete=True), of=failed, now=now)


def _newest(syncs: QuerySet[Sync], *, of: QuerySet[Credential], now: datetime) -> dict[UUID, Sync]:
    # A sync from the future was stored before the clock was set back. It must not hide newer ones.
    theirs = syncs.filter(credential=OuterRef("pk"), started_at__lte=now + clock.TOLERANCE)
    newest = Subquery(theirs.order_by("-started_at", "-id").values("pk")[:1])
    rows = Sync.objects.filter(pk__in=of.annotate(newest=newest).values("newest"))
    return {sync.credential_id: sync for sync in rows}


def flag_contradictions(
    *,
    site: str,
    listed: Collection[UUID],
    started_at: datetime,
    now: datetime,
    listed_by: str,
    actor: Actor,
) -> None:
    """Flag every closed deletion that a list contradicts. The outcome is not rewritten.

    Only lists whose sync began after the deletion was closed count. A deletion closed in the future
    was closed before the clock was set back. Call it inside a transaction.
    """
    is_settled_before = Q(settled_at__lte=started_at)
    if not clock.is_ahead(started_at, now=now):
        is_settled_before |= Q(settled_at__gt=now + clock.TOLERANCE)
    contradicted = _closed_as_gone(site=site, listed=listed).filter(is_settled_before)
    # Locked before the first event is recorded, to keep the lock order.
    for deletion in list(contradicted.select_for_update(no_key=True).order_by("pk")):
        flag_contradiction(deletion=deletion, at=started_at, listed_by=listed_by, actor=actor)


def flag_contradiction(*, deletion: Deletion, at: datetime, listed_by: str, actor: Actor) -> None:
    """Set `contradicted_at` once, with its event. Call it inside a transaction."""
    marked = Deletion.objects.filter(pk=deletion.pk, contradicted_at=None).update(
        contradicted_at=at, last_checked_at=at, last_check_listed=True
    )
    if marked:
        audit.record(
            code=audit.EventCode.DELETION_CONTRADICTED,
            actor=actor,
            subject=deletion,
            # Without the credential's name, because people who can't see the credential read this
            # too.
            sentence=audit.Sentence(
                "Datadog still lists {connection}.",
                connection=deletion.description,
            ),
            details={"seen_by": listed_by, "outcome": deletion.outcome, "at": at.isoformat()},
            rows={
                "deletion": audit.changes_of(Deletion, values={"contradicted_at": at}, actor=actor)
            },
        )

"""The rows of the first sync of all, without what only later syncs need."""

from connections.changes.known import known_from
from connections.core import clock
from connections.inventory import storing, sync_schedule
from connections.inventory.fetching import SyncResult
from connections.models import (
    Agreement,
    Deletion,
    KnownConnection,
    Org,
    OrgConnectionSnapshot,
    Sync,
    SyncDay,
)


def is_nothing_known() -> bool:
    """Whether a sync has nothing to compare what it lists with."""
    return not any(model._default_manager.exists() for model in (Org, Deletion, Agreement))


def store_first_sync(result: SyncResult) -> None:
    """What `storing.store` stores of a complete list when nothing is known, in a third of the time.

    tests/changes/test_first_sync.py compares them.
    """
    credential, started_at, owner = result.credential, result.started_at, result.identity
    assert credential
    assert started_at
    assert owner
    now, site, listed = clock.now(), credential.site, result.org_connections
    sync = Sync(
        credential=credential,
        started_at=started_at,
        finished_at=now,
        is_complete=True,
        count=len(listed),
        **result.failure,
    )
    Sync.objects.bulk_create([sync])
    orgs = {org.id: org.name for item in listed for org in (item.source_org, item.sink_org)}
    Org.objects.bulk_create(
        Org(site=site, org_id=org_id, name=name, first_seen_at=started_at, established_at=now)
        for org_id, name in (orgs | {owner.org.id: owner.org.name}).items()
    )
    OrgConnectionSnapshot.objects.bulk_create(
        storing._build_snapshot(credential=credential, item=item, seen_at=started_at)
        for item in listed
    )
    KnownConnection.objects.bulk_create(known_from(item, sync=sync) for item in listed)
    SyncDay.objects.bulk_create(
        [SyncDay(site=site, org_id=owner.org.id, day=now.date(), first_at=now, newest_at=now)]
    )
    storing.record_use(
        credential_id=credential.pk,
        at=now,
        failure=None,
        sync_due_at=sync_schedule.next_due_at(now=now),
    )

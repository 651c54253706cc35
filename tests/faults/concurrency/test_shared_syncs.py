"""Workers in real processes share the syncs: each org once in a round, also if one is killed."""

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest
from django.db.models import F
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from connections.inventory.sync_schedule import ORGS_AT_ONCE
from connections.models import Credential, Sync
from sandbox.faults import delayed
from sandbox.server import SandboxServer
from sandbox.world import World
from tests.flows.support import store_credential
from tests.support.databases import SharedDatabase
from tests.support.processes import ROOT, Running, until
from tests.support.rows import rows_of
from tests.support.sandbox import US

pytestmark = [pytest.mark.slow, pytest.mark.processes(sqlite=2)]

LISTING = "/api/v2/org_connections"
ORGS = 30
COMPLETE = "SELECT count(*) FROM connections_sync WHERE is_complete"


@pytest.fixture(autouse=True)
def _the_test_reads_the_database_too(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def datadog() -> Iterator[SandboxServer]:
    """Orgs that each have a key pair, and whose lists take a moment."""
    world = World(sites=(US,))
    for number in range(ORGS):
        world.add_key_pair(org=world.add_org(name=f"Org {number}", site=US))
    world.set_fault(fault=delayed(seconds=0.5), method="GET")
    with SandboxServer(world) as server:
        yield server


@pytest.fixture
def database(shared_database: SharedDatabase, datadog: SandboxServer) -> SharedDatabase:
    """Has a credential of each org, all due."""
    with override_settings(EXTRA_SITES=datadog.base_urls), shared_database.opened():
        for number in range(ORGS):
            store_credential(datadog, f"Org {number}", is_read=False)
    return shared_database


def start_worker(database: SharedDatabase, datadog: SandboxServer) -> Running:
    env = database.environment(ORGADMIN_EXTRA_SITES=datadog.extra_sites_setting())
    return Running([sys.executable, str(ROOT / "manage.py"), "worker"], env=env)


def wait_for_syncs(database: SharedDatabase, count: int) -> None:
    assert any(rows_of(database, COMPLETE)[0][0] >= count for _ in until(60))


def make_due(database: SharedDatabase, *, claimed_only: bool = False) -> None:
    """Let as much time pass for the due times as claims, or syncs, last."""
    with database.opened():
        credentials = Credential.objects.all()
        if claimed_only:
            credentials = credentials.exclude(pk__in=Sync.objects.values("credential"))
        minutes = 1 if claimed_only else 15
        credentials.update(sync_due_at=F("sync_due_at") - timedelta(minutes=minutes))


def lists_requested(datadog: SandboxServer) -> list[int]:
    """How often the connections of each org were requested."""
    orgs = list(datadog.world.orgs.values())
    return [len(datadog.world.requests(org=org, path=LISTING)) for org in orgs]


def test_three_workers_sync_each_org_once_in_a_round(
    database: SharedDatabase, datadog: SandboxServer
):
    with ExitStack() as together:
        workers = [together.enter_context(start_worker(database, datadog)) for _ in range(3)]
        wait_for_syncs(database, ORGS)
        assert lists_requested(datadog) == [1] * ORGS
        make_due(database)
        wait_for_syncs(database, 2 * ORGS)
        assert [worker.end() for worker in workers] == [0, 0, 0]
        assert not any("The worker failed" in worker.output for worker in workers)
    assert lists_requested(datadog) == [2] * ORGS


def test_a_worker_that_is_killed_during_a_sync_leaves_its_orgs_to_the_others(
    database: SharedDatabase, datadog: SandboxServer
):
    world = datadog.world
    with start_worker(database, datadog) as killed:
        assert world.wait_until(lambda: bool(world.requests(path=LISTING)), seconds=60)
        killed.end(signal.SIGKILL)
    with start_worker(database, datadog) as other:
        wait_for_syncs(database, ORGS - ORGS_AT_ONCE)
        make_due(database, claimed_only=True)
        wait_for_syncs(database, ORGS)
        assert other.end() == 0
    assert max(lists_requested(datadog)) <= 2
    with database.opened():
        synced = Sync.objects.filter(is_complete=True).values("credential").distinct().count()
    assert synced == ORGS

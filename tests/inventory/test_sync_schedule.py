"""When an org's next sync is due, and how processes share the syncs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from connections.access.actor import WORKER, command_actor, person_actor
from connections.credentials import retirement
from connections.inventory import rate_limits, storing, sync_schedule, syncs
from connections.models import Credential, Person, Sync
from connections.operations import due
from connections.operations.worker import Worker
from sandbox.server import SandboxServer
from tests.flows.support import read
from tests.inventory.test_rate_limits import low, store_credential
from tests.support.clock import SettableClock
from tests.support.sandbox import US

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


@pytest.fixture
def payments(sandbox: SandboxServer, clock: SettableClock) -> Credential:
    return store_credential(sandbox, "Payments US", clock)


@pytest.fixture
def soc(sandbox: SandboxServer, clock: SettableClock) -> Credential:
    return store_credential(sandbox, "Group SOC", clock)


def due_at(credential: Credential) -> datetime:
    credential.refresh_from_db()
    return credential.sync_due_at


@pytest.mark.database
def test_a_new_credential_is_due_at_once_and_then_before_fifteen_minutes_have_passed(
    payments: Credential, clock: SettableClock
):
    Worker().work_once()
    assert Sync.objects.count() == 1
    assert 12 * MINUTE <= due_at(payments) - clock.at <= 15 * MINUTE
    clock.advance(minutes=11)
    Worker().work_once()
    assert Sync.objects.count() == 1
    clock.advance(minutes=4)
    Worker().work_once()
    assert Sync.objects.count() == 2


def test_syncs_that_began_together_spread_out(clock: SettableClock):
    times = {sync_schedule.next_due_at(now=clock.at) for _ in range(100)}
    assert len(times) == 100
    assert max(times) - min(times) > MINUTE


def test_any_sync_postpones_the_next_one(payments: Credential, clock: SettableClock, ada: Person):
    Worker().work_once()
    clock.advance(minutes=11)
    syncs.sync_orgs(actor=person_actor(person=ada))
    clock.advance(minutes=11)
    Worker().work_once()
    assert Sync.objects.count() == 2


def test_a_failed_sync_is_repeated_after_five_minutes_and_then_as_late_as_a_complete_one(
    payments: Credential, sandbox: SandboxServer, clock: SettableClock
):
    [pair] = [pair for pair in sandbox.world.key_pairs() if pair.org.id == payments.org_id]
    sandbox.world.revoke(pair)
    Worker().work_once()
    assert not Sync.objects.get().is_complete
    assert due_at(payments) - clock.at == 5 * MINUTE
    clock.advance(minutes=5)
    Worker().work_once()
    assert due_at(payments) - clock.at >= 12 * MINUTE


@pytest.mark.database
def test_processes_claim_different_credentials_and_those_of_a_dead_one_after_a_minute(
    payments: Credential, soc: Credential, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sync_schedule, "ORGS_AT_ONCE", 1)
    [first], [second] = sync_schedule.claim_due(), sync_schedule.claim_due()
    assert {first, second} == {payments, soc}
    assert sync_schedule.claim_due() == []
    clock.advance(seconds=59)
    assert sync_schedule.claim_due() == []
    clock.advance(seconds=1)
    assert sync_schedule.claim_due() == [first]


@pytest.mark.database
def test_neither_a_retired_nor_an_unverified_credential_is_ever_due(
    payments: Credential, soc: Credential, clock: SettableClock, margaret: Person
):
    retirement.retire_credential(
        actor=person_actor(person=margaret), credential=payments, confirmation=payments.name
    )
    Credential.objects.filter(pk=soc.pk).update(org_id="")
    assert sync_schedule.claim_due() == []
    assert sync_schedule.next_sync_at([*Credential.objects.all()]) is None
    Worker().work_once()
    assert not Sync.objects.exists()


@pytest.mark.database
def test_an_org_that_is_held_back_is_due_when_its_rate_limit_resets(
    payments: Credential, soc: Credential, clock: SettableClock
):
    rate_limits.record(
        site=US, org_id=payments.org_id, rate_limits=[low(seconds=420)], now=clock.at
    )
    assert sync_schedule.claim_due() == [soc]
    assert due_at(payments) == clock.at + 7 * MINUTE


@pytest.mark.database
def test_an_org_whose_limit_resets_late_is_considered_again_after_the_interval(
    payments: Credential, clock: SettableClock
):
    rate_limits.record(
        site=US, org_id=payments.org_id, rate_limits=[low(seconds=3600)], now=clock.at
    )
    for _ in range(2):
        assert sync_schedule.claim_due() == []
        assert due_at(payments) == clock.at + 15 * MINUTE


@pytest.mark.database
def test_an_open_page_leaves_out_what_another_process_is_syncing(
    payments: Credential, soc: Credential, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sync_schedule, "ORGS_AT_ONCE", 1)
    [claimed] = sync_schedule.claim_due()
    [other] = syncs.sync_orgs(actor=WORKER, only_stale=True)
    assert {claimed, other.credential} == {payments, soc}
    clock.advance(minutes=1)
    [late] = syncs.sync_orgs(actor=WORKER, only_stale=True)
    assert late.credential == claimed


@pytest.mark.database
def test_a_worker_leaves_out_what_an_open_page_is_syncing(
    payments: Credential, clock: SettableClock
):
    assert sync_schedule.claim([payments], now=clock.at) == [payments]
    assert sync_schedule.claim([payments], now=clock.at) == []
    assert sync_schedule.claim_due() == []


def test_syncs_that_fail_keep_no_periodic_task_from_running(
    payments: Credential, monkeypatch: pytest.MonkeyPatch
):
    def fail(**_: object) -> None:
        raise ValueError("no key ring")

    alarms: list[int] = []
    monkeypatch.setattr(syncs, "sync_credentials", fail)
    monkeypatch.setattr(due, "raise_alarms", lambda **_: alarms.append(1))
    with pytest.raises(ValueError, match="no key ring"):
        Worker().work_once()
    assert alarms == [1]


@contextmanager
def sync_being_stored(*, seconds: float) -> Iterator[threading.Thread]:
    """Another process stores a sync of the site, which takes this long at most."""
    is_locked, is_over = threading.Event(), threading.Event()

    def store() -> None:
        with transaction.atomic():
            storing.lock_snapshots(site=US)
            is_locked.set()
            is_over.wait(seconds)
        connection.close()

    thread = threading.Thread(target=store)
    thread.start()
    try:
        assert is_locked.wait(10)
        yield thread
    finally:
        is_over.set()
        thread.join()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time.")
@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_an_open_page_waits_for_a_sync_that_is_being_stored(
    payments: Credential, clock: SettableClock
):
    with sync_being_stored(seconds=0.3):
        assert sync_schedule.claim([payments], now=clock.at) == [payments]


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time.")
@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_a_worker_waits_for_no_sync_that_is_being_stored(
    payments: Credential, clock: SettableClock
):
    """It would lock the credentials of an org that is held back in another order: a deadlock."""
    rate_limits.record(site=US, org_id=payments.org_id, rate_limits=[low()], now=clock.at)
    with sync_being_stored(seconds=30) as store:
        assert sync_schedule.claim_due() == []
        assert store.is_alive()


def test_pages_say_when_the_next_sync_is_due(
    payments: Credential,
    sandbox: SandboxServer,
    clock: SettableClock,
    client_of: Callable[[Person], Client],
    ada: Person,
):
    syncs.sync_orgs(actor=command_actor())
    client = client_of(ada)
    # Pages show times relative to the web server's clock.
    Credential.objects.update(sync_due_at=timezone.now() + 10 * MINUTE)
    org = read(client.get(f"/orgs/{US}/{payments.org_id}/")).text
    assert ", next due in 10 min" in org
    inventory = read(client.get("/connections/")).html
    assert 'title="Next sync due in ' in inventory
    Credential.objects.update(sync_due_at=timezone.now() - 3 * MINUTE)
    assert "next due 3 min ago" in read(client.get(f"/orgs/{US}/{payments.org_id}/")).text

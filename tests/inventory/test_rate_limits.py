"""Deferrable work leaves the last tenth of an org's rate limit to others."""

from collections.abc import Callable

import pytest
from django.test import Client

from connections.access.actor import WORKER, person_actor
from connections.core.datadog_keys import KeyPair
from connections.core.secret import Secret
from connections.datadog.responses import RateLimit
from connections.inventory import managed_orgs, rate_limits, sync_schedule, syncs
from connections.models import Credential, OrgRateLimit, Person, Sync
from connections.operations import worker
from sandbox.server import SandboxServer
from tests.support.clock import SettableClock
from tests.support.sandbox import US, key_pair_of

pytestmark = pytest.mark.django_db

ORG = {"site": US, "org_id": "org"}


def store_credential(sandbox: SandboxServer, org_name: str, clock: SettableClock) -> Credential:
    """A credential of this org, which was never synced."""
    pair = key_pair_of(sandbox.world, org_name)
    credential = Credential(
        name=org_name,
        site=US,
        org_id=pair.org.id,
        keys_set_at=clock.at,
        created_at=clock.at,
        sync_due_at=clock.at,
    )
    credential.seal_keys(
        KeyPair(api_key=Secret(pair.api_key), application_key=Secret(pair.application_key))
    )
    credential.save()
    return credential


def low(name: str = "", *, seconds: int = 60) -> RateLimit:
    """A limit with one hundredth left."""
    return RateLimit(name=name, limit=100, remaining=1, reset_seconds=seconds)


@pytest.fixture
def payments(sandbox: SandboxServer, clock: SettableClock) -> Credential:
    """The credential of an org with 20 requests every 10 minutes."""
    credential = store_credential(sandbox, "Payments US", clock)
    sandbox.world.rate_limits.set(org_id=credential.org_id, limit=20, seconds=600)
    return credential


def sync_until_low(credential: Credential) -> None:
    """Sync, by two requests each time, until less than a tenth is left."""
    for _ in range(9):
        syncs.sync_orgs(actor=WORKER, credentials=[credential])
        assert not OrgRateLimit.objects.exists()
    syncs.sync_orgs(actor=WORKER, credentials=[credential])


@pytest.mark.database
def test_a_sync_that_nobody_asked_for_waits_until_the_limit_resets(
    payments: Credential, sandbox: SandboxServer, clock: SettableClock
):
    soc = store_credential(sandbox, "Group SOC", clock)
    sync_until_low(payments)
    clock.advance(minutes=9)

    assert [org.credential for org in syncs.sync_orgs(actor=WORKER, only_stale=True)] == [soc]
    clock.advance(minutes=1)
    assert [org.credential for org in syncs.sync_orgs(actor=WORKER, only_stale=True)] == [payments]


def test_a_sync_that_a_person_starts_is_not_held_back(payments: Credential, ada: Person):
    sync_until_low(payments)
    assert managed_orgs.read_due_managed_orgs() == 0
    assert len(syncs.sync_orgs(actor=person_actor(person=ada))) == 1


def test_a_reset_syncs_only_the_org_that_was_held_back_from_a_sync(
    payments: Credential,
    sandbox: SandboxServer,
    clock: SettableClock,
    monkeypatch: pytest.MonkeyPatch,
):
    soc = store_credential(sandbox, "Group SOC", clock)
    monkeypatch.setattr(sync_schedule, "_SHORTEST", 1)
    rate_limits.record(
        site=US, org_id=payments.org_id, rate_limits=[low(seconds=420)], now=clock.at
    )
    subject = worker.Worker()
    synced = []
    for _ in range(30):
        subject.work_once()
        synced.append({each.credential for each in Sync.objects.all()})
        Sync.objects.all().delete()
        clock.advance(minutes=1)

    found = {minute: credentials for minute, credentials in enumerate(synced) if credentials}
    assert found == {0: {soc}, 7: {payments}, 15: {soc}, 22: {payments}}


def test_pages_say_why_an_org_is_not_synced(
    payments: Credential, clock: SettableClock, ada: Person, client_of: Callable[[Person], Client]
):
    client = client_of(ada)
    syncs.sync_orgs(actor=WORKER, credentials=[payments])
    pages = (
        f"/orgs/{US}/{payments.org_id}/",
        f"/credentials/{payments.pk}/",
    )
    reason = b"Less than 10% of this org's Datadog rate limit is left. Until it resets"
    assert [reason in client.get(page).content for page in pages] == [False] * 2
    rate_limits.record(
        site=US, org_id=payments.org_id, rate_limits=[low(seconds=600)], now=clock.at
    )
    assert [reason in client.get(page).content for page in pages] == [True] * 2


def test_a_429_holds_back_even_where_it_names_no_limit(clock: SettableClock):
    refused = RateLimit(name="", limit=1, remaining=0, reset_seconds=60)
    rate_limits.record(**ORG, rate_limits=[refused], now=clock.at)
    assert rate_limits.wait_until(**ORG, now=clock.at) is not None


@pytest.mark.database
def test_of_several_limits_the_one_that_resets_last_counts(clock: SettableClock):
    now = clock.at
    rate_limits.record(**ORG, rate_limits=[low("a", seconds=50), low("b", seconds=5)], now=now)
    rate_limits.record(**ORG, rate_limits=[low("b", seconds=20)], now=now)

    wait_until = rate_limits.wait_until(**ORG, now=now)
    assert wait_until is not None
    assert (wait_until - now).total_seconds() == 50
    assert rate_limits.wait_until(site=US, org_id="another org", now=now) is None
    assert rate_limits.wait_until(site="another site", org_id="org", now=now) is None

"""Workers check the keys once a day, and soon after an upgrade."""

import pytest
from pytest_django import Settings

from connections.access.actor import WORKER, command_actor
from connections.access_requests.targets import find_target
from connections.credentials import daily_checks
from connections.datadog.responses import RateLimit
from connections.inventory import rate_limits, syncs
from connections.models import AuditEvent, Credential, Notification, Person, RequestKind
from sandbox import faults
from sandbox.entities import READ, WRITE
from sandbox.server import SandboxServer
from tests.agreements.support import pair_between
from tests.credentials.support import added, codes
from tests.support.clock import SettableClock
from tests.support.sandbox import connection_between, key_pair_of

pytestmark = [pytest.mark.django_db, pytest.mark.database]
LOST, RESTORED = "credential.permission_lost", "credential.permission_restored"


@pytest.fixture
def credential(sandbox: SandboxServer, clock: SettableClock) -> Credential:
    return added(sandbox, "Payments US")


def grant(sandbox: SandboxServer, *permissions: str) -> None:
    """Give the role of the keys' owner these permissions only."""
    pair = key_pair_of(sandbox.world, "Payments US")
    sandbox.world.revoke(pair)
    sandbox.world.add_key_pair(
        org=pair.org,
        user=pair.user,
        api_key=pair.api_key,
        application_key=pair.application_key,
        permissions=permissions,
    )


def check_a_day_later(clock: SettableClock) -> int:
    clock.advance(hours=24)
    return daily_checks.run_due()


def test_keys_are_checked_once_a_day_and_an_unchanged_result_is_no_event(
    credential: Credential, clock: SettableClock
):
    before, added_at = codes(), credential.verified_at
    clock.advance(hours=19)
    assert daily_checks.run_due() == 0
    clock.advance(hours=5)
    assert (daily_checks.run_due(), daily_checks.run_due()) == (1, 0)
    credential.refresh_from_db()
    assert credential.verified_at != added_at
    assert codes() == before


def test_after_an_upgrade_keys_whose_owner_is_unknown_are_checked_at_once(
    credential: Credential, sandbox: SandboxServer
):
    pair = pair_between(sandbox, "Payments US", "Group SOC")
    connection = connection_between(sandbox.world, "Payments US", "Group SOC")
    sandbox.world.remove_connection(connection_id=connection.id)
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    # As release 1.1.0 left it.
    Credential.objects.update(
        key_check_due_at=None, key_owner_id="", key_owner_is_service_account=None
    )

    def problem() -> str:
        return find_target(actor=command_actor(), kind=RequestKind.CREATE, pair=pair).problem

    assert "A worker checks that within minutes." in problem()
    assert daily_checks.run_due() == 1
    assert problem() == ""


def test_a_lost_permission_is_recorded_and_announced_once_and_once_when_it_is_back(
    credential: Credential,
    sandbox: SandboxServer,
    clock: SettableClock,
    settings: Settings,
    margaret: Person,
):
    settings.HAS_MAIL = True
    grant(sandbox, READ)
    check_a_day_later(clock)
    credential.refresh_from_db()
    assert credential.is_read_only
    # Datadog doesn't say in between what the role grants.
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="validate")
    check_a_day_later(clock)
    check_a_day_later(clock)
    assert (codes().count(LOST), codes().count(RESTORED)) == (1, 0)
    sandbox.world.clear_faults()
    # In another order, because the simulator takes the same pair for the revoked one.
    grant(sandbox, WRITE, READ)
    check_a_day_later(clock)
    events = AuditEvent.objects.filter(code__in=[LOST, RESTORED]).order_by("seq")
    assert [(each.code, each.details["permissions"]) for each in events] == [
        (LOST, ["org_connections_write"]),
        (RESTORED, ["org_connections_write"]),
    ]
    announced = Notification.objects.filter(code__in=[LOST, RESTORED], channel="mail")
    assert [each.person for each in announced] == [margaret, margaret]


def test_an_outage_says_nothing_about_the_keys_and_they_are_checked_again_an_hour_later(
    credential: Credential, sandbox: SandboxServer, clock: SettableClock
):
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="current_user")
    before = codes()
    assert check_a_day_later(clock) == 1
    credential.refresh_from_db()
    assert (credential.is_verified, codes()) == (True, before)
    clock.advance(minutes=59)
    assert daily_checks.run_due() == 0
    clock.advance(minutes=1)
    assert daily_checks.run_due() == 1


def test_rejected_keys_are_reported(
    credential: Credential, sandbox: SandboxServer, clock: SettableClock
):
    sandbox.world.revoke(key_pair_of(sandbox.world, "Payments US"))
    check_a_day_later(clock)
    credential.refresh_from_db()
    assert (credential.is_verified, codes()[-1]) == (False, "credential.not_verified")


def test_an_org_that_is_held_back_is_left_alone(credential: Credential, clock: SettableClock):
    clock.advance(hours=24)
    limit = RateLimit(name="org_connections", limit=100, remaining=1, reset_seconds=60)
    rate_limits.record(
        site=credential.site, org_id=credential.org_id, rate_limits=[limit], now=clock.now()
    )
    assert daily_checks.run_due() == 0
    clock.advance(seconds=61)
    assert daily_checks.run_due() == 1

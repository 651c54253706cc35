"""A confirmed deletion reports a low rate limit and is not held back by one."""

from datetime import timedelta

from connections.datadog.responses import RateLimit
from connections.inventory import rate_limits
from connections.models import Credential, Outcome, State
from sandbox import faults
from tests.deletions.conftest import RequestDeletion
from tests.support.clock import SettableClock


def test_a_429_to_a_delete_holds_back_deferrable_work(
    make_deletion: RequestDeletion, credential: Credential, clock: SettableClock
):
    assert make_deletion(faults.rate_limited(reset="50")).state == State.WAITING
    held_back_until = rate_limits.wait_until(
        site=credential.site, org_id=credential.org_id, now=clock.at
    )
    assert held_back_until == clock.at + timedelta(seconds=50)


def test_a_confirmed_deletion_is_sent_while_its_org_is_held_back(
    make_deletion: RequestDeletion, credential: Credential, clock: SettableClock
):
    used_up = RateLimit(name="", limit=100, remaining=0, reset_seconds=60)
    rate_limits.record(
        site=credential.site, org_id=credential.org_id, rate_limits=[used_up], now=clock.at
    )
    assert make_deletion().outcome == Outcome.DELETED

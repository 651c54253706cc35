"""Times recorded while the clock was ahead count as past once the clock is right again."""

from datetime import datetime, timedelta

import pytest
from django.conf import settings as django_settings
from django.utils import timezone

from connections import audit
from connections.access.actor import command_actor
from connections.audit import checkpoints
from connections.change_requests import states
from connections.core import clock as clocks
from connections.core.errors import ConflictError
from connections.evidence import verification
from connections.models import (
    AuditVerification,
    Deletion,
    Person,
    PersonSession,
    SignInLink,
    State,
)
from connections.operations import heartbeats
from connections.people import sign_in_links
from connections.web.badges import audit_log_badge
from tests.faults.clock.test_behind import record_event
from tests.people.test_sessions import is_signed_in, signed_in
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 2, 14, 3, 22, tzinfo=timezone.get_default_timezone())
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [(-HOUR, HOUR), (timedelta(), timedelta()), (timedelta(seconds=5), timedelta())],
)
def test_the_age_of_a_time(ahead: timedelta, expected: timedelta):
    assert clocks.elapsed_since(NOW + ahead, now=NOW) == expected


def test_the_age_of_a_time_in_the_future_is_unknown():
    assert clocks.elapsed_since(NOW + timedelta(seconds=6), now=NOW) == timedelta.max


@pytest.mark.database
@pytest.mark.parametrize(
    ("ahead", "is_active"), [(timedelta(seconds=4), True), (timedelta(minutes=2), False)]
)
def test_a_session_last_used_in_the_future_has_expired(
    ada: Person, ahead: timedelta, is_active: bool
):
    client = signed_in(ada)
    expires_at = timezone.now() + django_settings.SESSION_IDLE + ahead
    PersonSession.objects.update(expire_date=expires_at)
    assert is_signed_in(client) == is_active


@pytest.mark.parametrize(
    ("seconds", "is_valid"), [(-4, True), (-3600, False)], ids=["a few seconds", "an hour"]
)
def test_a_link_created_in_the_future_is_no_longer_valid(
    ada: Person, clock: SettableClock, seconds: int, is_valid: bool
):
    link = sign_in_links.make_sign_in_link(actor=command_actor(), person=ada, now=clock.now())
    token = link.partition("#")[2]
    clock.advance(seconds=seconds)
    if is_valid:
        assert (
            sign_in_links.redeem_link(token=token, purpose=SignInLink.Purpose.SIGN_IN).person == ada
        )
        return
    with pytest.raises(ConflictError):
        sign_in_links.redeem_link(token=token, purpose=SignInLink.Purpose.SIGN_IN)


def test_a_heartbeat_from_the_future_counts_as_a_dead_worker(clock: SettableClock):
    heartbeats.record_heartbeat(name="killed", host="here", process_id=1)
    clock.advance(hours=-1)
    assert not heartbeats.is_alive(heartbeats.last_seen_at(), now=clock.at)


def verify() -> AuditVerification:
    *_, last = verification.verify_and_store()
    assert last
    return last


def test_a_verification_from_the_future_counts_until_the_next_one(clock: SettableClock):
    record_event()
    last = verify()
    clock.advance(hours=-1)
    assert audit_log_badge(last, now=clock.at).tone == "warn"
    verify()
    again = verification.last_verification()
    assert again
    assert audit_log_badge(again, now=clock.at).tone == "ok"


@pytest.mark.database
def test_a_verification_requested_in_the_future_runs_once(clock: SettableClock, root: Person):
    record_event()
    verify()
    audit.record(
        code=audit.EventCode.AUDIT_LOG_VERIFICATION_REQUESTED,
        actor=command_actor(),
        sentence=audit.Sentence("Requested."),
    )
    clock.advance(hours=-1)
    assert verification.verification_requested_at()
    verify()
    assert verification.verification_requested_at() is None


def test_a_checkpoint_from_the_future_is_followed_by_a_current_one(clock: SettableClock):
    record_event()
    assert checkpoints.make_checkpoint_if_due()
    record_event()
    assert not checkpoints.is_checkpoint_due(now=clock.at)
    clock.advance(minutes=-1)
    assert checkpoints.is_checkpoint_due(now=clock.at)


def test_a_deletion_confirmed_in_the_future_is_not_being_rechecked():
    deletion = Deletion(state=State.APPROVED, confirmed_at=NOW)
    assert states.is_being_rechecked(deletion, now=NOW)
    assert not states.is_being_rechecked(deletion, now=NOW - HOUR)

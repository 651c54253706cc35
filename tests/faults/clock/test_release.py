"""After an administrator let work go on, nothing waits for a time that a wrong clock set."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from connections.access.actor import WORKER, command_actor, person_actor
from connections.access_requests import ending
from connections.agreements.approved import day_after
from connections.change_requests import guards
from connections.change_requests.guards import find_hold
from connections.core import time_limits
from connections.evidence import verification
from connections.inventory import rate_limits, syncs
from connections.models import (
    AccessRequest,
    ApprovalPolicy,
    AuditEvent,
    Change,
    Credential,
    Deletion,
    EventCode,
    Notification,
    OrgConnectionSnapshot,
    OrgPair,
    Outcome,
    PeriodicTask,
    Person,
    State,
)
from connections.notifications import delivery
from connections.notifications.messages import build_message
from connections.operations import due, heartbeats, holds
from connections.operations.clock_release import release_clock
from connections.operations.worker import Worker
from sandbox import faults
from sandbox.server import SandboxServer
from tests.batches.conftest import MakeDraft
from tests.batches.support import low_limit, request
from tests.deletions.conftest import RequestDeletion
from tests.deletions.test_due import run_due
from tests.faults.clock.test_behind import record_event
from tests.support.access_requests import request_for
from tests.support.clock import SettableClock
from tests.support.query_plans import plan_of

pytestmark = pytest.mark.django_db

YEAR = timedelta(days=365)


def release(clock: SettableClock, *, ahead: timedelta = YEAR) -> None:
    """The clock was ahead. It is right again, and an administrator lets work go on."""
    record_event()
    clock.at -= ahead
    assert release_clock(actor=command_actor())


@pytest.mark.database
def test_a_release_records_both_times_and_only_later_events_count(clock: SettableClock):
    newest = clock.at
    release(clock)
    event = AuditEvent.objects.first()
    assert event
    assert (event.code, event.details) == (
        EventCode.SERVICE_RELEASED,
        {"now": clock.at.isoformat(), "newest_event_at": newest.isoformat()},
    )
    assert "2026-03-02 14:03:22 UTC" in event.sentence
    assert "2025-03-02 14:03:22 UTC" in event.sentence
    assert not guards.read_clock().behind
    clock.advance(seconds=-6)
    assert guards.read_clock().behind == timedelta(seconds=6)


def test_only_an_administrator_releases_it(clock: SettableClock, ada: Person, root: Person):
    record_event()
    clock.at -= YEAR
    with pytest.raises(PermissionDenied):
        release_clock(actor=person_actor(person=ada))
    assert guards.read_clock().behind
    assert release_clock(actor=person_actor(person=root))


def test_a_clock_that_is_right_is_not_released(clock: SettableClock):
    record_event()
    assert not release_clock(actor=command_actor())
    assert not AuditEvent.objects.filter(code=EventCode.SERVICE_RELEASED).exists()


@pytest.mark.database
def test_the_newest_time_is_read_from_an_index():
    for _ in range(200):
        record_event()
    with connection.cursor() as cursor:
        # So that it doesn't depend on what an earlier test left in the statistics.
        cursor.execute("ANALYZE")
    with CaptureQueriesContext(connection) as queries:
        guards.read_clock()
    [query] = queries.captured_queries
    plan = plan_of(query["sql"])
    assert "event_by_time" in plan, plan
    assert "event_of_code" in plan, plan
    assert "TEMP B-TREE" not in plan.upper(), plan
    # PostgreSQL may sort the few releases, but not all events.
    assert not re.search(r"Sort Key: .*\bat\b", plan), plan


@pytest.mark.database
def test_a_worker_syncs_and_runs_its_tasks_at_once(credential: Credential, clock: SettableClock):
    worker = Worker()
    worker.work_once()
    release(clock)
    before = credential.syncs.count()
    worker.work_once()
    assert credential.syncs.count() == before + 1
    assert not PeriodicTask.objects.filter(due_at__gt=clock.at + timedelta(days=2)).exists()
    newest = syncs.newest_syncs()[credential.pk]
    assert (newest.pk, newest.started_at) == (credential.syncs.latest("pk").pk, clock.at)


def test_a_claim_becomes_unknown_and_two_lists_settle_it(
    killed_deletion: Deletion, clock: SettableClock
):
    release(clock)
    deletion = run_due(killed_deletion)
    assert (deletion.state, deletion.due_at) == (
        State.UNKNOWN,
        clock.at + time_limits.FIRST_CHECK_DELAY,
    )
    clock.advance(seconds=35)
    assert run_due(deletion).last_checked_at == clock.at
    clock.advance(seconds=61)
    assert run_due(deletion).state == State.STILL_PRESENT


@pytest.mark.database
def test_lists_count_from_the_release(
    make_deletion: RequestDeletion, clock: SettableClock, sandbox: SandboxServer
):
    deletion = make_deletion(faults.EXECUTES_THEN_RESET)
    clock.advance(seconds=36)
    assert run_due(deletion).last_checked_at == clock.at
    release(clock)
    # The earlier list counts as made at the release, so a second one has to follow 60 s later.
    clock.advance(seconds=59)
    due.reconcile_all(actor=WORKER)
    deletion.refresh_from_db()
    assert deletion.state == State.UNKNOWN
    clock.advance(seconds=1)
    due.reconcile_all(actor=WORKER)
    deletion.refresh_from_db()
    assert deletion.outcome == Outcome.GONE_UNATTRIBUTED
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1


def test_a_connection_still_listed_contradicts_a_200_five_minutes_after_the_release(
    make_deletion: RequestDeletion, clock: SettableClock
):
    deletion = make_deletion(faults.RETURNS_200_WITHOUT_DELETING)
    release(clock)
    assert run_due(deletion).due_at == clock.at + time_limits.VERIFICATION_AT[0]
    clock.advance(minutes=4, seconds=59)
    assert run_due(deletion).contradicted_at is None
    clock.advance(seconds=2)
    due.reconcile_all(actor=WORKER)
    deletion.refresh_from_db()
    assert deletion.contradicted_at == clock.at


@pytest.mark.parametrize("ahead", [timedelta(minutes=1), YEAR])
def test_what_was_confirmed_before_is_not_sent_again(
    make_deletion: RequestDeletion, clock: SettableClock, sandbox: SandboxServer, ahead: timedelta
):
    deletion = make_deletion(faults.rate_limited(reset="7"))
    sandbox.world.clear_faults()
    release(clock, ahead=ahead)
    assert run_due(deletion).outcome == Outcome.NOT_SENT
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1


def test_a_request_of_another_time_expires(
    make_deletion: RequestDeletion, credential: Credential, clock: SettableClock
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    credential.refresh_from_db()
    deletion = make_deletion()
    release(clock)
    assert run_due(deletion).outcome == Outcome.EXPIRED


def test_a_request_keeps_the_time_that_it_could_have_been_given(
    make_deletion: RequestDeletion, credential: Credential, clock: SettableClock
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    deletion = make_deletion()
    expires_at = deletion.expires_at
    clock.advance(hours=20)
    release(clock, ahead=timedelta(hours=20))
    deletion.refresh_from_db()
    assert (deletion.expires_at, deletion.due_at) == (expires_at, expires_at)


def test_rows_of_a_bulk_deletion_are_verified(
    make_draft: MakeDraft, ada: Person, clock: SettableClock, sandbox: SandboxServer
):
    batch = request(make_draft(2), ada)
    sandbox.world.set_fault(fault=faults.RETURNS_200_WITHOUT_DELETING, method="DELETE")
    Worker().run_due_requests()
    release(clock)
    clock.advance(minutes=5, seconds=1)
    Worker().run_due_requests()
    assert set(batch.deletions.values_list("contradicted_at", flat=True)) == {clock.at}


def test_notifications_limits_and_heartbeats_hold_nothing_back(
    credential: Credential, clock: SettableClock
):
    Notification.objects.create(
        code=EventCode.NOTIFICATION_TESTED,
        channel=Notification.Channel.MAIL,
        created_at=clock.at,
        due_at=clock.at,
    )
    rate_limits.record(
        site=credential.site,
        org_id=credential.org_id,
        rate_limits=[low_limit(seconds=60)],
        now=clock.at,
    )
    heartbeats.record_heartbeat(name="killed", host="here", process_id=1)
    release(clock)
    assert delivery.claim_next(channel=Notification.Channel.MAIL)
    assert not rate_limits.held_back_until(now=clock.at)
    clock.advance(minutes=4)
    heartbeats.record_heartbeat(name="next", host="here", process_id=2)
    assert heartbeats.is_alive(heartbeats.last_seen_at(), now=clock.at)


def test_syncs_report_what_changed_since(
    credential: Credential, clock: SettableClock, sandbox: SandboxServer
):
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    release(clock)
    clock.advance(minutes=1)
    snapshot = OrgConnectionSnapshot.objects.all()[0]
    sandbox.world.remove_connection(connection_id=str(snapshot.connection_id))
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    changes = Change.objects.all()
    assert [(change.kind, change.connection_id) for change in changes] == [
        ("removed", snapshot.connection_id)
    ]


@pytest.mark.parametrize("retry_after", [None, timedelta(minutes=15)])
def test_access_ends_on_its_day_although_a_worker_handled_the_end_before(
    ada: Person,
    free_pair: OrgPair,
    clock: SettableClock,
    sandbox: SandboxServer,
    retry_after: timedelta | None,
):
    ends_on = (clock.at + timedelta(days=30)).date()
    access_request = request_for(
        actor=person_actor(person=ada),
        pair=free_pair,
        wanted={"types": ["logs"], "owner_text": "SOC", "purpose": "x", "ends_on": ends_on},
    )
    AccessRequest.objects.update(end_due_at=retry_after and clock.at + YEAR + retry_after)
    clock.at += YEAR
    release(clock)
    ending.end_due(actor=WORKER)
    access_request.refresh_from_db()
    assert access_request.end_due_at == day_after(ends_on)
    assert not sandbox.world.requests(method="DELETE")


# --- Who releases it ----------------------------------------------------------------------------


def test_an_administrator_releases_it_on_the_page_of_the_hold(
    clock: SettableClock, root: Person, client_of: Callable[[Person], Client]
):
    record_event()
    clock.at -= YEAR
    client = client_of(root)
    page = client.get("/hold/").content.decode()
    assert "the newest event was recorded at 2026-03-02 14:03:22 UTC" in page
    assert client.post("/hold/release/", {"digest": "of another list"}).status_code == 409
    digest = holds.find_held_work().digest
    assert client.post("/hold/release/", {"digest": digest}).status_code == 303
    assert not guards.read_clock().behind
    assert "held-work" not in client.get("/hold/").content.decode()


def test_a_command_releases_it_and_administrators_are_notified(
    clock: SettableClock, root: Person, settings: Settings, capsys: pytest.CaptureFixture[str]
):
    settings.HAS_MAIL = True
    record_event()
    clock.at -= YEAR
    with pytest.raises(SystemExit) as end:
        call_command("release_hold")
    assert end.value.code == 2
    assert "the newest event was recorded at" in capsys.readouterr().out
    call_command("release_hold", "--yes")
    assert not guards.read_clock().behind
    notification = Notification.objects.get(code=EventCode.SERVICE_RELEASED, person=root)
    message = build_message(notification)
    assert "with a clock that is behind" in message.sentence
    assert not verification.verify_audit_log().fault


def test_a_release_covers_a_hold_and_the_clock(clock: SettableClock):
    holds.put_on_hold(actor=command_actor(), reason="We look first.")
    clock.at -= YEAR
    holds.release_holds(actor=command_actor(), digest=holds.find_held_work().digest)
    assert (find_hold(), guards.read_clock().behind) == (None, timedelta())
    # The release of the hold, which has a subject, isn't mistaken for that of the clock.
    assert guards.happened_by(clock.at + YEAR, now=clock.at) == clock.at

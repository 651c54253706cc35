"""While the database's clock is behind the newest event, nothing is confirmed, sent or ended."""

import json
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.checks import ERROR, INFO, CheckMessage
from django.core.management import CommandError, call_command
from django.test import Client

from connections import audit
from connections.access.actor import WORKER, command_actor, person_actor
from connections.batches import confirming, foreground, stopping
from connections.batches.running import run_due
from connections.change_requests import failpoints, guards, lifecycle
from connections.change_requests.failpoints import Point
from connections.core.errors import ClockBehindError
from connections.deletions.confirmations import confirmation_text
from connections.models import (
    AccessRequest,
    ApprovalPolicy,
    Batch,
    BatchState,
    Credential,
    Deletion,
    Outcome,
    Person,
    State,
)
from connections.operations import checks, metrics
from connections.operations.worker import Worker
from sandbox import faults
from sandbox.server import SandboxServer
from tests.access_requests.conftest import RequestAccess
from tests.batches.conftest import MakeDraft
from tests.batches.support import approve, request
from tests.deletions.conftest import RequestDeletion
from tests.flows.support import read
from tests.support.clock import SettableClock
from tests.support.sandbox import connection_between

pytestmark = pytest.mark.django_db

ClientOf = Callable[[Person], Client]
HOUR = timedelta(hours=1)


def set_back(clock: SettableClock) -> None:
    record_event()
    clock.advance(hours=-1)


def record_event() -> None:
    audit.record(
        code=audit.EventCode.EXPORT_STARTED, actor=command_actor(), sentence=audit.Sentence("Done.")
    )


def clock_finding() -> CheckMessage:
    [finding] = [check for check in checks.run_all_checks() if check.obj == "clock"]
    return finding


def behind_metric() -> float:
    [metric] = [
        each for each in metrics.read_metrics() if each.name.endswith("clock_behind_seconds")
    ]
    [(_, value)] = metric.samples
    return value


def writes_sent(sandbox: SandboxServer) -> list[object]:
    return [*sandbox.world.requests(method="DELETE"), *sandbox.world.requests(method="POST")]


# --- How far it is behind -----------------------------------------------------------------------


@pytest.mark.database
@pytest.mark.parametrize(("seconds", "behind"), [(1, 0), (0, 0), (-5, 0), (-6, 6), (-3600, 3600)])
def test_it_is_behind_by_more_than_five_seconds(clock: SettableClock, seconds: int, behind: int):
    record_event()
    clock.advance(seconds=seconds)
    assert guards.read_clock().behind == timedelta(seconds=behind)
    assert behind_metric() == behind


def test_what_is_recorded_while_it_is_behind_does_not_make_it_right(clock: SettableClock):
    set_back(clock)
    record_event()
    assert guards.read_clock().behind == HOUR


def test_it_is_right_once_it_has_caught_up(clock: SettableClock):
    set_back(clock)
    clock.advance(seconds=3595)
    assert not guards.read_clock().behind


# --- What it stops ------------------------------------------------------------------------------


def test_a_deletion_is_not_requested_and_sent(
    make_deletion: RequestDeletion, clock: SettableClock, sandbox: SandboxServer
):
    set_back(clock)
    with pytest.raises(ClockBehindError, match="Nothing was sent"):
        make_deletion()
    assert not Deletion.objects.exists()
    assert not writes_sent(sandbox)


def test_access_is_not_requested_and_sent(
    create: RequestAccess, clock: SettableClock, sandbox: SandboxServer
):
    set_back(clock)
    with pytest.raises(ClockBehindError):
        create()
    assert not AccessRequest.objects.exists()
    assert not writes_sent(sandbox)


@pytest.fixture
def unconfirmed(make_deletion: RequestDeletion, sandbox: SandboxServer) -> Deletion:
    """A deletion whose pre-send check failed, so that it waits to be confirmed again."""
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="list", times=1)
    return make_deletion()


def test_a_confirmation_is_refused_with_503_and_counts_once_the_clock_is_right(
    unconfirmed: Deletion,
    clock: SettableClock,
    sandbox: SandboxServer,
    ada: Person,
    client_of: ClientOf,
):
    set_back(clock)
    confirmed_at = unconfirmed.confirmed_at
    client = client_of(ada)
    typed = {"confirmation": confirmation_text(unconfirmed, actor=person_actor(person=ada))}
    url = f"/deletions/{unconfirmed.pk}/execute/"
    response = client.post(url, typed)
    assert response.status_code == 503
    assert "the newest event was recorded at 2026-03-02 14:03:23 UTC" in read(response).text
    unconfirmed.refresh_from_db()
    assert (unconfirmed.state, unconfirmed.confirmed_at) == (State.REQUESTED, confirmed_at)
    assert not writes_sent(sandbox)
    clock.advance(hours=1)
    client_of(ada).post(url, typed)
    unconfirmed.refresh_from_db()
    assert unconfirmed.outcome == Outcome.DELETED


def test_nothing_is_sent_when_the_clock_is_set_back_right_before_the_claim(
    unconfirmed: Deletion,
    clock: SettableClock,
    sandbox: SandboxServer,
    ada: Person,
    monkeypatch: pytest.MonkeyPatch,
):
    def set_back_before_claim(point: Point, **_: object) -> None:
        if point == Point.BEFORE_CLAIM:
            set_back(clock)

    monkeypatch.setattr(failpoints, "hit", set_back_before_claim)
    actor = person_actor(person=ada)
    with pytest.raises(ClockBehindError):
        lifecycle.execute(
            change_request=unconfirmed,
            actor=actor,
            confirmation=confirmation_text(unconfirmed, actor=actor),
        )
    assert not unconfirmed.attempts.exists()
    assert not writes_sent(sandbox)


def test_a_bulk_deletion_is_neither_confirmed_nor_resumed(
    make_draft: MakeDraft, ada: Person, linus: Person, clock: SettableClock
):
    actor = person_actor(person=ada)
    approved = approve(request(make_draft(2, policy=ApprovalPolicy.ONE), ada), linus)
    running = request(make_draft(2), ada)
    stopping.pause_batch(batch=running, actor=actor)
    set_back(clock)
    with pytest.raises(ClockBehindError):
        confirming.execute_batch(
            batch=approved, actor=actor, confirmation=confirming.text_to_type(approved)
        )
    with pytest.raises(ClockBehindError):
        stopping.resume_batch(batch=running, actor=actor, confirmation="2")
    states = set(Batch.objects.values_list("state", flat=True))
    assert states == {BatchState.APPROVED, BatchState.PAUSED}


def test_a_pass_of_a_bulk_deletion_stops_and_leaves_its_rows_waiting(
    make_draft: MakeDraft, ada: Person, clock: SettableClock, sandbox: SandboxServer
):
    batch = request(make_draft(3), ada)
    set_back(clock)
    clock.advance(minutes=59)
    due_at = set(batch.deletions.values_list("due_at", flat=True))
    batch.deletions.update(due_at=clock.at)
    with pytest.raises(ClockBehindError):
        run_due(actor=WORKER)
    assert set(batch.deletions.values_list("state", "cause", "epoch")) == {(State.WAITING, "", 0)}
    assert not writes_sent(sandbox)
    batch.deletions.update(due_at=due_at.pop())
    clock.advance(minutes=1)
    run_due(actor=WORKER)
    assert set(batch.deletions.values_list("outcome", flat=True)) == {Outcome.DELETED}


@pytest.mark.database
def test_a_worker_does_nothing_until_the_clock_is_right(
    make_deletion: RequestDeletion,
    clock: SettableClock,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    deletion = make_deletion(faults.rate_limited(reset="7"))
    sandbox.world.clear_faults()
    alarms: list[int] = []
    monkeypatch.setattr("connections.operations.due.raise_alarms", lambda **_: alarms.append(1))
    subject = Worker()
    set_back(clock)
    Deletion.objects.update(due_at=clock.at)
    for _ in range(2):
        assert subject.work_once() == 0
    deletion.refresh_from_db()
    assert (deletion.state, alarms) == (State.WAITING, [])
    assert caplog.text.count("Nothing is sent until it is right.") == 1
    clock.advance(hours=1)
    subject.work_once()
    deletion.refresh_from_db()
    assert (deletion.outcome, alarms) == (Outcome.DELETED, [1])


def test_a_command_that_sends_exits_with_5(
    credential: Credential, clock: SettableClock, sandbox: SandboxServer
):
    set_back(clock)
    wanted = connection_between(sandbox.world, "Payments US", "Group SOC").id
    arguments = ("--credential", credential.name, "--connection-id", wanted)
    out = StringIO()
    with pytest.raises(CommandError) as failure:
        call_command(
            "delete_org_connection", *arguments, "--reason", "x", "--yes", "--json", stdout=out
        )
    assert failure.value.returncode == 5
    assert "An administrator corrects it" in json.loads(out.getvalue())["error"]
    assert not writes_sent(sandbox)


def test_a_worker_that_runs_once_exits_with_5(clock: SettableClock):
    set_back(clock)
    with pytest.raises(CommandError) as failure:
        call_command("worker", "--once")
    assert failure.value.returncode == 5


def test_a_bulk_deletion_by_command_exits_with_5(
    credential: Credential, clock: SettableClock, sandbox: SandboxServer, tmp_path: Path
):
    wanted = connection_between(sandbox.world, "Payments US", "Group SOC").id
    (tmp_path / "plan").write_text(f"site,connection_id\n{credential.site},{wanted}\n")
    set_back(clock)
    with pytest.raises(CommandError) as failure:
        call_command(
            *("delete_org_connections", "--plan", str(tmp_path / "plan"), "--reason", "x", "--yes")
        )
    assert failure.value.returncode == 5
    assert Batch.objects.get().state == BatchState.CANCELLED
    assert not writes_sent(sandbox)


def test_a_bulk_deletion_is_not_continued_in_the_foreground(
    make_draft: MakeDraft, ada: Person, clock: SettableClock, sandbox: SandboxServer
):
    batch = request(make_draft(2), ada)
    set_back(clock)
    with pytest.raises(ClockBehindError):
        foreground.run_to_end(
            batch=batch,
            actor=command_actor(),
            record_heartbeat=lambda: None,
            note_wait=lambda until: None,
        )
    assert not writes_sent(sandbox)


# --- Who says so --------------------------------------------------------------------------------


def test_doctor_says_so_and_exits_with_1(clock: SettableClock):
    record_event()
    assert clock_finding().level == INFO
    clock.advance(hours=-1)
    finding = clock_finding()
    assert finding.level == ERROR
    assert "2026-03-02 14:03:22 UTC" in finding.msg
    assert "2026-03-02 13:03:22 UTC" in finding.msg
    with pytest.raises(SystemExit) as end:
        call_command("doctor", stdout=StringIO())
    assert end.value.code == 1


def test_the_overview_says_so(clock: SettableClock, victor: Person, client_of: ClientOf):
    banner = "The clock is behind: nothing is sent"
    record_event()
    assert banner not in read(client_of(victor).get("/")).text
    clock.advance(hours=-1)
    text = read(client_of(victor).get("/")).text
    assert banner in text
    assert "An administrator corrects it" in text

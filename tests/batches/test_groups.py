"""Rows of a bulk deletion are claimed, and their responses recorded, several at a time."""

from collections.abc import Callable, Sequence
from concurrent.futures import wait as futures_wait
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.db import DataError, OperationalError, connection
from django.test.utils import CaptureQueriesContext

from connections import audit
from connections.access.actor import WORKER, person_actor
from connections.batches import endings, running
from connections.change_requests import lifecycle, recording, saved_responses, sending, verification
from connections.change_requests.failpoints import Point
from connections.change_requests.sending import ClaimedAttempt
from connections.core.causes import Cause
from connections.core.errors import ResponseLocation, ResponseNotRecordedError
from connections.datadog.responses import RateLimit, WriteResponse
from connections.inventory import fetching, storing
from connections.inventory.fetching import SyncResult
from connections.models import Attempt, Batch, Credential, Deletion, Outcome, Person, State
from sandbox.server import SandboxServer
from tests.batches.conftest import MakeDraft
from tests.batches.support import add_connections, draft, request, sync_now
from tests.flows.support import store_credential
from tests.support.clock import SettableClock

pytestmark = [pytest.mark.django_db, pytest.mark.database(every=2)]


@pytest.fixture
def rows(ada: Person, make_draft: MakeDraft, clock: SettableClock) -> list[Deletion]:
    """The ten rows of a running bulk deletion."""
    batch = request(make_draft(10), ada)
    clock.advance(seconds=1)
    return rows_of(batch)


def rows_of(batch: Batch) -> list[Deletion]:
    return list(batch.deletions.order_by("batch_row__position"))


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows were claimed at once, each time."""
    sizes: list[int] = []
    claim = sending.claim

    def count(deletions: Sequence[Deletion], **options: Any) -> list[ClaimedAttempt]:
        sizes.append(len(deletions))
        return claim(deletions, **options)

    monkeypatch.setattr(sending, "claim", count)
    return sizes


def before_claim_of(row: Deletion, do: Callable[[], object], *, patch: pytest.MonkeyPatch) -> None:
    """Do this once, after the row was checked and before it is claimed."""
    done: list[UUID] = []

    def act(point: Point, *, change_request_id: UUID) -> None:
        if point == Point.BEFORE_CLAIM and change_request_id == row.pk and not done:
            done.append(row.pk)
            do()

    patch.setattr("connections.change_requests.failpoints.hit", act)


def test_a_row_withdrawn_after_its_check_is_left_out_of_its_group(
    rows: list[Deletion],
    ada: Person,
    groups: list[int],
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
):
    _, second, third, *_ = rows

    def withdraw() -> None:
        lifecycle.withdraw(
            change_request=Deletion.objects.get(pk=third.pk), actor=person_actor(person=ada)
        )

    before_claim_of(second, withdraw, patch=monkeypatch)
    running.run_due(actor=WORKER)
    # The first row makes the check that the others share.
    assert groups[:2] == [1, running.PARALLEL_DELETES - 1]
    outcomes = dict(Deletion.objects.values_list("pk", "outcome"))
    assert outcomes.pop(third.pk) == Outcome.WITHDRAWN
    assert set(outcomes.values()) == {Outcome.DELETED}
    assert sandbox.world.deletes_received(str(third.connection_id)) == 0


def test_a_check_that_outlasts_its_pass_lets_its_own_row_be_sent(
    rows: list[Deletion], groups: list[int], monkeypatch: pytest.MonkeyPatch
):
    fetch = fetching.fetch
    seconds = 0.0

    def fetch_slowly(**options: Any) -> SyncResult:
        nonlocal seconds
        seconds += running.PASS_SECONDS
        return fetch(**options)

    monkeypatch.setattr(fetching, "fetch", fetch_slowly)
    monkeypatch.setattr(running, "time", SimpleNamespace(monotonic=lambda: seconds))
    handled = [running.send_due(actor=WORKER) for _ in rows]
    assert handled == groups == [1] * 10
    assert {row.outcome for row in read_again(rows)} == {Outcome.DELETED}


def test_a_stop_during_the_check_of_a_row_sends_nothing(
    rows: list[Deletion], sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    fetch = fetching.fetch
    checks: list[SyncResult] = []

    def fetch_and_note(**options: Any) -> SyncResult:
        checks.append(fetch(**options))
        return checks[-1]

    monkeypatch.setattr(fetching, "fetch", fetch_and_note)
    running.send_due(actor=WORKER, is_stopped=lambda: bool(checks))
    assert len(checks) == 1
    assert not sandbox.world.requests(method="DELETE")
    assert {row.state for row in read_again(rows)} == {State.WAITING}


@pytest.mark.django_db(transaction=True)
def test_a_response_that_is_not_stored_keeps_no_other_out_of_the_database(
    rows: list[Deletion], monkeypatch: pytest.MonkeyPatch
):
    claims = sending.claim(rows[:3], actor=WORKER, was_rechecked=True)
    responses = [(claimed.attempt, sending.send_claimed(claimed)) for claimed in claims]
    refused = rows[1].pk
    record_use = recording._record_use

    def refuse(*, attempt: Attempt, **options: Any) -> None:
        if attempt.deletion_id == refused:
            raise DataError("refused")
        record_use(attempt=attempt, **options)

    monkeypatch.setattr(recording, "_record_use", refuse)
    with pytest.raises(ResponseNotRecordedError) as caught:
        saved_responses.record_or_save(responses, actor=WORKER)
    assert caught.value.change_request_id == refused
    assert caught.value.location == ResponseLocation.LOCALLY
    [path] = saved_responses.list_files()
    path.unlink()
    stored = {row.pk for row in read_again(rows[:3]) if row.state == State.SETTLED}
    assert stored == {rows[0].pk, rows[2].pk}


@pytest.mark.parametrize("parallel", [1, 8], ids=["alone", "in a group"])
def test_a_row_whose_time_ends_after_its_check_is_not_sent(
    rows: list[Deletion],
    clock: SettableClock,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    parallel: int,
):
    monkeypatch.setattr(running, "PARALLEL_DELETES", parallel)
    late = rows[2]
    clock.advance(hours=23)
    Deletion.objects.filter(pk=late.pk).update(expires_at=clock.at + timedelta(seconds=2))
    before_claim_of(late, lambda: clock.advance(seconds=3), patch=monkeypatch)
    running.run_due(actor=WORKER)
    late.refresh_from_db()
    assert (late.outcome, late.cause) == (Outcome.NOT_SENT, Cause.NOT_STARTED_IN_TIME)
    assert sandbox.world.deletes_received(str(late.connection_id)) == 0
    assert Deletion.objects.filter(outcome=Outcome.DELETED).count() == 9


def test_what_fails_after_a_response_keeps_no_other_response_from_being_recorded(
    rows: list[Deletion], sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(running, "_note_result", fail)
    with pytest.raises(OperationalError):
        running.run_due(actor=WORKER)
    sent = len(sandbox.world.requests(method="DELETE"))
    assert Attempt.objects.exclude(verdict="").count() == Attempt.objects.count() == sent
    assert sent <= running.PARALLEL_DELETES
    assert not Deletion.objects.filter(state=State.SENDING).exists()


@pytest.mark.django_db(transaction=True)
def test_a_group_needs_one_commit_to_be_claimed_and_one_to_be_recorded(
    ada: Person, make_draft: MakeDraft
):
    claimed, recorded = {}, {}
    for count in (1, 3, 8):
        rows = rows_of(request(make_draft(count), ada))
        with CaptureQueriesContext(connection) as claimed[count]:
            claims = sending.claim(rows, actor=WORKER, was_rechecked=True)
        responses = [(claim.attempt, sending.send_claimed(claim)) for claim in claims]
        assert len(responses) == count
        with CaptureQueriesContext(connection) as recorded[count]:
            recording.record(responses, actor=WORKER)
    # The rows change their state together. Each attempt gets its own response.
    assert len(claimed[8]) == len(claimed[3])
    assert len(recorded[8]) - len(recorded[3]) == 8 - 3
    for statements in (claimed, recorded):
        assert [commits_in(statement) for statement in statements.values()] == [1, 1, 1]


def commits_in(captured: CaptureQueriesContext) -> int:
    return sum(query["sql"].startswith("COMMIT") for query in captured.captured_queries)


def test_rows_that_another_worker_verified_first_are_verified_once(rows: list[Deletion]):
    credential = rows[0].credential
    running.send_due(actor=WORKER)
    result = fetching.fetch(credential=credential)
    first, other = read_again(rows[:4]), read_again(rows)
    for deletions in (first, other):
        verification.verify_together(change_requests=deletions, result=result, actor=WORKER)
    codes = [event.code for row in rows for event in audit.events_of(subject=row)]
    assert codes.count(audit.EventCode.DELETION_VERIFIED) == len(rows)
    assert not Deletion.objects.filter(verified_at=None).exists()


def read_again(rows: Sequence[Deletion]) -> list[Deletion]:
    return list(Deletion.objects.filter(pk__in=[row.pk for row in rows]))


def test_rows_that_could_not_be_sent_together_keep_the_time_that_each_has_left(
    rows: list[Deletion], clock: SettableClock
):
    times_left, responses = [], []
    for row in rows[:2]:
        times_left.append(clock.now() + timedelta(minutes=15))
        [claimed] = sending.claim([row], actor=WORKER, was_rechecked=True)
        # Its deadline is over, so no request leaves.
        too_late = replace(claimed, began_at=claimed.began_at - 60)
        responses.append((claimed.attempt, sending.send_claimed(too_late)))
        clock.advance(minutes=2)
    recording.record(responses, actor=WORKER)
    first, second = (Deletion.objects.get(pk=row.pk) for row in rows[:2])
    assert [first.state, second.state] == [State.WAITING] * 2
    assert [first.expires_at, second.expires_at] == times_left


def test_after_a_response_that_says_that_the_limit_is_low_no_row_is_claimed(
    rows: list[Deletion], sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(running, "PARALLEL_DELETES", 1)
    limit = RateLimit(name="org_connections", limit=100, remaining=1, reset_seconds=60)
    monkeypatch.setattr(WriteResponse, "rate_limit", limit)
    running.run_due(actor=WORKER)
    assert len(sandbox.world.requests(method="DELETE")) == 1


def test_once_it_is_to_stop_no_row_is_claimed(
    rows: list[Deletion], sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(running, "PARALLEL_DELETES", 1)
    monkeypatch.setattr(running, "PASS_SECONDS", 2.0)

    def is_stopped() -> bool:
        return len(sandbox.world.requests(method="DELETE")) == 2

    before = len(sandbox.world.requests(method="GET"))
    running.send_due(actor=WORKER, is_stopped=is_stopped)
    # One check: the list and the owner of the keys.
    assert len(sandbox.world.requests(method="GET")) == before + 2
    assert [row.outcome for row in read_again(rows)].count(Outcome.DELETED) == 2


def test_no_more_claims_are_without_a_recorded_response_than_there_are_threads(
    ada: Person,
    payments: Credential,
    sandbox: SandboxServer,
    clock: SettableClock,
    monkeypatch: pytest.MonkeyPatch,
):
    other = store_credential(sandbox, "Group SOC")
    own, others = (
        add_connections(sandbox, count, source=source)
        for source, count in (("Payments US", 3), ("Group SOC", 1))
    )
    sync_now(payments, other)
    request(draft(ada, [own[0], *others, *own[1:]]), ada)
    clock.advance(seconds=1)
    monkeypatch.setattr(running, "PARALLEL_DELETES", 2)
    # Both responses have arrived when the first one is recorded.
    monkeypatch.setattr(running, "wait", lambda futures, **_: futures_wait(futures))
    without_response: list[int] = []

    def count(point: Point, *, change_request_id: UUID) -> None:
        del change_request_id
        if point == Point.AFTER_CLAIM:
            without_response.append(Attempt.objects.filter(answered_at=None).count())

    monkeypatch.setattr("connections.change_requests.failpoints.hit", count)
    running.run_due(actor=WORKER)
    assert Deletion.objects.filter(outcome=Outcome.DELETED).count() == 4
    assert max(without_response) == 2


def test_no_further_row_is_sent_after_a_check_that_shows_a_low_limit(
    rows: list[Deletion], sandbox: SandboxServer
):
    org_id = rows[0].credential.org_id
    sandbox.world.rate_limits.set(org_id=org_id, limit=20, seconds=600)
    for _ in range(17):
        sandbox.world.rate_limits.count(org_id=org_id)
    running.send_due(actor=WORKER)
    assert Attempt.objects.count() == 1


def test_rows_are_verified_even_if_their_bulk_deletion_could_not_be_ended(
    rows: list[Deletion], clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    def fail(**_: object) -> None:
        raise OperationalError("disk I/O error")

    monkeypatch.setattr(endings, "end_due", fail)
    for _ in range(2):
        with pytest.raises(OperationalError):
            running.run_due(actor=WORKER)
        clock.advance(seconds=31)
    assert all(row.verified_at for row in read_again(rows))


def test_a_check_is_stored_before_its_rows_are_claimed(
    rows: list[Deletion], monkeypatch: pytest.MonkeyPatch
):
    claimed: list[int] = []
    store = storing.store

    def count(result: SyncResult, **options: Any) -> None:
        claimed.append(Attempt.objects.count())
        store(result, **options)

    monkeypatch.setattr(storing, "store", count)
    running.send_due(actor=WORKER)
    assert claimed[0] == 0
    assert {row.outcome for row in read_again(rows)} == {Outcome.DELETED}

"""What a worker asks while nothing is due, and how workers share the periodic tasks."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from connections.audit import EventCode
from connections.batches import running
from connections.models import Notification
from connections.notifications import delivery
from connections.operations import due, due_work, worker
from connections.operations.due_work import DueWork
from connections.operations.worker import Worker
from tests.support.clock import SettableClock
from tests.support.query_plans import plan_of

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


def read() -> DueWork:
    return due_work.read_due_work(intervals={"sweep": MINUTE})


@pytest.mark.database
def test_an_idle_worker_runs_one_statement_in_a_pass():
    subject = Worker()
    subject.work_once()
    with CaptureQueriesContext(connection) as queries:
        subject.work_once()
    assert len(queries) == 1, [query["sql"] for query in queries]
    assert subject._seconds_until_due() == worker.MAX_SLEEP
    plan = plan_of(queries[0]["sql"])
    indexes = ("deletions_due", "access_ends_due", "notices_due", "syncs_due", "event_by_time")
    assert all(index in plan for index in indexes), plan


@pytest.mark.database
def test_an_idle_delivery_thread_runs_one_statement_and_takes_no_lock():
    with CaptureQueriesContext(connection) as queries:
        assert delivery.run_due(channel=Notification.Channel.MAIL) == 0
    assert len(queries) == 1, [query["sql"] for query in queries]
    assert "notices_due" in plan_of(queries[0]["sql"])


@pytest.mark.database
def test_a_notification_is_due_at_its_time(clock: SettableClock):
    assert not read().has_notifications
    Notification.objects.create(
        code=EventCode.NOTIFICATION_TESTED,
        channel=Notification.Channel.MAIL,
        created_at=clock.at,
        due_at=clock.at + MINUTE,
    )
    work = read()
    assert not work.has_notifications
    assert work.next_at == clock.at
    clock.advance(minutes=1)
    assert read().has_notifications


@pytest.mark.database
def test_workers_share_the_periodic_tasks(clock: SettableClock, monkeypatch: pytest.MonkeyPatch):
    alarms: list[int] = []
    monkeypatch.setattr(due, "raise_alarms", lambda **_: alarms.append(1))
    workers = [Worker() for _ in range(3)]
    for minute in range(1, 4):
        for subject in workers:
            subject.work_once()
        assert len(alarms) == minute
        clock.advance(minutes=1)


def test_a_task_that_fails_keeps_no_other_from_running_and_is_tried_again_after_a_minute(
    clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    runs: list[str] = []

    def fail() -> None:
        runs.append("managed orgs")
        raise ValueError("one org is odd")

    monkeypatch.setattr("connections.inventory.managed_orgs.read_due_managed_orgs", fail)
    monkeypatch.setattr(worker, "_delete_old_rows", lambda: runs.append("old rows"))
    subject = Worker()
    with pytest.raises(ValueError, match="odd"):
        subject.work_once()
    subject.work_once()
    assert runs == ["managed orgs", "old rows"]
    clock.advance(minutes=1)
    with pytest.raises(ValueError, match="odd"):
        Worker().work_once()
    assert runs == ["managed orgs", "old rows", "managed orgs"]


@pytest.mark.database
def test_only_one_process_claims_a_task(clock: SettableClock):
    read()
    [task], [same] = read().tasks, read().tasks
    assert due_work.postpone(task, until=clock.at + MINUTE)
    assert not due_work.postpone(same, until=clock.at + MINUTE)
    assert read().tasks == ()
    clock.advance(minutes=1)
    assert [again.name for again in read().tasks] == ["sweep"]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each whole pass over deletions."""
    runs: list[int] = []

    def run_due(**_: object) -> int:
        runs.append(1)
        return 0

    monkeypatch.setattr(running, "run_due", run_due)
    return runs


def test_a_worker_looks_at_all_deletions_when_it_starts(passes: list[int]):
    Worker().work_once()
    passes.clear()
    subject = Worker()
    for _ in range(2):
        subject.work_once()
        assert len(passes) == 1


def test_one_of_the_workers_looks_at_all_deletions_each_minute(
    clock: SettableClock, passes: list[int]
):
    workers = [Worker(), Worker()]
    for subject in workers:
        subject.work_once()
    passes.clear()
    for minute in range(1, 4):
        clock.advance(minutes=1)
        for subject in workers:
            subject.work_once()
        assert len(passes) == minute

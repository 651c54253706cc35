"""The worker: what it does in one pass, which errors it survives, and how it stops."""

import contextlib
import json
import logging
import socket
import sys
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from pytest_django import DjangoDbBlocker

from connections.access.actor import Actor
from connections.batches import running
from connections.change_requests.guards import ClockReading
from connections.core import clock
from connections.core.database import MissingDatabaseError
from connections.core.private_files import create_private_text
from connections.crypto.encryption import new_key_ring_text
from connections.models import Deletion, WorkerHeartbeat
from connections.operations import due, due_work, heartbeats, kept_checkpoint, worker
from connections.operations.due_work import DueWork
from connections.operations.worker import Worker
from tests.support.databases import SharedDatabase
from tests.support.processes import ROOT, Running, clean_environment, manage, until


@pytest.fixture
def quiet_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only deletions are due: these tests are about the loop."""
    now = datetime(2026, 3, 2, tzinfo=UTC)
    deletions = DueWork(
        now=now,
        has_requests=True,
        has_ends=False,
        has_notifications=False,
        has_syncs=False,
        tasks=(),
        next_at=now,
        clock=ClockReading(now=now, newest_event_at=None),
    )
    monkeypatch.setattr(due_work, "read_due_work", lambda **_: deletions)
    monkeypatch.setattr(kept_checkpoint, "compare_and_keep", lambda: None)
    monkeypatch.setattr(worker, "MIN_SLEEP", 0.0)
    monkeypatch.setattr(worker, "close_old_connections", lambda: None)
    monkeypatch.setattr(heartbeats, "record_heartbeat", lambda **_: None)
    monkeypatch.setattr(heartbeats, "remove_heartbeat", lambda **_: None)


@pytest.mark.django_db
@pytest.mark.usefixtures("quiet_database")
def test_it_continues_after_an_error_with_longer_pauses(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    calls: list[int] = []
    sleeps: list[float] = []
    subject = Worker()

    def run_due(*, actor: Actor, limit: int) -> list[Deletion]:
        del actor, limit
        calls.append(1)
        if len(calls) < 4:
            raise OperationalError("the database went away")
        subject.stop()
        return []

    monkeypatch.setattr(due, "run_due", run_due)
    monkeypatch.setattr("connections.operations.worker.connection.close", lambda: None)
    monkeypatch.setattr(Worker, "_sleep", lambda self, seconds: sleeps.append(seconds))
    with caplog.at_level(logging.ERROR):
        subject.run()
    assert sleeps == [1.0, 2.0, 4.0, 0.0]
    assert caplog.text.count("The worker failed") == 3


@pytest.mark.usefixtures("quiet_database")
def test_it_stops_between_two_deletions(monkeypatch: pytest.MonkeyPatch):
    subject = Worker()
    done: list[int] = []

    def run_due(*, actor: Actor, limit: int) -> list[Deletion]:
        del actor
        assert limit == 1
        done.append(1)
        subject.stop()
        return [Deletion()]

    monkeypatch.setattr(due, "run_due", run_due)
    subject.run()
    assert done == [1]


@pytest.mark.usefixtures("quiet_database")
def test_bulk_deletions_run_although_single_deletions_are_always_due(
    monkeypatch: pytest.MonkeyPatch,
):
    subject = Worker()
    singles: list[int] = []

    def run_single(**_: object) -> list[Deletion]:
        singles.append(1)
        if len(singles) == 1000:
            subject.stop()
        return [Deletion()]

    def run_bulk(**_: object) -> int:
        subject.stop()
        return 0

    monkeypatch.setattr(due, "run_due", run_single)
    monkeypatch.setattr(running, "run_due", run_bulk)
    monkeypatch.setattr(worker, "SINGLE_SECONDS", 0.0)
    subject.run()
    assert len(singles) == 1


@pytest.mark.django_db
def test_it_raises_alarms_while_bulk_deletions_keep_it_busy(monkeypatch: pytest.MonkeyPatch):
    subject = Worker()
    done: list[str] = []

    def run_bulk(**_: object) -> int:
        done.append("pass")
        return int("alarms" not in done)

    monkeypatch.setattr(running, "run_due", run_bulk)
    monkeypatch.setattr(due, "raise_alarms", lambda **_: done.append("alarms"))
    assert subject.work_once() == 1
    assert done == ["pass", "alarms", "pass"]


@pytest.mark.django_db(transaction=True)
def test_one_pass_prints_one_json_document():
    out = StringIO()
    call_command("worker", "--once", "--json", stdout=out)
    assert json.loads(out.getvalue()) == {"deletions": 0, "notices": 0}


@pytest.mark.django_db(transaction=True)
def test_after_one_pass_no_worker_counts_as_running():
    call_command("worker", "--once", stdout=StringIO())
    assert heartbeats.last_seen_at() is None


def test_it_does_not_wait_for_an_sqlite_database_that_is_missing(tmp_path: Path):
    done = manage("worker", env=clean_environment(data_dir=tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    missing = f"The database {tmp_path / 'orgadmin.sqlite3'} is gone or empty."
    assert f"CommandError: {missing} Restore a backup" in done.stderr


class ImpatientWorker(Worker):
    """Raises instead of waiting."""

    def _sleep(self, seconds: float) -> None:
        raise AssertionError(f"It waits {seconds} s.")


def test_it_ends_when_its_sqlite_database_is_removed(
    migrated_directory: Path, django_db_blocker: DjangoDbBlocker
):
    path = migrated_directory / "orgadmin.sqlite3"
    create_private_text(migrated_directory / "keyring.json", new_key_ring_text())
    database = SharedDatabase(url=f"sqlite:///{path}", data_dir=migrated_directory)
    with django_db_blocker.unblock(), database.opened():
        subject = ImpatientWorker()
        subject.run_once()
        for file in migrated_directory.glob("orgadmin.sqlite3*"):
            file.unlink()
        # As after a minute, when the connection is too old.
        connection.close()
        with pytest.raises(MissingDatabaseError, match="is gone or empty"):
            subject.run()


def test_a_signal_wakes_and_stops_it(migrated_directory: Path):
    env = clean_environment(data_dir=migrated_directory)
    with Running([sys.executable, str(ROOT / "manage.py"), "worker"], env=env) as process:
        process.wait_for_line("Worker started")
        assert any(manage("worker", "--check", env=env).returncode == 0 for _ in until(30))
        assert process.end() == 0
        assert "Worker stopped" in process.output
    done = manage("worker", "--check", env=env)
    assert (done.returncode, done.stderr) == (1, "")
    host = socket.gethostname()
    assert done.stdout == f"No worker of {host} was seen within 3 minutes (none is recorded).\n"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("host", "minutes_ago", "is_alive"), [("", 2, True), ("", 4, False), ("other-host", 0, False)]
)
def test_only_a_recent_heartbeat_of_this_host_counts(
    host: str, minutes_ago: int, *, is_alive: bool
):
    host = host or heartbeats.this_host()
    heartbeats.record_heartbeat(name="one", host=host, process_id=1)
    seen_at = clock.now() - timedelta(minutes=minutes_ago)
    WorkerHeartbeat.objects.update(seen_at=seen_at)
    out = StringIO()
    with contextlib.nullcontext() if is_alive else pytest.raises(SystemExit, match=r"^1$"):
        call_command("worker", "--check", "--json", stdout=out)
    assert json.loads(out.getvalue())["is_alive"] == is_alive

"""The delivery threads, in a real worker and one by one."""

import json
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue

import pytest

from connections.audit import EventCode
from connections.models import Notification
from connections.notifications import delivery
from connections.operations import startup, worker
from tests.datadog.servers import ScriptedServer, http_response, respond, respond_and_wait
from tests.support.clock import SettableClock
from tests.support.processes import ROOT, Running, clean_environment, manage, until


@pytest.fixture
def env(migrated_directory: Path) -> dict[str, str]:
    return clean_environment(data_dir=migrated_directory)


def test_a_worker_signs_a_checkpoint_and_delivers_it_to_the_webhook_and_the_file(
    env: dict[str, str], tmp_path: Path
):
    arrived = threading.Event()
    took = http_response("204 No Content", b"")

    def take(connection: object, is_over: threading.Event) -> None:
        respond(took)(connection, is_over)  # type: ignore[arg-type]
        arrived.set()

    # Before the webhook is configured, so that the checkpoint is its first message.
    added = manage("add_person", "--username=ada", "--email=ada@example.com", env=env)
    assert added.returncode == 0, added.stderr
    with ScriptedServer([take]) as receiver:
        witness = tmp_path / "witness"
        env |= {"ORGADMIN_WEBHOOK_URL": receiver.url, "ORGADMIN_CHECKPOINT_FILE": str(witness)}
        with Running([sys.executable, str(ROOT / "manage.py"), "worker"], env=env) as process:
            process.wait_for_line("Worker started")
            assert arrived.wait(30)
            assert process.end() == 0
        document = json.loads(receiver.seen[0].body)
    assert document["type"] == "checkpoint.made"
    once = manage("worker", "--once", "--json", env=env)
    assert once.returncode == 0
    assert document["data"]["note"] in witness.read_text()


def test_a_worker_stops_in_time_while_a_receiver_hangs(env: dict[str, str], tmp_path: Path):
    with ScriptedServer([respond_and_wait()]) as receiver:
        env |= {"ORGADMIN_WEBHOOK_URL": receiver.url}
        assert (
            manage("add_person", "--username=ada", "--email=ada@example.com", env=env).returncode
            == 0
        )
        with Running([sys.executable, str(ROOT / "manage.py"), "worker"], env=env) as process:
            process.wait_for_line("Worker started")
            assert process.end() == 0


def test_an_error_does_not_end_a_delivery_thread(monkeypatch: pytest.MonkeyPatch):
    calls = threading.Semaphore(0)

    def fail(**_: object) -> bool:
        calls.release()
        raise ValueError("one notice is odd")

    monkeypatch.setattr(delivery, "has_due", fail)
    monkeypatch.setattr(startup, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(worker, "MAX_DELIVERY_PAUSE", 0.02)
    monkeypatch.setattr(worker, "close_old_connections", lambda: None)
    before = threading.active_count()
    with worker.run_delivery_threads() as wake:
        # Each of the threads, and each again after its error.
        for _ in range(3 * len(Notification.Channel)):
            wake()
            assert calls.acquire(timeout=5)
    assert threading.active_count() == before


def test_a_busy_worker_delays_no_delivery_for_long(monkeypatch: pytest.MonkeyPatch):
    channels: SimpleQueue[Notification.Channel] = SimpleQueue()

    def run_due(*, channel: Notification.Channel, is_over: object) -> int:
        del is_over
        channels.put(channel)
        return 0

    monkeypatch.setattr(delivery, "has_due", lambda **_: True)
    monkeypatch.setattr(delivery, "run_due", run_due)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(worker, "close_old_connections", lambda: None)
    looked: set[Notification.Channel] = set()
    with worker.run_delivery_threads():
        while looked != set(Notification.Channel):
            looked.add(channels.get(timeout=5))


class CountedConnections:
    """What a thread opens when it looks for notifications, and closes afterwards."""

    def __init__(self) -> None:
        self.looks, self.open, self.most = 0, set[int](), 0

    def has_due(self, **_: object) -> bool:
        self.open.add(threading.get_ident())
        self.looks, self.most = self.looks + 1, max(self.most, len(self.open))
        # Longer than the other threads need to come to this line.
        time.sleep(0.001)
        return False

    def close(self) -> None:
        self.open.discard(threading.get_ident())


def test_threads_with_nothing_to_deliver_hold_one_connection_together(
    monkeypatch: pytest.MonkeyPatch,
):
    connections = CountedConnections()
    monkeypatch.setattr(delivery, "has_due", connections.has_due)
    monkeypatch.setattr(worker, "connection", connections)
    monkeypatch.setattr(worker, "close_old_connections", lambda: None)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.0)
    with worker.run_delivery_threads():
        assert any(connections.looks >= 100 for _ in until(5))
    assert (connections.most, connections.open) == (1, set())


@pytest.mark.django_db
def test_the_worker_wakes_the_threads_when_a_notification_is_due(
    clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(worker, "close_old_connections", lambda: None)
    subject = worker.Worker()
    subject.work_once()
    Notification.objects.create(
        code=EventCode.NOTIFICATION_TESTED,
        channel=Notification.Channel.MAIL,
        created_at=clock.at,
        due_at=clock.at,
    )
    # Ends only because the worker calls this.
    subject.run(wake_delivery=subject.stop)

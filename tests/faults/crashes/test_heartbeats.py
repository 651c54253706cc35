"""The overview and doctor report when no worker is running; readiness does not depend on it."""

from collections.abc import Callable

import pytest
from django.test import Client

from connections.models import Credential, Person, WorkerHeartbeat
from connections.operations import heartbeats
from connections.operations.worker import Worker
from tests.deletions.conftest import credential
from tests.flows.support import read
from tests.support.clock import SettableClock

__all__ = ["credential"]
pytestmark = pytest.mark.django_db

NO_WORKER = "No worker is running"
ClientOf = Callable[[Person], Client]


@pytest.fixture
def overview(victor: Person, credential: Credential, client_of: ClientOf) -> Callable[[], str]:
    """The text of the overview for a viewer."""
    del credential
    client = client_of(victor)
    return lambda: read(client.get("/")).text


def test_the_overview_reports_a_missing_worker_before_and_after_its_heartbeats(
    overview: Callable[[], str], clock: SettableClock
):
    assert NO_WORKER in overview()
    heartbeats.record_heartbeat(name="one", host="here", process_id=1)
    assert NO_WORKER not in overview()
    clock.advance(minutes=3, seconds=1)
    text = overview()
    assert NO_WORKER in text
    assert "Last seen at" in text
    heartbeats.record_heartbeat(name="one", host="here", process_id=1)
    assert NO_WORKER not in overview()
    heartbeats.remove_heartbeat(name="one")
    assert NO_WORKER in overview()


def test_readiness_does_not_depend_on_a_worker(client: Client):
    assert not WorkerHeartbeat.objects.exists()
    assert client.get("/readyz").status_code == 200


def test_a_worker_records_a_heartbeat_before_it_works_and_not_on_every_pass(clock: SettableClock):
    subject = Worker()
    subject.work_once()
    first = WorkerHeartbeat.objects.get().seen_at
    clock.advance(seconds=1)
    subject.work_once()
    assert WorkerHeartbeat.objects.get().seen_at == first


def test_the_heartbeat_of_a_killed_worker_is_removed_after_a_day(clock: SettableClock):
    heartbeats.record_heartbeat(name="killed", host="here", process_id=1)
    clock.advance(hours=25)
    heartbeats.record_heartbeat(name="next", host="here", process_id=2)
    assert [heartbeat.name for heartbeat in WorkerHeartbeat.objects.all()] == ["next"]

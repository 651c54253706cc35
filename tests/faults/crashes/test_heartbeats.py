"""The overview and the doctor say when no worker is alive; readiness does not depend on it."""

from collections.abc import Callable

import pytest
from django.test import Client

from connections.models import Credential, Person, WorkerHeartbeat
from connections.operations import worker
from connections.operations.worker import Worker
from tests.deletions.conftest import credential
from tests.flows.support import read
from tests.support.clock import SettableClock

__all__ = ["credential"]
pytestmark = pytest.mark.django_db

NOBODY = "No worker is running"
ClientOf = Callable[[Person], Client]


@pytest.fixture
def overview(victor: Person, credential: Credential, client_of: ClientOf) -> Callable[[], str]:
    """What a viewer reads on the overview."""
    del credential
    client = client_of(victor)
    return lambda: read(client.get("/")).text


def test_the_overview_says_so_until_a_worker_beats_and_again_when_it_went_silent(
    overview: Callable[[], str], clock: SettableClock
) -> None:
    assert NOBODY in overview()
    worker.record_heartbeat(name="one", host="here", process_id=1)
    assert NOBODY not in overview()
    clock.advance(minutes=3, seconds=1)
    said = overview()
    assert NOBODY in said
    assert "Last seen at" in said
    worker.record_heartbeat(name="one", host="here", process_id=1)
    assert NOBODY not in overview()
    worker.remove_heartbeat(name="one")
    assert NOBODY in overview()


def test_readiness_does_not_depend_on_a_worker(client: Client) -> None:
    assert not WorkerHeartbeat.objects.exists()
    assert client.get("/readyz").status_code == 200


def test_a_worker_beats_before_it_works_and_not_at_every_pass(clock: SettableClock) -> None:
    working = Worker()
    working.work_once()
    first = WorkerHeartbeat.objects.get().seen_at
    clock.advance(seconds=1)
    working.work_once()
    assert WorkerHeartbeat.objects.get().seen_at == first


def test_what_a_killed_worker_left_is_forgotten_after_a_day(clock: SettableClock) -> None:
    worker.record_heartbeat(name="killed", host="here", process_id=1)
    clock.advance(hours=25)
    worker.record_heartbeat(name="next", host="here", process_id=2)
    assert [one.name for one in WorkerHeartbeat.objects.all()] == ["next"]

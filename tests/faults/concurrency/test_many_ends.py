"""Workers in real processes end much access on one day, and nothing else waits for that.

`./run check --all` ends 500 with three workers and prints how long that takes.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import Q
from django.test import override_settings

from connections.access.actor import person_actor
from connections.inventory import syncs
from connections.models import (
    AccessOutcome,
    AccessRequest,
    AuditEvent,
    Credential,
    Deletion,
    EventCode,
    OrgConnectionSnapshot,
    OrgPair,
    Outcome,
    Person,
    RequestKind,
    Role,
    State,
    WorkerHeartbeat,
)
from sandbox.faults import held, rate_limited
from sandbox.server import SandboxServer
from sandbox.world import World
from tests.faults.concurrency.test_shared_syncs import (
    _the_test_reads_the_database_too,
    start_worker,
)
from tests.flows.support import store_credential
from tests.support.access_requests import request_for
from tests.support.clock import SettableClock
from tests.support.databases import SharedDatabase
from tests.support.people import make_person
from tests.support.processes import until
from tests.support.sandbox import US

__all__ = ["_the_test_reads_the_database_too"]
pytestmark = [pytest.mark.slow, pytest.mark.processes(sqlite=2)]

ORGS = 5
TERMS = {"types": ["audit", "logs"], "owner_text": "SOC team", "purpose": "incident response"}


@pytest.fixture
def datadog() -> Iterator[SandboxServer]:
    world = World(sites=(US,))
    for number in range(ORGS):
        world.add_key_pair(org=world.add_org(name=f"Org {number}", site=US))
    with SandboxServer(world) as server:
        yield server


@pytest.fixture
def opened(shared_database: SharedDatabase, datadog: SandboxServer) -> Iterator[SharedDatabase]:
    with override_settings(EXTRA_SITES=datadog.base_urls), shared_database.opened():
        yield shared_database


def give_access(datadog: SandboxServer, clock: SettableClock, *, count: int) -> list[str]:
    """Access that people were given, all until the same day, which is months ago.

    Returns the connections' IDs.
    """
    world = datadog.world
    sources = [each.org for each in world.key_pairs()]
    for number in range(count):
        sink = world.add_org(name=f"Destination {number}", site=US)
        source = sources[number % ORGS]
        world.add_connection(source_org=source, sink_org=sink, connection_types=("logs",))
    actor = person_actor(person=make_person("ada", Role.OPERATOR))
    for source in sources:
        store_credential(datadog, source.name)
    clock.advance(seconds=1)
    wanted = TERMS | {"ends_on": clock.at.date() + timedelta(days=1)}
    for each in list(OrgConnectionSnapshot.objects.all()):
        pair = OrgPair(each.site, each.source_org_id, each.sink_org_id)
        request_for(actor=actor, pair=pair, kind=RequestKind.CHANGE, wanted=wanted)  # type: ignore[arg-type]
    # Synced and verified since.
    clock.advance(seconds=60)
    syncs.sync_credentials(credentials=list(Credential.objects.all()), actor=actor)
    AccessRequest.objects.update(due_at=None)
    return [each.id for each in world.connections()]


@pytest.mark.sweep(every=2)
@pytest.mark.parametrize("count", [50, 500])
def test_three_workers_end_all_of_one_day_in_15_minutes(
    opened: SharedDatabase, datadog: SandboxServer, clock: SettableClock, count: int
):
    ids = give_access(datadog, clock, count=count)
    waiting = ids[::5]
    for connection_id in waiting:
        types = ("audit", "logs", "rum")
        datadog.world.change_connection(connection_id=connection_id, connection_types=types)
    began, oldest = time.monotonic(), timedelta(0)
    is_ended = Q(outcome=Outcome.DELETED) | Q(state=State.REQUESTED, confirmed_at=None)
    with ExitStack() as together:
        workers = [together.enter_context(start_worker(opened, datadog)) for _ in range(3)]
        for _ in until(15 * 60, every=0.5):
            seen_at = WorkerHeartbeat.objects.order_by("seen_at").values_list("seen_at", flat=True)
            ages = [datetime.now(UTC) - each for each in seen_at]
            oldest = max([oldest, *ages])
            if Deletion.objects.filter(is_ended).count() == count:
                break
        took = time.monotonic() - began
        assert [worker.end() for worker in workers] == [0, 0, 0]
    print(  # noqa: T201 - measured
        f"{count} ends of one day, 3 workers: {took:.0f} s, oldest heartbeat "
        f"{oldest.total_seconds():.0f} s"
    )
    world = datadog.world
    assert [world.deletes_received(each) for each in ids] == [each not in waiting for each in ids]
    alerts = AuditEvent.objects.filter(code=EventCode.ACCESS_REQUEST_NOT_ENDED)
    assert alerts.count() == len(waiting)
    assert took < 15 * 60
    assert oldest < timedelta(seconds=60)


def test_what_waits_to_be_sent_leaves_while_the_delete_of_an_end_hangs(
    opened: SharedDatabase, datadog: SandboxServer, clock: SettableClock
):
    """Such as the POST of a move: within 10 s of its time, with one worker too."""
    world, responds = datadog.world, threading.Event()
    ended, other = give_access(datadog, clock, count=2)
    first = AccessRequest.objects.get(connection_id=other)
    AccessRequest.objects.filter(pk=first.pk).update(end_due_at=None)
    world.set_fault(fault=rate_limited(), method="PATCH", times=1)
    waiting = request_for(
        actor=person_actor(person=Person.objects.get()),
        pair=OrgPair(first.site, first.source_org_id, first.sink_org_id),
        kind=RequestKind.CHANGE,
        wanted={"types": ["metrics"], "ends_on": datetime.now(UTC).date() + timedelta(days=2)},
    )
    rows = AccessRequest.objects.filter(pk=waiting.pk, state=State.WAITING)
    assert rows.update(due_at=None, end_due_at=None)
    world.set_fault(fault=held(until=responds), method="DELETE", connection_id=ended)

    def is_sent() -> bool:
        return bool(world.requests(method="PATCH", connection_id=other)[2:])

    with start_worker(opened, datadog) as worker:
        assert world.wait_until(lambda: world.deletes_received(ended) == 1)
        now = datetime.now(UTC)
        rows.update(due_at=now, expires_at=now + timedelta(minutes=15))
        assert world.wait_until(is_sent, seconds=10)
        assert not Deletion.objects.exclude(settled_at=None).exists()
        responds.set()
        assert worker.end() == 0
    assert Deletion.objects.get().outcome == Outcome.DELETED
    assert rows.model.objects.get(pk=waiting.pk).outcome == AccessOutcome.CHANGED

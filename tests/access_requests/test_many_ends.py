"""Many ends of one day: none delays another, nor anything else, and they share their org's list.

`tests/faults/concurrency/test_many_ends.py` measures how long they take.
"""

from collections.abc import Callable
from uuid import uuid4

import pytest

from connections.access.actor import WORKER
from connections.access_requests import ending
from connections.audit import EventCode
from connections.inventory import fetching, syncs
from connections.models import (
    AccessRequest,
    AuditEvent,
    Credential,
    Deletion,
    OrgConnectionSnapshot,
    Outcome,
    State,
)
from connections.operations.heartbeats import Heartbeat
from connections.operations.worker import Worker
from sandbox import faults
from tests.access_requests.conftest import End
from tests.flows.support import store_credential
from tests.support.sandbox import org_named

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

MakeEnds = Callable[[int], list[AccessRequest]]


@pytest.fixture
def make_ends(end: End) -> MakeEnds:
    """Access to Payments US for as many other orgs, all with the last day of `end`."""

    def act(count: int) -> list[AccessRequest]:
        world, source = end.sandbox.world, org_named(end.sandbox.world, "Payments US")
        for number in range(count):
            destination = world.add_org(site=source.site, name=f"Destination {number}")
            world.add_connection(
                source_org=source, sink_org=destination, connection_types=("logs",)
            )
        syncs.sync_credentials(credentials=[end.credential], actor=WORKER)
        made = AccessRequest.objects.bulk_create(
            _same_for(end.given, snapshot)
            for snapshot in OrgConnectionSnapshot.objects.filter(
                is_current=True, sink_org_name__startswith="Destination"
            )
        )
        assert len(made) == count
        return made

    return act


def _same_for(given: AccessRequest, snapshot: OrgConnectionSnapshot) -> AccessRequest:
    """As if the same had been requested and approved for the pair of this connection."""
    stored = AccessRequest.objects.get(pk=given.pk)
    for name in ("connection_id", "sink_org_id", "sink_org_name"):
        setattr(stored, name, getattr(snapshot, name))
    stored.pk, stored.request_id, stored.due_at = uuid4(), uuid4(), None
    assert stored.end_due_at
    return stored


def deleted(ends: list[AccessRequest]) -> int:
    ids = {each.connection_id for each in ends if each.connection_id}
    return Deletion.objects.filter(connection_id__in=ids, outcome=Outcome.DELETED).count()


def test_ends_that_wait_for_people_delay_no_other(end: End, make_ends: MakeEnds):
    for each in make_ends(21):
        end.sandbox.world.change_connection(
            connection_id=str(each.connection_id), connection_types=("audit", "logs")
        )
    AccessRequest.objects.filter(pk=end.given.pk).update(end_due_at=end.clock.at)
    Worker().work_once()
    assert Deletion.objects.filter(state=State.REQUESTED, confirmed_at=None).count() == 21
    alerts = AuditEvent.objects.filter(code=EventCode.ACCESS_REQUEST_NOT_ENDED)
    assert alerts.count() == 21
    assert deleted([end.given]) == 1
    assert not AccessRequest.objects.filter(end_due_at__lte=end.clock.at).exists()


def test_ends_of_one_org_share_a_list(
    end: End, make_ends: MakeEnds, monkeypatch: pytest.MonkeyPatch
):
    ends = make_ends(45)
    fetch, count = fetching.fetch, 0

    def counting(**kwargs: object) -> object:
        nonlocal count
        count += "find" not in kwargs
        return fetch(**kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(fetching, "fetch", counting)
    lists = ending.SharedLists()
    while ending.end_due(actor=WORKER, lists=lists):
        pass
    assert deleted(ends) == 45
    assert count <= 10


def test_before_each_list_the_worker_is_alive(end: End, monkeypatch: pytest.MonkeyPatch):
    store_credential(end.sandbox, "Group SOC")
    end.clock.advance(seconds=1)
    world = end.sandbox.world
    org = org_named(world, "Payments US")
    world.set_fault(fault=faults.INCOMPLETE_PAGE, method="GET", org=org)
    happened, fetch, record = list[str](), fetching.fetch, Heartbeat.record

    def be_alive(heartbeat: Heartbeat) -> None:
        happened.append("alive")
        record(heartbeat)

    def listed(*, credential: Credential, **kwargs: object) -> object:
        happened.append(f"list of {credential.name}")
        return fetch(credential=credential, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Heartbeat, "record", be_alive)
    monkeypatch.setattr(fetching, "fetch", listed)
    Worker()._end_due()
    lists = ["alive", "list of Payments US", "alive", "list of Group SOC"]
    assert happened[:5] == [*lists, "alive"]
    assert deleted([end.given]) == 1

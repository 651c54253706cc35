"""On the day after its end, approved access is deleted as it was approved, or people are told."""

from datetime import timedelta

import pytest

from connections.access.actor import WORKER, person_actor
from connections.access_requests import ending
from connections.audit import EventCode
from connections.inventory import protections, syncs
from connections.models import (
    AccessOutcome,
    AccessRequest,
    AuditEvent,
    Credential,
    Deletion,
    OrgPair,
    Outcome,
    Person,
    RequestKind,
)
from sandbox.server import SandboxServer
from tests.access_requests.conftest import RequestAccess
from tests.support.access_requests import request_for
from tests.support.clock import SettableClock
from tests.support.sandbox import connection_between

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def given(
    ada: Person, free_pair: OrgPair, clock: SettableClock, credential: Credential
) -> AccessRequest:
    """Access that was given, and whose last day was two days ago."""
    today = clock.now().date()
    access_request = request_for(
        actor=person_actor(person=ada),
        pair=free_pair,
        wanted={
            "types": ["logs"],
            "owner_text": "SOC team",
            "purpose": "incident response",
            "ends_on": today + timedelta(days=3),
        },
    )
    assert access_request.outcome == AccessOutcome.CREATED
    clock.advance(seconds=60)

    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    clock.advance(seconds=5 * 86400)
    return access_request


def not_ended() -> list[str]:
    events = AuditEvent.objects.filter(code=EventCode.ACCESS_REQUEST_NOT_ENDED)
    return [event.details["cause"] for event in events]


def test_the_connection_is_deleted_as_it_was_approved(
    given: AccessRequest, sandbox: SandboxServer
) -> None:
    assert ending.end_due(actor=WORKER) == [given]
    given.refresh_from_db()
    assert given.deletion
    assert (given.deletion.outcome, given.deletion.requested_by_name) == (
        Outcome.DELETED,
        "Org Admin",
    )
    assert given.deletion.reason == given.reason
    assert sandbox.world.deletes_executed(str(given.connection_id)) == 1


def test_nothing_is_deleted_before_the_day_after_its_end(
    given: AccessRequest, clock: SettableClock
) -> None:
    clock.advance(seconds=-2 * 86400)
    assert ending.end_due(actor=WORKER) == []
    assert not Deletion.objects.exists()


def test_it_is_deleted_once(given: AccessRequest) -> None:
    ending.end_due(actor=WORKER)
    ending.end_due(actor=WORKER)
    assert Deletion.objects.count() == 1


def test_other_data_types_than_approved_are_left_to_people(
    given: AccessRequest, sandbox: SandboxServer, clock: SettableClock
) -> None:
    sandbox.world.change_connection(
        connection_id=str(given.connection_id), connection_types=("audit", "logs")
    )
    for _ in range(2):
        ending.end_due(actor=WORKER)
    assert not Deletion.objects.exists()
    assert not_ended() == ["changed_when_read"]
    clock.advance(seconds=3600)
    ending.end_due(actor=WORKER)
    assert len(not_ended()) == 2


def test_a_protected_connection_is_left_to_people(given: AccessRequest, ada: Person) -> None:
    protections.protect_connection(
        actor=person_actor(person=ada), key=given.key, reason="under investigation"
    )
    ending.end_due(actor=WORKER)
    assert not Deletion.objects.exists()
    assert not_ended() == ["connection_protected"]


def test_another_connection_of_the_pair_is_left_alone(
    given: AccessRequest, sandbox: SandboxServer
) -> None:
    sandbox.world.remove_connection(connection_id=str(given.connection_id))
    assert sandbox.world.recreate_connection(connection_id=str(given.connection_id))
    ending.end_due(actor=WORKER)
    assert not Deletion.objects.exists()
    assert not_ended() == ["another_connection"]
    assert connection_between(sandbox.world, "Payments US", "Group SOC")


def test_an_open_request_that_has_sent_nothing_expires(
    given: AccessRequest, victor: Person, free_pair: OrgPair
) -> None:
    extension = request_for(
        actor=person_actor(person=victor),
        pair=free_pair,
        kind=RequestKind.CHANGE,
        wanted={"types": ["logs", "metrics"], "ends_on": None},
    )
    assert not extension.is_settled
    ending.end_due(actor=WORKER)
    extension.refresh_from_db()
    assert (extension.outcome, extension.cause) == (AccessOutcome.EXPIRED, "access_ended")
    assert Deletion.objects.get().outcome == Outcome.DELETED


def test_without_a_credential_it_is_tried_again(
    given: AccessRequest, root: Person, credential: Credential
) -> None:
    Credential.objects.filter(pk=credential.pk).update(org_id="another")
    ending.end_due(actor=WORKER)
    assert not_ended() == ["credential_retired"]
    Credential.objects.filter(pk=credential.pk).update(org_id=credential.org_id)
    ending.end_due(actor=WORKER)
    assert Deletion.objects.get().outcome == Outcome.DELETED


def test_access_without_an_end_stays(create: RequestAccess, clock: SettableClock) -> None:
    create()
    clock.advance(seconds=400 * 86400)
    assert ending.end_due(actor=WORKER) == []

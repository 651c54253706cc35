"""What an access request changed needs no acknowledgement, and its change names it."""

import pytest

from connections.access.actor import WORKER, command_actor, person_actor
from connections.change_requests import reconciliation, verification
from connections.changes.changes import ChangeFilter, ChangeRow, iterate_changes
from connections.changes.texts import access_request_name, change_title
from connections.inventory import syncs
from connections.models import AccessRequest, Change, Credential, OrgPair, Person, RequestKind
from sandbox import faults
from sandbox.server import SandboxServer
from tests.access_requests.conftest import RequestAccess
from tests.support.access_requests import request_for
from tests.support.clock import SettableClock
from tests.support.deletions import request_deletion
from tests.support.sandbox import connection_between, org_named

pytestmark = [pytest.mark.django_db, pytest.mark.database(every=3)]


def newest_change() -> ChangeRow:
    return next(iterate_changes(actor=command_actor(), filters=ChangeFilter()))


def verify(access_request: AccessRequest, clock: SettableClock) -> None:
    clock.advance(seconds=5)
    verification.verify(change_request=access_request, actor=WORKER)
    clock.advance(seconds=5)
    syncs.sync_credentials(credentials=[access_request.credential], actor=WORKER)


def test_data_types_that_an_access_request_added_need_no_acknowledgement(
    change: RequestAccess, clock: SettableClock
):
    access_request = change()
    verify(access_request, clock)
    row = newest_change()
    assert (row.change.kind, row.change.widened) == (Change.Kind.TYPES_CHANGED, True)
    assert (row.change.needs_attention, row.access_request) == (False, access_request)


@pytest.mark.parametrize("kind", [RequestKind.CREATE, RequestKind.CHANGE])
@pytest.mark.parametrize("is_ours", [True, False])
def test_what_an_open_access_request_explains_needs_no_acknowledgement_either(
    ada: Person,
    clock: SettableClock,
    credential: Credential,
    listed_pair: OrgPair,
    sandbox: SandboxServer,
    *,
    kind: RequestKind,
    is_ours: bool,
):
    is_new, world = kind == RequestKind.CREATE, sandbox.world
    found = connection_between(world, "Payments US", "Group SOC")
    if is_new:
        request_deletion(
            actor=command_actor(), credential=credential, connection_id=found.id, reason="x"
        )
        clock.advance(seconds=5)
        syncs.sync_credentials(credentials=[credential], actor=WORKER)
    lost = faults.EXECUTES_THEN_RESET if is_ours else faults.RESET_AFTER_READING
    world.set_fault(fault=lost, method="POST" if is_new else "PATCH")
    access_request = request_for(
        actor=person_actor(person=ada),
        pair=listed_pair,
        kind=kind,
        wanted={"types": ["audit", "logs"], "owner_text": "SOC team", "purpose": "x"},
    )
    if not is_ours and is_new:
        orgs = [org_named(world, name) for name in ("Payments US", "Group SOC")]
        world.add_connection(
            source_org=orgs[0], sink_org=orgs[1], connection_types=("audit", "logs")
        )
    elif not is_ours:
        world.change_connection(connection_id=found.id, connection_types=("audit", "rum"))
    clock.advance(seconds=5)
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    access_request.refresh_from_db()
    assert access_request.state == "unknown"
    assert newest_change().change.needs_attention != is_ours
    for seconds in (36, 61):
        clock.advance(seconds=seconds)
        reconciliation.reconcile_unknown(change_request=access_request, actor=WORKER)
    assert newest_change().access_request == (access_request if is_ours else None)


def test_what_an_attempt_had_no_effect_on_is_not_explained_by_it(
    change: RequestAccess, clock: SettableClock, credential: Credential, sandbox: SandboxServer
):
    access_request = change(faults.RESET_AFTER_READING)
    for minutes in (1, 2, 8):
        clock.advance(minutes=minutes)
        reconciliation.reconcile_unknown(change_request=access_request, actor=WORKER)
    assert access_request.state == "no_effect"
    found = connection_between(sandbox.world, "Payments US", "Group SOC")
    types = tuple(access_request.types_after)
    sandbox.world.change_connection(connection_id=found.id, connection_types=types)
    clock.advance(seconds=5)
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    assert newest_change().change.needs_attention


def test_data_types_that_someone_else_added_later_do(
    change: RequestAccess, clock: SettableClock, credential: Credential, sandbox: SandboxServer
):
    verify(change(), clock)
    connection = connection_between(sandbox.world, "Payments US", "Group SOC")
    sandbox.world.change_connection(connection_id=connection.id, connection_types=("metrics",))
    clock.advance(minutes=1)
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    row = newest_change()
    assert (row.change.kind, row.change.needs_attention) == (Change.Kind.TYPES_CHANGED, True)
    assert row.access_request is None


def test_the_same_data_types_that_someone_else_sets_again_do(
    change: RequestAccess,
    clock: SettableClock,
    credential: Credential,
    sandbox: SandboxServer,
    listed_pair: OrgPair,
):
    access_request = change()
    verify(access_request, clock)
    connection = connection_between(sandbox.world, "Payments US", "Group SOC")
    for types in (access_request.connection_types, access_request.types_after):
        sandbox.world.change_connection(connection_id=connection.id, connection_types=tuple(types))
        clock.advance(minutes=1)
        syncs.sync_credentials(credentials=[credential], actor=WORKER)
    row = newest_change()
    assert (row.change.needs_attention, row.access_request) == (True, None)


def test_a_connection_that_an_access_request_created_names_it(
    create: RequestAccess, clock: SettableClock
):
    access_request = create()
    verify(access_request, clock)
    row = newest_change()
    assert row.change.connection_id == access_request.connection_id
    assert (row.change.needs_attention, row.access_request) == (False, access_request)
    assert row.cause == access_request_name(access_request) + "."


def test_moving_a_connection_explains_that_one_is_removed_and_another_appears(
    ada: Person, clock: SettableClock, credential: Credential, listed_pair: OrgPair
):
    Credential.objects.update(verification=[{"check": "permissions", "ok": True}])
    moved = request_for(
        actor=person_actor(person=ada),
        pair=listed_pair,
        kind=RequestKind.MOVE,
        wanted={"owner_text": "SOC team", "purpose": "x"},
    )
    verify(moved, clock)
    rows = list(iterate_changes(actor=command_actor(), filters=ChangeFilter()))
    changes = [(row.change.kind, row.change.needs_attention, row.access_request) for row in rows]
    assert (Change.Kind.RECREATED, False, moved) in changes
    assert not any(needs_attention for _, needs_attention, _ in changes)
    for row in rows[:2]:
        title = change_title(row.change, deletion=row.deletion, access_request=row.access_request)
        assert (title, row.cause) == (
            "Move requested by Ada",
            f"{access_request_name(moved)}.",
        )


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_connection_that_is_created_again_needs_attention_if_someone_else_removed_the_former(
    ada: Person,
    clock: SettableClock,
    credential: Credential,
    listed_pair: OrgPair,
    sandbox: SandboxServer,
    *,
    is_ours: bool,
):
    former = connection_between(sandbox.world, "Payments US", "Group SOC")
    if is_ours:
        request_deletion(
            actor=command_actor(), credential=credential, connection_id=former.id, reason="x"
        )
    else:
        sandbox.world.remove_connection(connection_id=former.id)
    clock.advance(seconds=5)
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    clock.advance(seconds=5)
    access_request = request_for(
        actor=person_actor(person=ada),
        pair=listed_pair,
        wanted={"types": ["audit"], "owner_text": "SOC team", "purpose": "x"},
    )
    verify(access_request, clock)
    row = newest_change()
    assert row.change.kind == Change.Kind.RECREATED
    assert row.change.needs_attention != is_ours
    assert row.access_request == access_request
    title = change_title(row.change, deletion=row.deletion, access_request=row.access_request)
    assert title == ("Requested by Ada" if is_ours else "Recreated")

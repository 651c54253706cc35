"""A pair never has an open access request and an open deletion."""

import threading
from collections.abc import Callable
from uuid import uuid4

import pytest
from django.db import connection

from connections import audit
from connections.access.actor import WORKER, person_actor
from connections.access_requests import targets
from connections.access_requests.requesting import WantedTerms
from connections.change_requests import approvals, lifecycle
from connections.core.causes import Cause
from connections.core.errors import ConflictError
from connections.deletions import confirmations, exclusion, requesting
from connections.inventory import syncs
from connections.models import (
    AccessOutcome,
    AccessRequest,
    ApprovalPolicy,
    Credential,
    Deletion,
    OrgPair,
    Person,
    RequestKind,
    State,
)
from sandbox.faults import EXECUTES_THEN_500
from sandbox.server import SandboxServer
from tests.access_requests.conftest import RequestAccess
from tests.batches.support import add_connections, draft, request, sync_now
from tests.support.access_requests import request_for
from tests.support.at_once import start_until_it_waits

pytestmark = pytest.mark.database


def request_deletion(credential: Credential, pair: OrgPair, *, by: Person) -> Deletion:
    """Ada requests the deletion of the pair's connection, which needs an approval."""
    snapshot = credential.snapshots.get(is_current=True, **pair._asdict())
    target = confirmations.find_target(
        actor=person_actor(person=by), credential=credential, connection_id=snapshot.connection_id
    )
    return requesting.request_deletion(
        actor=person_actor(person=by),
        credential=credential,
        connection_id=snapshot.connection_id,
        reason="carve-out",
        ticket="",
        request_id=uuid4(),
        digest=target.digest,
        confirmation=target.text_to_type,
    )


def request_bulk_deletion(credential: Credential, pair: OrgPair, *, by: Person) -> None:
    """Ada requests the bulk deletion of the pair's connection alone."""
    snapshot = credential.snapshots.get(is_current=True, **pair._asdict())
    request(draft(by, [f"{pair.site}/{snapshot.connection_id}"]), by)


@pytest.fixture
def unsent(change: RequestAccess, credential: Credential) -> AccessRequest:
    """An access request that waits for an approval."""
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    credential.refresh_from_db()
    return change()


@pytest.mark.django_db
def test_requesting_a_deletion_ends_an_access_request_of_which_nothing_was_sent(
    ada: Person, unsent: AccessRequest, credential: Credential, listed_pair: OrgPair
) -> None:
    deletion = request_deletion(credential, listed_pair, by=ada)
    assert deletion.state == State.REQUESTED
    unsent.refresh_from_db()
    assert unsent.outcome == AccessOutcome.STALE
    assert unsent.cause == Cause.DELETION_REQUESTED
    assert "Nothing was sent." in audit.events_of(subject=unsent)[-1].sentence


@pytest.fixture
def mixed(
    ada: Person, linus: Person, credential: Credential, sandbox: SandboxServer
) -> tuple[list[str], dict[str, AccessRequest]]:
    """Connections with access requests in different states, and one without."""
    connections = add_connections(sandbox, 6)
    sync_now(credential)
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    credential.refresh_from_db()
    requests = {}
    wanted: WantedTerms = {"types": ["audit"], "owner_text": "SOC team", "purpose": "alerts"}
    states = ("requested", "approved", "declined", "unknown", "settled")
    for state, connection_key in zip(states, connections, strict=False):
        listed = credential.snapshots.get(connection_id=connection_key.partition("/")[2])
        each = request_for(
            actor=person_actor(person=ada),
            pair=OrgPair(listed.site, listed.source_org_id, listed.sink_org_id),
            kind=RequestKind.CHANGE,
            wanted=wanted,
        )
        by = person_actor(person=linus)
        if state == "declined":
            approvals.decline(change_request=each, actor=by, reason="no")
        elif state != "requested":
            approvals.approve(change_request=each, actor=by, digest=each.approval_digest)
        if state in {"unknown", "settled"}:
            if state == "unknown":
                sandbox.world.set_fault(fault=EXECUTES_THEN_500, method="PATCH")
            each = lifecycle.execute(
                change_request=each,
                actor=person_actor(person=ada),
                confirmation=each.sink_org_name,
            )
            sandbox.world.clear_faults()
        requests[state] = each
    sync_now(credential)
    return connections, requests


@pytest.mark.django_db
@pytest.mark.parametrize("with_unknown", [False, True])
def test_a_bulk_deletion_ends_what_was_not_sent_or_is_refused_as_a_whole(
    ada: Person, mixed: tuple[list[str], dict[str, AccessRequest]], with_unknown: bool
) -> None:
    connections, requests = mixed
    before = {name: (each.state, each.outcome) for name, each in requests.items()}
    if with_unknown:
        with pytest.raises(ConflictError, match="was sent to Datadog and is still open"):
            request(draft(ada, connections), ada)
        assert not Deletion.objects.exists()
        after = before
    else:
        del connections[list(requests).index("unknown")]
        request(draft(ada, connections), ada)
        assert Deletion.objects.filter(state=State.REQUESTED).count() == len(connections)
        stale = (State.SETTLED, AccessOutcome.STALE)
        after = before | {"requested": stale, "approved": stale}
    for each in requests.values():
        each.refresh_from_db()
    assert {name: (each.state, each.outcome) for name, each in requests.items()} == after
    assert before["settled"][1] == AccessOutcome.CHANGED


@pytest.mark.django_db
@pytest.mark.parametrize("act", [request_deletion, request_bulk_deletion])
def test_no_deletion_is_requested_while_an_access_request_might_have_been_sent(
    ada: Person,
    change: RequestAccess,
    credential: Credential,
    listed_pair: OrgPair,
    act: Callable[..., object],
) -> None:
    unknown = change(EXECUTES_THEN_500)
    assert unknown.state == State.UNKNOWN
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    with pytest.raises(ConflictError, match="Nothing was requested"):
        act(credential, listed_pair, by=ada)
    assert not Deletion.objects.exists()
    unknown.refresh_from_db()
    assert unknown.state == State.UNKNOWN


@pytest.mark.django_db
def test_no_access_is_requested_while_a_deletion_is_open(
    ada: Person, change: RequestAccess, credential: Credential, listed_pair: OrgPair
) -> None:
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    credential.refresh_from_db()
    request_deletion(credential, listed_pair, by=ada)
    with pytest.raises(ConflictError, match="deletion of this connection is open"):
        change()
    assert not AccessRequest.objects.exists()


@pytest.mark.django_db
def test_a_deletion_whose_orgs_are_unknown_has_no_pair() -> None:
    assert exclusion.pairs_of([Deletion(site="us1", source_org_id="", sink_org_id="b")]) == []


def in_the_middle(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, act: Callable[[], object]
) -> list[threading.Thread]:
    """Start `act` when this function has returned, in the transaction that calls it."""
    original = getattr(module, name)
    threads: list[threading.Thread] = []

    def wrapper(*args: object, **kwargs: object) -> object:
        monkeypatch.setattr(module, name, original)
        result = original(*args, **kwargs)
        threads.append(start_until_it_waits(act))
        return result

    monkeypatch.setattr(module, name, wrapper)
    return threads


@pytest.fixture
def _postgresql(credential: Credential) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has a single lock")
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    credential.refresh_from_db()


@pytest.mark.usefixtures("_postgresql")
@pytest.mark.django_db(transaction=True)
def test_a_deletion_requested_at_the_same_moment_waits_and_ends_the_access_request(
    ada: Person,
    change: RequestAccess,
    credential: Credential,
    listed_pair: OrgPair,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = in_the_middle(
        monkeypatch,
        targets,
        "find_open_deletion",
        lambda: request_deletion(credential, listed_pair, by=ada),
    )
    access_request = change()
    threads[0].join()
    access_request.refresh_from_db()
    assert access_request.outcome == AccessOutcome.STALE
    assert Deletion.objects.get().state == State.REQUESTED


@pytest.mark.usefixtures("_postgresql")
@pytest.mark.django_db(transaction=True)
def test_access_requested_at_the_same_moment_as_a_deletion_is_refused(
    ada: Person,
    change: RequestAccess,
    credential: Credential,
    listed_pair: OrgPair,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = in_the_middle(monkeypatch, exclusion, "lock_open_access_requests", change)
    request_deletion(credential, listed_pair, by=ada)
    threads[0].join()
    assert Deletion.objects.get().state == State.REQUESTED
    assert not AccessRequest.objects.exists()

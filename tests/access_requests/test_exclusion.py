"""Of an access request and a deletion of the same pair, the one confirmed first ends the other."""

import re
import threading
from collections.abc import Callable
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from connections import audit
from connections.access.actor import WORKER, person_actor
from connections.access_requests.requesting import WantedTerms
from connections.batches import running
from connections.change_requests import approvals, exclusion, lifecycle
from connections.change_requests.actions import action_of
from connections.core.causes import Cause
from connections.core.errors import ConflictError
from connections.deletions import break_glass, confirmations, requesting
from connections.inventory import syncs
from connections.models import (
    AccessKind,
    AccessOutcome,
    AccessRequest,
    ApprovalPolicy,
    Batch,
    ChangeRequest,
    Credential,
    CredentialAccess,
    Deletion,
    Notification,
    OrgPair,
    Outcome,
    Person,
    RequestKind,
    State,
)
from sandbox.faults import EXECUTES_THEN_500
from sandbox.server import SandboxServer
from tests.access_requests.conftest import RequestAccess
from tests.batches.support import add_connections, approve, draft, execute, request, sync_now
from tests.credentials.support import second_pair
from tests.flows.support import read, store_credential
from tests.support.access_requests import request_for
from tests.support.at_once import start_until_it_waits

pytestmark = pytest.mark.database

# Of the access requests of `mixed`, those that are open and have sent nothing.
OPEN = ("requested", "approved")


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


def request_bulk_deletion(credential: Credential, pair: OrgPair, *, by: Person) -> Batch:
    """Ada requests the bulk deletion of the pair's connection alone."""
    snapshot = credential.snapshots.get(is_current=True, **pair._asdict())
    return request(draft(by, [f"{pair.site}/{snapshot.connection_id}"]), by)


def approve_one(change_request: ChangeRequest, *, by: Person) -> None:
    """This person approves the deletion or the access request."""
    approvals.approve(
        change_request=change_request,
        actor=person_actor(person=by),
        digest=change_request.approval_digest,
    )


def confirm(change_request: ChangeRequest, *, by: Person) -> None:
    """This person confirms the deletion or the access request."""
    actor = person_actor(person=by)
    text = action_of(change_request).confirmation_text(change_request, actor=actor)
    lifecycle.execute(change_request=change_request, actor=actor, confirmation=text)
    change_request.refresh_from_db()


def request_audit(pair: OrgPair, *, by: Person) -> AccessRequest:
    """Request audit events instead of what the pair shares, which waits for an approval."""
    return request_for(
        actor=person_actor(person=by),
        pair=pair,
        kind=RequestKind.CHANGE,
        wanted={"types": ["audit"], "owner_text": "SOC team", "purpose": "alerts"},
    )


@pytest.fixture
def unsent(change: RequestAccess, credential: Credential) -> AccessRequest:
    """An access request that waits for an approval."""
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    credential.refresh_from_db()
    return change()


@pytest.mark.django_db
def test_a_deletion_ends_the_access_request_of_its_pair_only_when_it_is_confirmed(
    ada: Person, linus: Person, unsent: AccessRequest, credential: Credential, listed_pair: OrgPair
):
    deletion = request_deletion(credential, listed_pair, by=ada)
    approve_one(deletion, by=linus)
    unsent.refresh_from_db()
    assert unsent.state == State.REQUESTED
    confirm(deletion, by=ada)
    assert deletion.outcome == Outcome.DELETED
    unsent.refresh_from_db()
    assert (unsent.outcome, unsent.cause) == (AccessOutcome.STALE, Cause.DELETION_CONFIRMED)
    assert "Nothing was sent." in audit.events_of(subject=unsent)[-1].sentence


def delete_one(credential: Credential, pair: OrgPair, *, by: Person, approver: Person) -> None:
    deletion = request_deletion(credential, pair, by=by)
    approve_one(deletion, by=approver)
    confirm(deletion, by=by)


def delete_in_bulk(credential: Credential, pair: OrgPair, *, by: Person, approver: Person) -> None:
    execute(approve(request_bulk_deletion(credential, pair, by=by), approver), by)
    running.run_due(actor=WORKER)


@pytest.mark.django_db
@pytest.mark.parametrize("delete", [delete_one, delete_in_bulk])
def test_the_people_of_an_access_request_that_a_deletion_ends_are_notified(
    ada: Person,
    grace: Person,
    linus: Person,
    credential: Credential,
    listed_pair: OrgPair,
    settings: Settings,
    delete: Callable[..., None],
):
    settings.HAS_MAIL = True
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    credential.refresh_from_db()
    mine = request_audit(listed_pair, by=grace)
    delete(credential, listed_pair, by=ada, approver=linus)
    ended = Notification.objects.filter(code="access_request.settled", subject_id=str(mine.pk))
    assert list(ended.values_list("person", flat=True)) == [grace.pk]


@pytest.mark.django_db
def test_withdrawing_a_requested_deletion_leaves_the_access_request_open(
    ada: Person, unsent: AccessRequest, credential: Credential, listed_pair: OrgPair
):
    deletion = request_deletion(credential, listed_pair, by=ada)
    lifecycle.withdraw(change_request=deletion, actor=person_actor(person=ada))
    unsent.refresh_from_db()
    assert unsent.state == State.REQUESTED


@pytest.mark.django_db
def test_break_glass_ends_the_access_request_too(
    ada: Person, unsent: AccessRequest, credential: Credential, listed_pair: OrgPair
):
    Person.objects.filter(pk=ada.pk).update(has_break_glass=True)
    ada.refresh_from_db()
    deletion = request_deletion(credential, listed_pair, by=ada)
    actor = person_actor(person=ada)
    break_glass.break_glass(
        deletion=deletion,
        actor=actor,
        break_glass_reason="The partner leaks our customers' data at this moment.",
        confirmation=confirmations.confirmation_text(deletion, actor=actor),
    )
    unsent.refresh_from_db()
    assert unsent.outcome == AccessOutcome.STALE


@pytest.mark.django_db
@pytest.mark.parametrize("act", [request_deletion, request_bulk_deletion])
def test_an_access_request_that_is_confirmed_first_ends_the_deletion(
    ada: Person,
    linus: Person,
    unsent: AccessRequest,
    credential: Credential,
    listed_pair: OrgPair,
    act: Callable[..., object],
):
    act(credential, listed_pair, by=ada)
    approve_one(unsent, by=linus)
    confirm(unsent, by=ada)
    assert unsent.outcome == AccessOutcome.CHANGED
    deletion = Deletion.objects.get()
    assert (deletion.outcome, deletion.cause) == (Outcome.STALE, Cause.ACCESS_REQUEST_CONFIRMED)


@pytest.mark.django_db
def test_a_bulk_deletion_ends_an_access_request_when_it_claims_the_row(
    ada: Person, linus: Person, unsent: AccessRequest, credential: Credential, listed_pair: OrgPair
):
    batch = request_bulk_deletion(credential, listed_pair, by=ada)
    execute(approve(batch, linus), ada)
    unsent.refresh_from_db()
    assert unsent.state == State.REQUESTED
    approve_one(unsent, by=linus)
    with pytest.raises(ConflictError, match="Wait until it is closed"):
        confirm(unsent, by=ada)
    running.run_due(actor=WORKER)
    unsent.refresh_from_db()
    assert unsent.outcome == AccessOutcome.STALE
    assert Deletion.objects.get().outcome == Outcome.DELETED


@pytest.mark.django_db
def test_a_plan_names_the_access_requests_that_it_ends_until_it_is_confirmed(
    ada: Person,
    linus: Person,
    credential: Credential,
    mixed: tuple[list[str], dict[str, AccessRequest]],
    client_of: Callable[[Person], Client],
):
    connections, requests = mixed
    del connections[list(requests).index("unknown")]
    batch, client = draft(ada, connections), client_of(ada)
    url = reverse("batch-detail", args=[batch.pk])
    # Of the five, two are open and have sent nothing.
    ends = {reverse("access-request-detail", args=[requests[name].pk]) for name in OPEN}
    for act in (lambda: request(batch, ada), lambda: approve(batch, linus), lambda: None):
        page = read(client.get(url))
        assert "2 access requests end when this is sent: " in page.text
        assert set(re.findall(r'href="(/access-requests/[^"]{36}/)"', page.html)) == ends
        filtered = read(client.get(url, {"show": "ends-request"})).html
        assert filtered.count('data-connection="') == 2
        act()
    execute(batch, ada)
    assert "end when this is sent" not in read(client.get(url)).text


@pytest.mark.django_db
def test_a_plan_says_which_access_request_was_sent_and_keeps_it_from_being_requested(
    ada: Person,
    mixed: tuple[list[str], dict[str, AccessRequest]],
    client_of: Callable[[Person], Client],
):
    connections, requests = mixed
    batch = draft(ada, [connections[list(requests).index("unknown")]])
    page = read(client_of(ada).get(reverse("batch-detail", args=[batch.pk])))
    assert "1 access request was sent to Datadog: Nothing here can be" in page.text
    assert reverse("access-request-detail", args=[requests["unknown"].pk]) in page.html


@pytest.mark.django_db
def test_a_plan_says_of_a_hidden_access_request_only_that_something_is_in_progress(
    ada: Person,
    linus: Person,
    unsent: AccessRequest,
    credential: Credential,
    listed_pair: OrgPair,
    sandbox: SandboxServer,
    client_of: Callable[[Person], Client],
):
    second = store_credential(
        sandbox, "Payments US", name="Second", pair=second_pair(sandbox, "Payments US")
    )
    snapshot = second.snapshots.get(is_current=True, **listed_pair._asdict())
    CredentialAccess.objects.create(credential=credential, kind=AccessKind.SEE, person=linus)
    # Read again, because a person keeps what they can see.
    ada = Person.objects.get(pk=ada.pk)
    batch = draft(ada, [f"{listed_pair.site}/{snapshot.connection_id}"])
    page = read(client_of(ada).get(reverse("batch-detail", args=[batch.pk])))
    assert "Something about the orgs of 1 connection is in progress" in page.text
    assert str(unsent.pk) not in page.html


@pytest.mark.django_db
def test_a_row_isn_t_sent_after_an_access_request_that_was_sent_in_the_meantime(
    ada: Person,
    linus: Person,
    unsent: AccessRequest,
    credential: Credential,
    listed_pair: OrgPair,
    sandbox: SandboxServer,
):
    batch = request_bulk_deletion(credential, listed_pair, by=ada)
    execute(approve(batch, linus), ada)
    # As if it had been confirmed first, and its claim came between.
    AccessRequest.objects.update(epoch=1)
    running.run_due(actor=WORKER)
    deletion = Deletion.objects.get()
    assert (deletion.outcome, deletion.cause) == (Outcome.NOT_SENT, Cause.ACCESS_REQUEST_CONFIRMED)
    assert not sandbox.world.requests(method="DELETE")


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
def test_a_bulk_deletion_is_requested_beside_what_was_not_sent_or_is_refused_as_a_whole(
    ada: Person, mixed: tuple[list[str], dict[str, AccessRequest]], with_unknown: bool
):
    connections, requests = mixed
    before = {name: (each.state, each.outcome) for name, each in requests.items()}
    if with_unknown:
        with pytest.raises(ConflictError, match="is open"):
            request(draft(ada, connections), ada)
        assert not Deletion.objects.exists()
    else:
        del connections[list(requests).index("unknown")]
        request(draft(ada, connections), ada)
        assert Deletion.objects.filter(state=State.REQUESTED).count() == len(connections)
    for each in requests.values():
        each.refresh_from_db()
    assert {name: (each.state, each.outcome) for name, each in requests.items()} == before


@pytest.mark.django_db
@pytest.mark.parametrize("act", [request_deletion, request_bulk_deletion])
def test_no_deletion_is_requested_while_an_access_request_might_have_been_sent(
    ada: Person,
    change: RequestAccess,
    credential: Credential,
    listed_pair: OrgPair,
    act: Callable[..., object],
):
    unknown = change(EXECUTES_THEN_500)
    assert unknown.state == State.UNKNOWN
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    with pytest.raises(ConflictError, match="Nothing was sent"):
        act(credential, listed_pair, by=ada)
    assert not Deletion.objects.exists()
    unknown.refresh_from_db()
    assert unknown.state == State.UNKNOWN


@pytest.mark.django_db
def test_no_access_is_requested_while_a_deletion_is_open(
    ada: Person, change: RequestAccess, credential: Credential, listed_pair: OrgPair
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    credential.refresh_from_db()
    request_deletion(credential, listed_pair, by=ada)
    with pytest.raises(ConflictError, match="Nothing was sent"):
        change()
    assert not AccessRequest.objects.exists()


@pytest.mark.django_db
def test_a_deletion_whose_orgs_are_unknown_has_no_pair():
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
def test_of_two_confirmations_at_the_same_moment_one_wins(
    ada: Person,
    linus: Person,
    change: RequestAccess,
    credential: Credential,
    listed_pair: OrgPair,
    monkeypatch: pytest.MonkeyPatch,
):
    access_request = change()
    deletion = request_deletion(credential, listed_pair, by=ada)
    for each in (access_request, deletion):
        approve_one(each, by=linus)
    threads = in_the_middle(
        monkeypatch, exclusion, "lock_source_orgs", lambda: confirm(access_request, by=ada)
    )
    confirm(deletion, by=ada)
    threads[0].join()
    access_request.refresh_from_db()
    deletion.refresh_from_db()
    assert (deletion.outcome, access_request.outcome) == (Outcome.DELETED, AccessOutcome.STALE)


@pytest.mark.usefixtures("_postgresql")
@pytest.mark.django_db(transaction=True)
def test_access_requested_at_the_same_moment_as_a_deletion_is_refused(
    ada: Person,
    change: RequestAccess,
    credential: Credential,
    listed_pair: OrgPair,
    monkeypatch: pytest.MonkeyPatch,
):
    threads = in_the_middle(monkeypatch, exclusion, "lock_excluded", change)
    request_deletion(credential, listed_pair, by=ada)
    threads[0].join()
    assert Deletion.objects.get().state == State.REQUESTED
    assert not AccessRequest.objects.exists()

"""Access lists: who can see, use and approve with a credential, on pages and in services."""

from collections.abc import Callable
from uuid import UUID

import pytest
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.test import Client

from connections.access import permissions, visibility
from connections.access.actor import WORKER, Actor, person_actor
from connections.change_requests import approvals, failpoints, lifecycle
from connections.core import clock
from connections.core.causes import Cause
from connections.core.errors import BlockedError, InvalidInputError
from connections.credentials import access_lists
from connections.deletions import history
from connections.deletions.history import HistoryFilter
from connections.models import (
    AccessKind,
    ApprovalPolicy,
    AuditEvent,
    Credential,
    CredentialAccess,
    Deletion,
    Outcome,
    Person,
    State,
)
from connections.notification_queue.outbox import Audience, people_to_notify
from connections.operations import due
from sandbox.faults import rate_limited
from sandbox.server import SandboxServer
from tests.flows.support import Requester, read, store_credential
from tests.management.test_delete_org_connection import run
from tests.support.clock import SettableClock
from tests.support.deletions import request_deletion
from tests.support.people import make_person
from tests.support.sandbox import connection_between

pytestmark = pytest.mark.django_db

ClientOf = Callable[[Person], Client]


@pytest.fixture
def credential(sandbox: SandboxServer, db: None, clock: SettableClock) -> Credential:
    stored = store_credential(sandbox, "Payments US")
    clock.advance(seconds=1)
    return stored


@pytest.fixture
def wanted(sandbox: SandboxServer) -> UUID:
    return UUID(connection_between(sandbox.world, "Payments US", "Group SOC").id)


def fresh(person: Person) -> Actor:
    """The person as the next request loads them."""
    return person_actor(person=Person.objects.get(pk=person.pk))


def allow(credential: Credential, root: Person, **wanted: list[str]) -> None:
    access_lists.change_access(
        actor=fresh(root),
        credential=credential,
        wanted={kind: wanted.get(kind.value, []) for kind in AccessKind},
    )


def person(someone: Person) -> str:
    return f"person:{someone.pk}"


def request_under_policy_one(credential: Credential, wanted: UUID, *, by: Person) -> Deletion:
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    credential.refresh_from_db()
    return request_deletion(credential=credential, connection_id=wanted, actor=fresh(by))


def test_an_empty_list_admits_everyone_with_the_role(
    credential: Credential, wanted: UUID, ada: Person, root: Person
):
    allow(credential, root, see=[person(ada)])
    allow(credential, root)
    assert not CredentialAccess.objects.exists()
    assert (
        request_deletion(credential=credential, connection_id=wanted, actor=fresh(ada)).outcome
        == Outcome.DELETED
    )


def test_seeing_a_credential_does_not_allow_deleting_with_it(
    credential: Credential,
    wanted: UUID,
    ada: Person,
    grace: Person,
    root: Person,
    client_of: ClientOf,
):
    allow(credential, root, use=[person(ada)])
    with pytest.raises(PermissionDenied):
        request_deletion(credential=credential, connection_id=wanted, actor=fresh(grace))
    client = client_of(grace)
    query = {"credential": str(credential.pk), "connection_id": str(wanted)}
    assert client.get(f"/credentials/{credential.pk}/").status_code == 200
    assert client.get("/deletions/new/", query).status_code == 403
    assert client.post("/deletions/new/", query).status_code == 403
    assert "Delete…" not in read(client.get("/connections/")).text
    assert "Delete…" not in read(client.get(f"/connections/{credential.site}/{wanted}/")).text
    assert (
        request_deletion(credential=credential, connection_id=wanted, actor=fresh(ada)).outcome
        == Outcome.DELETED
    )


def test_an_access_list_grants_nothing_beyond_the_role(
    credential: Credential, wanted: UUID, victor: Person, root: Person
):
    allow(credential, root, use=[person(victor)])
    with pytest.raises(PermissionDenied):
        request_deletion(credential=credential, connection_id=wanted, actor=fresh(victor))


def test_an_administrator_cannot_use_a_credential_whose_list_names_only_others(
    credential: Credential, wanted: UUID, ada: Person, root: Person
):
    allow(credential, root, use=[person(ada)])
    with pytest.raises(PermissionDenied):
        request_deletion(credential=credential, connection_id=wanted, actor=fresh(root))


@pytest.mark.parametrize("kind", ["see", "use"])
def test_leaving_the_list_before_the_worker_sends_stops_the_deletion(
    credential: Credential,
    wanted: UUID,
    ada: Person,
    grace: Person,
    root: Person,
    sandbox: SandboxServer,
    clock: SettableClock,
    kind: str,
):
    sandbox.world.set_fault(fault=rate_limited(reset="1"), connection_id=str(wanted))
    deletion = request_deletion(credential=credential, connection_id=wanted, actor=fresh(ada))
    assert deletion.state == State.WAITING
    allow(credential, root, **{kind: [person(grace)]})
    clock.advance(seconds=2)
    due.run_due(actor=WORKER)
    deletion.refresh_from_db()
    assert (deletion.outcome, deletion.cause) == (Outcome.NOT_SENT, Cause.PERSON_LOST_RIGHT)
    assert sandbox.world.deletes_received(str(wanted)) == 1


@pytest.mark.database
def test_leaving_the_list_during_the_pre_send_check_stops_the_deletion(
    credential: Credential,
    wanted: UUID,
    ada: Person,
    linus: Person,
    grace: Person,
    root: Person,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
):
    deletion = request_under_policy_one(credential, wanted, by=ada)
    approvals.approve(change_request=deletion, actor=fresh(linus), digest=deletion.approval_digest)

    def leave(point: failpoints.Point, **_: object) -> None:
        if point == failpoints.Point.BEFORE_CLAIM:
            allow(credential, root, use=[person(grace)])

    monkeypatch.setattr(failpoints, "hit", leave)
    with pytest.raises(BlockedError):
        lifecycle.execute(change_request=deletion, actor=fresh(ada), confirmation="Payments US")
    assert sandbox.world.deletes_received(str(wanted)) == 0


def test_an_unlisted_approver_can_neither_approve_nor_decline(
    credential: Credential,
    wanted: UUID,
    ada: Person,
    linus: Person,
    root: Person,
    client_of: ClientOf,
):
    second = make_person("barbara", *linus.roles)
    deletion = request_under_policy_one(credential, wanted, by=ada)
    allow(credential, root, approve=[person(second)])
    with pytest.raises(PermissionDenied):
        approvals.approve(
            change_request=deletion, actor=fresh(linus), digest=deletion.approval_digest
        )
    with pytest.raises(PermissionDenied):
        approvals.decline(change_request=deletion, actor=fresh(linus), reason="no")
    page = read(client_of(linus).get(f"/deletions/{deletion.pk}/"))
    assert not page.has_form_to("/approve/")
    assert approvals.names_of_possible_approvers(change_request=deletion, now=clock.now()) == [
        "Barbara"
    ]
    approvals.approve(change_request=deletion, actor=fresh(second), digest=deletion.approval_digest)
    assert deletion.state == State.APPROVED


def test_an_approval_by_a_person_who_left_the_list_no_longer_counts(
    credential: Credential,
    wanted: UUID,
    ada: Person,
    linus: Person,
    root: Person,
    sandbox: SandboxServer,
):
    deletion = request_under_policy_one(credential, wanted, by=ada)
    approvals.approve(change_request=deletion, actor=fresh(linus), digest=deletion.approval_digest)
    allow(credential, root, approve=[person(root)])
    with pytest.raises(BlockedError):
        lifecycle.execute(change_request=deletion, actor=fresh(ada), confirmation="Payments US")
    assert sandbox.world.deletes_received(str(wanted)) == 0


def test_the_command_deletes_only_for_listed_people(
    credential: Credential, wanted: UUID, ada: Person, grace: Person, root: Person
):
    allow(credential, root, use=[person(ada)])
    assert run(str(wanted), "--yes", "--as", grace.username).code == 1
    assert run(str(wanted), "--yes", "--as", ada.username).code == 0


def test_people_on_the_use_list_can_also_see_the_credential(
    credential: Credential, ada: Person, grace: Person, linus: Person, root: Person
):
    allow(credential, root, see=[person(grace)], use=[person(ada)], approve=[person(linus)])
    for someone in (ada, grace, linus):
        assert fresh(someone).person.visibility.hidden == frozenset()  # type: ignore[union-attr]
    assert fresh(make_person("barbara", *ada.roles)).person.visibility.hidden == {credential.pk}  # type: ignore[union-attr]


# --- Changing the lists ---------------------------------------------------------------------


@pytest.mark.database
def test_the_page_stores_the_selection_and_the_audit_log_records_before_and_after(
    credential: Credential, ada: Person, linus: Person, root: Person, client_of: ClientOf
):
    assert linus.groups.get().name == "Approver"
    client = client_of(root)
    url = f"/credentials/{credential.pk}/access/"
    ticked = {"see": ["role:Operator", person(ada)], "approve": ["role:Approver"]}
    response = client.post(url, ticked)
    assert response.status_code == 303
    event = AuditEvent.objects.get(code="credential.access_changed")
    assert event.details["before"] == {"see": [], "use": [], "approve": []}
    assert event.details["after"] == {
        "see": ["role:Operator", person(ada)],
        "use": [],
        "approve": ["role:Approver"],
    }
    page = read(client.get(url))
    assert page.html.count(" checked") == 3
    assert "Operator, Ada" in read(client.get(response["Location"])).text


def test_saving_the_same_lists_again_records_no_event(
    credential: Credential, ada: Person, root: Person
):
    allow(credential, root, see=[person(ada)])
    allow(credential, root, see=[person(ada)])
    assert AuditEvent.objects.filter(code="credential.access_changed").count() == 1


@pytest.mark.parametrize("entry", ["role:King", "person:x", f"person:{UUID(int=1)}", "group:1"])
def test_an_entry_that_names_no_one_is_refused(
    credential: Credential, root: Person, client_of: ClientOf, entry: str
):
    response = client_of(root).post(f"/credentials/{credential.pk}/access/", {"see": [entry]})
    assert response.status_code == 422
    with pytest.raises(InvalidInputError, match=f"There is no {entry}"):
        allow(credential, root, see=[entry])
    assert not CredentialAccess.objects.exists()


def test_it_warns_when_no_one_could_use_it_or_approve(
    credential: Credential, victor: Person, ada: Person, root: Person, client_of: ClientOf
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    allow(credential, root, use=[person(victor)], approve=[person(victor)])
    page = read(client_of(root).get(f"/credentials/{credential.pk}/"))
    assert "No one can request deletions" in page.text
    assert "0 active approvers, but 1 approval needed." in page.text


@pytest.mark.database
@pytest.mark.parametrize("filled", ["both", "neither"])
def test_the_database_requires_one_group_or_one_person_per_entry(
    credential: Credential, ada: Person, filled: str
):
    group = ada.groups.get()
    values = {"group": group, "person": ada} if filled == "both" else {}
    with pytest.raises(IntegrityError), transaction.atomic():
        CredentialAccess.objects.create(credential=credential, kind=AccessKind.SEE, **values)


@pytest.mark.database
@pytest.mark.parametrize("most_parts", [32, 0])
def test_both_history_queries_return_the_same_rows(
    credential: Credential,
    ada: Person,
    grace: Person,
    root: Person,
    sandbox: SandboxServer,
    wanted: UUID,
    monkeypatch: pytest.MonkeyPatch,
    client_of: ClientOf,
    most_parts: int,
):
    hidden = store_credential(sandbox, "Labs EU")
    other = connection_between(sandbox.world, "Labs EU", "Data Lake EU")
    request_deletion(credential=credential, connection_id=wanted, actor=fresh(ada), reason="x")
    Requester(client=client_of(ada), credential=hidden, connection=other).delete()
    allow(hidden, root, see=[person(ada)])
    monkeypatch.setattr(visibility, "MAX_QUERIES", most_parts)
    org = f"{credential.site}/{credential.org_id}"
    for filters in (HistoryFilter(), HistoryFilter(org=(org,)), HistoryFilter(text="x")):
        page = history.history_page(actor=fresh(grace), filters=filters)
        assert [deletion.connection_id for deletion in page.deletions] == [wanted]
        assert page.count == 1


def test_it_requires_an_identity_check_and_keeps_the_selection(
    credential: Credential, root: Person, client_of: ClientOf, clock: SettableClock
):
    client = client_of(root)
    url = f"/credentials/{credential.pk}/access/"
    clock.advance(minutes=6)
    assert client.get(url).status_code == 302
    page = read(client.post(url, {"see": ["role:Operator"]}))
    assert page.status == 422
    assert page.html.count(" checked") == 1
    assert not CredentialAccess.objects.exists()


@pytest.mark.database
def test_no_one_is_notified_of_a_deletion_that_they_cannot_see(
    credential: Credential, wanted: UUID, ada: Person, linus: Person, edith: Person, root: Person
):
    deletion = request_deletion(credential=credential, connection_id=wanted, actor=fresh(ada))
    audiences = [Audience.INVOLVED, Audience.APPROVERS, Audience.AUDITORS, Audience.ADMINISTRATORS]
    assert set(people_to_notify(audiences, subject=deletion)) == {ada, linus, edith, root}
    allow(credential, root, see=[person(ada)])
    assert set(people_to_notify(audiences, subject=deletion)) == {ada, edith, root}


@pytest.mark.database
def test_both_permission_queries_return_the_same_people(
    credential: Credential,
    ada: Person,
    grace: Person,
    victor: Person,
    linus: Person,
    edith: Person,
    root: Person,
):
    # Grace may approve, and only Ada may delete.
    lists = {"see": [person(ada)], "use": [person(ada)]}
    allow(credential, root, **lists, approve=["role:Approver", person(grace)])
    seen_by = set(permissions.people_who_can_see(credential_id=credential.pk))
    assert seen_by == {ada, grace, linus, edith, root}
    used_by = set(permissions.people_who_can_use(credential_id=credential.pk))
    assert used_by == {ada}
    for someone in (ada, grace, victor, linus, edith, root):
        actor = fresh(someone)
        assert actor.person
        assert (someone in seen_by) == (credential.pk not in actor.person.visibility.hidden)
        assert (someone in used_by) == permissions.can_use(actor, credential_id=credential.pk)

"""What people learn of access requests, deletions and connections that access lists hide."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from connections.access.actor import person_actor
from connections.core.errors import ConflictError
from connections.credentials import access_lists
from connections.models import (
    AccessKind,
    ApprovalPolicy,
    Credential,
    Deletion,
    OrgPair,
    Person,
    Role,
)
from sandbox.server import SandboxServer
from tests.access_requests.conftest import RequestAccess
from tests.access_requests.test_exclusion import request_deletion
from tests.access_requests.test_requesters import request_change
from tests.flows.support import store_credential
from tests.support.people import make_person
from tests.support.sandbox import org_named

pytestmark = pytest.mark.django_db

type ClientOf = Callable[[Person], Client]
IN_PROGRESS = "Something about these orgs is in progress"
NEW = "/access-requests/new/"


def hide(credential: Credential, root: Person, *, people: list[Person]) -> None:
    """Only these people, auditors and administrators see it from now on."""
    access_lists.change_access(
        actor=person_actor(person=root),
        credential=credential,
        wanted={
            kind: [f"person:{each.pk}" for each in people] if kind == AccessKind.SEE else []
            for kind in AccessKind
        },
    )


@pytest.fixture
def dana(db: None) -> Person:
    """An Operator and Approver from whom something is hidden."""
    return make_person("dana", Role.OPERATOR, Role.APPROVER)


@pytest.fixture
def twin(
    credential: Credential, ada: Person, linus: Person, root: Person, sandbox: SandboxServer
) -> Credential:
    """Another credential of Payments US, which everyone sees. The first one is hidden from Dana."""
    pair = sandbox.world.add_key_pair(org=org_named(sandbox.world, "Payments US"))
    stored = store_credential(sandbox, "Payments US", name="Twin", pair=pair)
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    stored.refresh_from_db()
    hide(credential, root, people=[ada, linus])
    credential.refresh_from_db()
    return stored


def confirmation_page(credential: Credential, pair: OrgPair) -> str:
    snapshot = credential.snapshots.get(is_current=True, **pair._asdict())
    query = {"credential": credential.pk, "connection_id": snapshot.connection_id}
    return reverse("deletion-confirm", query=query)


def test_who_deletes_sees_the_access_request_that_it_ends(
    ada: Person,
    linus: Person,
    dana: Person,
    credential: Credential,
    twin: Credential,
    change: RequestAccess,
    listed_pair: OrgPair,
    client_of: ClientOf,
) -> None:
    access_request = change()
    assert access_request.credential == credential
    url = f'"/access-requests/{access_request.pk}/"'
    seen = client_of(ada).get(confirmation_page(twin, listed_pair)).text
    assert (url in seen, "Whichever is confirmed first ends the other." in seen) == (True, True)
    hidden = client_of(dana).get(confirmation_page(twin, listed_pair)).text
    assert (url in hidden, IN_PROGRESS in hidden) == (False, True)
    deletion = request_deletion(twin, listed_pair, by=dana)
    approver = client_of(linus).get(f"/deletions/{deletion.pk}/").text
    assert (url in approver, IN_PROGRESS in approver) == (True, False)
    requester = client_of(dana).get(f"/deletions/{deletion.pk}/").text
    assert (url in requester, IN_PROGRESS in requester) == (False, True)
    # The other way round, whoever confirms the access sees the deletion.
    assert f'"/deletions/{deletion.pk}/"' in client_of(ada).get(url.strip('"')).text


def test_of_what_is_hidden_only_one_neutral_sentence_says_that_it_is_open(
    ada: Person,
    dana: Person,
    credential: Credential,
    twin: Credential,
    change: RequestAccess,
    listed_pair: OrgPair,
    client_of: ClientOf,
) -> None:
    client, query = (
        client_of(dana),
        {
            "kind": "change",
            "source": f"{listed_pair.site}/{listed_pair.source_org_id}",
            "destination": f"{listed_pair.site}/{listed_pair.sink_org_id}",
        },
    )
    change()
    page = client.get(NEW, query).text
    assert (IN_PROGRESS in page, "access request for these orgs" in page) == (True, False)
    with pytest.raises(ConflictError, match=IN_PROGRESS):
        request_change(listed_pair, by=dana)


def test_a_hidden_deletion_of_a_visible_connection_is_only_in_progress(
    ada: Person,
    dana: Person,
    credential: Credential,
    twin: Credential,
    listed_pair: OrgPair,
    client_of: ClientOf,
) -> None:
    hidden = request_deletion(credential, listed_pair, by=ada)
    page = client_of(dana).get(confirmation_page(twin, listed_pair)).text
    assert (IN_PROGRESS in page, str(hidden.pk) in page) == (True, False)
    with pytest.raises(ConflictError, match=IN_PROGRESS):
        request_deletion(twin, listed_pair, by=dana)
    with pytest.raises(ConflictError, match=IN_PROGRESS):
        request_change(listed_pair, by=dana)
    assert Deletion.objects.get() == hidden

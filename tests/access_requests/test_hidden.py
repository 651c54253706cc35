"""What people learn of access requests, deletions and connections that access lists hide."""

import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from connections import audit
from connections.access.actor import WORKER, person_actor
from connections.core.errors import ConflictError
from connections.credentials import access_lists
from connections.inventory import syncs
from connections.models import (
    AccessKind,
    AccessOutcome,
    AccessRequest,
    ApprovalPolicy,
    Credential,
    Deletion,
    OrgPair,
    Person,
    Role,
)
from connections.notifications.messages import _event_message
from sandbox import faults
from sandbox.server import SandboxServer
from tests.access_requests.conftest import RequestAccess
from tests.access_requests.test_exclusion import request_deletion
from tests.access_requests.test_requesters import WANTED, request_change
from tests.agreements.support import agree
from tests.flows.support import store_credential
from tests.support.access_requests import request_for
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
):
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
):
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
):
    hidden = request_deletion(credential, listed_pair, by=ada)
    page = client_of(dana).get(confirmation_page(twin, listed_pair)).text
    assert (IN_PROGRESS in page, str(hidden.pk) in page) == (True, False)
    with pytest.raises(ConflictError, match=IN_PROGRESS):
        request_deletion(twin, listed_pair, by=dana)
    with pytest.raises(ConflictError, match=IN_PROGRESS):
        request_change(listed_pair, by=dana)
    assert Deletion.objects.get() == hidden


@pytest.fixture
def new_pair(twin: Credential, sandbox: SandboxServer) -> OrgPair:
    """Two orgs that Dana sees, of which no credential that she sees ever listed a connection."""
    source = org_named(sandbox.world, "Payments US")
    third = sandbox.world.add_org(name="Third", site=source.site)
    sandbox.world.add_connection(source_org=third, sink_org=source)
    syncs.sync_credentials(credentials=[twin], actor=WORKER)
    return OrgPair(source.site.name, source.id, third.id)


def query_of(pair: OrgPair) -> dict[str, str]:
    return {
        "kind": "create",
        "source": f"{pair.site}/{pair.source_org_id}",
        "destination": f"{pair.site}/{pair.sink_org_id}",
    }


def form_of(client: Client, pair: OrgPair) -> dict[str, Any]:
    """The form that requests access, filled in."""
    page = client.get(NEW, query_of(pair))
    assert page.status_code == 200
    typed = {
        "connection_types": ["logs"],
        "owner_text": "SOC team",
        "purpose": "alerts",
        "reason": "on call",
        "confirmation": "Third",
    }
    hidden = {name: page.context["form"][name].value() for name in ("request_id", "credential")}
    return query_of(pair) | hidden | typed | {"digest": page.context["digest"]}


def test_who_does_not_see_everything_requests_a_new_pair_of_orgs_that_they_see(
    dana: Person, new_pair: OrgPair, client_of: ClientOf
):
    Credential.objects.update(policy=ApprovalPolicy.NONE)
    client = client_of(dana)
    assert client.post(NEW, form_of(client, new_pair)).status_code == 303
    assert AccessRequest.objects.get().outcome == AccessOutcome.CREATED
    # An org that she doesn't know is still not found.
    unknown = new_pair._replace(sink_org_id=str(uuid4()))
    assert client.get(NEW, query_of(unknown)).status_code == 404


def test_the_agreement_of_a_hidden_connection_fills_in_no_form_and_no_record(
    dana: Person, root: Person, new_pair: OrgPair, client_of: ClientOf
):
    agree(
        new_pair,
        actor=person_actor(person=root),
        owner_text="secret team",
        purpose="secret purpose",
        connection_types=["logs"],
    )
    assert "secret" not in client_of(dana).get(NEW, query_of(new_pair)).text
    assert "secret team" in client_of(root).get(NEW, query_of(new_pair)).text
    requested = request_for(actor=person_actor(person=dana), pair=new_pair, wanted=WANTED)
    url = f"/access-requests/{requested.pk}/"
    assert "secret" not in client_of(dana).get(url).text
    assert "secret team" in client_of(root).get(url).text


@pytest.mark.parametrize("is_agreed", [True, False])
def test_who_does_not_see_everything_is_told_what_they_see_of_a_new_pair(
    dana: Person, root: Person, new_pair: OrgPair, client_of: ClientOf, is_agreed: bool
):
    if is_agreed:
        agree(new_pair, actor=person_actor(person=root), connection_types=["logs"])
    query = query_of(new_pair) | {"connection_types": "logs"}
    seen = "You see no connection and no agreement of these orgs."
    page = client_of(dana).get(NEW, query).text
    assert (seen in page, "nothing is agreed" in page) == (True, False)
    page = client_of(root).get(NEW, query).text
    assert (seen in page, "nothing is agreed" in page) == (False, not is_agreed)


def test_a_form_without_an_owner_takes_over_none_that_is_hidden(
    dana: Person, grace: Person, root: Person, new_pair: OrgPair, client_of: ClientOf
):
    agree(new_pair, actor=person_actor(person=root), owner=grace, connection_types=["logs"])
    # The fields of the owner are folded, so the browser doesn't send them.
    left_out = {"owner", "owner_text", "owner_kind"}
    fields = form_of(client_of(dana), new_pair).items()
    client_of(dana).post(NEW, {name: value for name, value in fields if name not in left_out})
    requested = AccessRequest.objects.get()
    assert (requested.owner, requested.owner_text) == (dana, "")


@pytest.fixture(params=[faults.RETURNS_409, faults.RETURNS_403], ids=["exists", "refused"])
def ended(
    request: pytest.FixtureRequest,
    dana: Person,
    new_pair: OrgPair,
    sandbox: SandboxServer,
    settings: Settings,
) -> AccessRequest:
    """Dana's request, which gave nothing: because of a hidden connection, or not."""
    settings.HAS_MAIL = True
    Credential.objects.update(policy=ApprovalPolicy.NONE)
    sandbox.world.set_fault(fault=request.param, method="POST")
    request_for(actor=person_actor(person=dana), pair=new_pair, wanted=WANTED)
    return AccessRequest.objects.get()


# What only the page of a request that was sent, or that ended for one reason, would say.
TELLING = re.compile(
    r"already|\b(?:409|403)\b|refused|denied|conflict|sending the|attempt 1|outdated|failed",
    re.IGNORECASE,
)


def main_of(html: str) -> str:
    """What is particular to a page."""
    return html[html.index("<main") : html.index("</main")]


def test_whether_a_hidden_connection_was_the_reason_shows_nowhere(
    ended: AccessRequest, new_pair: OrgPair, dana: Person, ada: Person, client_of: ClientOf
):
    client, url = client_of(dana), f"/access-requests/{ended.pk}/"
    page = main_of(client.get(url).text)
    assert "<strong>Not sent.</strong> Ask Ada why." in page
    assert 'data-outcome="not_sent"' in page
    listed = client.get("/access-requests/").text.partition("<tbody")[2].partition("</tbody")[0]
    found = main_of(client.get("/search/?q=Third").text)
    new = main_of(client.get(NEW, query_of(new_pair)).text)
    earlier = new[new.index("What happens") :]
    export = b"".join(client.get("/access-requests/export/?format=json")).decode()
    for text in (page, listed, found, earlier, export):
        assert text
        assert TELLING.findall(text) == []
    # Nor does a filter find it by how it ended.
    found_by = {
        status: str(ended.pk) in client.get(f"/access-requests/?status={status}").text
        for status in (ended.outcome, "not_sent", "stale")
    }
    assert found_by == {ended.outcome: False, "not_sent": True, "stale": False}
    seen = client_of(ada).get(url).text
    assert f'data-outcome="{ended.outcome}"' in seen


def test_a_message_about_it_says_no_more(ended: AccessRequest, dana: Person, ada: Person):
    event = audit.events_of(subject=ended)[-1]
    assert event.code == "access_request.settled"
    hidden, seen = (_event_message(event.seq, reader=reader) for reader in (dana, ada))
    assert hidden.sentence == "Payments US → Third: Not sent. Ask Ada why."
    assert hidden.title == "Access request: not sent"
    assert TELLING.findall(f"{hidden.reason} {hidden.data}") == []
    assert seen.sentence == event.sentence


def test_once_she_sees_the_connection_she_reads_how_it_ended(
    ended: AccessRequest,
    twin: Credential,
    dana: Person,
    sandbox: SandboxServer,
    client_of: ClientOf,
):
    world = sandbox.world
    world.add_connection(
        source_org=org_named(world, "Payments US"), sink_org=org_named(world, "Third")
    )
    syncs.sync_credentials(credentials=[twin], actor=WORKER)
    page = client_of(dana).get(f"/access-requests/{ended.pk}/").text
    assert f'data-outcome="{ended.outcome}"' in page

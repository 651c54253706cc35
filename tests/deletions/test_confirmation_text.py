"""The text a person types to confirm: it identifies one connection among those they see."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from connections.access.actor import Actor, command_actor, person_actor
from connections.change_requests import lifecycle
from connections.change_requests.approvals import approve
from connections.core.errors import InvalidInputError
from connections.deletions import confirmations
from connections.models import (
    AccessKind,
    ApprovalPolicy,
    Credential,
    CredentialAccess,
    Deletion,
    OrgConnectionSnapshot,
    Person,
)
from sandbox.server import SandboxServer
from tests.flows.conftest import requester
from tests.flows.support import Requester, store_credential
from tests.support.people import make_person
from tests.support.sandbox import EU, US, connection_between, org_named

# A fixture of another directory.
__all__ = ["requester"]
pytestmark = pytest.mark.django_db

WANTED = UUID("6e5f0d2c-0d1a-4c5e-9c3a-00005e529f07")
END_OF_ID = "5e529f07"


@pytest.fixture
def credential(sandbox: SandboxServer) -> Credential:
    """A credential without snapshots."""
    return store_credential(sandbox, "Payments US", is_read=False)


def snapshot(credential: Credential, **fields: Any) -> OrgConnectionSnapshot:
    """A connection from Payments (p) to Group SOC (s), with other fields."""
    now = timezone.now()
    values: dict[str, Any] = {
        "site": US,
        "connection_id": uuid4(),
        "source_org_id": "p",
        "source_org_name": "Payments",
        "sink_org_id": "s",
        "sink_org_name": "Group SOC",
        "first_seen_at": now,
        "last_seen_at": now,
    }
    return OrgConnectionSnapshot.objects.create(credential=credential, **(values | fields))


def text(listed: OrgConnectionSnapshot | None, actor: Actor | None = None) -> str:
    return confirmations.text_to_type(
        actor=actor or command_actor(), site=US, connection_id=WANTED, listed=listed
    )


@pytest.fixture
def wanted(credential: Credential) -> OrgConnectionSnapshot:
    """The connection to delete."""
    return snapshot(credential, connection_id=WANTED)


def test_the_only_connection_of_its_source_is_named_by_the_source(wanted: OrgConnectionSnapshot):
    assert text(wanted) == "Payments"


def test_one_of_several_connections_of_its_source_is_named_by_the_destination(
    credential: Credential, wanted: OrgConnectionSnapshot
):
    snapshot(credential, sink_org_id="d", sink_org_name="Data Lake")
    assert text(wanted) == "Group SOC"


@pytest.mark.parametrize("name", ["Group SOC", "group  soc", "Ｇroup SOC"])
@pytest.mark.parametrize("sink_org_id", ["s", "another"])
def test_the_id_is_typed_if_two_destinations_share_a_name(
    credential: Credential, wanted: OrgConnectionSnapshot, sink_org_id: str, name: str
):
    snapshot(credential, sink_org_id="d", sink_org_name="Data Lake")
    snapshot(credential, sink_org_id=sink_org_id, sink_org_name=name)
    assert text(wanted) == END_OF_ID


@pytest.mark.parametrize(
    "other",
    [
        {"site": EU},
        {"source_org_id": "another org of the same name"},
        {"source_org_id": "s", "sink_org_id": "p"},
        {"is_current": False},
        {"connection_id": WANTED, "is_current": False},
    ],
    ids=["another site", "another org", "incoming", "not listed any more", "itself, earlier"],
)
def test_what_does_not_count_as_another_connection_of_the_same_source(
    credential: Credential, wanted: OrgConnectionSnapshot, other: dict[str, Any]
):
    snapshot(credential, **{"sink_org_name": "Data Lake"} | other)
    assert text(wanted) == "Payments"


def test_a_connection_that_both_sides_list_is_one(
    sandbox: SandboxServer, wanted: OrgConnectionSnapshot
):
    other_side = store_credential(sandbox, "Group SOC", is_read=False)
    snapshot(other_side, connection_id=WANTED)
    assert text(wanted) == "Payments"


def test_a_retired_credential_shows_no_connections(
    sandbox: SandboxServer, wanted: OrgConnectionSnapshot
):
    retired = store_credential(sandbox, "Group SOC", is_read=False)
    snapshot(retired, sink_org_name="Data Lake")
    Credential.objects.filter(pk=retired.pk).update(retired_at=timezone.now())
    assert text(wanted) == "Payments"


def test_connections_are_counted_as_the_person_sees_them(
    sandbox: SandboxServer, wanted: OrgConnectionSnapshot, ada: Person
):
    hidden = store_credential(sandbox, "Group SOC", is_read=False)
    snapshot(hidden, sink_org_name="Data Lake")
    CredentialAccess.objects.create(
        credential=hidden, kind=AccessKind.SEE, person=make_person("grace")
    )
    assert text(wanted, person_actor(person=Person.objects.get(pk=ada.pk))) == "Payments"
    assert text(wanted, command_actor()) == "Group SOC"


@pytest.mark.parametrize(
    "name", ["", "   ", "x" * 61, "Pay\u202ements", "Pay\x07ments", "\u3164", "Pay\ufe0fments"]
)
def test_a_name_that_cannot_be_typed_is_replaced_by_the_id(credential: Credential, name: str):
    wanted = snapshot(credential, connection_id=WANTED, source_org_name=name)
    assert text(wanted) == END_OF_ID
    snapshot(credential, sink_org_name="Data Lake")
    assert text(wanted) == "Group SOC"
    wanted.sink_org_name = name
    assert text(wanted) == END_OF_ID


def test_without_a_listing_the_id_is_typed(credential: Credential):
    assert text(None) == END_OF_ID


@pytest.fixture
def requester_with_two_connections(requester: Requester, sandbox: SandboxServer) -> Requester:
    """Payments US also shares data with Labs US, and is synced."""
    world = sandbox.world
    payments, soc = (org_named(world, name) for name in ("Payments US", "Group SOC"))
    existing = connection_between(world, "Payments US", "Group SOC")
    world.add_connection(
        source_org=payments,
        sink_org=world.add_org(name="Labs US", site=soc.site.name),
        connection_types=("logs",),
        created_by=existing.created_by,
        created_at=existing.created_at,
    )
    requester.client.post("/connections/refresh/")
    return requester


def test_the_confirmation_page_and_the_request_require_the_same_text(
    requester_with_two_connections: Requester,
):
    form = requester_with_two_connections.confirmation_page().form_to("/deletions/new/")
    assert form.attributes["data-confirm"] == "Group SOC"

    refused = requester_with_two_connections.delete(confirmation="Payments US")
    assert refused.status == 422
    assert "Type Group SOC." in refused.text
    assert refused.form_to("/deletions/new/").attributes["data-confirm"] == "Group SOC"
    assert not Deletion.objects.exists()

    assert (
        requester_with_two_connections.delete(confirmation="group soc").outcome["data-outcome"]
        == "deleted"
    )


def test_the_confirmation_after_approval_requires_it_too(
    requester_with_two_connections: Requester, linus: Person, ada: Person
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    page = requester_with_two_connections.delete()
    deletion = Deletion.objects.get()
    approver = person_actor(person=linus)
    approve(change_request=deletion, actor=approver, digest=deletion.approval_digest)

    page = requester_with_two_connections.open(f"/deletions/{deletion.pk}/")
    assert page.form_to("/execute/").attributes["data-confirm"] == "Group SOC"
    actor = person_actor(person=ada)
    with pytest.raises(InvalidInputError, match="Type Group SOC"):
        lifecycle.execute(change_request=deletion, actor=actor, confirmation="Payments US")
    sent = requester_with_two_connections.press(page, "/execute/", confirmation="Group SOC")
    assert sent.outcome["data-outcome"] == "deleted"

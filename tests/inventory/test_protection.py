"""Protecting and unprotecting a connection on the pages."""

import csv
import io
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from django.test import Client

from connections.access.actor import person_actor
from connections.inventory import protections
from connections.models import (
    AuditEvent,
    Deletion,
    OrgConnectionKey,
    Person,
    Protection,
    ProtectionRemoval,
)
from sandbox.entities import Connection
from sandbox.server import SandboxServer
from tests.flows.support import HTMX, Page, Requester, read, store_credential
from tests.inventory.support import rows_in
from tests.management.test_delete_org_connection import run
from tests.support.clock import SettableClock
from tests.support.sandbox import connection_between

ClientOf = Callable[[Person], Client]
REASON = "the SOC reads it during the audit"


@pytest.fixture
def wanted(sandbox: SandboxServer) -> Connection:
    return connection_between(sandbox.world, "Payments US", "Group SOC")


@pytest.fixture
def requester(
    ada: Person, client_of: ClientOf, sandbox: SandboxServer, wanted: Connection
) -> Requester:
    """Ada, about to act on a connection of Payments US."""
    credential = store_credential(sandbox, "Payments US")
    return Requester(client=client_of(ada), credential=credential, connection=wanted)


def url_of(requester: Requester) -> str:
    return f"/connections/{requester.credential.site}/{requester.connection.id}/"


def protect(requester: Requester, person: Person) -> Protection:
    key = OrgConnectionKey(
        site=requester.credential.site, connection_id=UUID(requester.connection.id)
    )
    return protections.protect_connection(actor=person_actor(person=person), key=key, reason=REASON)


def submit(client: Client, page: Page, ending: str, **typed: str) -> Page:
    """Submit a form and follow its redirect."""
    form = page.form_to(ending)
    action = form.action or ""
    response = client.post(action, form.fields | typed)
    return read(client.get(response["Location"]) if response.status_code == 303 else response)


def test_a_connection_can_be_protected_from_its_page(requester: Requester, linus: Person):
    page = requester.open(requester.open(url_of(requester)).link("Protect…"))
    after = submit(
        requester.client,
        page,
        "/protect/",
        site=requester.credential.site,
        connection_id=requester.connection.id,
        reason=REASON,
    )
    assert "Protected: this connection can't be deleted in Org Admin" in after.text
    assert REASON in after.text
    assert "Linus can remove the protection." in after.text
    assert "Delete…" not in after.text
    event = AuditEvent.objects.get(code="org_connection.protected")
    assert event.subject_id == requester.connection.id


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        ({"reason": " "}, "Enter a reason."),
        ({"connection_id": "no id"}, "five groups"),
        ({"site": ""}, "Choose a site."),
        ({"site": "elsewhere.example"}, "Choose a site."),
    ],
)
def test_invalid_input_is_explained_and_nothing_is_protected(
    requester: Requester, typed: dict[str, str], complaint: str
):
    sent = {
        "site": requester.credential.site,
        "connection_id": requester.connection.id,
        "reason": REASON,
    } | typed
    response = requester.client.post("/connections/protect/", sent)
    assert response.status_code == 422
    assert complaint in response.content.decode()
    assert not Protection.objects.exists()


def test_another_person_removes_it_with_a_reason(
    requester: Requester, linus: Person, client_of: ClientOf
):
    protect(requester, requester_person(requester))
    client = client_of(linus)
    page = read(client.get(read(client.get(url_of(requester))).link("Remove protection…")))
    refused = client.post(f"{url_of(requester)}lift/", {"reason": ""})
    assert refused.status_code == 422
    response = client.post(f"{url_of(requester)}lift/", {"reason": "the audit is over"})
    after = read(client.get(response["Location"]))
    assert page.status == 200
    assert "Protected: this connection can't be deleted in Org Admin" not in after.text
    assert "Protection removed" in after.text
    assert "the audit is over" in after.text
    assert "Delete…" in requester.open(url_of(requester)).text


def requester_person(requester: Requester) -> Person:
    return Person.objects.get(pk=requester.client.session["_auth_user_id"])


def test_no_one_is_offered_to_remove_their_own_protection(
    requester: Requester, linus: Person, client_of: ClientOf
):
    protect(requester, linus)
    client = client_of(linus)
    assert "Remove protection…" not in read(client.get(url_of(requester))).text
    response = client.get(f"{url_of(requester)}lift/")
    assert response.status_code == 403
    assert "Another person must remove the protection" in response.content.decode()


def test_removing_a_removed_protection_redirects_back(
    requester: Requester, linus: Person, margaret: Person, client_of: ClientOf
):
    client = client_of(linus)
    assert client.get(f"{url_of(requester)}lift/").status_code == 404
    protect(requester, margaret)
    client.post(f"{url_of(requester)}lift/", {"reason": "the audit is over"})
    page = read(client.get(f"{url_of(requester)}lift/", follow=True))
    assert "This connection isn't protected." in page.text


def test_the_confirmation_page_shows_the_protection_and_has_no_form(
    requester: Requester, linus: Person
):
    protect(requester, linus)
    page = requester.confirmation_page()
    assert "Linus" in page.text
    assert REASON in page.text
    assert not page.has_form_to("/deletions/new/")


@pytest.mark.parametrize("headers", [{}, HTMX | {"HX-Target": "request-form"}])
def test_a_request_for_a_connection_protected_meanwhile_is_refused(
    requester: Requester, linus: Person, headers: dict[str, str], sandbox: SandboxServer
):
    typed = requester.typed()
    protect(requester, linus)
    response = requester.client.post("/deletions/new/", typed, headers=headers)
    page = read(response)
    assert response.status_code == 409
    assert "Nothing was sent" in page.text
    assert REASON in page.text
    assert not Deletion.objects.exists()
    assert sandbox.world.deletes_received(requester.connection.id) == 0


def test_the_inventory_marks_it_and_filters_by_it(
    requester: Requester, linus: Person, client_of: ClientOf
):
    protect(requester, linus)
    marked = requester.open("/connections/?protected=yes")
    rest = requester.open("/connections/?protected=no")
    assert rows_in(marked.html) == ["Payments US → Group SOC"]
    assert "Payments US → Group SOC" not in rows_in(rest.html)
    assert "Delete…" not in marked.text


def test_a_protected_connection_that_is_not_listed_is_named(requester: Requester, linus: Person):
    unseen = OrgConnectionKey(site=requester.credential.site, connection_id=uuid4())
    protections.protect_connection(actor=person_actor(person=linus), key=unseen, reason=REASON)
    page = requester.open("/connections/")
    assert "Protected but not listed: 1" in page.text
    of_it = requester.open(f"/connections/{unseen.site}/{unseen.connection_id}/")
    assert of_it.status == 200
    assert "Known only by its ID" in of_it.text
    assert REASON in of_it.text


def test_the_export_has_it(requester: Requester, linus: Person):
    protect(requester, linus)
    text = requester.client.get("/connections/export/?format=csv").getvalue().decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["id"] for row in rows if row["protected"] == "True"} == {requester.connection.id}


def test_the_audit_log_links_to_the_connection(
    requester: Requester, linus: Person, edith: Person, client_of: ClientOf
):
    protect(requester, linus)
    assert f'href="{url_of(requester)}"' in read(client_of(edith).get("/audit/")).html


def test_the_command_sends_nothing_and_explains_why(
    requester: Requester, linus: Person, sandbox: SandboxServer
):
    protect(requester, linus)
    ended = run(requester.connection.id, "--yes")
    assert ended.code == 5
    assert REASON in ended.document["error"]
    assert sandbox.world.deletes_received(requester.connection.id) == 0
    assert not Deletion.objects.exists()


def test_unprotecting_requires_an_identity_check_and_keeps_the_reason(
    requester: Requester, linus: Person, margaret: Person, client_of: ClientOf, clock: SettableClock
):
    protect(requester, margaret)
    client = client_of(linus)
    clock.advance(minutes=6)
    assert client.get(f"{url_of(requester)}lift/").status_code == 302
    page = read(client.post(f"{url_of(requester)}lift/", {"reason": "the audit is over"}))
    assert page.status == 422
    [form] = [form for form in page.forms if "reason" in form.fields]
    assert form.fields["reason"] == "the audit is over"
    assert not ProtectionRemoval.objects.exists()

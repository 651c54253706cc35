"""The confirmation page and its POST: what it refuses, and that no input is lost."""

from collections.abc import Callable
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest
from django.test import Client
from pytest_django import Settings

from connections.core.sites import get_site
from connections.models import Credential, Deletion, Person
from sandbox import faults
from sandbox.server import SandboxServer
from tests.flows.support import Requester, post_htmx, read, store_credential
from tests.support.sandbox import connection_between

ClientOf = Callable[[Person], Client]


def test_the_form_has_fields_for_a_credential_and_an_id(requester: Requester):
    page = requester.open("/deletions/new/")

    [form] = [form for form in page.forms if "connection_id" in form.fields]
    assert form.attributes["method"] == "get"
    label = f"Payments US — {get_site('sandbox-us1').label}"
    assert f'<option value="{requester.credential.pk}">{label}</option>' in page.html


def test_the_confirmation_page_describes_the_connection(requester: Requester):
    page = requester.confirmation_page()

    for shown in (
        "Group SOC loses access to Payments US's logs and metrics.",
        "No data is deleted.",
        "by Dana Keller · Sent with the Payments US credential (source side).",
        "curl -X DELETE",
        f"/api/v2/org_connections/{requester.connection.id}",
        "DD-API-KEY: $DD_API_KEY",
    ):
        assert shown in page.text
    assert page.form_to("/deletions/new/").attributes["data-confirm"] == "Payments US"
    assert not Deletion.objects.exists()


def test_an_unknown_data_type_is_shown_unchanged(requester: Requester, sandbox: SandboxServer):
    connection_id = requester.connection.id
    sandbox.world.change_connection(connection_id=connection_id, connection_types=("rum",))
    requester.client.post("/connections/refresh/")

    page = requester.confirmation_page()

    assert "Unknown data type rum : ask its owner what Group SOC uses it for" in page.text


@pytest.mark.parametrize(
    ("back", "list_url"),
    [
        ("/connections/?q=soc&page=2", "/connections/?q=soc&page=2"),
        ("/connections/", "/connections/"),
        *((other, "/connections/") for other in ("//evil.test/connections/", "/audit/", "x")),
    ],
)
def test_a_deletion_leads_back_to_the_list_that_it_came_from(
    requester: Requester, back: str, list_url: str
):
    page = requester.confirmation_page(back=back)
    assert page.link("Cancel") == list_url
    filled = requester.fill(page)

    outcome = read(post_htmx(requester.client, "/deletions/new/", filled, target="request-form"))

    assert outcome.link("Back to connections") == list_url
    seen = f"{outcome.watch['hx-get']}&{urlencode({'back': list_url})}"
    assert requester.open(seen).link("Back to connections") == list_url


def test_the_confirmation_page_links_to_another_credential_that_lists_the_connection(
    requester: Requester, sandbox: SandboxServer
):
    other = store_credential(sandbox, "Group SOC")

    page = requester.open(requester.confirmation_page().link("Group SOC instead"))

    assert page.form_to("/deletions/new/").fields["credential"] == str(other.pk)
    assert "(destination side)" in page.text


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"reason": "  "}, "Enter a reason."),
        ({"confirmation": "Payments"}, "Type Payments US."),
        ({"confirmation": ""}, "Type Payments US."),
    ],
)
def test_an_invalid_form_shows_the_error_and_keeps_its_input(
    requester: Requester, sandbox: SandboxServer, typed: dict[str, str], message: str
):
    data = requester.typed(**{"reason": "carve-out", "ticket": "SEC-212"} | typed)

    page = read(requester.client.post("/deletions/new/", data))

    assert page.status == 422
    assert message in page.text
    names = ("ticket", "reason", "confirmation", "request_id")
    kept = page.form_to("/deletions/new/").fields
    assert {name: kept[name] for name in names} == {name: data[name] for name in names}
    assert not Deletion.objects.exists()
    assert sandbox.world.deletes_received(requester.connection.id) == 0


@pytest.mark.parametrize("missing", [{"request_id": "no id"}, {"request_id": ""}, {"digest": ""}])
def test_an_outdated_page_links_to_a_new_one_and_keeps_the_reason(
    requester: Requester, missing: dict[str, str]
):
    page = read(
        requester.client.post("/deletions/new/", requester.typed(reason="carve-out", **missing))
    )
    again = requester.open(page.link("Open again"))

    assert page.status == (409 if "digest" in missing else 422)
    assert "This page is out of date. Nothing was sent." in page.text
    assert "Details unavailable" not in page.text
    assert again.form_to("/deletions/new/").fields["reason"] == "carve-out"
    assert not Deletion.objects.exists()


@pytest.mark.parametrize("connection_id", ["", "../../v2/org", "urn:uuid:" + "0" * 32, "{0}"])
def test_a_malformed_id_is_refused_next_to_its_field(requester: Requester, connection_id: str):
    fields = {"credential": str(requester.credential.pk), "connection_id": connection_id}

    pages = [
        read(requester.client.get("/deletions/new/", fields)),
        read(requester.client.post("/deletions/new/", fields | {"reason": "carve-out"})),
    ]

    assert [page.status for page in pages] == [422, 422]
    assert "A connection ID looks like" in pages[0].text
    [form] = [form for form in pages[1].forms if "connection_id" in form.fields]
    assert form.fields["connection_id"] == connection_id
    assert form.fields["reason"] == "carve-out"


@pytest.mark.parametrize(
    ("person", "text"), [("ada", "or an administrator (Root) to add one."), ("root", "View cred")]
)
def test_without_a_usable_credential_the_page_says_what_to_do(
    request: pytest.FixtureRequest,
    client_of: ClientOf,
    requester: Requester,
    root: Person,
    person: str,
    text: str,
):
    Credential.objects.update(org_id="", verified_at=None)

    page = read(client_of(request.getfixturevalue(person)).get("/deletions/new/"))

    assert "No working credential" in page.text
    assert text in page.text
    assert not [form for form in page.forms if "connection_id" in form.fields]


def test_an_empty_form_is_refused_with_error_messages(requester: Requester):
    page = read(requester.client.post("/deletions/new/", {}))

    assert page.status == 422
    assert "Choose a credential." in page.text
    assert "A connection ID looks like" in page.text


def test_an_unknown_credential_is_reported_once(requester: Requester):
    page = read(requester.client.get("/deletions/new/?credential=x&connection_id=y"))

    assert page.status == 422
    assert "Choose a credential." in page.text
    assert "Select a valid choice" not in page.text


def test_an_id_in_upper_case_with_surrounding_spaces_is_accepted(requester: Requester):
    page = requester.confirmation_page(connection_id=f"  {requester.connection.id.upper()} ")

    assert "Payments US's logs and metrics" in page.text


def test_the_confirmation_ignores_case_and_whitespace(requester: Requester, sandbox: SandboxServer):
    page = requester.delete(confirmation="  payments   US ")

    assert page.outcome["data-outcome"] == "deleted"


def test_a_retired_credential_cannot_send(requester: Requester, sandbox: SandboxServer):
    data = requester.typed()
    Credential.objects.update(retired_at=requester.credential.created_at)

    page = requester.confirmation_page()
    assert "Payments US was retired. Choose another credential." in page.text
    assert not page.has_form_to("/deletions/new/") or page.form_to("/deletions/new/").fields == {}

    page = read(requester.client.post("/deletions/new/", data))
    assert page.status == 422
    assert "Payments US was retired" in page.text
    assert sandbox.world.deletes_received(requester.connection.id) == 0


def test_an_unverified_credential_cannot_send(requester: Requester):
    Credential.objects.update(org_id="", verified_at=None)

    assert "The keys of Payments US haven't been checked" in requester.confirmation_page().text


def test_posting_the_same_form_twice_creates_one_deletion(
    requester: Requester, sandbox: SandboxServer
):
    data = requester.typed()

    first = requester.client.post("/deletions/new/", data)
    second = requester.client.post("/deletions/new/", data)

    assert first["Location"] == second["Location"]
    assert Deletion.objects.count() == 1
    assert sandbox.world.deletes_received(requester.connection.id) == 1


def test_a_person_cannot_post_a_form_that_another_person_posted(
    requester: Requester, grace: Person, client_of: Callable[[Person], Client]
):
    data = requester.typed()
    requester.client.post("/deletions/new/", data)

    page = read(client_of(grace).post("/deletions/new/", data))

    assert page.status == 409
    assert "This form belongs to another person." in page.text


def test_two_open_pages_of_one_connection_create_one_deletion(
    requester: Requester, sandbox: SandboxServer
):
    one, two = requester.typed(), requester.typed()
    sandbox.world.set_fault(fault=faults.RETURNS_500, connection_id=requester.connection.id)

    first = requester.client.post("/deletions/new/", one)
    second = requester.client.post("/deletions/new/", two)

    assert first["Location"] == second["Location"]
    assert sandbox.world.deletes_received(requester.connection.id) == 1


def test_the_confirmation_page_links_to_the_open_deletion(
    requester: Requester, sandbox: SandboxServer
):
    sandbox.world.set_fault(fault=faults.RETURNS_500, connection_id=requester.connection.id)
    requester.delete()

    page = requester.confirmation_page()

    url = f"/deletions/{requester.deletion().pk}/"
    assert "A deletion of this connection is already open" in page.text
    assert page.link("View deletion") == url
    # Also for a connection that is no longer listed.
    requester.credential.snapshots.update(is_current=False)
    assert requester.confirmation_page().link("View deletion") == url


def test_a_form_whose_response_was_lost_leads_to_its_deletion(requester: Requester):
    data = requester.typed()
    url = (
        requester.confirmation_page(request_id=data["request_id"])
        .form_to("/deletions/new/")
        .attributes["data-record-url"]
    )
    requester.client.post("/deletions/new/", data)

    response = requester.client.get(url)

    assert response["Location"] == f"/deletions/{requester.deletion().pk}/"


def test_a_form_that_never_arrived_is_reported_as_not_sent(requester: Requester):
    request_id = str(uuid4())

    page = requester.confirmation_page(request_id=request_id)

    assert "That request wasn't recorded, so nothing was sent." in page.text
    assert page.form_to("/deletions/new/").fields["request_id"] == request_id


def test_an_id_missing_from_the_last_sync_is_synced_and_shown_before_sending(
    requester: Requester, sandbox: SandboxServer
):
    labs = sandbox.world.add_org(name="Labs US", site=requester.credential.site)
    new = sandbox.world.add_connection(source_org=requester.connection.source_org, sink_org=labs)
    requester = Requester(client=requester.client, credential=requester.credential, connection=new)
    confirmation = requester.confirmation_page()
    assert "Payments US doesn't list this ID" in confirmation.text
    assert confirmation.form_to("/deletions/new/").attributes["data-confirm"] == new.id[-8:]

    page = read(
        requester.client.post("/deletions/new/", requester.fill(confirmation, ticket="SEC-212"))
    )

    assert page.status == 409
    assert "Datadog now lists this connection. Nothing was sent." in page.text
    form = page.form_to("/deletions/new/")
    assert form.attributes["data-confirm"] == "Labs US"
    assert form.fields["confirmation"] == ""
    assert form.fields["ticket"] == "SEC-212"
    assert sandbox.world.deletes_received(new.id) == 0


def test_a_connection_that_changed_since_the_page_was_opened_is_shown_again(
    requester: Requester, sandbox: SandboxServer
):
    confirmation = requester.confirmation_page()
    sandbox.world.change_connection(
        connection_id=requester.connection.id, connection_types=("audit",)
    )
    requester.client.post("/connections/refresh/")

    page = read(requester.client.post("/deletions/new/", requester.fill(confirmation)))

    assert page.status == 409
    assert "The connection has changed. Nothing was sent." in page.text
    assert "Payments US's audit events" in page.text
    assert not Deletion.objects.exists()


def test_a_connection_of_an_org_without_keys_is_sent_without_a_listing(
    requester: Requester, sandbox: SandboxServer
):
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="list")
    foreign = connection_between(sandbox.world, "Group SOC", "Payments US")
    requester = Requester(
        client=requester.client, credential=requester.credential, connection=foreign
    )
    Deletion.objects.all().delete()
    requester.credential.snapshots.update(is_current=False)

    page = requester.delete()

    assert page.outcome["data-outcome"] == "deleted"
    deletion = Deletion.objects.get(connection_id=UUID(foreign.id))
    assert deletion.is_reviewed is False
    assert sandbox.world.deletes_received(foreign.id) == 1


def test_keys_that_cannot_be_decrypted_are_reported_and_nothing_is_sent(
    requester: Requester, sandbox: SandboxServer
):
    data = requester.typed()
    Credential.objects.update(secret_version=7)

    page = read(requester.client.post("/deletions/new/", data))

    assert page.status == 503
    assert "Nothing was sent. The stored keys can't be decrypted." in page.text
    assert page.form_to("/deletions/new/").fields["reason"] == data["reason"]
    assert not Deletion.objects.exists()
    assert sandbox.world.deletes_received(requester.connection.id) == 0


def test_an_unknown_site_is_reported_and_nothing_is_sent(requester: Requester, settings: Settings):
    data = requester.typed()
    settings.EXTRA_SITES = {}

    page = read(requester.client.post("/deletions/new/", data))

    assert page.status == 503
    assert "There is no Datadog site" in page.text

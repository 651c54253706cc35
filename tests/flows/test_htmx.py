"""The same actions with htmx return only the fragment, with the same text as the full page."""

from collections.abc import Mapping
from typing import Any

from django.http.response import HttpResponseBase

from connections.models import Credential, Deletion
from sandbox import faults
from sandbox.server import SandboxServer
from tests.flows.support import HTMX, Requester, post_htmx, read


def submit_confirmation(requester: Requester, filled: Mapping[str, Any]) -> HttpResponseBase:
    """Submit the form as htmx does."""
    return post_htmx(requester.client, "/deletions/new/", filled, target="request-form")


def fetch_fragment(
    requester: Requester, query: str = "", *, target: str = "outcome"
) -> HttpResponseBase:
    """Fetch a fragment of the deletion's page as htmx does."""
    url = f"/deletions/{requester.deletion().pk}/{query}"
    return requester.client.get(url, headers=HTMX | {"HX-Target": target})


def test_submitting_returns_the_outcome_and_pushes_the_url_of_the_deletion(requester: Requester):
    response = submit_confirmation(requester, requester.typed())

    page = read(response)
    assert page.status == 200
    assert page.html.strip().startswith("<section")
    assert "<html" not in page.html
    assert page.outcome["data-outcome"] == "deleted"
    assert response.headers["HX-Push-Url"] == f"/deletions/{requester.deletion().pk}/"
    assert page.link("View record") == f"/deletions/{requester.deletion().pk}/"


def test_the_fragment_contains_the_title_and_heading_of_the_deletions_page(requester: Requester):
    page = read(submit_confirmation(requester, requester.typed()))
    full_page = requester.open(f"/deletions/{requester.deletion().pk}/")

    title = "<title>Deleted Payments US → Group SOC · Org Admin</title>"
    assert title in page.html
    assert title in full_page.html
    heading = '<h1 id="page-title" hx-swap-oob="true">Deleted Payments US → Group SOC</h1>'
    assert heading in page.html
    assert heading.replace(' hx-swap-oob="true"', "") in full_page.html


def test_the_fragment_is_identical_to_that_part_of_the_page(
    requester: Requester, sandbox: SandboxServer
):
    sandbox.world.set_fault(fault=faults.RETURNS_403, connection_id=requester.connection.id)
    requester.delete()

    full_page = requester.open(f"/deletions/{requester.deletion().pk}/")
    fragment = read(fetch_fragment(requester))

    outcome, *_ = fragment.html.partition("<title>")
    assert outcome.strip() in full_page.html


def test_a_refused_form_returns_only_the_form(requester: Requester):
    page = read(
        submit_confirmation(requester, requester.typed(confirmation="wrong", reason="carve-out"))
    )

    assert page.status == 422
    assert page.html.strip().startswith('<section id="request-form"')
    assert page.form_to("/deletions/new/").fields["reason"] == "carve-out"
    assert "Group SOC can no longer" not in page.text


def test_a_changed_connection_returns_the_whole_page(requester: Requester, sandbox: SandboxServer):
    confirmation = requester.confirmation_page()
    sandbox.world.change_connection(
        connection_id=requester.connection.id, connection_types=("audit",)
    )
    requester.client.post("/connections/refresh/")

    response = submit_confirmation(requester, requester.fill(confirmation))

    page = read(response)
    assert page.status == 409
    assert response.headers["HX-Retarget"] == "#confirm"
    assert page.html.strip().startswith('<div id="confirm">')
    assert "Payments US's audit events" in page.text


def test_keys_that_cannot_be_decrypted_are_reported_above_the_form(requester: Requester):
    filled = requester.typed()
    Credential.objects.update(secret_version=7)

    page = read(submit_confirmation(requester, filled))

    assert page.status == 503
    assert page.html.strip().startswith('<section id="request-form"')
    assert "The stored keys can't be decrypted" in page.text


def test_an_action_returns_the_outcome_and_triggers_a_reload_of_the_details(
    requester: Requester, sandbox: SandboxServer
):
    sandbox.world.set_fault(fault=faults.rate_limited(), connection_id=requester.connection.id)
    requester.delete()
    url = f"/deletions/{requester.deletion().pk}/withdraw/"

    response = post_htmx(requester.client, url, {}, target="outcome")

    page = read(response)
    assert page.outcome["data-outcome"] == "withdrawn"
    assert response.headers["HX-Trigger"] == "deletionChanged"
    assert "Timeline" not in page.text


def test_a_refused_action_keeps_its_http_status_and_explains_itself_in_the_outcome(
    requester: Requester,
):
    requester.delete()
    url = f"/deletions/{requester.deletion().pk}/withdraw/"

    page = read(post_htmx(requester.client, url, {}, target="outcome"))

    assert page.status == 409
    assert "This deletion can no longer be withdrawn" in page.text
    assert page.outcome["data-outcome"] == "deleted"


def test_the_details_can_be_reloaded_without_the_outcome(requester: Requester):
    requester.delete()

    page = read(fetch_fragment(requester, target="record"))

    assert "Timeline" in page.text
    assert page.outcome == {}


def test_the_outcome_polls_only_while_an_update_is_expected(
    requester: Requester, sandbox: SandboxServer
):
    sandbox.world.set_fault(fault=faults.rate_limited(), connection_id=requester.connection.id)
    waiting = requester.delete().watch
    assert waiting["hx-trigger"] == "every 2s"

    Deletion.objects.update(due_at=None)

    assert read(fetch_fragment(requester)).watch == {}


def test_polling_without_changes_returns_204(requester: Requester, sandbox: SandboxServer):
    sandbox.world.set_fault(fault=faults.rate_limited(), connection_id=requester.connection.id)
    polled = requester.delete().watch["hx-get"]
    headers = HTMX | {"HX-Target": "watch"}
    assert requester.client.get(polled, headers=headers).status_code == 204

    requester.client.post(f"/deletions/{requester.deletion().pk}/withdraw/")

    response = requester.client.get(polled, headers=headers)
    assert response["HX-Retarget"] == "#outcome"
    assert read(response).outcome["data-outcome"] == "withdrawn"
    assert read(response).watch == {}


def test_a_boosted_link_returns_the_full_page(requester: Requester):
    requester.delete()
    url = f"/deletions/{requester.deletion().pk}/"

    response = requester.client.get(url, headers=HTMX | {"HX-Boosted": "true"})

    assert "<html" in read(response).html

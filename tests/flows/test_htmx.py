"""The same actions with htmx return the page in place, and htmx takes one part of it."""

from collections.abc import Mapping
from typing import Any

from django.http.response import HttpResponseBase

from connections.models import Credential
from sandbox import faults
from sandbox.server import SandboxServer
from tests.flows.support import HTMX, Requester, post_htmx, read


def submit_confirmation(requester: Requester, filled: Mapping[str, Any]) -> HttpResponseBase:
    """Submit the form as htmx does."""
    return post_htmx(requester.client, "/deletions/new/", filled, target="request-form")


def test_submitting_returns_the_outcome_and_pushes_the_url_of_the_deletion(requester: Requester):
    response = submit_confirmation(requester, requester.typed())

    page = read(response)
    assert page.status == 200
    assert response.headers["HX-Reselect"] == "#outcome"
    assert page.outcome["data-outcome"] == "deleted"
    assert response.headers["HX-Push-Url"] == f"/deletions/{requester.deletion().pk}/"
    assert page.link("View record") == f"/deletions/{requester.deletion().pk}/"
    assert "<title>Deleted Payments US → Group SOC · Org Admin</title>" in page.html
    assert '<h1 id="page-title">Deleted Payments US → Group SOC</h1>' in page.html


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


def test_an_action_returns_the_outcome_and_the_record(requester: Requester, sandbox: SandboxServer):
    sandbox.world.set_fault(fault=faults.rate_limited(), connection_id=requester.connection.id)
    requester.delete()
    url = f"/deletions/{requester.deletion().pk}/withdraw/"

    page = read(post_htmx(requester.client, url, {}, target="outcome"))

    assert page.outcome["data-outcome"] == "withdrawn"
    assert page.outcome["hx-select-oob"] == "#page-title,#record:innerHTML"
    assert 'id="record"' in page.html


def test_a_refused_action_keeps_its_http_status_and_explains_itself_in_the_outcome(
    requester: Requester,
):
    requester.delete()
    url = f"/deletions/{requester.deletion().pk}/withdraw/"

    page = read(post_htmx(requester.client, url, {}, target="outcome"))

    assert page.status == 409
    assert "This deletion can no longer be withdrawn" in page.text
    assert page.outcome["data-outcome"] == "deleted"


def test_polling_without_changes_returns_204(requester: Requester, sandbox: SandboxServer):
    sandbox.world.set_fault(fault=faults.rate_limited(), connection_id=requester.connection.id)
    watch = requester.delete().watch
    assert watch["hx-trigger"] == "every 2s"
    headers = HTMX | {"HX-Target": "outcome"}
    assert requester.client.get(watch["hx-get"], headers=headers).status_code == 204

    requester.client.post(f"/deletions/{requester.deletion().pk}/withdraw/")

    response = requester.client.get(watch["hx-get"], headers=headers)
    assert response.headers["HX-Reselect"] == "#outcome"
    assert read(response).outcome["data-outcome"] == "withdrawn"
    assert read(response).watch == {}

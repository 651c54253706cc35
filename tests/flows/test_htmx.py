"""The same actions through htmx: only the fragment, with the same text as the whole page."""

from collections.abc import Mapping
from typing import Any

from django.http.response import HttpResponseBase

from connections.models import Credential, Deletion
from sandbox import faults
from sandbox.server import SandboxServer
from tests.flows.support import HTMX, Desk, post_htmx, read


def ask(desk: Desk, filled: Mapping[str, Any]) -> HttpResponseBase:
    """Post the review as htmx does."""
    return post_htmx(desk.client, "/deletions/new/", filled, target="request-form")


def look(desk: Desk, query: str = "", *, target: str = "outcome") -> HttpResponseBase:
    """Fetch a piece of the record as htmx does."""
    url = f"/deletions/{desk.deletion().pk}/{query}"
    return desk.client.get(url, headers=HTMX | {"HX-Target": target})


def test_asking_answers_with_the_outcome_and_the_address_of_the_record(desk: Desk) -> None:
    response = ask(desk, desk.typed())

    page = read(response)
    assert page.status == 200
    assert page.html.strip().startswith("<section")
    assert "<html" not in page.html
    assert page.outcome["data-outcome"] == "deleted"
    assert response.headers["HX-Push-Url"] == f"/deletions/{desk.deletion().pk}/"
    assert page.link("View deletion") == f"/deletions/{desk.deletion().pk}/"


def test_the_fragment_brings_the_title_and_the_heading_of_the_record(desk: Desk) -> None:
    page = read(ask(desk, desk.typed()))
    whole = desk.open(f"/deletions/{desk.deletion().pk}/")

    title = "<title>Deletion: Payments US → Group SOC · Org Admin</title>"
    assert title in page.html
    assert title in whole.html
    heading = '<h1 id="page-title" hx-swap-oob="true">Payments US → Group SOC</h1>'
    assert heading in page.html
    assert heading.replace(' hx-swap-oob="true"', "") in whole.html


def test_the_fragment_is_the_same_as_on_the_page(desk: Desk, sandbox: SandboxServer) -> None:
    sandbox.world.set_fault(fault=faults.RETURNS_403, connection_id=desk.connection.id)
    desk.delete()

    whole = desk.open(f"/deletions/{desk.deletion().pk}/")
    fragment = read(look(desk))

    assert fragment.html.strip() in whole.html


def test_a_refused_form_brings_the_form_alone(desk: Desk) -> None:
    page = read(ask(desk, desk.typed(confirmation="wrong", reason="carve-out")))

    assert page.status == 422
    assert page.html.strip().startswith('<section class="section" id="request-form"')
    assert page.form_to("/deletions/new/").fields["reason"] == "carve-out"
    assert "Group SOC can no longer" not in page.text


def test_a_changed_connection_brings_the_whole_review(desk: Desk, sandbox: SandboxServer) -> None:
    review = desk.review()
    sandbox.world.change_connection(connection_id=desk.connection.id, connection_types=("audit",))
    desk.client.post("/connections/refresh/")

    response = ask(desk, desk.fill(review))

    page = read(response)
    assert page.status == 409
    assert response.headers["HX-Retarget"] == "#review"
    assert page.html.strip().startswith('<div id="review">')
    assert "Payments US’s audit events" in page.text


def test_keys_that_cannot_be_opened_are_said_over_the_form(desk: Desk) -> None:
    filled = desk.typed()
    Credential.objects.update(secret_version=7)

    page = read(ask(desk, filled))

    assert page.status == 503
    assert page.html.strip().startswith('<section class="section" id="request-form"')
    assert "The stored keys can’t be decrypted" in page.text


def test_an_act_on_the_record_brings_the_outcome_and_lets_the_record_follow(
    desk: Desk, sandbox: SandboxServer
) -> None:
    sandbox.world.set_fault(fault=faults.rate_limited(), connection_id=desk.connection.id)
    desk.delete()
    url = f"/deletions/{desk.deletion().pk}/withdraw/"

    response = post_htmx(desk.client, url, {}, target="outcome")

    page = read(response)
    assert page.outcome["data-outcome"] == "withdrawn"
    assert response.headers["HX-Trigger"] == "deletionChanged"
    assert "Timeline" not in page.text


def test_a_refused_act_keeps_its_status_and_says_why_in_the_outcome(desk: Desk) -> None:
    desk.delete()
    url = f"/deletions/{desk.deletion().pk}/withdraw/"

    page = read(post_htmx(desk.client, url, {}, target="outcome"))

    assert page.status == 409
    assert "This deletion can't be withdrawn any longer" in page.text
    assert page.outcome["data-outcome"] == "deleted"


def test_the_record_brings_itself_up_to_date(desk: Desk) -> None:
    desk.delete()

    page = read(look(desk, target="record"))

    assert "Timeline" in page.text
    assert page.outcome == {}


def test_the_outcome_looks_by_itself_only_while_something_is_coming(
    desk: Desk, sandbox: SandboxServer
) -> None:
    sandbox.world.set_fault(fault=faults.rate_limited(), connection_id=desk.connection.id)
    waiting = desk.delete().watch
    assert waiting["hx-trigger"] == "every 2s"

    Deletion.objects.update(due_at=None)

    assert read(look(desk)).watch == {}


def test_a_look_that_brings_nothing_new_replaces_nothing(
    desk: Desk, sandbox: SandboxServer
) -> None:
    sandbox.world.set_fault(fault=faults.rate_limited(), connection_id=desk.connection.id)
    polled = desk.delete().watch["hx-get"]
    headers = HTMX | {"HX-Target": "watch"}
    assert desk.client.get(polled, headers=headers).status_code == 204

    desk.client.post(f"/deletions/{desk.deletion().pk}/withdraw/")

    response = desk.client.get(polled, headers=headers)
    assert response["HX-Retarget"] == "#outcome"
    assert read(response).outcome["data-outcome"] == "withdrawn"
    assert read(response).watch == {}


def test_a_boosted_link_brings_the_whole_page(desk: Desk) -> None:
    desk.delete()
    url = f"/deletions/{desk.deletion().pk}/"

    response = desk.client.get(url, headers=HTMX | {"HX-Boosted": "true"})

    assert "<html" in read(response).html

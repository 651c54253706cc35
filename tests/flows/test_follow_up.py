"""What can follow a request: approval, withdrawal, a check with Datadog, closing."""

from collections.abc import Callable
from datetime import date

import pytest
from django.test import Client
from pytest_django import Settings

from connections.access.actor import person_actor
from connections.core import time_limits
from connections.models import ApprovalPolicy, Credential, OrgPair, Person
from connections.operations import heartbeats
from sandbox import faults
from sandbox.server import SandboxServer
from tests.agreements.support import agree
from tests.flows.support import Page, Requester, post_htmx, read
from tests.support.clock import SettableClock
from tests.support.sandbox import seconds_for

ClientOf = Callable[[Person], Client]


@pytest.fixture
def requester_with_approval(requester: Requester) -> Requester:
    """A requester whose credential requires one approval."""
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    return requester


def requester_as(requester: Requester, client: Client) -> Requester:
    """The same connection, for another person."""
    return Requester(
        client=client, credential=requester.credential, connection=requester.connection
    )


def open_deletion(requester: Requester) -> Page:
    """The deletion's page as this person sees it."""
    return requester.open(f"/deletions/{requester.deletion().pk}/")


def test_one_person_requests_another_approves_and_the_first_confirms(
    requester_with_approval: Requester, sandbox: SandboxServer, linus: Person, client_of: ClientOf
):
    confirmation = requester_with_approval.confirmation_page().form_to("/deletions/new/")
    assert "data-confirm" not in confirmation.attributes
    assert "confirmation" not in confirmation.fields
    page = requester_with_approval.delete()
    assert "Waiting for approval. Nothing has been sent." in page.text
    assert "Linus can approve." in page.text
    assert not page.has_form_to("/approve/")

    approver = requester_as(requester_with_approval, client_of(linus))
    page = open_deletion(approver)
    assert "Ada requests your approval" in page.text
    assert "Unchanged at " in page.text
    assert "Group SOC loses access to Payments US's logs and metrics." in page.text
    page = approver.press(page, "/approve/")
    assert "Approved by Linus." in page.text
    assert not page.has_form_to("/execute/")
    assert sandbox.world.deletes_received(requester_with_approval.connection.id) == 0

    requester_with_approval.confirm(open_deletion(requester_with_approval))
    page = requester_with_approval.verify()
    assert "Deleted and verified" in page.text
    assert sandbox.world.deletes_received(requester_with_approval.connection.id) == 1


def test_declining_needs_a_reason_and_closes_the_deletion(
    requester_with_approval: Requester, linus: Person, client_of: ClientOf
):
    requester_with_approval.delete()
    approver = requester_as(requester_with_approval, client_of(linus))

    page = approver.press(open_deletion(approver), "/decline/", reason=" ")
    assert page.status == 422
    assert "Enter a reason for declining." in page.text

    page = approver.press(page, "/decline/", reason="still used by the SOC")
    assert "Declined by Linus. Nothing was deleted." in page.text
    assert "still used by the SOC" in page.text
    assert page.outcome["data-outcome"] == "declined"


def test_a_deletion_that_needs_approval_cannot_be_confirmed(
    requester_with_approval: Requester, sandbox: SandboxServer
):
    requester_with_approval.delete()

    page = read(
        requester_with_approval.client.post(
            f"/deletions/{requester_with_approval.deletion().pk}/execute/",
            {"confirmation": "Payments US"},
        )
    )

    assert page.status == 409
    assert "This deletion still needs approval. Nothing was sent." in page.text
    assert sandbox.world.deletes_received(requester_with_approval.connection.id) == 0


def test_a_wrong_confirmation_of_an_approved_deletion_keeps_the_input(
    requester_with_approval: Requester, linus: Person, client_of: ClientOf
):
    requester_with_approval.delete()
    approver = requester_as(requester_with_approval, client_of(linus))
    approver.press(open_deletion(approver), "/approve/")

    page = requester_with_approval.confirm(
        open_deletion(requester_with_approval), confirmation="Payments"
    )

    assert page.status == 422
    assert "Type Payments US." in page.text
    assert page.form_to("/execute/").fields["confirmation"] == "Payments"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (None, "Group SOC loses access to Payments US's logs and metrics."),
        (
            faults.RETURNS_403,
            "Requested: Group SOC loses access to Payments US's logs and metrics.",
        ),
    ],
    ids=["deleted", "refused"],
)
def test_the_record_of_a_deletion_says_what_it_took_away_or_was_to(
    requester: Requester, sandbox: SandboxServer, fault: faults.Fault | None, said: str
):
    if fault:
        sandbox.world.set_fault(connection_id=requester.connection.id, fault=fault)
    assert "might break" in requester.confirmation_page().text
    requester.delete()
    page = open_deletion(requester).text
    assert said in page
    assert ("Requested: Group" in page, "might break" in page) == (bool(fault), False)


@pytest.mark.database
def test_the_record_keeps_who_answered_and_until_when_as_they_were_shown(
    requester: Requester, ada: Person, linus: Person, clock: SettableClock
):
    snapshot = requester.credential.snapshots.get(connection_id=requester.connection.id)
    pair = OrgPair(snapshot.site, snapshot.source_org_id, snapshot.sink_org_id)
    actor = person_actor(person=ada)
    agree(pair, actor=actor, owner=linus, owner_text="", ends_on=date(2099, 1, 31))
    clock.advance(minutes=1)
    form = requester.confirmation_page()
    requester.delete()
    clock.advance(minutes=1)
    agree(pair, actor=actor, owner=None, owner_text="Data team", ends_on=None)
    record = open_deletion(requester)
    for page in (form, record):
        assert 'id="what-changes"' in page.html
        assert 'data-field="owner" data-now="Linus" data-after="" data-taken' in page.html
        assert 'data-now="31 Jan 2099 (Org Admin won&#x27;t delete it)"' in page.html
    assert "Linus answered for this access." in record.text
    assert "Data team" not in record.text


def test_a_waiting_deletion_can_be_withdrawn(requester: Requester, sandbox: SandboxServer):
    sandbox.world.set_fault(fault=faults.rate_limited(), connection_id=requester.connection.id)
    page = requester.delete()
    assert "Stop retrying" in page.text

    page = requester.press(page, "/withdraw/")

    assert "Withdrawn by Ada. Nothing was deleted." in page.text
    assert page.outcome["data-outcome"] == "withdrawn"
    assert sandbox.world.deletes_executed(requester.connection.id) == 0


@pytest.fixture
def send_and_lose_response(
    requester: Requester,
    sandbox: SandboxServer,
    clock: SettableClock,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[faults.Fault], Page]:
    """Send a DELETE whose response is lost while the clock stands still."""

    def send(fault: faults.Fault) -> Page:
        sandbox.world.set_fault(fault=fault, connection_id=requester.connection.id)
        with monkeypatch.context() as patch:
            patch.setattr(time_limits, "SEND_SECONDS", seconds_for(fault))
            return requester.delete()

    return send


def check_twice(requester: Requester, clock: SettableClock, page: Page) -> Page:
    clock.advance(seconds=36)
    page = requester.press(page, "/reconcile/")
    assert page.outcome["data-state"] == "unknown"
    clock.advance(seconds=61)
    return requester.press(page, "/reconcile/")


def test_after_two_checks_that_still_list_it_the_delete_can_be_sent_again(
    requester: Requester,
    sandbox: SandboxServer,
    clock: SettableClock,
    send_and_lose_response: Callable[[faults.Fault], Page],
):
    page = check_twice(requester, clock, send_and_lose_response(faults.NO_RESPONSE))
    assert "No effect so far. Two complete syncs still list the connection." in page.text
    assert page.outcome["data-state"] == "still_present"

    sandbox.world.clear_faults()
    page = requester.confirm(page)

    assert page.outcome["data-outcome"] == "deleted"
    assert sandbox.world.deletes_received(requester.connection.id) == 2


def test_a_failed_check_leaves_it_unknown_and_shows_the_cause(
    requester: Requester,
    sandbox: SandboxServer,
    clock: SettableClock,
    send_and_lose_response: Callable[[faults.Fault], Page],
):
    page = send_and_lose_response(faults.NO_RESPONSE)
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="list")

    clock.advance(seconds=40)
    page = requester.press(page, "/reconcile/")

    assert page.outcome["data-state"] == "unknown"
    assert "The last check was inconclusive. Datadog denied permission (403)" in page.text


def test_an_unknown_deletion_can_be_closed_with_a_reason(
    requester: Requester, send_and_lose_response: Callable[[faults.Fault], Page]
):
    page = requester.press(send_and_lose_response(faults.NO_RESPONSE), "/close/", reason="")
    assert page.status == 422
    assert "Enter a reason for closing it as unresolved." in page.text

    page = requester.press(page, "/close/", reason="Datadog support looks into it")

    assert "Closed by Ada. The outcome was never determined." in page.text
    assert "“Datadog support looks into it”" in page.text
    assert page.outcome["data-outcome"] == "unresolved"


def test_a_deletion_that_was_never_sent_cannot_be_checked(requester_with_approval: Requester):
    requester_with_approval.delete()

    response = requester_with_approval.client.post(
        f"/deletions/{requester_with_approval.deletion().pk}/reconcile/"
    )

    assert response.status_code == 409
    assert "nothing to check with Datadog" in read(response).text


def test_a_viewer_sees_the_deletion_without_buttons(
    requester: Requester,
    victor: Person,
    client_of: ClientOf,
    send_and_lose_response: Callable[[faults.Fault], Page],
):
    send_and_lose_response(faults.NO_RESPONSE)

    page = open_deletion(requester_as(requester, client_of(victor)))

    assert (
        "Outcome unknown. The DELETE was sent and might have worked. Never resent automatically."
        in page.text
    )
    assert not any(page.has_form_to(end) for end in ("/reconcile/", "/close/", "/execute/"))


def test_a_ticket_links_to_its_page(requester: Requester, settings: Settings):
    settings.TICKET_URL = "https://tickets.example/{ticket}"

    assert (
        requester.delete(ticket="SEC-2 12").link("SEC-2 12") == "https://tickets.example/SEC-2%2012"
    )


def test_a_check_can_be_started_only_once_it_is_overdue(requester: Requester, clock: SettableClock):
    heartbeats.record_heartbeat(name="worker", host="here", process_id=1)
    page = requester.delete()
    assert "Deleted. Checking that Datadog no longer lists it…" in page.text
    assert not page.has_form_to("/reconcile/")

    clock.advance(seconds=61)
    heartbeats.record_heartbeat(name="worker", host="here", process_id=1)

    assert open_deletion(requester).has_form_to("/reconcile/")


def test_the_page_starts_the_first_check_of_a_response_only_where_no_worker_runs(
    requester: Requester, client_of: ClientOf, victor: Person
):
    page = requester.delete()
    [form] = [form for form in page.forms if "load" in form.attributes.get("hx-trigger", "")]
    url = f"/deletions/{requester.deletion().pk}/"
    viewers = read(client_of(victor).get(url))
    assert not any("load" in form.attributes.get("hx-trigger", "") for form in viewers.forms)

    heartbeats.record_heartbeat(name="worker", host="here", process_id=1)
    assert "load delay" not in requester.open(url).html
    heartbeats.remove_heartbeat(name="worker")

    response = post_htmx(
        requester.client, form.attributes["hx-post"], form.fields, target="outcome"
    )
    page = read(response)
    assert "Deleted and verified" in page.text
    assert not any("load" in form.attributes.get("hx-trigger", "") for form in page.forms)

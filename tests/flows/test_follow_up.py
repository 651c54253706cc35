"""What can follow a request: approval, withdrawal, a check with Datadog, closing."""

from collections.abc import Callable

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from connections.deletions import sending
from connections.models import ApprovalPolicy, Credential, Person
from connections.operations import worker
from sandbox import faults
from sandbox.server import SandboxServer
from tests.flows.support import Desk, Page, post_htmx, read
from tests.support.clock import SettableClock
from tests.support.sandbox import seconds_for

ClientOf = Callable[[Person], Client]


@pytest.fixture
def desk_with_approval(desk: Desk) -> Desk:
    """A desk whose credential requires one approval."""
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    return desk


def desk_of(desk: Desk, client: Client) -> Desk:
    """The same connection, at another person's desk."""
    return Desk(client=client, credential=desk.credential, connection=desk.connection)


def open_deletion(desk: Desk) -> Page:
    """The deletion's page as this person sees it."""
    return desk.open(f"/deletions/{desk.deletion().pk}/")


def test_one_person_requests_another_approves_and_the_first_confirms(
    desk_with_approval: Desk, sandbox: SandboxServer, linus: Person, client_of: ClientOf
) -> None:
    review = desk_with_approval.review().form_to("/deletions/new/")
    assert "data-confirm" not in review.attributes
    assert "confirmation" not in review.fields
    page = desk_with_approval.delete()
    assert "Waiting for approval. Nothing has been sent." in page.text
    assert "Linus can approve." in page.text
    assert "You requested this. Another person must approve it." in page.text
    assert not page.has_form_to("/approve/")

    approver = desk_of(desk_with_approval, client_of(linus))
    page = open_deletion(approver)
    assert "Ada requests your approval." in page.text
    assert "unchanged since the request." in page.text
    assert "Group SOC loses access to Payments US's logs and metrics." in page.text
    page = approver.press(page, "/approve/")
    assert "Approved by Linus." in page.text
    assert not page.has_form_to("/execute/")
    assert sandbox.world.deletes_received(desk_with_approval.connection.id) == 0

    desk_with_approval.confirm(open_deletion(desk_with_approval))
    page = desk_with_approval.verify()
    assert (
        "Deleted and verified: Datadog returned 200 and no longer lists the connection."
        in page.text
    )
    assert sandbox.world.deletes_received(desk_with_approval.connection.id) == 1


def test_it_refuses_self_approval(desk_with_approval: Desk, ada: Person, root: Person) -> None:
    desk_with_approval.delete()
    ada.is_superuser = True
    ada.save()
    deletion = desk_with_approval.deletion()

    response = desk_with_approval.client.post(
        f"/deletions/{deletion.pk}/approve/", {"digest": deletion.approval_digest}
    )

    assert response.status_code == 403
    assert deletion.approvals.count() == 0


def test_declining_needs_a_reason_and_closes_the_deletion(
    desk_with_approval: Desk, linus: Person, client_of: ClientOf
) -> None:
    desk_with_approval.delete()
    approver = desk_of(desk_with_approval, client_of(linus))

    page = approver.press(open_deletion(approver), "/decline/", reason=" ")
    assert page.status == 422
    assert "Enter a reason for declining." in page.text

    page = approver.press(page, "/decline/", reason="still used by the SOC")
    assert "Declined by Linus. Nothing was deleted." in page.text
    assert "still used by the SOC" in page.text
    assert page.outcome["data-outcome"] == "declined"


def test_a_deletion_that_needs_approval_cannot_be_confirmed(
    desk_with_approval: Desk, sandbox: SandboxServer
) -> None:
    desk_with_approval.delete()

    page = read(
        desk_with_approval.client.post(
            f"/deletions/{desk_with_approval.deletion().pk}/execute/",
            {"confirmation": "Payments US"},
        )
    )

    assert page.status == 409
    assert "This deletion still needs approval. Nothing was sent." in page.text
    assert sandbox.world.deletes_received(desk_with_approval.connection.id) == 0


def test_a_wrong_confirmation_of_an_approved_deletion_keeps_the_input(
    desk_with_approval: Desk, linus: Person, client_of: ClientOf
) -> None:
    desk_with_approval.delete()
    approver = desk_of(desk_with_approval, client_of(linus))
    approver.press(open_deletion(approver), "/approve/")

    page = desk_with_approval.confirm(open_deletion(desk_with_approval), confirmation="Payments")

    assert page.status == 422
    assert "Type “Payments US” to confirm. Nothing was sent." in page.text
    assert page.form_to("/execute/").fields["confirmation"] == "Payments"


@pytest.mark.parametrize("fault", [None, faults.RETURNS_403], ids=["deleted", "refused"])
def test_a_closed_deletion_no_longer_shows_its_expected_impact(
    desk: Desk, sandbox: SandboxServer, fault: faults.Fault | None
) -> None:
    if fault:
        sandbox.world.set_fault(connection_id=desk.connection.id, fault=fault)
    assert "loses access" in desk.review().text
    desk.delete()
    page = open_deletion(desk).text
    assert "Source org Payments US" in page
    assert "loses access" not in page


def test_a_waiting_deletion_can_be_withdrawn(desk: Desk, sandbox: SandboxServer) -> None:
    sandbox.world.set_fault(fault=faults.rate_limited(), connection_id=desk.connection.id)
    page = desk.delete()
    assert "Stop retrying" in page.text

    page = desk.press(page, "/withdraw/")

    assert "Withdrawn by Ada. Nothing was deleted." in page.text
    assert page.outcome["data-outcome"] == "withdrawn"
    assert sandbox.world.deletes_executed(desk.connection.id) == 0


def test_a_deletion_that_was_sent_cannot_be_withdrawn(desk: Desk) -> None:
    page = desk.delete()
    assert not page.has_form_to("/withdraw/")

    page = read(desk.client.post(f"/deletions/{desk.deletion().pk}/withdraw/"))

    assert page.status == 409
    assert "This deletion can no longer be withdrawn" in page.text


@pytest.fixture
def send_and_lose_response(
    desk: Desk, sandbox: SandboxServer, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> Callable[[faults.Fault], Page]:
    """Send a DELETE whose response is lost while the clock stands still."""

    def send(fault: faults.Fault) -> Page:
        sandbox.world.set_fault(fault=fault, connection_id=desk.connection.id)
        with monkeypatch.context() as patch:
            patch.setattr(sending, "DELETE_SECONDS", seconds_for(fault))
            return desk.delete()

    return send


def check_twice(desk: Desk, clock: SettableClock, page: Page) -> Page:
    clock.advance(seconds=36)
    page = desk.press(page, "/reconcile/")
    assert page.outcome["data-state"] == "unknown"
    clock.advance(seconds=61)
    return desk.press(page, "/reconcile/")


def test_two_checks_close_an_unknown_deletion_as_gone(
    desk: Desk,
    sandbox: SandboxServer,
    clock: SettableClock,
    send_and_lose_response: Callable[[faults.Fault], Page],
) -> None:
    page = check_twice(desk, clock, send_and_lose_response(faults.EXECUTES_THEN_RESET))

    assert "Gone, but not proven to be this request. The response was lost." in page.text
    assert page.outcome["data-outcome"] == "gone_unattributed"
    assert sandbox.world.deletes_received(desk.connection.id) == 1


def test_after_two_checks_that_still_list_it_the_delete_can_be_sent_again(
    desk: Desk,
    sandbox: SandboxServer,
    clock: SettableClock,
    send_and_lose_response: Callable[[faults.Fault], Page],
) -> None:
    page = check_twice(desk, clock, send_and_lose_response(faults.NO_RESPONSE))
    assert "No effect so far: two complete syncs still list the connection." in page.text
    assert page.outcome["data-state"] == "still_present"

    sandbox.world.clear_faults()
    page = desk.confirm(page)

    assert page.outcome["data-outcome"] == "deleted"
    assert sandbox.world.deletes_received(desk.connection.id) == 2


def test_a_failed_check_leaves_it_unknown_and_shows_the_cause(
    desk: Desk,
    sandbox: SandboxServer,
    clock: SettableClock,
    send_and_lose_response: Callable[[faults.Fault], Page],
) -> None:
    page = send_and_lose_response(faults.NO_RESPONSE)
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="list")

    clock.advance(seconds=40)
    page = desk.press(page, "/reconcile/")

    assert page.outcome["data-state"] == "unknown"
    assert "The last check was inconclusive. Datadog denied permission (403)" in page.text


def test_an_unknown_deletion_can_be_closed_with_a_reason(
    desk: Desk, send_and_lose_response: Callable[[faults.Fault], Page]
) -> None:
    page = desk.press(send_and_lose_response(faults.NO_RESPONSE), "/close/", reason="")
    assert page.status == 422
    assert "Enter a reason for closing it as unresolved." in page.text

    page = desk.press(page, "/close/", reason="Datadog support looks into it")

    assert "Closed by Ada; the outcome was never determined." in page.text
    assert "“Datadog support looks into it”" in page.text
    assert page.outcome["data-outcome"] == "unresolved"


def test_a_deletion_that_was_never_sent_cannot_be_checked(desk_with_approval: Desk) -> None:
    desk_with_approval.delete()

    response = desk_with_approval.client.post(
        f"/deletions/{desk_with_approval.deletion().pk}/reconcile/"
    )

    assert response.status_code == 409
    assert "nothing to check with Datadog" in read(response).text


@pytest.mark.parametrize(
    "action", ["execute", "approve", "decline", "withdraw", "reconcile", "close"]
)
def test_get_requests_to_actions_are_refused(desk: Desk, action: str) -> None:
    desk.delete()

    assert desk.client.get(f"/deletions/{desk.deletion().pk}/{action}/").status_code == 405


def test_a_viewer_sees_the_deletion_without_buttons(
    desk: Desk,
    victor: Person,
    client_of: ClientOf,
    send_and_lose_response: Callable[[faults.Fault], Page],
) -> None:
    send_and_lose_response(faults.NO_RESPONSE)

    page = open_deletion(desk_of(desk, client_of(victor)))

    assert (
        "Outcome unknown. The DELETE was sent and might have worked. Never resent automatically."
        in page.text
    )
    assert not any(page.has_form_to(end) for end in ("/reconcile/", "/close/", "/execute/"))


def test_a_ticket_links_to_its_page(desk: Desk, settings: Settings) -> None:
    settings.TICKET_URL = "https://tickets.example/{ticket}"

    assert desk.delete(ticket="SEC-2 12").link("SEC-2 12") == "https://tickets.example/SEC-2%2012"


def test_the_page_starts_the_first_check_of_a_response_only_where_no_worker_runs(
    desk: Desk, client_of: ClientOf, victor: Person
) -> None:
    page = desk.delete()
    [form] = [form for form in page.forms if "load" in form.attributes.get("hx-trigger", "")]
    url = f"/deletions/{desk.deletion().pk}/"
    viewers = read(client_of(victor).get(url))
    assert not any("load" in form.attributes.get("hx-trigger", "") for form in viewers.forms)

    worker.record_heartbeat(name="worker", host="here", process_id=1)
    assert "load delay" not in desk.open(url).html
    worker.remove_heartbeat(name="worker")

    response = post_htmx(desk.client, form.attributes["hx-post"], form.fields, target="outcome")
    page = read(response)
    assert "Deleted and verified" in page.text
    assert not any("load" in form.attributes.get("hx-trigger", "") for form in page.forms)


def test_a_deletions_page_makes_a_bounded_number_of_queries(
    desk: Desk, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    desk.delete_and_verify()
    url = f"/deletions/{desk.deletion().pk}/"

    with django_assert_max_num_queries(10):
        desk.open(url)

"""While a DELETE is in flight, no link or button of the form claims that nothing is sent."""

import re
import threading
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from connections.access.actor import person_actor
from connections.change_requests import approvals
from connections.models import ApprovalPolicy, Credential, Person, Role
from connections.web.change_requests import page as request_page
from sandbox import faults
from sandbox.server import SandboxServer
from tests.browser.polls import hold_poll, let_through
from tests.browser.requester import REASON, SOURCE, Requester
from tests.browser.watch import Watch
from tests.support.people import make_person

SENTENCE = "Sending… Leaving this page doesn't stop it; the result is recorded."


def form_of(page: Page) -> Locator:
    return page.locator("form[data-confirm]:visible")


def usable(form: Locator) -> list[str]:
    """The names of the controls that can still be used."""
    script = """form => [...form.elements].filter(one => one.type !== "hidden" && !one.disabled)
        .map(one => one.name || one.textContent.trim())"""
    return cast(list[str], form.evaluate(script))


@pytest.fixture
def response(requester: Requester) -> Iterator[threading.Event]:
    """Datadog executes the DELETE at once, but responds only when this event is set."""
    event = threading.Event()
    requester.world.set_fault(fault=faults.held(until=event), connection_id=requester.connection.id)
    yield event
    event.set()


def expect_sending(page: Page) -> None:
    form = form_of(page)
    expect(form.get_by_text(SENTENCE)).to_be_visible()
    expect(form.get_by_role("link", name="Cancel")).to_be_hidden()
    assert usable(form) == []
    # The timeline's text about earlier steps remains true.
    claims = page.get_by_text(re.compile(r"^Nothing|\. Nothing|^No DELETE|[—;] nothing is sent"))
    expect(claims.filter(visible=True)).to_have_count(0)
    expect(page.locator("#live")).to_have_text(SENTENCE)


@pytest.mark.smoke
def test_the_confirmation_page_says_that_it_is_being_sent_and_has_no_cancel_link(
    requester: Requester, response: threading.Event
):
    requester.fill()
    form = form_of(requester.page)
    expect(form.get_by_role("link", name="Cancel")).to_be_visible()
    expect(form.get_by_text(SENTENCE)).to_be_hidden()
    requester.delete_button.click()

    expect_sending(requester.page)
    assert requester.world.wait_until(lambda: requester.sent() == 1)
    expect_sending(requester.page)
    response.set()
    expect(requester.headline).to_have_text("Deleted and verified")
    # Typed text was submitted although its fields were disabled.
    assert requester.deletion().reason == REASON
    expect(requester.page.get_by_text(SENTENCE)).to_have_count(0)


def fill_break_glass(requester: Requester, operator: Person) -> Locator:
    """Request approval and fill in the break-glass form; return the button that sends."""
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    Person.objects.filter(pk=operator.pk).update(has_break_glass=True)
    requester.page.goto(requester.confirmation_path)
    requester.page.get_by_label("Reason").fill(REASON)
    requester.page.get_by_role("button", name="Request approval").click()
    requester.page.get_by_text("Break glass", exact=False).first.click()
    requester.page.get_by_label("Why can't this wait for approval?").fill(
        "Card data leaks and nobody else is awake."
    )
    requester.page.get_by_label("To confirm, type").last.fill(SOURCE)
    return requester.page.get_by_role("button", name="Break glass and delete")


@pytest.mark.sweep(every=3)
@pytest.mark.parametrize("status", [401, 403, 429])
def test_a_refusal_that_keeps_the_form_restores_the_cancel_link(
    requester: Requester, watch: Watch, status: int
):
    watch.expect(f"(status of|Code) {status}")
    requester.fill()
    respond_to_posts(requester.page, status=status)
    requester.delete_button.click()

    expect(requester.page.locator("[data-silent] h2")).to_be_focused()
    form = form_of(requester.page)
    expect(form.get_by_role("link", name="Cancel")).to_be_visible()
    expect(form.get_by_text(SENTENCE)).to_be_hidden()
    assert {"reason", "confirmation", "Delete connection"} <= set(usable(form))
    expect(requester.page.get_by_label("Reason")).to_have_value(REASON)


@pytest.mark.smoke
@pytest.mark.parametrize("status", [408, 500, None])
def test_text_that_says_nothing_was_sent_stays_hidden_after_a_lost_response(
    requester: Requester, operator: Person, watch: Watch, status: int | None
):
    lost = "ERR_FAILED|htmx:(afterRequest|sendError)"
    watch.expect(f"(status of|Code) {status}" if status else lost)
    button = fill_break_glass(requester, operator)
    claim = requester.outcome.get_by_text("Nothing has been sent.")
    expect(claim).to_be_visible()
    respond_to_posts(requester.page, status=status)
    button.click()

    expect(requester.page.get_by_role("link", name="View the deletion")).to_be_visible()
    expect(claim).to_be_hidden()
    expect(requester.outcome.get_by_text(SENTENCE)).to_be_hidden()


def respond_to_posts(page: Page, *, status: int | None) -> None:
    """Respond to a POST before it reaches the server, or lose the connection."""

    def handle(route: Route) -> None:
        if route.request.method == "POST" and status is None:
            route.abort()
        elif route.request.method == "POST":
            route.fulfill(status=status, body="no", content_type="text/plain")
        else:
            route.continue_()

    page.route("**/deletions/**", handle)


def test_without_javascript_the_cancel_link_makes_no_claim(
    operator: Person, sandbox: SandboxServer, open_as: Callable[..., Page]
):
    requester = Requester.at(sandbox=sandbox, page=open_as(operator, java_script_enabled=False))
    requester.fill()

    link = form_of(requester.page).get_by_role("link", name="Cancel")
    assert link.text_content() == "Cancel"
    expect(requester.page.get_by_text(SENTENCE)).to_be_hidden()


def approved(requester: Requester) -> None:
    """Open the page of an approved deletion, which polls every second, and fill in its form."""
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    requester.page.goto(requester.confirmation_path)
    requester.page.get_by_label("Reason").fill(REASON)
    requester.page.get_by_role("button", name="Request approval").click()
    expect(requester.outcome).to_have_attribute("data-state", "requested")
    deletion = requester.deletion()
    approvals.approve(
        change_request=deletion,
        actor=person_actor(person=make_person("grace", Role.APPROVER)),
        digest=deletion.approval_digest,
    )
    requester.page.reload()
    requester.page.get_by_label("To confirm, type").fill(SOURCE)


@pytest.mark.smoke
def test_a_poll_while_a_delete_is_in_flight_replaces_nothing(
    requester: Requester, response: threading.Event, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(request_page, "POLL_WAITING", 1)
    approved(requester)
    polls = hold_poll(requester.page)
    requester.delete_button.click()
    assert requester.world.wait_until(lambda: requester.sent() == 1)

    let_through(polls, requester.page)

    expect_sending(requester.page)
    response.set()
    expect(requester.outcome).to_have_attribute("data-state", "settled")


def test_a_request_for_approval_says_what_it_does_and_has_no_cancel_link(requester: Requester):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    requester.page.goto(requester.confirmation_path)
    requester.page.get_by_label("Reason").fill(REASON)
    cancel = requester.page.get_by_role("link", name="Cancel")
    expect(cancel).to_have_text("Cancel")
    # The request is sent, and its response never arrives.
    requester.page.evaluate("XMLHttpRequest.prototype.send = function () {}")
    requester.page.get_by_role("button", name="Request approval").click()
    expect(
        requester.page.get_by_text("Requesting… Leaving this page doesn't stop it.")
    ).to_be_visible()
    expect(cancel).to_be_hidden()

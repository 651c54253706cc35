"""Whatever the browser does: one DELETE, one deletion, and the page links to it."""

import re
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from django.utils import timezone
from playwright.sync_api import Page, Route, expect

from connections.models import ApprovalPolicy, Credential, Deletion, Person
from sandbox import faults
from sandbox.server import SandboxServer
from tests.browser.requester import REASON, Requester
from tests.browser.sessions import session_cookie
from tests.browser.watch import Watch

RECORD = re.compile(r"/deletions/[0-9a-f-]{36}/$")


def assert_deleted_once(requester: Requester) -> None:
    """One DELETE reached Datadog, and there is one deletion."""
    assert requester.sent() == 1
    assert Deletion.objects.filter(outcome="deleted").count() == 1


@pytest.mark.smoke
def test_a_double_click_sends_once(requester: Requester):
    requester.fill()
    requester.delete_button.dblclick()

    expect(requester.headline).to_have_text("Deleted and verified")
    assert_deleted_once(requester)
    assert Deletion.objects.count() == 1


@pytest.mark.smoke
def test_a_double_click_without_javascript_sends_once(
    operator: Person, sandbox: SandboxServer, open_as: Callable[..., Page]
):
    requester = Requester.at(sandbox=sandbox, page=open_as(operator, java_script_enabled=False))
    requester.fill()
    requester.delete_button.dblclick()

    # The second click is redirected to the deletion while the first is still in progress.
    expect(requester.page).to_have_url(RECORD)
    stop_at = time.monotonic() + 10
    while requester.outcome.get_attribute("data-state") != "settled" and time.monotonic() < stop_at:
        requester.page.reload()
    expect(requester.outcome).to_have_attribute("data-state", "settled")
    assert_deleted_once(requester)
    assert Deletion.objects.count() == 1


@pytest.mark.smoke
def test_a_second_tab_is_redirected_to_the_deletion_started_in_the_first(requester: Requester):
    requester.world.set_fault(
        fault=faults.delayed(seconds=1.5), connection_id=requester.connection.id
    )
    other = replace(requester, page=requester.page.context.new_page())
    requester.fill()
    other.fill()
    requester.delete_button.click()
    assert requester.world.wait_until(lambda: requester.sent() == 1)
    other.delete_button.click()

    expect(other.headline).to_be_visible()
    expect(requester.headline).to_have_text("Deleted and verified")
    expect(other.headline).to_have_text("Deleted and verified")
    assert_deleted_once(requester)
    assert Deletion.objects.count() == 1


def test_a_later_second_tab_shows_the_deletion_that_ended_meanwhile(
    requester: Requester, watch: Watch
):
    other = replace(requester, page=requester.page.context.new_page())
    requester.fill()
    other.fill()
    requester.delete_button.click()
    expect(requester.headline).to_have_text("Deleted and verified")
    watch.expect("status of 409")
    other.delete_button.click()

    notice = other.page.get_by_role("alert").get_by_role("heading")
    expect(notice).to_have_text(
        "A deletion of this connection ended after you opened this page. No new DELETE was sent."
    )
    expect(notice).to_be_focused()
    expect(other.outcome).to_have_attribute("data-outcome", "deleted")
    expect(other.page.get_by_text("Deleted and verified")).to_be_visible()
    expect(other.delete_button).to_have_count(0)
    assert_deleted_once(requester)
    assert Deletion.objects.count() == 1


@pytest.mark.smoke
def test_the_result_replaces_the_confirmation_page(requester: Requester):
    requester.delete()

    expect(requester.page.get_by_role("heading", level=1)).to_have_text(
        "Deleted Payments US → Group SOC"
    )
    expect(requester.page).to_have_title("Deleted Payments US → Group SOC · Org Admin")
    expect(requester.page.locator("#what-changes")).to_have_count(1)
    expect(requester.page.locator(".org-pair:visible")).to_have_count(1)
    expect(requester.page.locator("#progress")).not_to_have_class(re.compile("is-busy"))


@pytest.mark.parametrize("lost", ["every cookie", "the session"])
def test_a_signed_out_person_signs_in_in_another_tab_and_submits_again(
    lost: str, requester: Requester, operator: Person, service_url: str, watch: Watch
):
    requester.fill()
    requester.page.context.clear_cookies(name=None if lost == "every cookie" else "sessionid")
    watch.expect("(status of|Code) 40[13]")
    requester.delete_button.click()
    refusal = requester.page.get_by_role("heading", name="No new DELETE was sent.")
    expect(refusal).to_be_focused()
    link = requester.page.get_by_role("link", name="Sign in from a new tab")
    expect(link).to_have_attribute("href", "/accounts/login/")
    assert requester.sent() == 0

    requester.page.context.add_cookies([session_cookie(operator, address=service_url)])
    requester.delete_button.click()

    expect(requester.headline).to_have_text("Deleted and verified")
    assert_deleted_once(requester)


@pytest.mark.smoke
@pytest.mark.parametrize("java_script", [True, False], ids=["with JavaScript", "without"])
def test_going_back_and_submitting_again_deletes_nothing_more(
    java_script: bool, operator: Person, sandbox: SandboxServer, open_as: Callable[..., Page]
):
    requester = Requester.at(
        sandbox=sandbox, page=open_as(operator, java_script_enabled=java_script)
    )
    requester.delete()
    expect(requester.page).to_have_url(RECORD)
    if java_script:
        # The page checks the response by itself. A check that ended after the next page was
        # loaded would refuse its form with a 409.
        expect(requester.headline).to_contain_text("Deleted and verified")
    requester.page.go_back()
    expect(requester.page.get_by_role("heading", level=1)).to_have_text(
        "Deleted Payments US → Group SOC"
    )
    expect(requester.page.get_by_role("link", name="View record")).to_be_visible()
    expect(requester.delete_button).not_to_be_visible()
    requester.page.get_by_text("Request another deletion").click()
    requester.page.get_by_label("Reason").fill(REASON)
    confirm = requester.page.locator("form[data-confirm]").get_attribute("data-confirm")
    requester.page.get_by_label("To confirm, type").fill(confirm or "")
    requester.delete_button.click()

    expect(requester.outcome).to_have_attribute("data-state", "settled")
    assert_deleted_once(requester)


def test_a_page_cached_by_the_browser_is_reloaded_after_its_form_was_submitted(
    requester: Requester,
):
    requester.fill()
    requester.page.evaluate("document.querySelector('form[data-confirm]').dataset.inFlight = ''")
    Credential.objects.update(retired_at=timezone.now())
    # Automated Chromium doesn't cache pages, so the test dispatches the browser's event itself.
    requester.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")

    expect(
        requester.page.get_by_role("heading", name="This credential can't send the DELETE")
    ).to_be_visible()


def expect_lost_response(watch: Watch) -> None:
    """Both the browser and htmx report it in the console."""
    watch.expect("ERR_CONNECTION_RESET")
    watch.expect("htmx:(sendError|afterRequest)")


def lose_responses(page: Page, *, is_let_through: bool) -> None:
    """Drop the response to a POST; the server may still receive the request."""

    def handle(route: Route) -> None:
        if route.request.method != "POST":
            route.continue_()
            return
        if is_let_through:
            route.fetch()
        route.abort("connectionreset")

    page.route("**/deletions/**", handle)


@pytest.mark.smoke
def test_a_lost_response_links_to_the_deletion(requester: Requester, watch: Watch):
    expect_lost_response(watch)
    requester.fill()
    lose_responses(requester.page, is_let_through=True)
    requester.delete_button.click()

    notice = requester.page.get_by_role(
        "heading", name="No response from Org Admin. The DELETE might have been sent."
    )
    expect(notice).to_be_focused()
    expect(requester.page.get_by_text("Don't retry; view the deletion.")).to_be_visible()
    expect(requester.delete_button).to_be_disabled()
    expect(requester.page.get_by_text("nothing is sent")).to_have_count(0)
    requester.page.get_by_role("link", name="View the deletion").click()
    expect(requester.page).to_have_url(RECORD)
    expect(requester.headline).to_have_text("Deleted and verified")
    assert_deleted_once(requester)


def test_a_server_that_never_responds_is_given_up_and_the_page_links_to_the_deletion(
    requester: Requester, watch: Watch
):
    watch.expect("htmx:(timeout|afterRequest)")
    requester.fill()
    assert requester.page.evaluate("htmx.config.timeout") == 75_000
    requester.page.evaluate("htmx.config.timeout = 500")
    requester.page.route("**/deletions/**", lambda route: None)
    requester.delete_button.click()

    notice = requester.page.get_by_role(
        "heading", name="No response from Org Admin. The DELETE might have been sent."
    )
    expect(notice).to_be_focused()
    expect(requester.page.get_by_role("link", name="Cancel")).to_have_count(0)
    link = requester.page.get_by_role("link", name="View the deletion")
    request_id = requester.page.locator("input[name=request_id]").input_value()
    expect(link).to_have_attribute("href", re.compile(f"request_id={request_id}"))


def test_a_lost_response_to_a_form_that_sends_nothing_does_not_mention_sending(
    requester: Requester, watch: Watch
):
    expect_lost_response(watch)
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    requester.page.goto(requester.confirmation_path)
    requester.page.get_by_label("Reason").fill(REASON)
    lose_responses(requester.page, is_let_through=True)
    requester.page.get_by_role("button", name="Request approval").click()

    expect(requester.page.get_by_role("heading", name="No response from Org Admin")).to_be_focused()
    expect(requester.page.get_by_text("might have been sent")).to_have_count(0)
    requester.page.get_by_role("link", name="Reload the page").click()
    expect(requester.page).to_have_url(RECORD)


def test_a_request_that_never_arrived_links_back_to_the_form(requester: Requester, watch: Watch):
    expect_lost_response(watch)
    requester.fill()
    lose_responses(requester.page, is_let_through=False)
    requester.delete_button.click()
    requester.page.get_by_role("link", name="View the deletion").click()

    expect(requester.page.get_by_role("alert")).to_contain_text("nothing was sent")
    expect(requester.page.get_by_label("Reason")).to_have_value(REASON)
    assert requester.sent() == 0
    assert not Deletion.objects.exists()

"""The main task, from signing in to finding the deletion again, with clicks only."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from connections.models import Deletion, Person, Role
from sandbox.server import SandboxServer
from tests.browser.requester import REASON, SINK, SOURCE, Requester, check_without_javascript
from tests.browser.watch import Watch
from tests.support.people import PASSWORD, make_person
from tests.support.sandbox import US, connection_between, key_pair_of

HEADLINE = "Deleted and verified"


def sign_in(page: Page, username: str) -> None:
    """Sign in on the page that a URL redirects to."""
    page.goto("/")
    page.get_by_label("Username or email").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def add_credential(page: Page, sandbox: SandboxServer) -> None:
    """Store the key pair of Payments US in the form."""
    pair = key_pair_of(sandbox.world, SOURCE)
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Orgs").click()
    page.get_by_role("link", name="Add credential").first.click()
    page.get_by_label("Site").select_option(US)
    page.get_by_label("API key").fill(pair.api_key)
    page.get_by_label("Application key").fill(pair.application_key)
    page.get_by_role("button", name="Add credential").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(SOURCE)


def open_review(page: Page) -> None:
    """Follow the new credential's page to its connections and choose the one to delete."""
    page.get_by_role("link", name="View 2 connections").click()
    page.get_by_role("link", name=f"Delete {SOURCE} to {SINK}…").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Delete Payments US → Group SOC?")


def find_in_history(page: Page) -> None:
    """Search the history for a word of the reason, and open the result."""
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Deletions").click()
    page.get_by_role("searchbox").fill("carve-out")
    page.get_by_role("searchbox").press("Enter")
    expect(page.locator("#count")).to_have_text("1 deletion")
    page.get_by_role("link", name=re.compile(f"{SOURCE}.*{SINK}")).click()
    expect(page.get_by_text(REASON).first).to_be_visible()
    expect(page.locator("#outcome h2").first).to_have_text(HEADLINE)


@pytest.mark.smoke
@pytest.mark.parametrize("java_script", [True, False], ids=["with JavaScript", "without"])
def test_a_person_signs_in_stores_a_key_pair_deletes_and_finds_it_again(
    java_script: bool, open_as: Callable[..., Page], sandbox: SandboxServer
):
    make_person("ada", Role.OPERATOR, Role.CREDENTIAL_MANAGER)
    connection = connection_between(sandbox.world, SOURCE, SINK)
    page = open_as(None, java_script_enabled=java_script)

    sign_in(page, "ada")
    add_credential(page, sandbox)
    open_review(page)
    page.get_by_label("Reason").fill(REASON)
    page.get_by_label("To confirm, type").fill(SOURCE)
    if java_script:
        page.evaluate("window.stillHere = true")
    page.get_by_role("button", name="Delete connection").click()
    if not java_script:
        check_without_javascript(page)

    expect(page.locator("#outcome h2").first).to_have_text(HEADLINE)
    expect(page).to_have_url(re.compile(r"/deletions/[0-9a-f-]{36}/$"))
    # With JavaScript, the outcome is on the confirmation page, without the timeline.
    expect(page.get_by_role("link", name="View record")).to_be_visible(visible=java_script)
    if java_script:
        assert page.evaluate("window.stillHere") is True  # no page was loaded
        expect(page.locator("#outcome h2").first).to_be_focused()
    page.reload()
    expect(page.locator("#outcome h2").first).to_have_text(HEADLINE)
    assert sandbox.world.deletes_received(connection.id) == 1
    assert Deletion.objects.count() == 1
    find_in_history(page)


@pytest.mark.smoke
def test_back_from_a_deletion_the_list_is_as_it_was_with_the_focus_on_the_next_row(
    requester: Requester,
):
    page = requester.page
    page.goto("/connections/?q=payments")
    rows = page.locator("tr[data-connection]")
    expect(rows).to_have_count(2)
    deleted = page.locator(f"tr[data-connection$='{requester.connection.id}']")
    remaining = rows.filter(has_not=page.get_by_role("link", name=f"Delete {SOURCE} to {SINK}…"))
    is_last = rows.last.get_attribute("data-connection") == deleted.get_attribute("data-connection")
    deleted.get_by_role("link", name=f"Delete {SOURCE} to {SINK}…").click()
    requester.type_confirmation()
    requester.delete_button.click()
    expect(requester.headline).to_have_text("Deleted and verified")
    # The check replaced the outcome without moving the focus.
    expect(requester.headline).to_be_focused()

    page.get_by_role("link", name="Back to connections").click()

    expect(page).to_have_url(re.compile(r"/connections/\?q=payments$"))
    expect(rows).to_have_count(1)
    if not is_last:
        expect(remaining.get_by_role("link").first).to_be_focused()


@pytest.mark.smoke
def test_a_mistyped_name_shows_an_error_at_the_field_and_nothing_is_lost_or_sent(
    requester: Requester, watch: Watch
):
    watch.expect("status of 422")
    requester.fill()
    confirmation = requester.page.get_by_label("To confirm, type")
    confirmation.fill("Payments EU")
    requester.delete_button.click()

    expect(confirmation).to_be_focused()
    expect(confirmation).to_have_attribute("aria-invalid", "true")
    expect(confirmation).to_have_accessible_description("Type Payments US.")
    expect(confirmation).to_have_value("Payments EU")
    expect(requester.page.get_by_label("Reason")).to_have_value(REASON)
    # Nothing is being sent: the form is as it was.
    expect(requester.page.get_by_role("link", name="Cancel")).to_be_visible()
    expect(requester.page.get_by_text("Sending…")).to_be_hidden()
    expect(requester.delete_button).to_be_enabled()
    # Once the field changes, its error is no longer about what it says.
    confirmation.fill("Payments U")
    expect(confirmation).not_to_have_attribute("aria-invalid", "true")
    expect(requester.page.get_by_text("Type Payments US.")).to_have_count(0)
    assert requester.sent() == 0


def test_without_javascript_a_phone_shows_the_mistyped_name(
    operator: Person, open_as: Callable[..., Page], sandbox: SandboxServer, watch: Watch
):
    watch.expect("status of 422")
    page = open_as(operator, java_script_enabled=False)
    page.set_viewport_size({"width": 390, "height": 700})
    requester = Requester.at(sandbox=sandbox, page=page)
    requester.fill()
    page.get_by_label("To confirm, type").fill("Payments EU")
    requester.delete_button.click()

    expect(page.get_by_text("Type Payments US.")).to_be_in_viewport()


def test_it_shows_when_the_typed_text_matches(requester: Requester):
    requester.page.goto(requester.confirmation_path)
    hint = requester.page.locator("[data-confirm-hint]")
    confirmation = requester.page.get_by_label("To confirm, type")
    confirmation.fill("payments")
    expect(hint).to_have_text("")
    confirmation.fill("  payments   us ")
    expect(hint).to_have_text("Matches")

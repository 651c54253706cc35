"""A second tab on the same deletion shows its current status, not an error."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from connections.models import ApprovalPolicy, Credential, Role
from tests.browser.conftest import OpenAs
from tests.browser.requester import REASON, Requester
from tests.browser.watch import Watch
from tests.support.people import make_person


@pytest.fixture(autouse=True)
def _no_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    # A tab that has just polled would show the new status before anyone clicks.
    monkeypatch.setattr("connections.web.change_requests.page.POLL_WAITING", 300)


def request_approval(requester: Requester) -> str:
    """Request the deletion, which needs one approval; returns its address."""
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    requester.page.goto(requester.confirmation_path)
    requester.page.get_by_label("Reason").fill(REASON)
    requester.page.get_by_role("button", name="Request approval").click()
    expect(requester.outcome).to_have_attribute("data-state", "requested")
    return requester.page.url


def approve(page: Page) -> None:
    page.get_by_role("button", name="Approve deletion").click()


def decline(page: Page) -> None:
    form = page.locator("form[action$='/decline/']")
    form.get_by_label("Reason").fill("still in use")
    form.get_by_role("button").click()


def withdraw(page: Page) -> None:
    page.get_by_role("button", name="Withdraw request").click()


def expect_status(page: Page, status: str) -> None:
    outcome = page.locator("#outcome")
    name = "data-state" if status == "approved" else "data-outcome"
    expect(outcome).to_have_attribute(name, status)
    expect(page.locator("#outcome > .tone-danger")).to_have_count(0)
    expect(page.locator("[data-silent]")).to_have_count(0)


@pytest.mark.sweep(every=3)
@pytest.mark.parametrize(
    ("first", "status"), [(approve, "approved"), (decline, "declined"), (withdraw, "withdrawn")]
)
@pytest.mark.parametrize("second", [approve, decline])
def test_a_decision_that_comes_too_late_shows_the_current_status(
    first: Callable[[Page], None],
    status: str,
    second: Callable[[Page], None],
    requester: Requester,
    open_as: OpenAs,
    watch: Watch,
):
    watch.expect("status of 409")
    url = request_approval(requester)
    page = open_as(make_person("grace", Role.APPROVER))
    page.goto(url)
    other = page.context.new_page()
    other.goto(url)
    first(requester.page if first is withdraw else page)
    expect_status(requester.page if first is withdraw else page, status)

    second(other)

    expect_status(other, status)
    expect(other.locator("#outcome > .tone-info [data-focus]").first).to_be_focused()
    assert requester.deletion().approvals.count() == (0 if first is withdraw else 1)
    assert requester.sent() == 0

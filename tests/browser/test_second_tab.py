"""A second tab on the same deletion shows its current status, not an error."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from connections.models import ApprovalPolicy, Credential, Deletion, Role
from sandbox import faults
from tests.browser.conftest import OpenAs
from tests.browser.requester import REASON, SOURCE, Requester
from tests.browser.watch import Watch
from tests.support.people import make_person


@pytest.fixture(autouse=True)
def _no_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    # A tab that has just polled would show the new status before anyone clicks.
    monkeypatch.setattr("connections.web.deletions.detail.POLL_INTERVALS", ((timedelta.max, 300),))


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
) -> None:
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


def test_a_confirmation_after_the_deletion_was_withdrawn_shows_that_it_was(
    requester: Requester, open_as: OpenAs
) -> None:
    url = request_approval(requester)
    approver = open_as(make_person("grace", Role.APPROVER))
    approver.goto(url)
    approve(approver)
    expect_status(approver, "approved")
    requester.page.reload()
    other = replace(requester, page=requester.page.context.new_page())
    other.page.goto(url)
    withdraw(requester.page)
    expect_status(requester.page, "withdrawn")

    other.page.get_by_label("To confirm, type").fill(SOURCE)
    other.delete_button.click()

    expect_status(other.page, "withdrawn")
    assert requester.sent() == 0


def test_a_withdrawal_after_the_confirmation_shows_the_result(
    requester: Requester, open_as: OpenAs, watch: Watch
) -> None:
    watch.expect("status of 409")
    url = request_approval(requester)
    approver = open_as(make_person("grace", Role.APPROVER))
    approver.goto(url)
    approve(approver)
    expect_status(approver, "approved")
    requester.page.reload()
    other = requester.page.context.new_page()
    other.goto(url)
    requester.page.get_by_label("To confirm, type").fill(SOURCE)
    requester.delete_button.click()
    expect_status(requester.page, "deleted")

    withdraw(other)

    expect_status(other, "deleted")
    expect(other.get_by_text("This deletion can no longer be withdrawn.")).to_be_visible()
    assert requester.sent() == 1


@pytest.mark.parametrize("is_in_flight", [True, False], ids=["in flight", "later"])
def test_the_same_form_in_a_duplicated_tab_shows_the_same_deletion(
    is_in_flight: bool, requester: Requester
) -> None:
    other = replace(requester, page=requester.page.context.new_page())
    requester.fill()
    other.fill()
    request_id = requester.page.locator("input[name=request_id]").input_value()
    other.page.evaluate(
        "(id) => { document.querySelector('input[name=request_id]').value = id; }", request_id
    )
    if is_in_flight:
        fault = faults.delayed(seconds=1.5)
        requester.world.set_fault(fault=fault, connection_id=requester.connection.id)
    requester.delete_button.click()
    if is_in_flight:
        assert requester.world.wait_until(lambda: requester.sent() == 1)
    else:
        expect_status(requester.page, "deleted")

    other.delete_button.click()

    expect_status(other.page, "deleted")
    expect_status(requester.page, "deleted")
    assert requester.sent() == 1
    assert Deletion.objects.count() == 1

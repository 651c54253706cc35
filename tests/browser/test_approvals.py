"""The requester's page in a real browser updates when another person decides."""

import re

import pytest
from playwright.sync_api import Route, expect

from connections.access.actor import person_actor
from connections.change_requests import approvals
from connections.models import ApprovalPolicy, Credential, Deletion, Role, State
from connections.web.change_requests import page as request_page
from tests.browser.conftest import OpenAs
from tests.browser.requester import REASON, Requester
from tests.support.people import make_person

# Keeps everything that is announced to screen readers.
LISTEN = """() => {
  window.spoken = [];
  const live = document.querySelector("#live");
  const keep = () => live.textContent && window.spoken.push(live.textContent);
  new MutationObserver(keep).observe(live, { childList: true });
}"""

POLLS = re.compile(r"\?seen=")


@pytest.mark.smoke
def test_the_page_updates_by_itself_and_then_shows_the_confirmation_form(
    requester: Requester, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(request_page, "POLL_WAITING", 1)
    approver = make_person("linus", Role.APPROVER)
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    requester.page.goto(requester.confirmation_path)
    requester.page.evaluate(LISTEN)
    requester.page.get_by_label("Reason").fill(REASON)
    requester.page.get_by_role("button", name="Request approval").click()
    expect(requester.headline).to_have_text("Waiting for approval. Nothing has been sent.")
    expect(requester.headline).to_be_focused()
    # Otherwise, the new headline would take the focus and be read for that reason.
    requester.page.locator("#content").focus()

    deletion = requester.deletion()
    approvals.approve(
        change_request=deletion,
        actor=person_actor(person=approver),
        digest=deletion.approval_digest,
    )

    confirm = re.compile(
        r"^Approved by Linus\. .* must confirm by .* UTC\. Nothing has been sent\.$"
    )
    expect(requester.headline).to_have_text(confirm)
    expect(requester.page.locator("#live")).to_have_text(confirm)
    field = requester.page.get_by_label("To confirm, type")
    field.fill("Paym")
    # A poll without a change keeps what was typed.
    with requester.page.expect_response(lambda response: "seen=" in response.url) as looked:
        pass
    assert looked.value.status == 204
    expect(field).to_have_value("Paym")
    field.fill("Payments US")
    requester.delete_button.click()
    expect(requester.headline).to_have_text("Deleted and verified")
    expect(requester.page.locator("#watch")).to_have_count(0)
    assert requester.sent() == 1
    # The requester's own action was not announced: the focus was on its heading.
    assert confirm.search(requester.page.evaluate("spoken[0]"))


def test_a_poll_changes_nothing_once_an_action_replaced_its_part_of_the_page(
    requester: Requester, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(request_page, "POLL_WAITING", 1)
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    page = requester.page
    page.goto(requester.confirmation_path)
    page.get_by_label("Reason").fill(REASON)
    page.get_by_role("button", name="Request approval").click()
    polls: list[Route] = []
    page.route(POLLS, lambda route: polls.append(route))
    with page.expect_request(POLLS):
        pass
    page.get_by_role("button", name="Withdraw request").click()
    expect(requester.outcome).to_have_attribute("data-outcome", "withdrawn")

    with page.expect_event("requestfinished"):
        polls[0].fulfill(headers={"HX-Retarget": "#outcome"}, body="<p id='outcome'>Older</p>")

    expect(requester.outcome).to_have_attribute("data-outcome", "withdrawn")


def test_an_action_also_updates_the_title_and_the_timeline(requester: Requester):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    page = requester.page
    page.goto(requester.confirmation_path)
    page.get_by_label("Reason").fill(REASON)
    page.get_by_role("button", name="Request approval").click()
    expect(requester.outcome).to_have_attribute("data-state", "requested")
    expect(page.locator("#page-title")).to_have_text("Deletion of Payments US → Group SOC")
    expect(page.locator("#record")).to_be_hidden()
    page.reload()
    page.get_by_role("button", name="Withdraw").click()
    expect(requester.outcome).to_have_attribute("data-outcome", "withdrawn")
    expect(page.locator("#record")).to_contain_text("Withdrawn")


@pytest.mark.parametrize("java_script", [True, False], ids=["with JavaScript", "without"])
def test_only_a_page_that_polls_says_that_it_updates_by_itself(
    java_script: bool, open_demo_as: OpenAs
):
    page = open_demo_as("approver", java_script_enabled=java_script)
    waiting = Deletion.objects.filter(state=State.REQUESTED).earliest("requested_at")
    page.goto(f"/deletions/{waiting.pk}/")
    expect(page.get_by_role("link", name="Refresh")).to_be_visible(visible=not java_script)
    expect(page.get_by_text("Updates every")).to_be_visible(visible=java_script)

"""Bulk deletions in the browser: from selected rows to the result, and approval by another."""

import re

import pytest
from playwright.sync_api import Page, expect

from connections.access.actor import WORKER, person_actor
from connections.batches import drafts, running
from connections.models import (
    ApprovalPolicy,
    Batch,
    Credential,
    Person,
    Role,
)
from connections.web.inventory import list as inventory
from sandbox import faults
from sandbox.server import SandboxServer
from tests.batches.support import add_connections, sync_now
from tests.browser.conftest import OpenAs
from tests.browser.polls import hold_poll, let_through
from tests.browser.requester import REASON
from tests.browser.test_sent_once import expect_lost_response, lose_responses
from tests.browser.watch import Watch
from tests.flows.support import store_credential
from tests.support.people import make_person
from tests.support.sandbox import connection_between

PLAN = re.compile(r"/deletions/batches/[0-9a-f-]{36}/$")


@pytest.fixture
def payments(
    service_url: str, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> Credential:
    """The credential of Payments US, which lists five connections."""
    monkeypatch.setattr(inventory, "SELECTION_ABOVE", 0)
    credential = store_credential(sandbox, "Payments US")
    add_connections(sandbox, 3)
    sync_now(credential)
    return credential


def plan(page: Page, *names: str) -> None:
    """Tick the connections to these orgs, and plan their deletion."""
    page.goto("/connections/")
    for name in names:
        page.get_by_role("checkbox", name=f"Select Payments US to {name}").check()
    # Without JavaScript, the button doesn't count.
    page.get_by_role("button", name=re.compile(r"Delete (\d+|selected) connections?…")).click()
    page.wait_for_url(PLAN)


@pytest.mark.smoke
def test_selected_connections_are_planned_deleted_and_the_rest_is_planned_again(
    payments: Credential, operator: Person, open_as: OpenAs, sandbox: SandboxServer
):
    page = open_as(operator)
    page.goto("/connections/")
    bar = page.locator(".selection-bar")
    expect(bar).to_be_hidden()
    page.get_by_role("checkbox", name="Select all on this page").check()
    expect(bar).to_contain_text("5 selected")
    page.get_by_role("checkbox", name="Select Payments US to Group SOC").uncheck()
    page.get_by_role("checkbox", name="Select Group SOC to Payments US").uncheck()
    expect(bar).to_contain_text("3 selected")
    page.get_by_role("button", name="Delete 3 connections…").click()
    page.wait_for_url(PLAN)
    expect(page.locator("#page-title")).to_have_text("Delete 3 connections?")
    page.get_by_role("button", name="Remove Payments US to Partner 2 from the plan").click()
    expect(page.locator("#page-title")).to_have_text("Delete 2 connections?")
    page.get_by_label("Reason").fill(REASON)
    page.get_by_label("To confirm, type").fill("2")
    page.get_by_role("button", name="Delete 2 connections").click()
    batch = page.locator("#batch")
    expect(batch).to_have_attribute("data-state", "running")
    refused = connection_between(sandbox.world, "Payments US", "Partner 1")
    sandbox.world.set_fault(fault=faults.RETURNS_403, connection_id=refused.id)
    running.run_due(actor=WORKER)
    expect(batch).to_have_attribute("data-state", "finished")
    expect(page.locator("[data-outcome=deleted]")).to_have_count(1)
    page.get_by_role("link", name="Failed 1").click()
    expect(page.locator("[data-connection]")).to_have_attribute("data-outcome", "refused")
    page.get_by_role("button", name="Plan 1 failed connection again").click()
    expect(page.locator("#page-title")).to_have_text("Delete 1 connection?")


@pytest.mark.sweep(every=2)
@pytest.mark.parametrize("has_javascript", [True, False])
def test_another_person_approves_the_plan_and_the_requester_confirms(
    has_javascript: bool, payments: Credential, operator: Person, open_as: OpenAs, watch: Watch
):
    watch.expect("status of 422")
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    approver = make_person("linus", Role.APPROVER)
    page = open_as(operator, java_script_enabled=has_javascript)
    plan(page, "Partner 0", "Partner 1")
    page.get_by_role("button", name="Request approval").click()
    expect(page.get_by_text("Enter a reason.").first).to_be_visible()
    page.get_by_label("Reason").fill(REASON)
    page.get_by_role("button", name="Request approval").click()
    batch = page.locator("#batch")
    expect(batch).to_have_attribute("data-state", "requested")

    deciding = open_as(approver, java_script_enabled=has_javascript)
    deciding.goto("/")
    deciding.get_by_role("link", name="Decide…").click()
    expect(deciding.locator("[data-connection]")).to_have_count(2)
    deciding.get_by_role("button", name="Approve 2 connections").click()
    expect(deciding.locator("#batch")).to_have_attribute("data-state", "approved")

    # With JavaScript, the open page shows the approval by itself.
    if not has_javascript:
        page.reload()
    page.get_by_label("To confirm, type").fill("2")
    page.get_by_role("button", name="Delete 2 connections").click()
    expect(batch).to_have_attribute("data-state", "running")


@pytest.mark.sweep(every=2)
@pytest.mark.parametrize("has_javascript", [True, False])
def test_a_bulk_deletion_can_be_paused_resumed_and_cancelled(
    has_javascript: bool, payments: Credential, operator: Person, open_as: OpenAs
):
    page = open_as(operator, java_script_enabled=has_javascript)
    plan(page, "Partner 0", "Partner 1")
    page.get_by_label("Reason").fill(REASON)
    page.get_by_label("To confirm, type").fill("2")
    page.get_by_role("button", name="Delete 2 connections").click()
    batch = page.locator("#batch")
    page.get_by_role("button", name="Pause").click()
    expect(batch).to_have_attribute("data-state", "paused")
    page.get_by_role("button", name="Resume").click()
    expect(batch).to_have_attribute("data-state", "running")
    page.get_by_role("button", name="Stop (2 not sent)").click()
    expect(batch).to_have_attribute("data-state", "cancelled")
    expect(page.locator("[data-outcome=withdrawn]")).to_have_count(2)
    page.get_by_role("button", name="Plan all 2 again").click()
    page.wait_for_url(PLAN)
    assert Batch.objects.count() == 2


@pytest.mark.parametrize("is_recorded", [True, False])
def test_a_lost_response_leads_to_the_bulk_deletion_and_keeps_what_was_typed(
    is_recorded: bool, payments: Credential, operator: Person, open_as: OpenAs, watch: Watch
):
    expect_lost_response(watch)
    page = open_as(operator)
    plan(page, "Partner 0", "Partner 1")
    page.get_by_label("Reason").fill(REASON)
    page.get_by_label("Pause at the first failure").check()
    page.get_by_label("To confirm, type").fill("2")
    lose_responses(page, is_let_through=is_recorded)
    button = page.get_by_role("button", name="Delete 2 connections")
    button.click()
    lost = "No response from Org Admin. The bulk deletion might have started."
    expect(page.get_by_role("heading", name=lost)).to_be_focused()
    expect(button).to_be_disabled()
    page.unroute_all()
    page.get_by_role("link", name="View the bulk deletion").click()
    if not is_recorded:
        expect(
            page.get_by_text("That request wasn't recorded, so nothing was sent.")
        ).to_be_visible()
        expect(page.get_by_label("Reason")).to_have_value(REASON)
        expect(page.get_by_label("Pause at the first failure")).to_be_checked()
        page.get_by_label("To confirm, type").fill("2")
        button.click()
    expect(page.locator("#batch")).to_have_attribute("data-state", "running")
    assert Batch.objects.get().reason == REASON


def test_a_plan_that_changed_is_shown_with_what_was_typed(
    payments: Credential, operator: Person, open_as: OpenAs, watch: Watch
):
    watch.expect("status of 409")
    page = open_as(operator)
    plan(page, "Partner 0", "Partner 1")
    row = Batch.objects.get().rows.all()[0]
    actor = person_actor(person=operator)
    drafts.remove_rows(batch=row.batch, actor=actor, connections=[row.reference])
    page.get_by_label("Reason").fill(REASON)
    page.get_by_label("To confirm, type").fill("2")
    page.get_by_role("button", name="Delete 2 connections").click()
    expect(page.get_by_role("alert")).to_contain_text("Check the plan as it is now.")
    expect(page.locator("#page-title")).to_have_text("Delete 1 connection?")
    expect(page.get_by_label("Reason")).to_have_value(REASON)
    expect(page).to_have_url(PLAN)


def test_a_poll_does_not_bring_back_a_button_whose_form_was_just_submitted(
    payments: Credential, operator: Person, open_as: OpenAs
):
    page = open_as(operator)
    plan(page, "Partner 0", "Partner 1")
    page.get_by_label("Reason").fill(REASON)
    page.get_by_label("To confirm, type").fill("2")
    page.get_by_role("button", name="Delete 2 connections").click()
    polls = hold_poll(page)
    # The form is sent, and the response never arrives.
    page.route("**/pause/", lambda route: None)
    page.get_by_role("button", name="Pause").click()
    running.run_due(actor=WORKER)

    let_through(polls, page)

    expect(page.get_by_role("button", name="Pausing…")).to_be_disabled()

"""Bulk deletions in the browser: from selected rows to the result, and approval by another."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from connections.access.actor import WORKER
from connections.batches import running
from connections.models import (
    AccessKind,
    ApprovalPolicy,
    Batch,
    Credential,
    CredentialAccess,
    Person,
    Role,
)
from connections.web.inventory import list as inventory
from sandbox import faults
from sandbox.server import SandboxServer
from tests.batches.support import add_connections, draft, key_of, request, sync_now
from tests.browser.conftest import OpenAs
from tests.browser.polls import hold_poll, let_through
from tests.browser.requester import REASON
from tests.browser.watch import Watch
from tests.evidence.support import complaint
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


def test_selected_connections_are_planned_deleted_and_the_rest_is_planned_again(
    payments: Credential, operator: Person, open_as: OpenAs, sandbox: SandboxServer
) -> None:
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
    page.get_by_role("button", name="Plan the other 1").click()
    expect(page.locator("#page-title")).to_have_text("Delete 1 connection?")


@pytest.mark.parametrize("has_javascript", [True, False])
def test_another_person_approves_the_plan_and_the_requester_confirms(
    has_javascript: bool, payments: Credential, operator: Person, open_as: OpenAs, watch: Watch
) -> None:
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


@pytest.mark.parametrize("has_javascript", [True, False])
def test_a_bulk_deletion_can_be_paused_resumed_and_cancelled(
    has_javascript: bool, payments: Credential, operator: Person, open_as: OpenAs
) -> None:
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


def test_a_poll_does_not_bring_back_a_button_whose_form_was_just_submitted(
    payments: Credential, operator: Person, open_as: OpenAs
) -> None:
    page = open_as(operator)
    plan(page, "Partner 0", "Partner 1")
    page.get_by_label("Reason").fill(REASON)
    page.get_by_label("To confirm, type").fill("2")
    page.get_by_role("button", name="Delete 2 connections").click()
    polls = hold_poll(page)
    # The form is sent, and the next page never arrives.
    page.evaluate("document.addEventListener('submit', (event) => event.preventDefault())")
    page.get_by_role("button", name="Pause").click()
    running.run_due(actor=WORKER)

    let_through(polls, page)

    expect(page.get_by_role("button", name="Pausing…")).to_be_disabled()


def test_an_auditor_downloads_the_evidence_bundle_of_a_bulk_deletion(
    payments: Credential, operator: Person, open_as: OpenAs, sandbox: SandboxServer, tmp_path: Path
) -> None:
    partners = [connection_between(sandbox.world, "Payments US", f"Partner {n}") for n in (0, 1)]
    batch = request(draft(operator, [key_of(partner) for partner in partners]), operator)
    other = key_of(connection_between(sandbox.world, "Payments US", "Partner 2"))
    request(draft(operator, [other]), operator)
    running.run_due(actor=WORKER)
    page = open_as(make_person("edith", Role.AUDITOR))
    page.goto(f"/deletions/batches/{batch.pk}/")
    page.locator("summary", has_text="Export").click()
    page.get_by_role("link", name="Evidence bundle of these…").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Create and download").click()
    assert complaint(download.value.path().read_bytes(), tmp_path) == ""
    page.goto("/evidence/")
    expect(page.get_by_text("An evidence bundle was made: 2 deletions")).to_be_visible()
    # The message has a SHA-256, which is wider than a phone.
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_an_approver_who_sees_only_some_rows_of_a_plan_finds_nothing_to_approve(
    payments: Credential, operator: Person, open_as: OpenAs, sandbox: SandboxServer, watch: Watch
) -> None:
    watch.expect("status of 404")
    soc = store_credential(sandbox, "Group SOC")
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    CredentialAccess.objects.create(credential=soc, kind=AccessKind.SEE, person=operator)
    pairs = [("Payments US", "Group SOC"), ("Group SOC", "Payments US")]
    keys = [key_of(connection_between(sandbox.world, *pair)) for pair in pairs]
    batch = request(draft(operator, keys), operator)
    page = open_as(make_person("linus", Role.APPROVER))
    page.goto("/")
    expect(page.locator("#attention")).to_contain_text("No unknown outcomes")
    page.goto("/deletions/")
    expect(page.locator(".list tbody tr")).to_have_count(1)
    page.locator(".list tbody th a").click()
    expect(page.locator("#outcome")).to_be_visible()
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)
    response = page.goto(f"/deletions/batches/{batch.pk}/")
    assert response
    assert response.status == 404

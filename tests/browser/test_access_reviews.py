"""Access reviews in the browser: from the start to the closing, by keyboard and by form."""

import re
from zipfile import ZipFile

import pytest
from playwright.sync_api import Locator, Page, expect

from connections.access.actor import WORKER
from connections.agreements.setting import Terms, set_agreements
from connections.batches import running
from connections.models import (
    AccessReview,
    AccessReviewDecision,
    Agreement,
    Credential,
    OrgPair,
    Person,
    Role,
)
from connections.web.access_reviews import detail
from sandbox.server import SandboxServer
from tests.access_reviews.support import REASON, start
from tests.batches.support import add_connections, sync_now
from tests.browser.conftest import OpenAs
from tests.browser.watch import Watch
from tests.flows.support import store_credential
from tests.support.people import make_person

REVIEW = re.compile(r"/reviews/[0-9a-f-]{36}/$")
DUE = "2999-12-31"


@pytest.fixture
def payments(service_url: str, sandbox: SandboxServer) -> Credential:
    """The credential of Payments US, which lists connections to three partners."""
    credential = store_credential(sandbox, "Payments US")
    add_connections(sandbox, 3)
    sync_now(credential)
    return credential


@pytest.fixture
def auditor(service_url: str) -> Person:
    """Edith, an Auditor."""
    return make_person("edith", Role.AUDITOR)


def row_of(page: Page, partner: int) -> Locator:
    """The row of the connection to this partner."""
    return page.locator(f"tr[data-pair='Payments US → Partner {partner}']")


@pytest.mark.smoke
def test_it_is_started_decided_by_keyboard_deleted_and_closed(
    payments: Credential, operator: Person, auditor: Person, open_as: OpenAs
):
    managing = open_as(auditor)
    managing.goto("/reviews/new/?scope=q%3DPayments")
    managing.get_by_label("Name").fill("Q4 2026")
    managing.get_by_label("Due").fill(DUE)
    # What was typed stays while the scope changes.
    managing.get_by_role("searchbox").fill("Partner")
    managing.get_by_role("searchbox").press("Enter")
    expect(managing.locator("#count")).to_have_text("3 connections")
    managing.get_by_role("button", name="Start access review").click()
    managing.wait_for_url(REVIEW)

    page = open_as(operator)
    page.goto("/")
    page.get_by_role("link", name=re.compile("^Continue")).click()
    headline = page.locator("#review-progress strong")
    expect(headline).to_have_text("0 of 3 decided")
    expect(page.locator(".row-group")).to_contain_text("To decide 3")
    # A click doesn't wait for the deferred script that listens for keys.
    page.wait_for_load_state()
    page.keyboard.press("k")
    page.keyboard.type(REASON)
    page.keyboard.press("Enter")
    expect(row_of(page, 0)).to_have_attribute("data-decision", "keep")
    expect(headline).to_have_text("1 of 3 decided")
    heading = page.locator(".row-group")
    # The next one follows: both of the others are selected and decided at once.
    expect(row_of(page, 1)).to_be_focused()
    page.keyboard.press("x")
    page.keyboard.press("ArrowDown")
    # From the one that was selected last to here.
    page.keyboard.press("Shift+X")
    expect(page.locator(".selection-count")).to_have_text("2 selected")
    page.keyboard.press("d")
    expect(page.get_by_role("button", name="Mark selected for deletion")).to_have_attribute(
        "data-chosen", ""
    )
    page.keyboard.type("The partner left.")
    page.keyboard.press("Enter")
    expect(headline).to_have_text("3 of 3 decided")
    expect(page.locator("[data-decision=delete]")).to_have_count(2)
    expect(page.locator("#count-access-review-list")).to_be_empty()
    assert AccessReviewDecision.objects.filter(decided_together=2).count() == 2

    page.reload()
    expect(heading).to_have_text("Decided", use_inner_text=True)
    page.get_by_role("button", name="Delete 2 connections…").click()
    expect(page.get_by_role("link", name="Q4 2026")).to_be_visible()
    page.get_by_label("Reason").fill("Decided in the access review.")
    page.get_by_label("To confirm, type").fill("2")
    page.get_by_role("button", name="Delete 2 connections").click()
    batch = page.locator("#batch")
    expect(batch).to_have_attribute("data-state", "running")
    running.run_due(actor=WORKER)
    expect(batch).to_have_attribute("data-state", "finished")

    managing.get_by_role("link", name="Close access review…").click()
    managing.get_by_role("button", name="Close access review").click()
    expect(managing.locator("#review")).to_have_attribute("data-state", "closed")
    expect(managing.get_by_role("link", name=re.compile("Deleted.*, deletion of"))).to_have_count(2)
    managing.locator("summary", has_text="Export").click()
    with managing.expect_download() as download:
        managing.get_by_role("link", name="Evidence bundle").click()
    with ZipFile(download.value.path()) as bundle:
        assert "records.ndjson" in {name.rpartition("/")[2] for name in bundle.namelist()}


def test_a_form_in_a_row_keeps_what_was_typed_until_it_is_closed(
    payments: Credential, operator: Person, auditor: Person, open_as: OpenAs, watch: Watch
):
    watch.expect("(status of|Code) 4(22|01)")
    review = start(auditor, scope="q=Partner")
    others = OrgPair(*review.rows.values_list("site", "source_org_id", "sink_org_id")[0])
    terms: Terms = {"owner": auditor, "purpose": "Fraud alerts"}
    set_agreements(actor=WORKER, pairs=[others], terms=terms)
    page = open_as(operator)
    page.goto(f"/reviews/{review.pk}/")
    row = row_of(page, 1)
    row.get_by_role("link", name="Keep").click()
    form = page.locator("#decision-form")
    expect(form.get_by_label("Reason to keep Payments US → Partner 1")).to_be_focused()
    form.get_by_role("button", name="Save and next").click()
    expect(form.get_by_text("Enter a reason.")).to_be_visible()
    form.get_by_label("Reason to keep").fill("The partner left.")
    expect(form.get_by_text("Enter a reason.")).to_have_count(0)
    form.get_by_label("Keep until").fill("2020-01-01")
    form.get_by_role("combobox", name="Owner").select_option(operator.username)
    form.get_by_label("Ends").fill(DUE)
    form.get_by_role("button", name="Save and next").click()
    expect(form.get_by_text("Choose a date in the future.")).to_be_visible()
    expect(form.get_by_label("Keep until")).to_be_focused()
    row.get_by_role("link", name="Delete").click()
    expect(form.get_by_label(re.compile("Reason to delete"))).to_have_value("The partner left.")
    expect(form.get_by_label("Keep until")).to_be_hidden()
    expect(form.get_by_label("Ends")).to_be_hidden()
    row.get_by_role("link", name="Keep").click()
    expect(form.get_by_label("Ends")).to_have_value(DUE)
    form.get_by_label("Keep until").fill("")
    form.get_by_label("Purpose").fill("Claims dashboards")
    form.get_by_role("button", name="Save and next").click()
    expect(row).to_contain_text(f"{operator} · 31 Dec 2999Claims dashboards")
    assert Agreement.objects.get(owner=operator).purpose == "Claims dashboards"
    row.get_by_role("link", name="Keep").click()
    expect(form.get_by_label("Purpose")).to_be_hidden()
    row.get_by_role("link", name="Delete").click()
    form.get_by_label("Reason to delete").fill("The partner left.")
    page.context.clear_cookies(name="sessionid")
    form.get_by_role("button", name="Save and next").click()
    expect(
        page.get_by_role("heading", name="The decision wasn't saved. You are signed out.")
    ).to_be_focused()
    form.get_by_label("Reason to delete").focus()
    page.keyboard.press("Escape")
    expect(form).to_have_count(0)
    expect(row).to_be_focused()
    expect(row).to_have_attribute("data-decision", "keep")
    assert AccessReviewDecision.objects.count() == 1


def test_an_error_about_selected_connections_stays_until_it_is_corrected(
    payments: Credential, operator: Person, auditor: Person, open_as: OpenAs, watch: Watch
):
    watch.expect("status of 422")
    review = start(auditor, scope="q=Partner")
    page = open_as(operator)
    page.goto(f"/reviews/{review.pk}/")
    for partner in (0, 1):
        row_of(page, partner).get_by_role("checkbox").check()
    bar = page.locator("#decide-selected")
    bar.get_by_label("Reason").fill(REASON)
    page.keyboard.press("Enter")
    bar.get_by_label("Keep until").fill("2020-01-01")
    bar.get_by_role("button", name="Keep selected").click()
    expect(bar.locator(".field-error")).to_have_text("Choose a date in the future.")
    expect(bar.get_by_label("Keep until")).to_be_focused()
    expect(bar.locator(".selection-count")).to_have_text("2 selected")
    bar.get_by_label("Keep until").fill(DUE)
    expect(bar.locator(".field-error")).to_have_count(0)
    bar.get_by_role("button", name="Keep selected").click()
    expect(page.locator("#review-progress strong")).to_have_text("2 of 3 decided")
    expect(bar).to_be_hidden()
    expect(bar.get_by_label("Reason")).to_have_value("")


def test_without_javascript_one_connection_and_then_several_are_decided(
    payments: Credential, operator: Person, auditor: Person, open_as: OpenAs, watch: Watch
):
    watch.expect("status of 422")
    review = start(auditor, scope="q=Partner")
    page = open_as(operator, java_script_enabled=False)
    page.goto(f"/reviews/{review.pk}/?show=to-decide")
    row_of(page, 0).get_by_role("link", name="Keep").click()
    form, bar = page.locator("#decision-form"), page.locator("#decide-selected")
    form.get_by_label("Purpose").fill("Claims dashboards")
    page.get_by_role("button", name="Save decision", exact=True).click()
    expect(page.get_by_text("Enter a reason.")).to_be_visible()
    page.get_by_label(re.compile("Reason to keep")).fill(REASON)
    page.get_by_role("button", name="Save decision", exact=True).click()
    expect(page.get_by_text("Choose an owner, or enter a team or other owner.")).to_be_visible()
    form.get_by_label("Team or other owner").fill("Data team")
    page.get_by_role("button", name="Save decision", exact=True).click()
    expect(page.get_by_text("1 decision saved.")).to_be_visible()
    expect(page.locator("[data-connection]")).to_have_count(2)
    for box in page.get_by_role("checkbox", name="Select Payments US to Partner").all():
        box.check()
    page.get_by_label("Reason", exact=True).fill(REASON)
    bar.get_by_text("Set owner, purpose and end of those without an agreement").click()
    bar.get_by_role("combobox", name="Owner").select_option(operator.username)
    page.get_by_role("button", name="Keep selected").click()
    expect(page.get_by_text("Enter a purpose.")).to_be_visible()
    bar.get_by_label("Purpose").fill("Fraud alerts")
    page.get_by_role("button", name="Keep selected").click()
    expect(page.locator("#review-progress strong")).to_have_text("3 of 3 decided")
    assert Agreement.objects.filter(owner=operator, purpose="Fraud alerts").count() == 2


@pytest.mark.parametrize("size", [100, 2])
def test_all_connections_of_a_creator_are_decided_together(
    size: int,
    payments: Credential,
    operator: Person,
    auditor: Person,
    open_as: OpenAs,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(detail, "PAGE_SIZE", size)
    review = start(auditor)
    creators = {row.creator_name for row in review.rows.all()}
    page = open_as(operator)
    page.goto(f"/reviews/{review.pk}/?show=to-decide")
    box = page.locator("[data-connection]").first.bounding_box()
    assert box
    assert box["y"] <= 200
    page.get_by_role("link", name="Creator").click()
    group = page.get_by_role("checkbox", name="Select all of").first
    rows = page.locator("[data-decision=pending] .cell-select input")
    for position in range(len(creators)):
        group.check()
        count = group.get_attribute("data-count")
        expect(rows.first).to_be_checked()
        expect(page.locator(".selection-count")).to_have_text(f"{count} selected")
        expect(page.locator("datalist option")).to_have_count(1 if position else 0)
        page.get_by_label("Reason", exact=True).fill(REASON)
        page.get_by_role("button", name="Keep selected").click()
        expect(page.locator(f"[data-count='{count}']:checked")).to_have_count(0)
        expect(page.locator(".selection-bar")).to_be_hidden()
    expect(group).to_have_count(0)
    expect(page.locator("#review-progress strong")).to_have_text(re.compile(r"^(\d+) of \1 "))


def test_a_heading_is_checked_while_all_of_its_rows_are(
    payments: Credential, operator: Person, auditor: Person, open_as: OpenAs
):
    review = start(auditor, scope="q=Partner")
    page = open_as(operator)
    page.goto(f"/reviews/{review.pk}/")
    heading = page.get_by_role("checkbox", name="Select all of")
    page.locator("[data-select-all]").check()
    expect(heading).to_be_checked()
    row_of(page, 1).get_by_role("checkbox").uncheck()
    expect(heading).not_to_be_checked()
    expect(page.locator(".selection-count")).to_have_text("2 selected")
    heading.check()
    expect(row_of(page, 1).get_by_role("checkbox")).to_be_checked()
    row_of(page, 1).get_by_role("link", name="Keep").click()
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(page.locator("#decision-form")).to_have_count(0)
    expect(page.locator(".selection-count")).to_have_text("3 selected")
    page.keyboard.press("Escape")
    expect(page.locator("#decide-selected")).to_be_hidden()


def test_a_filter_stays_while_connections_are_decided(
    payments: Credential, operator: Person, auditor: Person, open_as: OpenAs
):
    review = start(auditor)
    of_audit = [row for row in review.rows.all() if "audit" in row.connection_types]
    assert 0 < len(of_audit) < review.row_count
    page = open_as(operator)
    page.goto(f"/reviews/{review.pk}/")
    page.get_by_label("Data type").select_option("audit")
    page.wait_for_url(re.compile("type=audit"))
    rows = page.locator("[data-connection]")
    expect(rows).to_have_count(len(of_audit))
    rows.first.get_by_role("link", name="Keep").click()
    page.keyboard.type(REASON)
    page.keyboard.press("Enter")
    expect(rows.first).to_have_attribute("data-decision", "keep")
    page.get_by_role("link", name="Keep 1", exact=True).click()
    expect(rows).to_have_count(1)
    page.get_by_role("link", name="Remove filter Data type: audit").click()
    page.wait_for_url(re.compile("show=keep$"))


def test_the_page_says_which_connections_changed_while_it_was_open(
    payments: Credential,
    operator: Person,
    auditor: Person,
    open_as: OpenAs,
    watch: Watch,
    sandbox: SandboxServer,
):
    watch.expect("status of 409")
    review = start(auditor, scope="q=Partner")
    page = open_as(operator)
    page.goto(f"/reviews/{review.pk}/")
    row = AccessReview.objects.get().rows.get(sink_org_name="Partner 0")
    sandbox.world.change_connection(
        connection_id=str(row.connection_id), connection_types=("logs", "metrics", "audit")
    )
    sync_now(payments)
    row_of(page, 0).get_by_role("link", name="Keep").click()
    page.keyboard.type(REASON)
    page.keyboard.press("Enter")
    form = page.locator("#decision-form")
    expect(form.locator("[data-focus]")).to_contain_text("Nothing was saved.")
    expect(form.locator("[data-focus]")).to_be_focused()
    expect(row_of(page, 0).get_by_text("audit", exact=True)).to_be_visible()
    form.get_by_role("button", name="Save and next").click()
    expect(row_of(page, 0)).to_have_attribute("data-decision", "keep")

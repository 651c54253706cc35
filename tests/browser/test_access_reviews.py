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
    expect(page.get_by_role("button", name="Keep selected")).to_have_attribute("data-chosen", "")
    page.keyboard.type(REASON)
    page.keyboard.press("Enter")
    expect(headline).to_have_text("1 of 3 decided")
    expect(row_of(page, 0)).to_have_count(0)
    # The next one follows: both of the others are selected and decided at once.
    expect(row_of(page, 1).get_by_role("checkbox")).to_be_focused()
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
    expect(page.locator("[data-connection]")).to_have_count(0)
    expect(page.locator("#count-access-review-list")).to_be_empty()
    assert AccessReviewDecision.objects.filter(decided_together=2).count() == 2

    page.get_by_text("2 marked for deletion").get_by_role("link", name="Show").click()
    expect(page.locator("[data-decision=delete]")).to_have_count(2)
    expect(page.locator(".row-group")).to_have_text("Decided", use_inner_text=True)
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


def test_a_link_in_a_row_selects_it_and_prepares_the_decision(
    payments: Credential, operator: Person, auditor: Person, open_as: OpenAs
):
    review = start(auditor, scope="q=Partner")
    others = OrgPair(*review.rows.values_list("site", "source_org_id", "sink_org_id")[0])
    terms: Terms = {"owner": auditor, "purpose": "Fraud alerts"}
    set_agreements(actor=WORKER, pairs=[others], terms=terms)
    page = open_as(operator)
    page.goto(f"/reviews/{review.pk}/")
    boxes = [row_of(page, partner).get_by_role("checkbox") for partner in range(3)]
    keep, delete = (page.locator(f"#decide-selected [data-key={key}]") for key in "kd")
    reason = page.get_by_label("Reason", exact=True)
    row_of(page, 0).get_by_role("link", name="Keep").click()
    expect(reason).to_be_focused()
    expect(keep).to_have_attribute("data-chosen", "")
    # It replaces what was selected before.
    row_of(page, 1).get_by_role("link", name="Delete").click()
    expect(boxes[0]).not_to_be_checked()
    expect(delete).to_have_attribute("data-chosen", "")
    expect(keep).not_to_have_attribute("data-chosen", "")
    # A row that is selected stays with the others that are.
    boxes[2].check()
    row_of(page, 1).get_by_role("link", name="Keep").click()
    expect(page.locator(".selection-count")).to_have_text("2 selected")
    page.locator("#decide-selected summary").click()
    page.get_by_label("Team or other owner").fill("Data team")
    page.get_by_label("Purpose").fill("Claims dashboards")
    reason.fill(REASON)
    reason.press("Enter")
    expect(page.locator("#review-progress strong")).to_have_text("2 of 3 decided")
    expect(row_of(page, 1)).to_contain_text("Data teamClaims dashboards")
    assert Agreement.objects.filter(owner_text="Data team").count() == 2


def test_an_error_about_selected_connections_stays_until_it_is_corrected(
    payments: Credential, operator: Person, auditor: Person, open_as: OpenAs, watch: Watch
):
    watch.expect("(status of|Code) 4(22|01)")
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
    row_of(page, 2).get_by_role("checkbox").check()
    bar.get_by_label("Reason").fill(REASON)
    page.context.clear_cookies(name="sessionid")
    bar.get_by_role("button", name="Keep selected").click()
    expect(
        page.get_by_role("heading", name="The decisions weren't saved. You are signed out.")
    ).to_be_focused()
    expect(bar.get_by_label("Reason")).to_have_value(REASON)


def test_without_javascript_one_connection_and_then_several_are_decided(
    payments: Credential, operator: Person, auditor: Person, open_as: OpenAs, watch: Watch
):
    watch.expect("status of 422")
    review = start(auditor, scope="q=Partner")
    page = open_as(operator, java_script_enabled=False)
    page.goto(f"/reviews/{review.pk}/?show=to-decide")
    row_of(page, 0).get_by_role("link", name="Keep").click()
    bar, keep = page.locator("#decide-selected"), page.get_by_role("button", name="Keep selected")
    expect(row_of(page, 0).get_by_role("checkbox")).to_be_checked()
    keep.click()
    expect(page.get_by_text("Enter a reason.")).to_be_visible()
    bar.get_by_label("Reason").fill(REASON)
    keep.click()
    expect(page.get_by_text("1 kept")).to_be_visible()
    expect(page.locator("[data-connection]")).to_have_count(2)
    for box in page.get_by_role("checkbox", name="Select Payments US to Partner").all():
        box.check()
    bar.get_by_label("Reason").fill(REASON)
    bar.get_by_text("Set what the selected agreements lack").click()
    bar.get_by_role("combobox", name="Owner").select_option(operator.username)
    keep.click()
    expect(page.get_by_text("Enter a purpose.")).to_be_visible()
    bar.get_by_label("Purpose").fill("Fraud alerts")
    keep.click()
    expect(page.locator("#review-progress strong")).to_have_text("3 of 3 decided")
    assert Agreement.objects.filter(owner=operator, purpose="Fraud alerts").count() == 2


def test_all_connections_of_a_creator_are_decided_together(
    payments: Credential, operator: Person, auditor: Person, open_as: OpenAs
):
    review = start(auditor)
    pairs = [OrgPair(row.site, row.source_org_id, row.sink_org_id) for row in review.rows.all()]
    terms: Terms = {"owner": auditor, "purpose": "Fraud alerts"}
    set_agreements(actor=WORKER, pairs=list(dict.fromkeys(pairs)), terms=terms)
    usual = [row for row in review.rows.all() if "audit" not in row.connection_types]
    creators = {row.creator_name for row in usual}
    page = open_as(operator)
    page.goto(f"/reviews/{review.pk}/?show=to-decide")
    box = page.locator("[data-connection]").first.bounding_box()
    assert box
    assert box["y"] <= 200
    page.get_by_role("link", name="Creator").click()
    page.wait_for_url(re.compile("sort=creator"))
    page.wait_for_load_state()
    for left in range(len(creators), 0, -1):
        keep = page.locator(".row-group a", has_text="Keep")
        expect(keep).to_have_count(left)
        keep.first.click()
        page.keyboard.type(REASON)
        page.keyboard.press("Enter")
    expect(page.locator(".row-group a", has_text="Keep")).to_have_count(0)
    # What shares audit events is left, and selected by its heading without a decision.
    expect(page.locator("[data-connection]")).to_have_count(review.row_count - len(usual))
    page.locator(".row-group a", has_text="Select").first.click()
    expect(page.locator(".selection-facts")).to_contain_text("audit events")
    expect(page.locator("#decide-selected [data-chosen]")).to_have_count(0)


def test_all_that_match_are_selected_over_pages(
    payments: Credential,
    operator: Person,
    auditor: Person,
    open_as: OpenAs,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(detail, "PAGE_SIZE", 2)
    review = start(auditor, scope="q=Partner")
    page = open_as(operator)
    page.goto(f"/reviews/{review.pk}/?show=to-decide")
    page.locator("[data-select-all]").check()
    page.get_by_role("link", name="Select all 3").click()
    expect(page.locator(".selection-count")).to_have_text("3 selected")
    expect(page.locator("[data-connection]")).to_have_count(3)
    row_of(page, 1).get_by_role("checkbox").uncheck()
    page.get_by_label("Reason", exact=True).fill(REASON)
    page.get_by_role("button", name="Keep selected").click()
    expect(page.locator("#review-progress strong")).to_have_text("2 of 3 decided")
    expect(row_of(page, 1).get_by_role("checkbox")).to_be_focused()


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
    expect(rows.last).to_have_attribute("data-decision", "keep")
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
    error = page.locator("#decide-selected [data-focus]")
    expect(error).to_contain_text("Nothing was saved.")
    expect(error).to_be_focused()
    expect(row_of(page, 0).get_by_text("audit", exact=True)).to_be_visible()
    page.get_by_role("button", name="Keep selected").click()
    expect(row_of(page, 0)).to_have_attribute("data-decision", "keep")

"""Orgs and the matrix in the browser: without JavaScript, and the card of a cell."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.fitness import assert_fit_to_show

pytestmark = pytest.mark.slow
OpenAs = Callable[..., Page]
MATRIX = "/connections/?view=matrix"


def test_without_javascript_orgs_are_filtered_and_opened(open_demo_as: OpenAs):
    page = open_demo_as("operator", java_script_enabled=False)
    page.goto("/orgs/")
    page.get_by_role("link", name="No credential").first.click()
    rows = page.locator("tr[data-org]")
    expect(page.locator("tr[data-coverage=no-credential]")).to_have_count(rows.count())
    name = rows.first.get_by_role("link").first.inner_text()
    rows.first.get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)


@pytest.mark.sweep(every=2)
@pytest.mark.parametrize("has_javascript", [True, False])
def test_all_connections_of_an_org_are_planned_from_its_page_and_of_several_from_the_list(
    open_demo_as: OpenAs, has_javascript: bool
):
    page = open_demo_as("operator", java_script_enabled=has_javascript, reduced_motion="reduce")
    page.goto("/orgs/")
    page.get_by_role("link", name="Marketing EU", exact=True).click()
    page.get_by_role("button", name="Delete all 19 connections…").click()
    expect(page.locator(".lead")).to_contain_text("All connections of Marketing EU")
    expect(page.locator("#page-title")).to_have_text("Delete 19 connections?")
    page.goto("/orgs/?q=experiments")
    page.get_by_role("checkbox", name="Select Experiments").check()
    page.goto("/orgs/?q=market")
    page.get_by_role("checkbox", name="Select Marketing EU").check()
    if has_javascript:
        assert_fit_to_show(page)
    name = "2 orgs" if has_javascript else "selected orgs"
    page.get_by_role("button", name=f"Delete all connections of {name}…").click()
    title = "Delete 24 connections?" if has_javascript else "Delete 19 connections?"
    expect(page.locator("#page-title")).to_have_text(title)


def test_without_javascript_the_matrix_is_filtered_and_its_cells_are_links(open_demo_as: OpenAs):
    page = open_demo_as("operator", java_script_enabled=False)
    page.goto(MATRIX)
    page.get_by_label("Sources").fill("payments eu")
    page.get_by_label("Sources").press("Enter")
    expect(page.locator(".matrix tbody tr")).to_have_count(1)
    link = page.get_by_role("link", name="Payments EU to Fraud Detection: ")
    expect(link).to_be_visible()
    link.click()
    expect(page.get_by_role("link", name="Delete Payments EU to Fraud Detection…")).to_be_visible()


def test_the_card_of_a_cell_has_its_creator_and_last_change(open_demo_as: OpenAs):
    page = open_demo_as("operator", reduced_motion="reduce")
    page.goto(f"{MATRIX}&changed=7")
    link = page.locator(".matrix a.is-changed").first
    label = link.get_attribute("aria-label") or ""
    link.focus()
    card = page.locator(".matrix-card")
    text, _, change = label.rpartition(". ")
    _, orgs, contents = text.split(": ", 2)
    expect(card.locator("strong")).to_have_text(orgs.replace(" to ", " → "))
    expect(card).to_contain_text(contents)
    expect(card.locator(".matrix-card-change")).to_have_text(change)
    assert "created by" in contents
    assert_fit_to_show(page)

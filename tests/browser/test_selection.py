"""Selecting rows of a list: a range, all that match, and what stays selected."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from connections.inventory import inventory
from connections.models import Batch, Person
from tests.browser.fitness import assert_fit_to_show
from tests.browser.sessions import session_cookie

pytestmark = pytest.mark.slow
OpenAs = Callable[..., Page]
PLAN = re.compile(r"/deletions/batches/[0-9a-f-]{36}/$")


@pytest.fixture
def page(open_demo_as: OpenAs) -> Page:
    page = open_demo_as("operator", reduced_motion="reduce")
    page.goto("/connections/")
    return page


def boxes(page: Page) -> Locator:
    return page.locator("td.cell-select input")


def bar(page: Page) -> Locator:
    return page.locator(".selection-bar")


def elsewhere(page: Page) -> Locator:
    """What the bar says of selected rows that the page doesn't show."""
    return page.locator(".selection-elsewhere")


def planned() -> set[str]:
    """The connections of the newest plan."""
    rows = Batch.objects.latest("created_at").rows.all()
    return {f"{row.site}/{row.connection_id}" for row in rows}


def test_shift_selects_and_unselects_a_range(page: Page):
    boxes(page).nth(6).click()
    boxes(page).nth(2).click(modifiers=["Shift"])
    expect(bar(page)).to_contain_text("5 selected")
    boxes(page).nth(4).click(modifiers=["Shift"])
    expect(bar(page)).to_contain_text("2 selected")
    assert_fit_to_show(page)


@pytest.mark.parametrize("how", ["Escape", "Clear"])
def test_a_selection_is_cleared(page: Page, how: str):
    boxes(page).nth(1).check()
    if how == "Escape":
        page.keyboard.press("Escape")
    else:
        bar(page).get_by_role("button", name="Clear").click()
    expect(bar(page)).to_be_hidden()
    expect(page.locator("td.cell-select :checked")).to_have_count(0)


def test_escape_closes_one_thing_at_a_time(page: Page):
    boxes(page).nth(1).check()
    menu = page.locator(".page-actions details.menu").first
    menu.locator("summary").click()
    # Some browsers don't focus what is clicked.
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Escape")
    expect(menu).not_to_have_attribute("open", "")
    expect(bar(page)).to_contain_text("1 selected")
    page.keyboard.press("Escape")
    expect(bar(page)).to_be_hidden()


def test_a_selection_is_kept_over_pages_and_orders_and_sent_once(page: Page):
    first = boxes(page).nth(0).get_attribute("value")
    boxes(page).nth(0).check()
    page.get_by_role("link", name="Next page").click()
    expect(elsewhere(page)).to_contain_text("1 selected connection isn't on this page")
    boxes(page).nth(0).check()
    page.goto("/connections/?sort=-created&q=analytics")
    boxes(page).nth(0).check()
    button = bar(page).get_by_role("button", name="Delete 3 connections…")
    button.click()
    page.wait_for_url(PLAN)
    assert first in planned()
    assert len(planned()) == 3
    page.go_back()
    button.click()
    page.wait_for_url(PLAN)
    page.goto("/connections/")
    expect(bar(page)).to_be_hidden()


def test_selected_rows_that_another_filter_does_not_match_are_shown_or_deselected(page: Page):
    page.goto("/connections/?flag=audit")
    expect(elsewhere(page)).to_be_hidden()
    page.locator("[data-select-all]").check()
    count = boxes(page).count()
    page.goto("/connections/?flag=audit&q=analytics")
    left = boxes(page).count()
    assert 0 < left < count < 100
    expect(page.locator("td.cell-select :checked")).to_have_count(left)
    expect(elsewhere(page)).to_contain_text(
        f"{count - left} selected connections don't match this filter"
    )
    assert_fit_to_show(page)
    elsewhere(page).get_by_role("link", name="Show").click()
    page.wait_for_url(re.compile(r"flag=audit$"))
    expect(page.locator("td.cell-select :checked")).to_have_count(count)
    expect(elsewhere(page)).to_be_hidden()
    page.go_back()
    elsewhere(page).get_by_role("button", name="Deselect").click()
    expect(elsewhere(page)).to_be_hidden()
    expect(bar(page).get_by_role("button", name=f"Delete {left} connection")).to_be_visible()


def test_all_that_match_are_selected_and_single_rows_left_out(page: Page):
    boxes(page).nth(0).check()
    everything = bar(page).get_by_role("link", name="Select all")
    # Not without a filter.
    expect(everything).to_have_count(0)
    page.goto("/connections/?type=logs")
    count = int(page.locator("#count").inner_text().split()[0])
    boxes(page).nth(0).check()
    everything.click()
    expect(page.locator("td.cell-select :checked")).to_have_count(count)
    expect(page.locator("[data-select-all]")).to_be_checked()
    expect(bar(page)).to_contain_text(f"{count} selected")
    expect(bar(page).get_by_role("button", name="Clear")).to_be_focused()
    audited = page.locator("[data-facts~=audit]").count()
    expect(bar(page)).to_contain_text(f"{audited} share audit events")
    left_out = boxes(page).nth(count - 1)
    value = left_out.get_attribute("value")
    left_out.uncheck()
    page.get_by_role("link", name="Created").click()
    expect(elsewhere(page)).to_contain_text("aren't on this page")
    page.reload()
    bar(page).get_by_role("button", name=f"Delete {count - 1} connections…").click()
    page.wait_for_url(PLAN)
    assert len(planned()) == count - 1
    assert value not in planned()
    page.go_back()
    expect(bar(page)).to_contain_text(f"{count - 1} selected")
    elsewhere(page).get_by_role("link", name="Show").click()
    expect(page.locator("td.cell-select :checked")).to_have_count(count - 1)
    assert_fit_to_show(page)


@pytest.fixture
def refresh(page: Page, monkeypatch: pytest.MonkeyPatch) -> Route:
    """The automatic refresh of a filtered list with one selected row. It waits."""
    stale = iter([True])
    monkeypatch.setattr(inventory, "is_stale", lambda *_args, **_options: next(stale, False))
    requests: list[Route] = []
    page.route("**/connections/refresh/", lambda route: requests.append(route))
    with page.expect_request("**/connections/refresh/"):
        page.goto("/connections/?type=logs")
    boxes(page).nth(3).check()
    return requests[0]


def test_a_selection_of_all_ends_a_refresh(page: Page, refresh: Route):
    count = int(page.locator("#count").inner_text().split()[0])
    with page.expect_event("requestfailed", lambda failed: failed == refresh.request):
        bar(page).get_by_role("link", name="Select all").click()
    expect(page.locator("td.cell-select :checked")).to_have_count(count)
    expect(bar(page).get_by_role("button", name="Clear")).to_be_focused()


def test_a_form_that_the_bar_opens_ends_a_refresh(page: Page, refresh: Route):
    with page.expect_event("requestfailed", lambda failed: failed == refresh.request):
        bar(page).get_by_role("button", name="Set owner and purpose…").click()
    expect(bar(page).get_by_label("Purpose")).to_be_visible()


def test_a_refresh_leaves_the_selection_and_the_focus(page: Page, refresh: Route):
    refresh.continue_()
    # The response isn't stale.
    expect(page.locator("[data-repeatable]")).to_have_count(0)
    expect(boxes(page).nth(3)).to_be_focused()
    expect(boxes(page).nth(3)).to_be_checked()


def test_it_belongs_to_the_person(page: Page, demo_stage: str):
    boxes(page).nth(0).check()
    other = Person.objects.get(username="administrator")
    # So that no poll of the page is sent without a session.
    page.goto("about:blank")
    page.context.clear_cookies()
    page.context.add_cookies([session_cookie(other, address=demo_stage)])
    page.goto("/connections/")
    expect(page.locator(".sidebar-person")).to_have_text(other.display_name)
    expect(bar(page)).to_be_hidden()


def test_without_javascript_the_boxes_of_the_page_are_sent(open_demo_as: OpenAs):
    page = open_demo_as("operator", java_script_enabled=False)
    page.goto("/connections/?type=logs")
    expect(bar(page)).to_be_hidden()
    boxes(page).nth(0).check()
    bar(page).get_by_role("link", name="Select all").click()
    boxes(page).nth(0).uncheck()
    sent = page.locator("td.cell-select :checked").count()
    assert sent > 100
    page.get_by_role("button", name="Delete selected connections…").click()
    page.wait_for_url(PLAN)
    assert len(planned()) == sent

"""Selecting rows of a list: a range, all that match, and what stays selected."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

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


def test_shift_selects_and_unselects_a_range(page: Page) -> None:
    boxes(page).nth(6).click()
    boxes(page).nth(2).click(modifiers=["Shift"])
    expect(bar(page)).to_contain_text("5 selected")
    boxes(page).nth(4).click(modifiers=["Shift"])
    expect(bar(page)).to_contain_text("2 selected")
    assert_fit_to_show(page)


@pytest.mark.parametrize("how", ["Escape", "Clear"])
def test_a_selection_is_cleared(page: Page, how: str) -> None:
    boxes(page).nth(1).check()
    if how == "Escape":
        page.keyboard.press("Escape")
    else:
        bar(page).get_by_role("button", name="Clear").click()
    expect(bar(page)).to_be_hidden()
    expect(page.locator("td.cell-select :checked")).to_have_count(0)


def test_a_selection_is_kept_over_pages_orders_and_filters_and_sent_once(page: Page) -> None:
    first = boxes(page).nth(0).get_attribute("value")
    boxes(page).nth(0).check()
    page.get_by_role("link", name="Next page").click()
    expect(bar(page)).to_contain_text("1 not on this page")
    boxes(page).nth(0).check()
    page.goto("/connections/?sort=-created&q=analytics")
    boxes(page).nth(0).check()
    button = bar(page).get_by_role("button", name="Delete 3 connections…")
    button.click()
    page.wait_for_url(PLAN)
    rows = Batch.objects.latest("created_at").rows.all()
    assert rows.count() == 3
    assert first in {f"{row.site}/{row.connection_id}" for row in rows}
    page.go_back()
    button.click()
    page.wait_for_url(PLAN)
    page.goto("/connections/")
    expect(bar(page)).to_be_hidden()


def test_all_that_match_are_selected_only_if_the_filter_matches_more_than_the_page(
    page: Page,
) -> None:
    boxes(page).nth(0).check()
    expect(bar(page)).not_to_contain_text("Select all")
    page.goto("/connections/?type=logs")
    count = int((page.locator("#count").inner_text()).split()[0])
    boxes(page).nth(0).check()
    everything = bar(page).get_by_role("checkbox", name=f"Select all {count}")
    everything.check()
    expect(bar(page)).to_contain_text(f"{count} selected")
    expect(boxes(page).nth(1)).to_be_checked()
    expect(boxes(page).nth(1)).to_be_disabled()
    assert_fit_to_show(page)
    page.get_by_role("link", name="Next page").click()
    expect(bar(page)).to_contain_text(f"{count} selected")
    expect(boxes(page).nth(0)).to_be_checked()
    page.locator("[data-select-all]").uncheck()
    expect(bar(page)).to_be_hidden()
    boxes(page).nth(0).check()
    expect(bar(page)).to_contain_text("1 selected")
    everything.check()
    bar(page).get_by_role("button", name=f"Delete {count} connections…").click()
    page.wait_for_url(PLAN)
    assert Batch.objects.latest("created_at").rows.count() == count
    page.go_back()
    expect(bar(page)).to_contain_text(f"{count} selected")


def test_it_belongs_to_the_person(page: Page, demo_stage: str) -> None:
    boxes(page).nth(0).check()
    other = Person.objects.get(username="administrator")
    page.context.clear_cookies()
    page.context.add_cookies([session_cookie(other, address=demo_stage)])
    page.goto("/connections/")
    expect(page.locator(".sidebar-person")).to_have_text(other.display_name)
    expect(bar(page)).to_be_hidden()


def test_without_javascript_the_boxes_of_the_page_are_sent(open_demo_as: OpenAs) -> None:
    page = open_demo_as("operator", java_script_enabled=False)
    page.goto("/connections/")
    expect(bar(page)).to_be_hidden()
    boxes(page).nth(0).check()
    boxes(page).nth(1).check()
    page.get_by_role("button", name="Delete selected connections…").click()
    page.wait_for_url(PLAN)
    assert Batch.objects.latest("created_at").rows.count() == 2

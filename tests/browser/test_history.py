"""The history of deletions: its filters, and the filters behind More."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect


def test_a_filter_chip_shows_its_whole_text(open_demo_as: Callable[..., Page]):
    page = open_demo_as("auditor")
    page.goto("/deletions/")
    page.get_by_text("More", exact=True).click()
    chips = page.locator(".chip input[type=text]:visible")
    expect(chips).to_have_count(3)
    for chip in chips.all():
        chip.fill(chip.get_attribute("placeholder") or "")
        assert chip.evaluate("(one) => one.scrollWidth <= one.clientWidth")


@pytest.mark.sweep(every=2)
@pytest.mark.parametrize("has_javascript", [True, False], ids=["with JavaScript", "without"])
def test_the_history_fetches_filters_with_many_choices_when_asked(
    has_javascript: bool, open_demo_as: Callable[..., Page]
):
    page = open_demo_as("auditor", java_script_enabled=has_javascript)
    page.goto("/deletions/?period=365")
    search = page.get_by_role("searchbox")
    search.fill("typed before")
    more = page.get_by_text("More", exact=True)
    more.focus()
    page.keyboard.press("Enter")
    expect(page.locator("select[name=person]")).to_be_visible()
    expect(page.locator("details.filters-more")).to_have_attribute("open", "")
    if has_javascript:
        expect(more).to_be_focused()
        expect(search).to_have_value("typed before")
    page.locator("input[name=ticket]").fill("SEC-1")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Ticket: SEC-1")).to_be_visible()
    expect(page.get_by_text("Period: Last year")).to_be_visible()
    expect(page.locator("details.filters-more")).to_have_count(0)

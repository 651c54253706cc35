"""Acknowledging changes in the browser: many at once, in the row, without JavaScript."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.fitness import assert_fit_to_show
from tests.browser.watch import Watch

pytestmark = pytest.mark.slow
OpenAs = Callable[..., Page]
WAITING = "/changes/?attention=yes&acknowledged=no"


@pytest.mark.parametrize("width", [390, 1280])
def test_a_note_is_entered_in_the_row_and_many_are_selected(width: int, open_demo_as: OpenAs):
    page = open_demo_as("operator")
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(WAITING)
    bar = page.locator("#acknowledge")
    expect(bar).to_be_hidden()
    page.locator("input[name=change]").first.check()
    expect(bar).to_be_visible()
    page.locator("input[name=change]").first.uncheck()
    opener = page.locator(".row-opener summary").first
    opener.click()
    note = page.locator(".row-form input[name=note]").first
    expect(note).to_be_focused()
    opener.click()
    expect(note).to_be_hidden()


def test_the_open_note_takes_no_width_from_the_connection(open_demo_as: OpenAs):
    page = open_demo_as("operator")
    page.goto(WAITING)
    connection = page.locator("tbody .cell-change").first
    for width in (390, 1024, 1280, 1440, 1920):
        page.set_viewport_size({"width": width, "height": 800})
        closed = connection.bounding_box()
        page.locator(".row-opener summary").first.click()
        expect(page.get_by_text("Cancel", exact=True).first).to_be_visible()
        opened = connection.bounding_box()
        assert closed
        assert opened
        assert (opened["x"], opened["width"]) == (closed["x"], closed["width"])
        assert opened["width"] > 250
        page.get_by_text("Cancel", exact=True).first.click()


def test_a_change_is_responded_to_in_two_clicks_and_a_note(open_demo_as: OpenAs, watch: Watch):
    watch.expect("status of 422")
    page = open_demo_as("operator")
    page.goto("/")
    # Changes come last.
    page.get_by_text("Show all").click()
    item = page.locator(".items > li", has_text="Widened to audit").first
    names = item.locator(".pair").inner_text()
    item.get_by_role("link").click()
    expect(page.locator("input[name=note]:focus")).to_be_visible()
    assert names in page.locator("tr:has(.row-opener[open])").inner_text()
    form = page.locator("tr:has(.row-opener[open]) + tr")
    page.keyboard.type(" ")
    form.get_by_role("button").click()
    expect(form.locator(".field-error")).to_be_visible()
    form.get_by_label("Note").fill("Agreed in OPS-341")
    expect(form.locator(".field-error")).to_have_count(0)
    form.get_by_role("button").click()
    expect(page.locator("#messages")).to_contain_text("Acknowledged: ")


def test_open_notes_and_the_bar_of_the_selection_are_accessible(open_demo_as: OpenAs):
    page = open_demo_as("operator", reduced_motion="reduce")
    page.goto(WAITING)
    page.locator("input[name=change]").first.check()
    page.locator(".row-opener summary").first.click()
    assert_fit_to_show(page)


def test_a_second_note_can_be_saved_only_after_the_list_shows_the_first(open_demo_as: OpenAs):
    page = open_demo_as("operator")
    page.goto(WAITING)
    openers = page.locator(".row-opener summary")
    total = openers.count()
    posts: list[Route] = []
    page.route("**/acknowledge/", lambda route: posts.append(route), times=1)
    openers.first.click()
    page.locator(".row-form input[name=note]").first.fill("Planned")
    page.get_by_role("button", name="Acknowledge change").first.click()
    openers.nth(1).click()
    # Its response would replace the whole list, and the response to the second would be lost.
    second = page.get_by_role("button", name="Acknowledge change").last
    expect(second).to_be_disabled()
    posts[0].continue_()
    expect(openers).to_have_count(total - 1)

    openers.first.click()
    page.locator(".row-form input[name=note]").first.fill("Planned as well")
    page.get_by_role("button", name="Acknowledge change").first.click()
    expect(openers).to_have_count(total - 2)


def test_without_javascript_there_is_no_box_for_all(open_demo_as: OpenAs):
    page = open_demo_as("operator", java_script_enabled=False)
    page.goto(WAITING)
    expect(page.get_by_label("Select all on this page")).to_be_hidden()

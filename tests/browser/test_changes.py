"""Acknowledging changes in the browser: many at once, in the row, without JavaScript."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.watch import Watch

pytestmark = pytest.mark.slow
OpenAs = Callable[..., Page]
WAITING = "/changes/?attention=yes&acknowledged=no"


@pytest.mark.parametrize("width", [390, 1280])
def test_a_note_is_entered_in_the_row_and_many_are_selected(
    width: int, open_demo_as: OpenAs
) -> None:
    page = open_demo_as("operator")
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(WAITING)
    bar = page.locator("#acknowledge")
    expect(bar).to_be_hidden()
    page.get_by_role("checkbox").first.check()
    expect(bar).to_be_visible()
    page.get_by_role("checkbox").first.uncheck()
    opener = page.locator(".row-opener summary").first
    opener.click()
    note = page.locator(".row-form input[name=note]").first
    expect(note).to_be_focused()
    opener.click()
    expect(note).to_be_hidden()


@pytest.mark.parametrize("has_javascript", [True, False])
def test_blank_notes_are_refused_and_keep_the_selection(
    has_javascript: bool, open_demo_as: OpenAs, watch: Watch
) -> None:
    watch.expect("status of 422")
    page = open_demo_as("operator", java_script_enabled=has_javascript)
    page.goto(WAITING)
    box = page.get_by_role("checkbox").first
    box.check()
    page.locator("#acknowledge input[name=note]").fill("   ")
    page.get_by_role("button", name="Acknowledge selected").click()
    expect(page.get_by_text("Enter a note.").first).to_be_visible()
    expect(page.get_by_role("checkbox").first).to_be_checked()

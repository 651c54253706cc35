"""What the checks of every page report."""

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

from tests.browser.fitness import assert_no_violations

GOOD = "<p style='background: #fff; color: #333'>One thing</p>"
PALE_TEXT = "<p style='background: #fff; color: #aaa'>Another thing</p>"
DARK_GROUND = "<div style='background: #444'><p><b style='color: #333'>Another thing</b></p></div>"
FAINT = "<div style='opacity: 0.4; background: #fff'><p style='color: #333'>Another thing</p></div>"
DARK_THEME = """<style>@media (prefers-color-scheme: dark) { em { color: #ddd } }</style>
<em>Another thing</em>"""


@pytest.fixture
def show(shared_page: Page) -> Page:
    """The shared page, light."""
    shared_page.emulate_media(color_scheme="light")
    return shared_page


def check(page: Page, content: str) -> None:
    page.set_content(f"<html lang=en><title>A</title><main><h1>A</h1>{content}</main></html>")
    page.evaluate(AXE_SCRIPT)
    assert_no_violations(page, name="a page")


@pytest.mark.parametrize("poor", [PALE_TEXT, DARK_GROUND, FAINT])
def test_text_of_poor_contrast_is_reported_on_every_page(poor: str, show: Page):
    check(show, GOOD)
    for _ in range(2):
        with pytest.raises(AssertionError, match="Another thing"):
            check(show, GOOD + poor)


def test_text_that_is_poor_in_one_theme_is_reported(show: Page):
    check(show, DARK_THEME)
    show.emulate_media(color_scheme="dark")
    with pytest.raises(AssertionError, match="Another thing"):
        check(show, DARK_THEME)
    show.emulate_media(color_scheme="light")

"""Checks that every page must pass, in both themes, on a phone and on a wide screen."""

from collections.abc import Callable

from axe_playwright_python.base import AXE_SCRIPT, AxeResults
from playwright.sync_api import Page

from tests.browser.pages import Listed
from tests.browser.watch import Watch

WIDTHS = {"phone": 390, "wide": 1280}
NARROWEST, WIDEST = 360, 1600


class Axe:
    """axe in one page, loaded once."""

    def __init__(self, page: Page) -> None:
        self._page = page
        page.evaluate(AXE_SCRIPT)

    def violations(self, *, only_contrast: bool = False) -> str:
        """Its findings as text; empty if there are none."""
        options: dict[str, object] = {"resultTypes": ["violations"]}
        if only_contrast:
            options["runOnly"] = ["color-contrast", "link-in-text-block"]
        results = AxeResults(self._page.evaluate("(options) => axe.run(options)", options))
        return results.generate_report() if results.violations_count else ""


def assert_in_bounds(page: Page, *, width: int) -> None:
    """No element overflows to the right: the page never scrolls sideways."""
    page.set_viewport_size({"width": width, "height": 800})
    sticks_out = page.evaluate(
        """() => {
          const width = window.innerWidth;
          if (document.scrollingElement.scrollWidth <= width) return [];
          return [...document.querySelectorAll("body *")]
            .filter((one) => one.getBoundingClientRect().right > width + 0.5)
            .map((one) => `${one.tagName} ${one.className} ${one.textContent.trim().slice(0, 40)}`)
            .slice(0, 8);
        }"""
    )
    assert sticks_out == [], f"at {width} px"


def assert_fit_to_show(page: Page) -> None:
    """Check a page: axe, folded and unfolded, in both themes, and nothing wider than the screen."""
    axe = Axe(page)
    page.emulate_media(color_scheme="light")
    for name, width in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": 800})
        assert axe.violations() == "", f"{name}, light"
    for width in (NARROWEST, *WIDTHS.values(), WIDEST):
        assert_in_bounds(page, width=width)
    # Axe skips collapsed content.
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    # On a phone, where a wide table has to be scrolled.
    page.set_viewport_size({"width": WIDTHS["phone"], "height": 800})
    assert axe.violations() == "", "unfolded, light"
    # The theme changes only colors.
    page.emulate_media(color_scheme="dark")
    for name, width in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": 800})
        assert axe.violations(only_contrast=True) == "", f"{name}, unfolded, dark"


def open_listed(open_as: Callable[..., Page], listed: Listed) -> Page:
    """Open the page and check that it is the expected one."""
    page = open_as(listed.who, reduced_motion="reduce")
    path = listed.path()
    response = page.goto(path)
    assert response
    assert response.status == listed.status
    assert page.url.endswith(path), page.url
    return page


def assert_demo_page_is_fit(
    listed: Listed, *, open_demo_as: Callable[..., Page], watch: Watch
) -> None:
    """Open the page with the demo company's data and check it."""
    if listed.status != 200:
        watch.expect(f"status of {listed.status}")
    assert_fit_to_show(open_listed(open_demo_as, listed))

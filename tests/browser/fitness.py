"""Checks that every page must pass: axe in both themes, and no width that needs scrolling."""

import re
from collections.abc import Callable
from typing import Literal

from axe_playwright_python.base import AXE_SCRIPT, AxeResults
from playwright.sync_api import Page, Response

from tests.browser.pages import Listed
from tests.browser.watch import Watch

WIDTHS_IN_BOUNDS = (360, 390, 1280, 1600)
THEMES: dict[Literal["light", "dark"], int] = {"light": 390, "dark": 1280}


def assert_no_violations(page: Page, *, name: str) -> None:
    """Run axe, which the page must have loaded."""
    options = {"resultTypes": ["violations"]}
    results = AxeResults(page.evaluate("(options) => axe.run(options)", options))
    assert results.violations_count == 0, f"{name}:\n{results.generate_report()}"


def remove_similar_rows(page: Page) -> None:
    """Leave two rows of each kind, so that axe doesn't measure the same colors a hundred times.

    Rows of one kind have the same elements, classes and attributes, with other values. Two of them
    are enough to find an id that both have. Rows that open a row below them stay.
    """
    page.evaluate(
        """() => {
          const kindOf = (one) =>
            [one.tagName, one.getAttribute("class"), ...one.getAttributeNames()].join(" ");
          for (const body of document.querySelectorAll("tbody:not(:has(.row-opener))")) {
            const counts = new Map();
            for (const row of [...body.rows]) {
              const kind = [row, ...row.querySelectorAll("*")].map(kindOf).join("\\n");
              const count = (counts.get(kind) ?? 0) + 1;
              counts.set(kind, count);
              if (count > 2) row.remove();
            }
          }
        }"""
    )


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


def assert_consistent(page: Page) -> None:
    """Times are exact in UTC, breadcrumbs start in the navigation, and no font is loaded."""
    times = page.locator("time:not([data-local])").evaluate_all(
        "times => times.map((time) => `${time.dateTime} ${time.title}`)"
    )
    exact = re.compile(r"(\S+)T([\d:]{8})\S*(?:Z|\+00:00) \1 \2 UTC")
    assert [time for time in times if not exact.fullmatch(time)] == []
    breadcrumb = page.locator(".breadcrumbs a").first
    if breadcrumb.count():
        path, text = breadcrumb.get_attribute("href"), breadcrumb.inner_text()
        entry = page.locator(f"header.sidebar a[href='{path}']")
        assert re.fullmatch(rf"{text}\d*", (entry.text_content() or "").strip())
    assert page.evaluate("document.fonts.size") == 0


def assert_fit_to_show(page: Page) -> None:
    """Check a page: one run of axe in each theme, and nothing wider than the screen.

    The phone is light and the wide screen dark: a theme changes only colors, and a width only the
    layout.
    """
    assert_consistent(page)
    for width in WIDTHS_IN_BOUNDS:
        assert_in_bounds(page, width=width)
    remove_similar_rows(page)
    # Axe skips collapsed content.
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    page.evaluate(AXE_SCRIPT)
    for theme, width in THEMES.items():
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size({"width": width, "height": 800})
        assert_no_violations(page, name=f"{theme}, {width} px")


def open_listed(open_as: Callable[..., Page], listed: Listed) -> Page:
    """Open the page and check that it is the expected one."""
    page = open_as(listed.who, reduced_motion="reduce")
    path = listed.path()
    _assert_is(page, page.goto(path), listed=listed, path=path)
    return page


def _assert_is(page: Page, response: Response | None, *, listed: Listed, path: str) -> None:
    assert response
    assert response.status == listed.status
    assert page.url.endswith(path), page.url


def assert_demo_page_is_fit(
    listed: Listed,
    *,
    visit_as: Callable[[str | None, str], tuple[Page, Response | None]],
    watch: Watch,
) -> None:
    """Open the page with the demo company's data and check it."""
    if listed.status != 200:
        watch.expect(f"status of {listed.status}")
    path = listed.path()
    page, response = visit_as(listed.who, path)
    _assert_is(page, response, listed=listed, path=path)
    assert_fit_to_show(page)

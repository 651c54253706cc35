"""Checks that every page must pass: axe in both themes, and no horizontal scrolling."""

import re
from collections.abc import Callable
from typing import Literal

from axe_playwright_python.base import AXE_SCRIPT, AxeResults
from playwright.sync_api import Page, Response

from tests.browser.pages import Listed
from tests.browser.watch import Watch

WIDTHS_IN_BOUNDS = (1280, 1600, 360)
THEMES: dict[Literal["light", "dark"], int] = {"light": 390, "dark": 1280}

# The kinds of text whose contrast this process has already checked.
_measured_kinds: set[str] = set()
# The URL names of pages that passed on a phone, where pages of one name have one layout.
_passed_on_a_phone: set[str] = set()

# Measure texts of kinds that aren't known, at most three of each. Two texts are of one kind if they
# have the same color, size and weight on the same backgrounds, so their contrast is the same.
MEASURE_CONTRAST = """async (known) => {
  const grounds = new Map([[null, ""]]);
  const groundOf = (one) => {
    if (!grounds.has(one)) {
      const style = getComputedStyle(one);
      const own = `${style.backgroundColor} ${style.backgroundImage} ${style.opacity}`;
      const below = groundOf(one.parentElement);
      grounds.set(one, own === "rgba(0, 0, 0, 0) none 1" ? below : `${below} | ${own}`);
    }
    return grounds.get(one);
  };
  const kindOf = (one) => {
    const style = getComputedStyle(one);
    const text = [style.color, style.fontSize, style.fontWeight, style.textShadow].join(" ");
    return text + groundOf(one);
  };
  const hasText = (one) =>
    one.matches("input, select, textarea") ||
    [...one.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  const counts = new Map(known.map((kind) => [kind, 3]));
  const chosen = [...document.body.querySelectorAll("*")].filter((one) => {
    if (!hasText(one) || !one.checkVisibility()) return false;
    const kind = kindOf(one);
    const count = counts.get(kind) ?? 0;
    counts.set(kind, count + 1);
    return count < 3;
  });
  if (chosen.length === 0) return {violations: [], measured: []};
  const results = await axe.run(
    {include: chosen}, {runOnly: ["color-contrast"], elementRef: true}
  );
  const passed = results.passes.flatMap((rule) => rule.nodes);
  return {
    violations: results.violations,
    measured: passed.map((node) => kindOf(node.element)),
  };
}"""


def assert_no_violations(page: Page, *, name: str, only_contrast: bool = False) -> None:
    """Run axe, which the page must have loaded."""
    # Contrast takes longer than all other rules, and pages have the same colors.
    rules = {"color-contrast": {"enabled": False}, "label-content-name-mismatch": {"enabled": True}}
    options = {"resultTypes": ["violations"], "rules": rules}
    contrast = page.evaluate(MEASURE_CONTRAST, sorted(_measured_kinds))
    violations = contrast["violations"]
    if not only_contrast:
        violations += page.evaluate("(options) => axe.run(options)", options)["violations"]
    report = AxeResults({"violations": violations})
    assert not violations, f"{name}:\n{report.generate_report()}"
    _measured_kinds.update(contrast["measured"])


def assert_targets_are_large(page: Page) -> None:
    """No target is smaller than 24 px. Call it before menus are opened: they cover others."""
    for width in THEMES.values():
        page.set_viewport_size({"width": width, "height": 800})
        options = {"resultTypes": ["violations"], "runOnly": ["target-size"]}
        violations = page.evaluate("(options) => axe.run(options)", options)["violations"]
        report = AxeResults({"violations": violations})
        assert not violations, f"at {width} px:\n{report.generate_report()}"


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
    found = page.evaluate(
        """() => {
          const times = [...document.querySelectorAll("time:not([data-local])")];
          const link = document.querySelector(".breadcrumbs a");
          const path = link?.getAttribute("href");
          // While something waits, the entry leads to the part that lists it.
          const entry = `header.sidebar a:is([href='${path}'], [href='${path}?needs=you'])`;
          return {
            times: times.map((time) => `${time.dateTime} ${time.title}`),
            breadcrumb: link && link.innerText,
            entries: [...document.querySelectorAll(entry)].map((one) => one.textContent.trim()),
            fonts: document.fonts.size,
          };
        }"""
    )
    exact = re.compile(r"(\S+)T([\d:]{8})\S*(?:Z|\+00:00) \1 \2 UTC")
    assert [time for time in found["times"] if not exact.fullmatch(time)] == []
    if found["breadcrumb"]:
        [entry] = found["entries"]
        assert re.fullmatch(rf"{found['breadcrumb']}(\s*[\d,+]+( waiting for you)?)?", entry)
    assert found["fonts"] == 0


def assert_fit_to_show(page: Page, *, url_name: str = "") -> None:
    """Check a page: one run of axe in each theme, and nothing wider than the screen.

    The phone is light and the wide screen dark: a theme changes only colors, and a width only the
    layout. On the phone, only contrast is checked if a page of the same URL name passed there.
    """
    assert_consistent(page)
    for width in WIDTHS_IN_BOUNDS:
        assert_in_bounds(page, width=width)
    remove_similar_rows(page)
    page.evaluate(AXE_SCRIPT)
    assert_targets_are_large(page)
    # Axe skips collapsed content.
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    for theme, width in THEMES.items():
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size({"width": width, "height": 800})
        is_phone_again = width < 1280 and url_name in _passed_on_a_phone
        assert_no_violations(page, name=f"{theme}, {width} px", only_contrast=is_phone_again)
    if url_name:
        _passed_on_a_phone.add(url_name)


def assert_listed_page_is_fit(
    listed: Listed,
    *,
    visit_as: Callable[[str | None, str], tuple[Page, Response | None]],
    watch: Watch,
) -> None:
    """Open the page, and check that it is the expected one and fit to show."""
    if listed.status != 200:
        watch.expect(f"status of {listed.status}")
    path = listed.path()
    page, response = visit_as(listed.who, path)
    assert response
    assert response.status == listed.status
    assert page.url.endswith(path), page.url
    assert_fit_to_show(page, url_name=listed.name)

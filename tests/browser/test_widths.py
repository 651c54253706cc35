"""Every list at the usual widths: no name is cut to uselessness, and nothing scrolls sideways."""

from pathlib import Path

import pytest

from tests.browser.conftest import Demo, VisitAs
from tests.browser.pages import PAGES
from tests.browser.watch import Watch

pytestmark = pytest.mark.slow

WIDTHS = (1024, 1088, 1280, 1366, 1440, 1536, 1920)
# Widths at which rows are cards, in which names wrap.
NARROW = (320, 390, 768)
# Every page that shows names in rows.
LISTS = (
    *("overview", "org-connection-list", "deletion-list", "change-list", "org-list", "org-detail"),
    *("agreement-list", "agreement-list-approver", "access-request-list"),
    *("batch-list", "batch-plan", "batch-finished", "person-list"),
    *("access-review-list", "access-review-open", "access-review-closed"),
    *("audit-list", "notification-list", "settings-status"),
)

# Not names: statuses, data types, times, IDs, buttons.
FIXED = (
    ".badge, .types, .tag, .decide, time, button, .button, code, .mono, .sr-only, .icon, "
    ".item-kind, .item-time"
)

# Gives every row other names, of 4 to 40 characters.
RENAME = """(fixed) => {
  const names = [
    "Labs", "Payments EU", "Customer Insights Europe", "OPS1", "Observability US",
    "terraform-org-connections-production-eu1", "Data Lake", "Recommendations",
    "Executive Reporting and Controlling EMEA", "Group SOC", "Bartholomew Featherstonehaugh",
  ];
  const others = ".cell-number, .cell-time, .cell-status, .cell-action";
  document.querySelectorAll("tbody > tr, .items > li").forEach((row, number) => {
    // The length is a prime number, so each cell gets every name.
    let count = number;
    for (const cell of [...row.children].filter((one) => !one.matches(others))) {
      const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
      const found = [];
      while (walker.nextNode()) {
        const parent = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim()) continue;
        if (!parent.closest(`${fixed}, .cell-sub, .meta`)) found.push(walker.currentNode);
      }
      const isPair = cell.querySelector(".pair-arrow, .pair > .icon");
      for (const text of found.slice(0, isPair ? 2 : 1)) {
        text.data = names[(count += 4) % names.length] + (/\\s$/.test(text.data) ? " " : "");
      }
    }
  });
}"""

# What is wrong at this width.
MEASURE = """(fixed) => {
  const problems = new Set();
  const ruler = document.createElement("canvas").getContext("2d");
  const isBlock = (one) => !getComputedStyle(one).display.startsWith("inline");
  const shown = (one) => one.checkVisibility() && !one.closest(".sr-only");
  const naturalWidth = (text) => {
    const style = getComputedStyle(text.parentElement);
    ruler.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    return ruler.measureText(text.data.trim()).width;
  };
  const boxWidth = (text, cell) => {
    let box = text.parentElement;
    while (box !== cell && !isBlock(box)) box = box.parentElement;
    const style = getComputedStyle(box);
    return box.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  };
  const rows = [...document.querySelectorAll("tbody > tr, .items > li")].filter(shown);
  for (const cell of rows.slice(0, 60).flatMap((row) => [...row.children]).filter(shown)) {
    const column = `${cell.closest("table")?.caption?.textContent}: ${cell.className}`;
    const inside = cell.getBoundingClientRect();
    const range = document.createRange();
    const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const text = walker.currentNode;
      if (!text.data.trim() || !shown(text.parentElement)) continue;
      const [box, natural] = [boxWidth(text, cell), naturalWidth(text)];
      if (!text.parentElement.closest(fixed) && box < natural - 2 && box < 79) {
        problems.add(`${column}: “${text.data.trim()}” has ${Math.round(box)} px`);
      }
      range.selectNodeContents(text);
      const { left, right } = range.getBoundingClientRect();
      const hidden = text.parentElement.closest(".clamp, .cell-sub");
      // A ticket ends with an ellipsis where its cell's content does.
      const cut = text.parentElement.closest(".cell-ticket") ? inside : { right };
      const clip = hidden ? hidden.getBoundingClientRect() : cut;
      if (left < inside.left - 1 || Math.min(right, clip.right) > inside.right + 1) {
        problems.add(`${column}: “${text.data.trim().slice(0, 40)}” leaves its cell`);
      }
    }
  }
  const frames = document.querySelectorAll(":root, .list-wrap, .table-wrap");
  for (const frame of [...frames].filter((one) => one.scrollWidth > one.clientWidth)) {
    problems.add(`${frame.className || "The page"} scrolls sideways`);
  }
  return [...problems];
}"""


@pytest.fixture
def key_ring_file(demo: Demo) -> Path:
    """The demo's, instead of one for each test: the open page can send requests between tests."""
    return demo.key_ring


@pytest.mark.sweep(every=3)
@pytest.mark.parametrize("slug", LISTS)
def test_no_name_is_cut_to_uselessness_at_a_usual_width(
    slug: str, visit_demo_as: VisitAs, page_watch: Watch
):
    [listed] = [each for each in PAGES if each.slug == slug]
    page, _ = visit_demo_as(listed.who, listed.path())
    page.evaluate(RENAME, FIXED)
    found: dict[int, list[str]] = {}
    for width in (*NARROW, *WIDTHS):
        page.set_viewport_size({"width": width, "height": 800})
        problems = page.evaluate(MEASURE, FIXED)
        if width in NARROW:
            problems = [each for each in problems if each.endswith("scrolls sideways")]
        if problems:
            found[width] = problems
    assert found == {}


@pytest.mark.sweep(every=3)
@pytest.mark.parametrize(
    "slug",
    [
        *("org-connection-list", "deletion-list", "change-list", "org-list", "audit-list"),
        *("access-review-list", "batch-list", "org-detail", "deletion-sending", "batch-plan"),
        *("org-connection-matrix", "access-review-open", "access-review-manager"),
    ],
)
def test_titles_start_at_one_place_and_lists_near_the_top(
    slug: str, visit_demo_as: VisitAs, page_watch: Watch
):
    [listed] = [each for each in PAGES if each.slug == slug]
    page, _ = visit_demo_as(listed.who, listed.path())
    starts = "(one) => [one.getBoundingClientRect().left, one.getBoundingClientRect().top]"
    row = page.locator(".list tbody tr").first
    assert page.locator("h1").evaluate(starts)[0] == 224
    if slug.endswith("-list"):
        assert row.evaluate(starts)[1] <= 200
    if slug.endswith(("-list", "-open", "-manager")):
        page.set_viewport_size({"width": 390, "height": 844})
        assert row.evaluate(starts)[1] <= 300

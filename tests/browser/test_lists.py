"""The shared list: its rows, its sticky header, its cards on a phone."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Demo, VisitAs
from tests.browser.watch import Watch

pytestmark = pytest.mark.slow
OpenList = Callable[..., Page]
LISTS = [("/connections/", "operator"), ("/deletions/", "operator"), ("/audit/", "auditor")]


@pytest.fixture
def key_ring_file(demo: Demo) -> Path:
    """The demo's, instead of one for each test: the open page can send requests between tests."""
    return demo.key_ring


@pytest.fixture
def open_list(visit_demo_as: VisitAs, page_watch: Watch) -> OpenList:
    """Open a list as one of the demo's people, in a window of this width."""

    def open_page(path: str, who: str, *, width: int) -> Page:
        page, _ = visit_demo_as(who, path)
        page.set_viewport_size({"width": width, "height": 500})
        return page

    return open_page


def row_heights(page: Page) -> set[int]:
    rows = page.locator(".list tbody tr").filter(has_not=page.locator(".badge ~ .badge"))
    return set(rows.evaluate_all("rows => rows.map(row => Math.round(row.offsetHeight))"))


def with_border(heights: set[int]) -> set[int]:
    return heights | {height + 1 for height in heights}


@pytest.mark.parametrize(
    ("path", "who", "height"),
    # The second line of a deletion has its reason.
    [
        ("/connections/", "operator", 36),
        ("/deletions/", "operator", 43),
        ("/audit/", "auditor", 36),
    ],
)
def test_rows_have_one_height(path: str, who: str, height: int, open_list: OpenList):
    assert row_heights(open_list(path, who, width=1280)) <= with_border({height})


@pytest.mark.parametrize(("path", "who"), LISTS)
def test_the_header_stays_in_view(path: str, who: str, open_list: OpenList):
    page = open_list(path, who, width=1280)
    page.locator(".list tbody tr").nth(15).scroll_into_view_if_needed()
    page.mouse.wheel(0, 400)
    expect(page.locator(".list thead th").first).to_be_in_viewport()


@pytest.mark.parametrize(
    ("path", "names", "height"),
    [
        ("/connections/", ".cell-org:not([colspan])", 36),
        ("/deletions/", ".pair-line > :not(.pair-arrow)", 43),
    ],
)
def test_org_names_of_24_characters_take_two_lines_at_most_at_1280_px(
    path: str, names: str, height: int, open_list: OpenList
):
    page = open_list(path, "operator", width=1280)
    page.locator(f".list tbody {names}").evaluate_all(
        """(cells) => cells.forEach((cell, index) => {
          const name = index % 2 ? "Payments Risk Operations" : "Customer Insights Europe";
          (cell.querySelector("a") ?? cell).textContent = name;
        })"""
    )
    assert max(row_heights(page)) <= height + 20


def test_a_reason_is_readable_in_the_list_of_deletions(open_list: OpenList):
    reason = "Treasury metrics moved to the lake"
    for width in (390, 1280):
        shown = open_list("/deletions/", "operator", width=width).get_by_text(reason).first
        assert shown.evaluate("(it) => it.scrollWidth <= it.clientWidth")
        assert shown.evaluate("(it) => it.scrollHeight <= it.clientHeight")


@pytest.mark.parametrize(("path", "who"), LISTS)
def test_a_phone_shows_a_card_for_each_row(path: str, who: str, open_list: OpenList):
    page = open_list(path, who, width=390)
    head = page.locator(".list thead").bounding_box()
    assert head
    assert head["width"] <= 1
    card = page.locator(".list tbody tr").last
    main = card.locator(".cell-org a, .cell-main").first.bounding_box()
    below = card.locator("time, .types").filter(visible=True).first.bounding_box()
    assert main
    assert below
    assert below["y"] > main["y"] + main["height"] - 2
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


TARGETS = (
    "main :is(.list tbody :is(:is(.cell-org, .cell-main, .pair-line, .cell-action) > a,"
    " .cell-select > label),"
    " .view-switch a, .chips select, .filters-search, .button)"
)


@pytest.mark.parametrize("path", ["/connections/", "/changes/", "/orgs/", "/deletions/"])
def test_a_phone_has_touch_targets_of_44_px(path: str, open_list: OpenList):
    page = open_list(path, "operator", width=390)
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    assert page.evaluate("matchMedia('(pointer: coarse)').matches")
    targets = page.locator(TARGETS).filter(visible=True)
    low = "(all) => all.filter((one) => one.getBoundingClientRect().height < 44)"
    assert targets.evaluate_all(f"{low}.map((one) => one.outerHTML)") == []
    covered = page.locator(".list tbody a").evaluate_all(
        """(all) => all.filter((one) => {
          one.scrollIntoView({ block: "center" });
          const text = document.createRange();
          text.selectNodeContents(one);
          const { left, top, width, height } = text.getClientRects()[0];
          return !one.contains(document.elementFromPoint(left + width / 2, top + height / 2));
        }).map((one) => one.outerHTML)"""
    )
    assert covered == []
    page.evaluate("scrollTo(0, 0)")
    row = page.locator(".list tbody tr").first
    assert row.evaluate("(one) => one.getBoundingClientRect().top") <= 300
    session.send("Emulation.setTouchEmulationEnabled", {"enabled": False})


def test_sort_links_and_chips_are_reached_with_the_keyboard(open_list: OpenList):
    page = open_list("/connections/?type=audit&sort=-created", "operator", width=1280)
    chip = page.get_by_role("link", name="Remove filter Data type: audit")
    chip.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/connections/?sort=-created")
    header = page.get_by_role("columnheader", name="Created")
    expect(header).to_have_attribute("aria-sort", "descending")
    header.get_by_role("link").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/connections/?sort=created")


def test_filters_are_chips_kept_in_the_url_and_removed_one_by_one(open_list: OpenList):
    page = open_list("/connections/", "operator", width=1280)
    page.get_by_label("Data type").select_option("audit")
    page.wait_for_url("**/connections/?type=audit")
    page.locator("#filters-more").click()
    page.get_by_label("Protection").select_option("no")
    page.wait_for_url("**/connections/?type=audit&protected=no")
    chips = page.locator(".chip-set .chip-text")
    expect(chips).to_have_text(["Data type: audit", "Protection: Not protected"])
    page.reload()
    expect(chips).to_have_count(2)
    page.get_by_role("link", name="Remove filter Data type: audit").click()
    page.wait_for_url("**/connections/?protected=no")
    expect(chips).to_have_text(["Protection: Not protected"])

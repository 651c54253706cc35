"""The shared list: its rows, its sticky header and first column, its cards on a phone."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.slow
OpenAs = Callable[..., Page]
LISTS = [("/connections/", "operator"), ("/deletions/", "operator"), ("/audit/", "auditor")]


def open_list(open_demo_as: OpenAs, path: str, who: str, *, width: int) -> Page:
    page = open_demo_as(who)
    page.set_viewport_size({"width": width, "height": 500})
    page.goto(path)
    return page


def row_heights(page: Page) -> set[int]:
    rows = page.locator(".list tbody tr").filter(has_not=page.locator(".badge ~ .badge"))
    return set(rows.evaluate_all("rows => rows.map(row => Math.round(row.offsetHeight))"))


@pytest.mark.parametrize(("path", "who"), LISTS)
def test_row_height_can_be_dense_or_comfortable(path: str, who: str, open_demo_as: OpenAs) -> None:
    page = open_list(open_demo_as, path, who, width=1280)
    assert row_heights(page) <= {36, 37}
    page.get_by_role("button", name="Comfortable").click()
    expect(page.locator("html")).to_have_attribute("data-density", "comfortable")
    assert row_heights(page) <= {48, 49}


@pytest.mark.parametrize(("path", "who"), LISTS)
def test_the_header_stays_in_view(path: str, who: str, open_demo_as: OpenAs) -> None:
    page = open_list(open_demo_as, path, who, width=1280)
    page.locator(".list tbody tr").nth(15).scroll_into_view_if_needed()
    page.mouse.wheel(0, 400)
    expect(page.locator(".list thead th").first).to_be_in_viewport()


@pytest.mark.parametrize(("path", "who"), LISTS)
def test_the_first_column_stays_in_view_where_the_list_scrolls(
    path: str, who: str, open_demo_as: OpenAs
) -> None:
    page = open_list(open_demo_as, path, who, width=900)
    frame = page.locator(".list-wrap")
    assert frame.evaluate("frame => frame.scrollWidth > frame.clientWidth")
    frame.evaluate("frame => { frame.scrollLeft = 200; }")
    left = frame.evaluate(
        "frame => frame.querySelector('tbody tr > *').getBoundingClientRect().left"
        " - frame.getBoundingClientRect().left"
    )
    assert 0 <= left <= 2


@pytest.mark.parametrize(("path", "who"), LISTS)
def test_a_phone_shows_a_card_for_each_row(path: str, who: str, open_demo_as: OpenAs) -> None:
    page = open_list(open_demo_as, path, who, width=390)
    head = page.locator(".list thead").bounding_box()
    assert head
    assert head["width"] <= 1
    card = page.locator(".list tbody tr").last
    main = card.locator(".cell-org a, .cell-main").first.bounding_box()
    time = card.locator("time").bounding_box()
    assert main
    assert time
    assert time["y"] > main["y"] + main["height"] - 2
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_sort_links_and_chips_are_reached_with_the_keyboard(open_demo_as: OpenAs) -> None:
    page = open_list(open_demo_as, "/connections/?type=audit&sort=-created", "operator", width=1280)
    chip = page.get_by_role("link", name="Remove filter Data type: audit")
    chip.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/connections/?sort=-created")
    header = page.get_by_role("columnheader", name="Created")
    expect(header).to_have_attribute("aria-sort", "descending")
    header.get_by_role("link").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/connections/?sort=created")

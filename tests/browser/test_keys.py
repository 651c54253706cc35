"""The keys of a row in every list, and when no key does anything."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Demo, VisitAs
from tests.browser.pages import PAGES
from tests.browser.watch import Watch

pytestmark = pytest.mark.slow
OpenList = Callable[[str], Page]
ACTS_ON_CHARACTERS = ["x", "X", "e", "k", "d", "n", "/", "?"]
KEYS = [*ACTS_ON_CHARACTERS, "ArrowDown", "ArrowUp"]
# What E does in each list. Where a row has no action, it opens the row, as Enter does.
LISTS = {
    "overview": "",
    "org-connection-list": "Set owner and purpose…",
    "deletion-list": "",
    "change-list": "Acknowledge",
    "access-request-list": "",
    "agreement-list": "Set owner and purpose…",
    "access-review-list": "",
    "access-review-open": "⋯",
    "access-review-closed": "",
    "org-list": "Set group and owner…",
    "org-detail": "",
    "audit-list": "",
    "batch-list": "",
    "batch-plan": "Remove from the plan",
    "batch-finished": "",
    "notification-list": "Retry",
    "person-list": "",
    "search": "",
}
WITH_BOXES = ["org-connection-list", "agreement-list", "change-list", "access-review-open"]
WITH_BOXES += ["org-list", "batch-plan"]
# Instead of what a link or button does, the page keeps its text. It also keeps which keys acted.
RECORD = """() => {
  window.acted = [];
  window.addEventListener("keydown", (event) => {
    if (event.defaultPrevented) window.acted.push(event.key);
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[type=checkbox]")) return;
    window.pressed = event.target.closest("a, button, summary").textContent.trim();
    event.preventDefault();
    event.stopImmediatePropagation();
  }, true);
}"""
ROWS = (
    "main :is(.list tbody tr, .table tbody tr, .items li, .hits li):has(a, button, [type=checkbox])"
)


@pytest.fixture
def key_ring_file(demo: Demo) -> Path:
    """The demo's, instead of one for each test: the open page can send requests between tests."""
    return demo.key_ring


@pytest.fixture
def open_list(visit_demo_as: VisitAs, page_watch: Watch) -> OpenList:
    """Open the page with this slug, which only records what is pressed."""

    def open_page(slug: str) -> Page:
        [listed] = [each for each in PAGES if each.slug == slug]
        page, _ = visit_demo_as(listed.who, listed.path())
        # What another test has selected.
        page.evaluate("sessionStorage.clear()")
        page.reload()
        page.evaluate(RECORD)
        return page

    return open_page


def rows(page: Page) -> Locator:
    return page.locator(ROWS).filter(visible=True)


def focus(row: Locator) -> None:
    row.locator("[type=checkbox], a, button").first.focus()


def row_with_focus(page: Page) -> int:
    """The number of the row that has the focus on something that can be pressed."""
    has_focus = (
        "(rows) => rows.findIndex((row) => row.querySelector(':is(a, button, input):focus'))"
    )
    place: int = rows(page).evaluate_all(has_focus)
    return place


def press(page: Page, key: str) -> str:
    page.keyboard.press(key)
    return str(page.evaluate("window.pressed"))


@pytest.mark.parametrize("slug", LISTS)
def test_the_arrow_keys_go_from_row_to_row(slug: str, open_list: OpenList):
    page = open_list(slug)
    focus(rows(page).first)
    visited = []
    for key in ("ArrowDown", "ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
        visited.append(row_with_focus(page))
    assert visited == [1, 2, 1]


@pytest.mark.parametrize("slug", LISTS)
def test_enter_opens_the_row(slug: str, open_list: OpenList):
    page = open_list(slug)
    row = rows(page).filter(has=page.locator("a")).nth(1)
    focus(row)
    assert press(page, "Enter") == (row.locator("a").first.text_content() or "").strip()


@pytest.mark.parametrize(("slug", "action"), LISTS.items())
def test_e_starts_the_first_action_of_the_row(slug: str, action: str, open_list: OpenList):
    page = open_list(slug)
    candidates = rows(page).filter(has=page.locator("a"))
    if slug in WITH_BOXES:
        row = candidates.filter(has=page.locator("[type=checkbox]")).first
    elif action:
        row = candidates.filter(has=page.get_by_role("button", name=action)).first
    else:
        row = candidates.first
    focus(row)
    first = action or (row.locator("a").first.text_content() or "").strip()
    assert press(page, "e").startswith(first)


@pytest.mark.parametrize("slug", WITH_BOXES)
def test_x_selects_a_row_and_with_shift_all_from_there(slug: str, open_list: OpenList):
    page = open_list(slug)
    boxes = page.locator("td.cell-select [type=checkbox]")
    boxes.nth(1).focus()
    page.keyboard.press("x")
    expect(boxes.nth(1)).to_be_checked()
    expect(page.locator(".selection-count")).to_have_text("1 selected")
    boxes.nth(2).focus()
    page.keyboard.press("Shift+X")
    expect(page.locator(".selection-count")).to_have_text("2 selected")
    page.keyboard.press("x")
    expect(boxes.nth(2)).not_to_be_checked()
    page.keyboard.press("Escape")
    expect(page.locator("td.cell-select :checked")).to_have_count(0)


@pytest.mark.parametrize("key", ["k", "d"])
def test_a_decision_starts_before_a_row_has_the_focus(key: str, open_list: OpenList):
    page = open_list("access-review-open")
    chosen = {"k": "Keep", "d": "Delete"}[key]
    assert press(page, key).startswith(chosen)


@pytest.mark.parametrize("key", ["x", "e", "Enter", "ArrowDown"])
def test_the_keys_of_a_row_do_nothing_before_a_row_has_the_focus(key: str, open_list: OpenList):
    page = open_list("access-review-open")
    page.keyboard.press(key)
    assert page.evaluate("window.acted") == []


def test_the_link_to_the_list_leads_to_its_first_row(open_list: OpenList):
    page = open_list("deletion-list")
    # The page only records what is pressed, so this is pressed by its own handler.
    page.reload()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to list")).to_be_focused()
    page.keyboard.press("Enter")
    expect(rows(page).first.locator("a").first).to_be_focused()


def test_the_status_of_a_row_is_said_with_its_link(open_list: OpenList):
    page = open_list("deletion-list")
    focus(rows(page).first)
    page.keyboard.press("ArrowDown")
    second = rows(page).nth(1)
    expect(second.locator("a").first).to_have_accessible_description(
        second.locator(".badge").first.inner_text()
    )


@pytest.mark.parametrize(
    ("slug", "field"),
    [("org-connection-list", "[type=search]"), ("access-review-open", "[name=reason]")],
)
def test_no_key_does_anything_while_someone_types(slug: str, field: str, open_list: OpenList):
    page = open_list(slug)
    boxes = page.locator("td.cell-select [type=checkbox]")
    boxes.first.check()
    page.locator(field).first.focus()
    for key in KEYS:
        page.keyboard.press(key)
    assert page.evaluate("window.acted") == []
    expect(page.locator(field).first).to_have_value("".join(ACTS_ON_CHARACTERS))


@pytest.mark.parametrize("modifier", ["Control", "Alt", "Meta"])
def test_no_key_does_anything_with_a_modifier(modifier: str, open_list: OpenList):
    page = open_list("access-review-open")
    focus(rows(page).nth(2))
    for key in KEYS:
        if (modifier, key) not in {("Control", "k"), ("Meta", "k")}:
            page.keyboard.press(f"{modifier}+{key}")
    assert page.evaluate("window.acted") == []


def test_no_key_does_anything_in_an_open_dialog(open_list: OpenList):
    page = open_list("access-review-open")
    focus(rows(page).nth(2))
    page.keyboard.press("x")
    page.evaluate("document.querySelector('dialog').showModal()")
    page.evaluate("window.acted = []")
    for key in KEYS:
        page.keyboard.press(key)
    assert page.evaluate("window.acted") == []
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()
    expect(page.locator(".selection-count")).to_have_text("1 selected")

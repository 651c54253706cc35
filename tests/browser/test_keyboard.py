"""Keyboard, clipboard, theme and reduced motion."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.browser.requester import Requester

OpenAs = Callable[..., Page]
PHONE: ViewportSize = {"width": 390, "height": 800}


def test_the_first_tab_stop_is_the_skip_link(open_demo_as: OpenAs):
    page = open_demo_as("operator")
    page.goto("/connections/")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#content")).to_be_focused()


def test_search_everywhere_opens_from_any_page_and_enter_opens_the_first_hit(open_demo_as: OpenAs):
    page = open_demo_as("operator")
    page.goto("/settings/")
    page.keyboard.press("Control+k")
    search = page.get_by_role("searchbox")
    expect(search).to_be_focused()
    page.keyboard.type("labs → rob")
    hits = page.locator(".hit-name")
    expect(hits.first).to_have_text("Labs → Robotics")
    page.keyboard.press("ArrowDown")
    expect(hits.first).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("Robotics")
    page.keyboard.press("/")
    expect(search).to_have_value("labs → rob")


def test_n_leads_from_one_thing_that_needs_the_person_to_the_next(open_demo_as: OpenAs):
    page = open_demo_as("operator")
    page.goto("/")
    links = [each.get_attribute("href") for each in page.locator("#attention a.button").all()]
    for link in links[:2]:
        page.wait_for_load_state()
        with page.expect_navigation():
            page.keyboard.press("n")
        assert page.url.endswith(str(link))


def test_the_list_of_keys_opens_with_a_key_or_a_click_and_gives_the_focus_back(
    open_demo_as: OpenAs,
):
    page = open_demo_as("operator")
    page.goto("/deletions/")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    row = page.locator("tbody a").first
    row.focus()
    page.keyboard.press("?")
    expect(dialog.get_by_text("Select or unselect")).to_be_visible()
    page.keyboard.press("Escape")
    expect(row).to_be_focused()
    link = page.get_by_role("link", name="Shortcuts", exact=True)
    link.click()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
    expect(link).to_be_focused()


def test_single_keys_can_be_turned_off_in_ones_account(open_demo_as: OpenAs):
    page = open_demo_as("operator")
    page.goto("/accounts/2fa/")
    page.get_by_role("link", name="Keyboard shortcuts").click()
    page.get_by_role("button", name="Turn them off").click()
    expect(page.get_by_text("Keys of one character are off.").first).to_be_visible()
    page.goto("/connections/")
    boxes = page.locator("td.cell-select input")
    boxes.nth(0).focus()
    page.keyboard.press("ArrowDown")
    expect(boxes.nth(1)).to_be_focused()
    for key in ("x", "e", "n", "/", "?"):
        page.keyboard.press(key)
    expect(boxes.nth(1)).to_be_focused()
    expect(boxes.nth(1)).not_to_be_checked()
    page.keyboard.press("Space")
    expect(boxes.nth(1)).to_be_checked()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_focused_element_is_visibly_focused(theme: str, open_demo_as: OpenAs):
    page = open_demo_as("operator", color_scheme=theme)
    page.goto("/deletions/")
    seen = set()
    for _ in range(25):
        page.keyboard.press("Tab")
        name, is_shown = page.evaluate(
            """() => {
              const one = document.activeElement;
              // The chip around a select and the bar of the skip link bear the ring for it.
              const hasRing = (style) =>
                style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
              const bearers = [one, one.closest(".chip")].filter(Boolean);
              return [
                `${one.tagName} ${one.textContent.trim().slice(0, 30)}`,
                bearers.map((bearer) => getComputedStyle(bearer)).some(hasRing),
              ];
            }"""
        )
        assert is_shown, name
        seen.add(name)
    assert len(seen) > 15


def test_a_slash_focuses_the_search_but_can_be_typed_into_a_field(open_demo_as: OpenAs):
    page = open_demo_as("operator")
    page.goto("/deletions/")
    page.keyboard.press("/")
    search = page.get_by_role("searchbox")
    expect(search).to_be_focused()
    page.keyboard.type("a/b")
    expect(search).to_have_value("a/b")


def test_the_phone_menu_opens_and_closes_with_the_keyboard(open_demo_as: OpenAs):
    page = open_demo_as("operator")
    page.set_viewport_size(PHONE)
    page.goto("/")
    menu = page.locator(".sidebar-toggle > summary")
    connections = page.get_by_role("navigation", name="Main").get_by_role(
        "link", name="Connections"
    )
    expect(connections).to_be_hidden()
    menu.focus()
    page.keyboard.press("Enter")
    expect(connections).to_be_visible()
    page.keyboard.press("Escape")
    expect(connections).to_be_hidden()
    expect(menu).to_be_focused()


def test_the_phone_menu_opens_without_javascript(open_demo_as: OpenAs):
    page = open_demo_as("operator", java_script_enabled=False)
    page.set_viewport_size(PHONE)
    page.goto("/")
    page.locator(".sidebar-toggle > summary").click()
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Connections").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Connections")


def test_escape_closes_the_export_menu(open_demo_as: OpenAs):
    page = open_demo_as("operator")
    page.goto("/deletions/")
    page.locator("summary", has_text="Export").click()
    csv = page.get_by_role("link", name=re.compile("CSV"))
    expect(csv).to_be_visible()
    page.keyboard.press("Escape")
    expect(csv).to_be_hidden()


@pytest.mark.sweep(every=2)
@pytest.mark.parametrize("java_script", [True, False], ids=["with JavaScript", "without"])
def test_the_chosen_theme_is_kept_on_the_next_page(java_script: bool, open_demo_as: OpenAs):
    page = open_demo_as("operator", java_script_enabled=java_script)
    page.goto("/deletions/?q=contract")
    with page.expect_response("**/appearance/"):
        page.get_by_role("button", name="Dark").click()
    root = page.locator("html")
    expect(root).to_have_attribute("data-theme", "dark")
    expect(page).to_have_url(re.compile(r"/deletions/\?q=contract$"))
    page.goto("/")
    expect(root).to_have_attribute("data-theme", "dark")
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")


def test_the_id_of_a_connection_can_be_copied(requester: Requester):
    requester.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    requester.page.goto(requester.confirmation_path)
    requester.page.get_by_text("Details: id, exact request").click()
    button = requester.page.locator("button[data-copy]")
    expect(button).to_have_accessible_name("Copy connection ID")
    button.click()
    expect(button).to_have_attribute("data-done", "")
    expect(requester.page.locator("#live")).to_have_text("Copied")
    assert requester.page.evaluate("navigator.clipboard.readText()") == requester.connection.id


def test_reduced_motion_disables_animations(requester: Requester):
    requester.page.emulate_media(reduced_motion="reduce")
    requester.page.goto(requester.confirmation_path)
    moving = requester.page.evaluate(
        """() => {
          document.querySelector("#progress").classList.add("is-busy");
          return document.getAnimations().length;
        }"""
    )
    assert moving == 0


@pytest.mark.smoke
def test_a_deletion_can_be_made_with_the_keyboard_alone(requester: Requester):
    requester.page.goto(requester.confirmation_path)
    requester.page.get_by_label("Reason").focus()
    requester.page.keyboard.type("no longer needed")
    requester.page.keyboard.press("Tab")
    requester.page.keyboard.press("Tab")
    requester.page.keyboard.type("payments us")
    requester.page.keyboard.press("Enter")
    expect(requester.headline).to_have_text("Deleted and verified")
    expect(requester.headline).to_be_focused()
    assert requester.sent() == 1

"""The second half of the demo's pages, for another worker, and pages of a new service."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from connections.models import Role
from tests.browser.conftest import VisitAs
from tests.browser.fitness import assert_demo_page_is_fit, assert_fit_to_show, open_listed
from tests.browser.pages import DEMO_PAGES, NOT_PAGES, PAGES, Listed, names_of_urls
from tests.browser.watch import Watch
from tests.support.people import make_person

pytestmark = pytest.mark.slow


@pytest.fixture
def open_fresh_as(open_as: Callable[..., Page]) -> Callable[..., Page]:
    """Open a page of a service that no one has used yet."""

    def open_by_name(username: str | None, **options: object) -> Page:
        people = {
            "administrator": make_person("administrator", is_administrator=True),
            "operator": make_person("operator", Role.OPERATOR),
            "viewer": make_person("viewer", Role.VIEWER),
        }
        return open_as(people[username] if username else None, **options)

    return open_by_name


@pytest.mark.parametrize("listed", DEMO_PAGES[1::2], ids=lambda one: one.slug)
def test_a_page_is_accessible_and_in_bounds(
    listed: Listed, visit_demo_as: VisitAs, watch: Watch
) -> None:
    assert_demo_page_is_fit(listed, visit_as=visit_demo_as, watch=watch)


@pytest.mark.parametrize("listed", [one for one in PAGES if one.is_fresh], ids=lambda one: one.slug)
def test_a_page_of_a_new_service_is_accessible_and_in_bounds(
    listed: Listed, open_fresh_as: Callable[..., Page]
) -> None:
    assert_fit_to_show(open_listed(open_fresh_as, listed))


def test_the_chart_of_one_day_leaves_room_for_the_list(open_demo_as: Callable[..., Page]) -> None:
    page = open_demo_as("auditor")
    page.goto("/deletions/?q=warehouse")
    chart = page.locator("svg.bars")
    assert len(chart.locator("title").all()) == 1
    box = chart.bounding_box()
    assert box
    assert box["height"] < 100


def test_a_filter_chip_shows_its_whole_text(open_demo_as: Callable[..., Page]) -> None:
    page = open_demo_as("auditor")
    page.goto("/deletions/")
    page.get_by_text("More", exact=True).click()
    chips = page.locator(".chip input[type=text]:visible")
    expect(chips).to_have_count(5)
    for chip in chips.all():
        chip.fill(chip.get_attribute("placeholder") or "")
        assert chip.evaluate("(one) => one.scrollWidth <= one.clientWidth")


@pytest.mark.parametrize("has_javascript", [True, False], ids=["with JavaScript", "without"])
def test_the_history_fetches_filters_with_many_choices_when_asked(
    has_javascript: bool, open_demo_as: Callable[..., Page]
) -> None:
    page = open_demo_as("auditor", java_script_enabled=has_javascript)
    page.goto("/deletions/?period=365")
    search = page.get_by_role("searchbox")
    search.fill("typed before")
    more = page.get_by_text("More", exact=True)
    more.focus()
    page.keyboard.press("Enter")
    expect(page.locator("select[name=person]")).to_be_visible()
    expect(page.locator("details.filters-more")).to_have_attribute("open", "")
    if has_javascript:
        expect(more).to_be_focused()
        expect(search).to_have_value("typed before")
    page.locator("input[name=ticket]").fill("SEC-1")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Ticket: SEC-1")).to_be_visible()
    expect(page.get_by_text("Period: Last year")).to_be_visible()
    expect(page.locator("details.filters-more")).to_have_count(0)


def test_every_url_is_a_page_checked_here_or_has_a_reason_not_to_be() -> None:
    pages = {one.name for one in PAGES if one.name}
    assert pages.isdisjoint(NOT_PAGES)
    assert pages | set(NOT_PAGES) == names_of_urls()

"""Printed pages show what is known of a deletion and of a bundle, without any controls."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from connections.models import Deletion

OpenAs = Callable[..., Page]
A4_WIDTH = 794  # CSS pixels
CONTROLS = "nav:visible, button:visible, a.button:visible"


@pytest.fixture
def printed(open_demo_as: OpenAs) -> Callable[[str], Page]:
    """A page as it is printed, opened by the auditor in the dark theme."""

    def open_printed(path: str) -> Page:
        page = open_demo_as("auditor", color_scheme="dark")
        page.goto(path)
        page.emulate_media(media="print")
        page.set_viewport_size({"width": A4_WIDTH, "height": 1123})
        return page

    return open_printed


def assert_is_on_paper(page: Page) -> None:
    expect(page.locator(CONTROLS)).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") <= A4_WIDTH
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(255, 255, 255)"


def test_a_printed_deletion_has_its_facts_and_attempts_and_no_controls(
    printed: Callable[[str], Page],
):
    deletion = Deletion.objects.filter(outcome="deleted", verified_at__isnull=False).latest("pk")
    page = printed(f"/deletions/{deletion.pk}/")

    assert_is_on_paper(page)
    for text in (deletion.reason, str(deletion.connection_id), str(deletion.pk)):
        expect(page.get_by_text(text, exact=True).first).to_be_visible()
    expect(page.locator("#outcome h2").first).to_be_visible()
    expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
    # This is folded on screen.
    attempt = page.locator("#record .timeline .details").first
    expect(attempt.get_by_text("SHA-256 of the body")).to_be_visible()


def test_a_printed_bundle_page_says_how_to_verify_one_and_has_no_controls(
    printed: Callable[[str], Page],
):
    page = printed("/evidence/bundle/")

    assert_is_on_paper(page)
    expect(page.get_by_text("python3 -I verify.pyz bundle.zip")).to_be_visible()

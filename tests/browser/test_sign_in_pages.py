"""Sign-in pages that have no URL of their own."""

from collections.abc import Callable

from django.utils import timezone
from playwright.sync_api import Page, expect

from connections.access.actor import command_actor
from connections.people import sign_in_links
from tests.browser.fitness import assert_fit_to_show


def test_the_setup_link_creates_the_first_administrator_who_is_asked_to_add_a_credential(
    service_url: str, open_as: Callable[..., Page]
):
    link = sign_in_links.make_set_up_link(actor=command_actor(), now=timezone.now())
    page = open_as(None, reduced_motion="reduce")
    page.goto("/setup/#" + link.partition("#")[2])
    assert_fit_to_show(page)
    expect(page).to_have_url(f"{service_url}/setup/")  # the token is no longer in the address bar
    page.get_by_label("Username").fill("rosa")
    page.get_by_label("Email").fill("rosa@example.com")
    page.get_by_label("Password").first.fill("a long enough pass phrase")
    page.get_by_role("button").last.click()
    page.wait_for_url(f"{service_url}/")
    expect(page.get_by_role("button", name="Add credential")).to_be_visible()

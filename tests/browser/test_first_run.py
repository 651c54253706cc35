"""The first steps of a new installation, and steps that need a second click."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from connections.models import Person
from tests.browser.conftest import OpenAs


def test_recovery_codes_can_be_downloaded_and_lead_on(open_demo_as: OpenAs):
    page = open_demo_as("approver")
    page.goto("/accounts/2fa/recovery-codes/")
    codes = page.locator("#recovery-codes li").all_inner_texts()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download codes").click()
    text = Path(download.value.path()).read_text()
    assert codes
    assert all(code in text for code in codes)
    page.get_by_role("link", name="Continue to overview").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


def test_disabling_a_person_and_revoking_break_glass_need_a_second_click(
    open_demo_as: Callable[..., Page],
):
    page = open_demo_as("administrator")
    person = Person.objects.get(username="operator")
    page.goto(f"/people/{person.pk}/")
    for start, finish in (
        ("Revoke break glass…", "Revoke break glass"),
        (f"Disable {person.display_name}…", f"Disable {person.display_name}"),
    ):
        button = page.get_by_role("button", name=finish, exact=True)
        expect(button).to_be_hidden()
        page.locator("summary", has_text=start).click()
        button.click()
        expect(button).to_have_count(0)
    person.refresh_from_db()
    assert (person.has_break_glass, person.is_active) == (False, False)

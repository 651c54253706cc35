"""The first steps of a new installation, and steps that need a second click."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from connections.models import Credential, Person, Role
from sandbox.server import SandboxServer
from tests.browser.conftest import OpenAs
from tests.browser.requester import SOURCE
from tests.browser.watch import Watch
from tests.support.people import make_person
from tests.support.sandbox import US, key_pair_of


def open_new_credential(open_as: OpenAs) -> Page:
    page = open_as(make_person("margaret", Role.CREDENTIAL_MANAGER))
    page.goto("/credentials/new/")
    page.get_by_label("Site").select_option(US)
    return page


def test_keys_under_20_characters_are_refused_before_they_are_stored(
    sandbox: SandboxServer, open_as: OpenAs, watch: Watch
) -> None:
    watch.expect("status of 422")
    page = open_new_credential(open_as)
    page.get_by_label("API key").fill("a" * 19)
    page.get_by_label("Application key").fill("b" * 19)
    page.get_by_role("button", name="Add credential").click()

    expect(page.get_by_label("API key")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Application key")).to_have_attribute("aria-invalid", "true")
    assert not Credential.objects.exists()
    assert sandbox.world.requests() == []


def test_a_new_credential_shows_its_first_sync(sandbox: SandboxServer, open_as: OpenAs) -> None:
    pair = key_pair_of(sandbox.world, SOURCE)
    page = open_new_credential(open_as)
    page.get_by_label("API key").fill(pair.api_key)
    page.get_by_label("Application key").fill(pair.application_key)
    page.get_by_role("button", name="Add credential").click()

    expect(page.get_by_role("heading", level=1)).to_have_text(SOURCE)
    verification = page.locator("#verification")
    expect(verification).to_contain_text("2 connections")
    verification.get_by_role("link", name="View 2 connections").click()
    expect(page.locator(".list tbody tr")).to_have_count(2)


def test_recovery_codes_can_be_downloaded_and_lead_on(open_demo_as: OpenAs) -> None:
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
) -> None:
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

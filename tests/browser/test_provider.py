"""Single sign-on in a real browser, with and without JavaScript."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from connections.models import Person
from tests.browser.fitness import assert_fit_to_show
from tests.people.oidc import conftest
from tests.people.oidc.support import connect
from tests.support.provider import TestProvider

client_secret, provider = conftest.client_secret, conftest.provider


@pytest.fixture
def login(
    service_url: str, provider: TestProvider, open_as: Callable[..., Page]
) -> Callable[..., Page]:
    """Open the sign-in page in a new browser."""
    provider.shows_page = True

    def open_login(**options: object) -> Page:
        page = open_as(None, reduced_motion="reduce", **options)
        page.goto("/deletions/")
        return page

    return open_login


@pytest.mark.sweep(every=2)
@pytest.mark.parametrize("has_javascript", [True, False], ids=["JavaScript", "no JavaScript"])
def test_a_person_signs_in_at_the_provider_and_returns_to_the_requested_page(
    login: Callable[..., Page],
    operator: Person,
    provider: TestProvider,
    service_url: str,
    has_javascript: bool,
):
    connect(operator, provider)
    page = login(java_script_enabled=has_javascript)
    page.get_by_role("link", name="Sign in with Example SSO").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Provider")
    page.get_by_role("button", name="Sign in here").click()
    expect(page).to_have_url(f"{service_url}/deletions/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Deletions")


def test_a_person_without_a_connected_account_sees_what_to_do(
    login: Callable[..., Page], operator: Person, provider: TestProvider, watch: object
):
    watch.expect("403")  # type: ignore[attr-defined]
    page = login()
    assert_fit_to_show(page)
    page.get_by_role("link", name="Sign in with Example SSO").click()
    page.get_by_role("button", name="Sign in here").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Account not connected")
    expect(page.locator("main")).to_contain_text(provider.subject)
    assert_fit_to_show(page)


def test_a_person_connects_their_account_and_uses_it_for_the_identity_check(
    operator: Person, provider: TestProvider, open_as: Callable[..., Page]
):
    page = open_as(operator, reduced_motion="reduce")
    page.goto("/sign-in/provider/account/")
    assert_fit_to_show(page)
    page.get_by_role("link", name="Sign in with Example SSO").click()
    expect(page.locator("main")).to_contain_text(provider.subject)
    assert_fit_to_show(page)
    page.get_by_role("button", name="Connect account").click()
    expect(page.locator("main")).to_contain_text("Connected since")
    assert_fit_to_show(page)

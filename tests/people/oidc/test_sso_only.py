"""ORGADMIN_SSO_ONLY: no other way to sign in, except an administrator's sign-in link."""

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from connections.access.actor import command_actor
from connections.core import clock
from connections.core.errors import ConflictError
from connections.models import Person
from connections.people import sign_in_links
from connections.web.people import single_sign_on
from tests.people.oidc.support import connect, is_signed_in, sign_in_at_provider
from tests.support.people import PASSWORD, just_signed_in
from tests.support.provider import TestProvider


@pytest.fixture(autouse=True)
def sso_only(settings: Settings, provider: TestProvider) -> None:
    settings.SSO_ONLY = True


def token_for(person: Person) -> str:
    link = sign_in_links.make_sign_in_link(actor=command_actor(), person=person, now=clock.now())
    return link.rpartition("#")[2]


def test_a_password_signs_no_one_in(client: Client, ada: Person):
    for password in (PASSWORD, "wrong"):
        posted = {"login": ada.username, "password": password}
        response = client.post("/accounts/login/", posted)
        assert response.status_code == 403
        assert "Sign in with SSO" in response.text
    assert "_auth_user_id" not in client.session


@pytest.mark.parametrize(
    "name", ["mfa_login_webauthn", "account_reset_password", "account_reset_password_done"]
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_other_ways_to_sign_in_are_closed(client: Client, ada: Person, name: str, method: str):
    assert getattr(client, method)(reverse(name)).status_code == 403


def test_a_reset_link_is_closed_too(client: Client, ada: Person):
    url = reverse("account_reset_password_from_key", kwargs={"uidb36": "1", "key": "set-password"})
    assert client.get(url).status_code == 403


def test_the_sign_in_page_offers_sso_alone(client: Client, ada: Person):
    page = client.get("/accounts/login/").text
    assert "Sign in with Example SSO" in page
    assert 'name="password"' not in page
    assert "Sign in with a passkey" not in page


def test_sso_works(client: Client, ada: Person, provider: TestProvider):
    connect(ada, provider)
    sign_in_at_provider(client)
    assert is_signed_in(client, ada)


def test_break_glass_is_an_administrators_sign_in_link(client: Client, root: Person):
    client.post("/sign-in/", {"token": token_for(root), "password": "quite another pass phrase"})
    assert is_signed_in(client, root)
    assert client.get("/").status_code == 200


def test_no_one_else_gets_a_link(ada: Person, root: Person):
    with pytest.raises(ConflictError, match="only for administrators"):
        token_for(ada)
    page = just_signed_in(root).get(reverse("person-detail", args=[ada.pk])).text
    assert "Create sign-in link" not in page
    assert "signs in with SSO only" in page


def test_an_older_link_of_anyone_else_no_longer_works(
    client: Client, ada: Person, settings: Settings
):
    settings.SSO_ONLY = False
    token = token_for(ada)
    settings.SSO_ONLY = True
    page = client.post("/sign-in/", {"token": token, "password": ""})
    assert page.status_code == 422
    assert "_auth_user_id" not in client.session


@pytest.mark.parametrize("methods", [[], ["password"], ["webauthn"], ["sign_in_link", "totp"]])
def test_whatever_led_to_a_sign_in_is_checked_last(ada: Person, methods: list[str]):
    with pytest.raises(PermissionDenied):
        single_sign_on.require_allowed_way_in(ada, methods=methods)


def test_a_person_who_is_added_gets_no_link(root: Person):
    posted = {"username": "new", "email": "new@example.com"}
    response = just_signed_in(root).post("/people/new/", posted)
    person = Person.objects.get(username="new")
    assert response["Location"] == reverse("person-detail", args=[person.pk])


def test_without_a_provider_no_password_works_either(
    client: Client, ada: Person, settings: Settings
):
    settings.OIDC_ISSUER = ""
    posted = {"login": ada.username, "password": PASSWORD}
    assert client.post("/accounts/login/", posted).status_code == 403

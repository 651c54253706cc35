"""Identity checks at the provider, for people without a password or passkey here."""

import time
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from connections.models import Person
from tests.people.oidc.support import START, connect, is_signed_in, last_event, sign_in_at_provider
from tests.support.people import person_as_administrator
from tests.support.provider import Claims, TestProvider

AGAIN = f"{START}again/?next=/accounts/password/change/"
# A page that requires an identity check.
GUARDED = "/accounts/2fa/totp/activate/"


@pytest.fixture
def client(ada: Person, provider: TestProvider) -> Client:
    """A browser in which Ada, who has no password, signed in at the provider an hour ago."""
    ada.set_unusable_password()
    ada.save()
    connect(ada, provider)
    browser = Client()
    sign_in_at_provider(browser)
    assert is_signed_in(browser, ada)
    return browser


def is_prompted(client: Client) -> bool:
    response = client.get(GUARDED)
    return bool(response.status_code == 302 and "reauthenticate" in response["Location"])


def test_signing_in_at_the_provider_is_not_a_reauthentication(client: Client):
    assert is_prompted(client)


def test_the_identity_check_leads_to_the_provider_and_back_to_the_page(
    client: Client, provider: TestProvider
):
    page = client.get(client.get(GUARDED)["Location"])
    assert "Sign in with Example SSO again" in page.text
    (link,) = [
        part.split('"')[0] for part in page.text.split('href="') if part.startswith(f"{START}again")
    ]
    response = sign_in_at_provider(client, link.replace("&amp;", "&"))
    assert response["Location"] == GUARDED
    assert client.get(GUARDED).status_code == 200


def test_the_provider_is_required_to_authenticate_again(client: Client):
    requested = parse_qs(urlsplit(client.get(AGAIN)["Location"]).query)
    assert requested["prompt"] == ["login"]
    assert requested["max_age"] == ["0"]


def test_reauthentication_at_the_provider_counts_and_is_recorded(client: Client, ada: Person):
    sign_in_at_provider(client, AGAIN)
    assert not is_prompted(client)
    assert last_event().actor_id == ada.pk
    assert last_event().code == "person.reauthenticated"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"auth_time": None}, id="none"),
        pytest.param({"auth_time": int(time.time()) - 3600}, id="an hour ago"),
        pytest.param({"auth_time": int(time.time()) - 120}, id="before the request"),
        pytest.param({"auth_time": int(time.time()) + 86_400}, id="tomorrow"),
        pytest.param({"auth_time": "now"}, id="as text"),
        pytest.param({"auth_time": True}, id="yes"),
        pytest.param({"auth_time": 10**30}, id="the end of time"),
    ],
)
def test_any_other_sign_in_time_is_refused(client: Client, provider: TestProvider, changes: Claims):
    provider.change_claims = lambda claims: claims | changes
    page = sign_in_at_provider(client, AGAIN)
    assert page.status_code == 403
    assert "Sign in again there" in page.text
    assert is_prompted(client)


def test_a_provider_that_does_not_reauthenticate_proves_nothing(
    client: Client, provider: TestProvider
):
    provider.obeys_prompt = False
    assert sign_in_at_provider(client, AGAIN).status_code == 403
    assert is_prompted(client)


def test_another_account_at_the_provider_proves_nothing(
    client: Client, ada: Person, grace: Person, provider: TestProvider
):
    provider.subject = "of-grace"
    connect(grace, provider)
    page = sign_in_at_provider(client, AGAIN)
    assert "Different account" in page.text
    assert is_signed_in(client, ada)
    assert is_prompted(client)


def test_a_response_for_signing_in_is_not_a_reauthentication(client: Client, ada: Person):
    client.post("/accounts/logout/")
    sign_in_at_provider(client)
    assert is_signed_in(client, ada)
    assert is_prompted(client)


def test_a_visitor_who_is_not_signed_in_gets_no_identity_check(provider: TestProvider, db: None):
    assert person_as_administrator()
    assert Client().get(AGAIN)["Location"].startswith("/accounts/login/")

"""A passkey is accepted only from Org Admin's exact origin."""

import json
from collections.abc import Callable

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client
from pytest_django import Settings

from connections.models import Person
from connections.operations.checks import run_all_checks
from tests.support.passkeys import SoftKey
from tests.support.people import PASSWORD, let_proof_age

pytestmark = pytest.mark.django_db
ClientOf = Callable[[Person], Client]
LOGIN = "/accounts/2fa/webauthn/login/"
SECOND = "/accounts/2fa/authenticate/"
ADD = "/accounts/2fa/webauthn/add/"
AGAIN = "/accounts/reauthenticate/"
OWN = ("https://testserver", "http://testserver")
FOREIGN = (
    "https://evil.testserver",
    "https://testserver.evil.example",
    "https://testserver:8443",
    "https://allowed.example",
    "http://localhost",
    "https://TESTSERVER.",
    "https://testserver/",
    "testserver",
    "null",
    "",
)


@pytest.fixture(autouse=True)
def others_are_allowed(settings: Settings) -> None:
    """django-allauth's strictest setting would accept every subdomain."""
    settings.ALLOWED_HOSTS = ["testserver", "allowed.example", ".testserver"]
    settings.MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = True


def signs_in_alone(key: SoftKey, origin: str) -> bool:
    client = Client()
    options = client.get(LOGIN, headers={"X-Requested-With": "XMLHttpRequest"}).json()
    challenge = options["request_options"]["publicKey"]["challenge"]
    client.post(LOGIN, {"credential": key.respond(challenge, origin=origin)})
    return "_auth_user_id" in client.session


def signs_in_as_second_factor(key: SoftKey, origin: str) -> bool:
    client = Client()
    client.post("/accounts/login/", {"login": key.person.username, "password": PASSWORD})
    page = client.get(SECOND)
    challenge = page.context["js_data"]["request_options"]["publicKey"]["challenge"]
    client.post(SECOND, {"credential": key.respond(challenge, origin=origin)})
    return "_auth_user_id" in client.session


def reauthenticates(client: Client, key: SoftKey, origin: str) -> bool:
    let_proof_age(client)
    challenge = client.post(f"{AGAIN}passkey/").json()["publicKey"]["challenge"]
    response = key.respond(challenge, origin=origin)
    return client.post(AGAIN, {"step_up-passkey": response}).status_code == 303


def is_added(client: Client, key: SoftKey, origin: str) -> bool:
    client.force_login(key.person)  # which counts as an identity check
    Authenticator.objects.all().delete()
    page = client.get(ADD)
    challenge = page.context["js_data"]["creation_options"]["publicKey"]["challenge"]
    credential = json.dumps(key.registration(challenge, origin=origin))
    client.post(ADD, {"name": "Key", "credential": credential})
    return bool(Authenticator.objects.filter(type=Authenticator.Type.WEBAUTHN))


def accepted(key: SoftKey, client: Client, origin: str) -> list[bool]:
    return [
        signs_in_alone(key, origin),
        signs_in_as_second_factor(key, origin),
        reauthenticates(client, key, origin),
        is_added(client, key, origin),
    ]


@pytest.mark.parametrize("origin", OWN)
def test_the_exact_origin_is_accepted(ada: Person, client_of: ClientOf, origin: str):
    assert accepted(SoftKey(ada), client_of(ada), origin) == [True] * 4


@pytest.mark.parametrize("origin", FOREIGN)
def test_no_subdomain_port_or_other_allowed_host_is_accepted(
    ada: Person, client_of: ClientOf, origin: str
):
    assert accepted(SoftKey(ada), client_of(ada), origin) == [False] * 4


@pytest.mark.parametrize("base_url", ["https://testserver", "https://TestServer:443"])
def test_only_the_base_url_is_accepted(ada: Person, settings: Settings, base_url: str):
    settings.BASE_URL = base_url
    key = SoftKey(ada)
    assert signs_in_alone(key, "https://testserver")
    assert not signs_in_alone(key, "http://testserver")
    settings.BASE_URL = "https://testserver:8443"
    assert not signs_in_alone(key, "https://testserver")
    assert signs_in_alone(key, "https://testserver:8443")


def test_a_host_that_only_a_pattern_allows_accepts_no_passkey(ada: Person, settings: Settings):
    settings.ALLOWED_HOSTS = ["*", ".testserver"]
    assert not signs_in_alone(SoftKey(ada), "https://testserver")


def test_a_host_pattern_without_a_base_url_is_a_warning(settings: Settings):
    settings.IS_LOCAL = False

    def warned() -> bool:
        messages = [message.msg for message in run_all_checks()]
        return any("accept no passkeys" in message for message in messages)

    assert warned()
    settings.BASE_URL = "https://testserver"
    assert not warned()
    settings.BASE_URL, settings.ALLOWED_HOSTS = "", ["testserver"]
    assert not warned()

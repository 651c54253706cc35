"""Failed sign-ins by others don't lock people out of a browser they signed in with before."""

import pytest
from django.test import Client
from pytest_django import Settings

from connections.access.actor import command_actor
from connections.models import Person
from connections.people import people
from connections.web.people import known_devices
from tests.support.mfa import code_of, set_up_app
from tests.support.passkeys import SoftKey
from tests.support.people import PASSWORD

pytestmark = pytest.mark.django_db
LOGIN = "/accounts/login/"
SECRET = "JBSWY3DPEHPK3PXP"
COOKIE = "known-device"
# More failed sign-ins than are allowed for one account, and from one address for all accounts.
TOO_MANY_FOR_AN_ACCOUNT = 6
TOO_MANY_FROM_AN_ADDRESS = 40


def signs_in(client: Client, login: str = "ada", password: str = PASSWORD) -> bool:
    client.post(LOGIN, {"login": login, "password": password})
    return "_auth_user_id" in client.session


def known_browser(login: str = "ada", *, address: str = "127.0.0.1") -> Client:
    """A browser in which the person signed in and out again."""
    client = Client(REMOTE_ADDR=address)
    assert signs_in(client, login)
    client.post("/accounts/logout/")
    return client


def fail_as_strangers(
    login: str = "ada", *, times: int = TOO_MANY_FROM_AN_ADDRESS, address: str = "127.0.0.1"
) -> None:
    for _ in range(times):
        assert not signs_in(Client(REMOTE_ADDR=address), login, "wrong")


@pytest.mark.parametrize("login", ["ada", "ADA@example.com"])
@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.7"])
def test_a_known_browser_signs_in_while_strangers_are_locked_out(
    ada: Person, address: str, login: str
):
    client = known_browser()
    fail_as_strangers(login, address=address)
    assert signs_in(client, login)
    assert not signs_in(Client(REMOTE_ADDR="192.0.2.99"), login)


def test_its_mfa_code_is_accepted_too(ada: Person):
    client = known_browser()
    set_up_app(ada, SECRET)
    fail_as_strangers()
    assert not signs_in(client)
    client.post("/accounts/2fa/authenticate/", {"code": code_of(SECRET)})
    assert "_auth_user_id" in client.session


def test_its_passkey_is_accepted_too(ada: Person):
    client, key = known_browser(), SoftKey(ada)
    address = "/accounts/2fa/webauthn/login/"
    for _ in range(TOO_MANY_FROM_AN_ADDRESS):
        Client().post(address, {"credential": "{}"})
    headers = {"X-Requested-With": "XMLHttpRequest"}
    options = client.get(address, headers=headers).json()["request_options"]
    client.post(address, {"credential": key.respond(options["publicKey"]["challenge"])})
    assert "_auth_user_id" in client.session


def test_a_known_browser_has_its_own_identical_limit(ada: Person, grace: Person):
    client, other = known_browser(), known_browser()
    for _ in range(5):
        assert not signs_in(client, password="wrong")
    assert not signs_in(client)
    assert signs_in(other)
    assert signs_in(Client(REMOTE_ADDR="192.0.2.99"))


def test_it_is_known_only_for_people_who_signed_in_with_it(ada: Person, grace: Person):
    client = known_browser("grace")
    fail_as_strangers(times=TOO_MANY_FOR_AN_ACCOUNT)
    assert not signs_in(client, "ada")


def test_it_can_be_known_for_several_people(ada: Person, grace: Person):
    client = known_browser("grace")
    assert signs_in(client, "ada")
    client.post("/accounts/logout/")
    fail_as_strangers("ada")
    fail_as_strangers("grace", address="192.0.2.7")
    assert signs_in(client, "grace")
    client.post("/accounts/logout/")
    assert signs_in(client, "ada")


def test_it_remembers_only_the_last_few_people(root: Person):
    client = Client()
    for number in range(8):
        people.add_person(
            actor=command_actor(),
            username=f"person{number}",
            email=f"person{number}@example.com",
            roles=[],
        )
    for person in Person.objects.filter(username__startswith="person"):
        person.set_password(PASSWORD)
        person.save()
        assert signs_in(client, person.username)
        client.post("/accounts/logout/")
    assert len(client.cookies[COOKIE].value) < 1000


@pytest.mark.parametrize("change", ["password", "disabled"])
def test_a_new_password_ends_it(ada: Person, change: str):
    client = known_browser()
    password = "quite another pass phrase"
    if change == "password":
        people.set_password(actor=command_actor(), person=ada, password=password)
    else:
        people.disable_person(actor=command_actor(), person=ada)
        people.enable_person(actor=command_actor(), person=Person.objects.get(pk=ada.pk))
        password = PASSWORD
    fail_as_strangers(times=TOO_MANY_FOR_AN_ACCOUNT, address="192.0.2.7")
    assert not signs_in(client, password=password)


@pytest.mark.parametrize("forged", ["{}x", "x{}", "", "a:b:c"])
def test_a_forged_cookie_is_ignored(ada: Person, forged: str):
    client = known_browser()
    client.cookies[COOKIE] = forged.format(client.cookies[COOKIE].value)
    fail_as_strangers(times=TOO_MANY_FOR_AN_ACCOUNT)
    assert not signs_in(client)


def test_the_cookie_is_http_only_and_grants_no_access(ada: Person, settings: Settings):
    client = known_browser()
    cookie = client.cookies[COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert not cookie["secure"]
    assert cookie["max-age"] == known_devices.MAX_AGE.total_seconds()
    thief = Client()
    thief.cookies[COOKIE] = cookie.value
    assert thief.get("/sessions/").status_code == 302
    settings.SESSION_COOKIE_SECURE = True
    client = Client()
    client.post(LOGIN, {"login": "ada", "password": PASSWORD}, secure=True)
    assert client.cookies["__Host-known-device"]["secure"]

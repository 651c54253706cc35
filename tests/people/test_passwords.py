"""Forgotten passwords: what a reset changes, what it leaves, and what it reveals."""

import re
import socket
import time
from collections.abc import Callable

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core import mail
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.utils.html import escape
from pytest_django import Settings

from connections.access.actor import command_actor, person_actor
from connections.core import clock as now
from connections.models import AuditEvent, Person
from connections.people import people, sessions, sign_in_links
from connections.people.passwords import PASSWORD_RULES
from tests.support.mfa import set_up_app
from tests.support.people import PASSWORD

ClientOf = Callable[[Person], Client]
RESET = "/accounts/password/reset/"
NEW = "quite another pass phrase"


def mailed_link() -> str:
    found = re.search(r"http://testserver(\S+)", str(mail.outbox[-1].body))
    assert found
    return found[1]


def without_token(page: str) -> str:
    """A page without its CSRF token, which differs each time."""
    return re.sub(r"[A-Za-z0-9]{64}", "", page)


def reset_password(client: Client) -> None:
    """Request the link and choose a new password with it."""
    client.post(RESET, {"email": "ada@example.com"})
    form = client.get(mailed_link())
    client.post(form["Location"], {"password1": NEW, "password2": NEW})


@pytest.mark.parametrize("has_mail", [True, False])
def test_a_link_by_mail_is_offered_only_if_mail_is_configured(
    client: Client, db: None, settings: Settings, has_mail: bool
):
    settings.HAS_MAIL = has_mail
    page = client.get(RESET).text
    assert ("Send reset link" in page) is has_mail
    assert ("Ask an administrator for a sign-in link." in page) is not has_mail


def test_a_reset_neither_bypasses_nor_removes_mfa(client: Client, ada: Person):
    set_up_app(ada, "JBSWY3DPEHPK3PXP")
    reset_password(client)
    assert "_auth_user_id" not in client.session
    response = client.post("/accounts/login/", {"login": "ada", "password": NEW})
    assert response["Location"] == "/accounts/2fa/authenticate/"
    assert "_auth_user_id" not in client.session
    assert Authenticator.objects.filter(user=ada).count() == 1


def test_a_reset_is_recorded_when_requested_and_when_completed(client: Client, ada: Person):
    reset_password(client)
    mailed, done = AuditEvent.objects.order_by("seq")
    assert mailed.code == "person.password_reset_mailed"
    assert mailed.sentence == (
        "A password reset link was emailed to Ada, requested from 127.0.0.1."
    )
    assert done.code == "person.password_set"


def test_the_reset_email_has_one_link_and_says_until_when_it_works(client: Client, ada: Person):
    client.post(RESET, {"email": "ada@example.com"})
    [message] = mail.outbox
    assert message.subject == "Reset your Org Admin password"
    assert str(message.body).count("http") == 1
    assert re.search(r"once and expires at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\.", str(message.body))
    assert "Didn't request this? Ignore this email." in message.body


@pytest.mark.parametrize("path", ["/setup/", "/sign-in/", "/accounts/password/change/"])
def test_every_page_to_choose_a_password_shows_the_same_rules(
    client: Client, ada: Person, client_of: ClientOf, path: str
):
    if path == "/setup/":
        ada.delete()
    else:
        client = client_of(ada)
    page = client.get(path).text
    assert escape(PASSWORD_RULES) in page


def test_a_reset_ends_all_sessions(client: Client, ada: Person, client_of: ClientOf):
    elsewhere = client_of(ada)
    reset_password(client)
    assert elsewhere.get("/").status_code == 302


def test_the_link_uses_the_base_url_regardless_of_the_host_header(
    client: Client, ada: Person, settings: Settings
):
    settings.BASE_URL = "http://testserver"
    client.post(RESET, {"email": "ada@example.com"}, headers={"host": "testserver:666"})
    assert client.get(mailed_link()).status_code == 302


ENDING: dict[str, Callable[[Person], object]] = {
    "disabled": lambda ada: people.enable_person(
        actor=command_actor(), person=people.disable_person(actor=command_actor(), person=ada)
    ),
    "sessions ended": lambda ada: sessions.end_sessions(actor=command_actor(), person=ada),
    "other sessions ended": lambda ada: sessions.end_sessions(
        actor=person_actor(person=ada), person=ada, except_id="kept"
    ),
    "sign-in link": lambda ada: sign_in_links.make_sign_in_link(
        actor=command_actor(), person=ada, now=now.now()
    ),
    "role lost": lambda ada: people.set_roles(
        actor=command_actor(), person=ada, roles=[], is_administrator=False
    ),
    "new address": lambda ada: people.change_email(
        actor=command_actor(), person=ada, email="ada@example.org"
    ),
}


@pytest.mark.parametrize("ending", ENDING)
@pytest.mark.parametrize("is_form_open", [False, True])
def test_a_reset_link_ends_with_a_persons_other_access(
    client: Client, ada: Person, ending: str, *, is_form_open: bool
):
    client.post(RESET, {"email": "ada@example.com"})
    url = client.get(mailed_link())["Location"] if is_form_open else mailed_link()
    ENDING[ending](ada)
    response = client.post(url, {"password1": NEW, "password2": NEW})
    assert "no longer valid" in response.text
    ada.refresh_from_db()
    assert ada.check_password(PASSWORD)
    assert not AuditEvent.objects.filter(code="person.password_set").exists()


def test_ending_all_sessions_is_recorded_even_if_none_is_open(ada: Person):
    assert sessions.end_sessions(actor=command_actor(), person=ada) == 0
    assert AuditEvent.objects.latest("seq").sentence.endswith("ended 0 sessions of Ada.")


def test_a_disabled_person_sets_no_password(ada: Person):
    people.disable_person(actor=command_actor(), person=ada)
    # As read before.
    ada.is_active = True
    with pytest.raises(PermissionDenied):
        people.set_password(actor=person_actor(person=ada), person=ada, password=NEW)
    ada.refresh_from_db()
    assert ada.check_password(PASSWORD)
    assert AuditEvent.objects.latest("seq").code == "person.disabled"


def test_a_link_to_reset_works_once(client: Client, ada: Person):
    reset_password(client)
    assert "no longer valid" in Client().get(mailed_link()).text


def test_changing_a_password_ends_all_other_sessions(ada: Person, client_of: ClientOf):
    here, elsewhere = client_of(ada), client_of(ada)
    here.post(
        "/accounts/password/change/",
        {"oldpassword": PASSWORD, "password1": NEW, "password2": NEW},
    )
    assert here.get("/").status_code == 200
    assert elsewhere.get("/").status_code == 302


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("short-of-12", "at least 12 characters"),
        ("qwertyuiop123", "too common"),
        ("ada@example.com", "too similar"),
        ("123456789012", "entirely numeric"),
        ("Datadog-Admin-2026!", "at least 8 characters besides"),
        ("contoso-orgadmin-7", "at least 8 characters besides"),
    ],
)
def test_an_easily_guessed_password_is_refused_with_the_reason(
    ada: Person, client_of: ClientOf, settings: Settings, password: str, why: str
):
    settings.ALLOWED_HOSTS = ["testserver", "orgadmin.contoso.example"]
    response = client_of(ada).post(
        "/accounts/password/change/",
        {"oldpassword": PASSWORD, "password1": password, "password2": password},
    )
    assert why in response.content.decode()
    ada.refresh_from_db()
    assert ada.check_password(PASSWORD)


def test_a_passphrase_can_contain_words_of_this_service(ada: Person, client_of: ClientOf):
    phrase = "our datadog eats green apples"
    client_of(ada).post(
        "/accounts/password/change/",
        {"oldpassword": PASSWORD, "password1": phrase, "password2": phrase},
    )
    ada.refresh_from_db()
    assert ada.check_password(phrase)


@pytest.mark.parametrize("address", ["nobody@example.com", "victor@example.com"])
def test_an_unknown_or_disabled_address_gets_the_same_response_and_no_mail(
    client: Client, ada: Person, victor: Person, address: str
):
    Person.objects.filter(pk=victor.pk).update(is_active=False)
    known = client.post(RESET, {"email": "ada@example.com"}, follow=True)
    del mail.outbox[:]
    other = client.post(RESET, {"email": address}, follow=True)
    assert other.redirect_chain == known.redirect_chain
    assert without_token(other.text) == without_token(known.text)
    assert mail.outbox == []


def test_an_unreachable_mail_server_does_not_reveal_whether_the_person_exists(
    client: Client, ada: Person, settings: Settings
):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        options = {"host": "127.0.0.1", "port": closed.getsockname()[1], "timeout": 5}
        backend = "connections.notifications.email_backend.EmailBackend"
        settings.MAILERS = {"default": {"BACKEND": backend, "OPTIONS": options}}
        known = client.post(RESET, {"email": ada.email})
        unknown = client.post(RESET, {"email": "nobody@example.com"})
    assert known["Location"] == unknown["Location"]


def test_resets_of_one_address_are_limited(client: Client, ada: Person):
    for number in range(7):
        address = f"127.0.1.{number}"
        Client(REMOTE_ADDR=address).post(RESET, {"email": "ada@example.com"})
    assert len(mail.outbox) == 5


@pytest.mark.parametrize("login", ["ada", "nobody", "invited"])
def test_a_failed_sign_in_costs_one_hash_for_everyone(
    client: Client, ada: Person, login: str, monkeypatch: pytest.MonkeyPatch
):
    invited = Person(username="invited", email="invited@example.com")
    invited.set_unusable_password()
    invited.save()
    hashed: list[float] = []
    encode = MD5PasswordHasher.encode

    def counted(self: MD5PasswordHasher, password: str, salt: str) -> str:
        hashed.append(time.monotonic())
        return encode(self, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)
    client.post("/accounts/login/", {"login": login, "password": "a-wrong-password"})
    assert len(hashed) == 1

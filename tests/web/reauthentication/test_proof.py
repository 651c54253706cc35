"""What counts as an identity check, for how long, and what is recorded."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.template.loader import render_to_string
from django.test import Client, RequestFactory
from django.utils import timezone

from connections.access.actor import command_actor
from connections.models import AuditEvent, Person
from connections.people import sign_in_links
from connections.web.framework import reauthentication
from tests.support.clock import SettableClock
from tests.support.mfa import code_of, set_up_app, set_up_recovery_codes
from tests.support.passkeys import SoftKey
from tests.support.people import PASSWORD

ClientOf = Callable[[Person], Client]
LOGIN, ASK = "/accounts/login/", "/accounts/reauthenticate/"
SECOND_FACTOR = "/accounts/2fa/authenticate/"


def is_recent(client: Client, person: Person) -> bool:
    """Whether the next request of this client would need no identity check."""
    request = RequestFactory().get("/")
    request.user, request.session = person, client.session
    return reauthentication.is_recent(request)


def events() -> list[tuple[str, str]]:
    return [(event.code, event.sentence) for event in AuditEvent.objects.order_by("seq")]


def test_signing_in_with_the_password_counts_for_five_minutes(
    client: Client, ada: Person, clock: SettableClock
):
    client.post(LOGIN, {"login": "ada", "password": PASSWORD})
    clock.advance(minutes=4, seconds=59)
    assert is_recent(client, ada)
    clock.advance(seconds=2)
    assert not is_recent(client, ada)


def test_setting_the_clock_back_does_not_renew_an_identity_check(
    client_of: ClientOf, ada: Person, clock: SettableClock
):
    client = client_of(ada)
    clock.advance(seconds=-150)
    assert not is_recent(client, ada)


def test_an_expired_identity_check_stays_expired_after_the_clock_is_set_back(
    client_of: ClientOf, ada: Person, clock: SettableClock
):
    client = client_of(ada)
    clock.advance(minutes=6)
    options = client.get("/accounts/2fa/totp/activate/")
    assert options["Location"].startswith("/accounts/reauthenticate/")
    assert "reauthenticated" not in client.session
    clock.advance(minutes=-4)
    assert not is_recent(client, ada)
    options = client.get("/accounts/2fa/totp/activate/")
    assert options["Location"].startswith("/accounts/reauthenticate/")


def test_one_persons_identity_check_does_not_count_for_another(
    client_of: ClientOf, ada: Person, grace: Person
):
    client = client_of(ada)
    assert is_recent(client, ada)
    assert not is_recent(client, grace)


def test_entering_the_password_renews_the_identity_check_and_is_recorded(
    client_of: ClientOf, ada: Person, clock: SettableClock
):
    client = client_of(ada)
    clock.advance(minutes=6)
    response = client.post(ASK, {"step_up-password": PASSWORD, "next": "/people/"})
    assert (response.status_code, response["Location"]) == (303, "/people/")
    assert is_recent(client, ada)
    assert events() == [("person.reauthenticated", "Ada passed an identity check with a password.")]


def test_only_the_demo_names_its_password_where_it_asks_for_it(ada: Person, settings: Any):
    request = RequestFactory().get("/")
    request.user, request.session = ada, SessionStore()
    template = "components/forms/reauthentication.html"
    for is_demo in (False, True):
        settings.IS_DEMO = is_demo
        shown = render_to_string(template, {"prompt": reauthentication.prompt_for(request)})
        assert (settings.DEMO_PASSWORD in shown) == is_demo


def test_a_wrong_password_is_reported_recorded_and_does_not_count(
    client_of: ClientOf, ada: Person, clock: SettableClock
):
    client = client_of(ada)
    clock.advance(minutes=6)
    response = client.post(ASK, {"step_up-password": "wrong but typed", "next": "/people/"})
    assert response.status_code == 422
    assert reauthentication.WRONG_PASSWORD in response.content.decode()
    assert "wrong but typed" not in response.content.decode()
    assert not is_recent(client, ada)
    assert events() == [
        (
            "person.reauthentication_failed",
            "An identity check failed in a session of Ada, from 127.0.0.1.",
        )
    ]


def test_after_five_wrong_passwords_even_the_right_one_is_refused_and_recorded_once(
    client_of: ClientOf, ada: Person, clock: SettableClock
):
    client = client_of(ada)
    clock.advance(minutes=6)
    for _ in range(5):
        client.post(ASK, {"step_up-password": "wrong"})
    for _ in range(3):
        response = client.post(ASK, {"step_up-password": PASSWORD})
        assert reauthentication.TOO_MANY in response.content.decode()
    assert not is_recent(client, ada)
    assert [code for code, _ in events()] == ["person.reauthentication_failed"] * 6
    assert AuditEvent.objects.latest("seq").details["is_over_limit"]


def test_a_correct_password_resets_the_limit(
    client_of: ClientOf, ada: Person, clock: SettableClock
):
    client = client_of(ada)
    for _ in range(3):
        clock.advance(minutes=6)
        for _ in range(4):
            client.post(ASK, {"step_up-password": "wrong"})
        assert client.post(ASK, {"step_up-password": PASSWORD}).status_code == 303


def test_an_app_or_recovery_code_alone_is_no_identity_check(
    client_of: ClientOf, ada: Person, clock: SettableClock
):
    secret = "JBSWY3DPEHPK3PXP"
    set_up_app(ada, secret)
    paper = set_up_recovery_codes(ada)[0]
    client = client_of(ada)
    clock.advance(minutes=6)
    for code in (code_of(secret), paper):
        for url in (ASK, "/accounts/2fa/reauthenticate/", "/accounts/2fa/webauthn/reauthenticate/"):
            client.post(url, {"code": code, "step_up-password": code})
    assert not is_recent(client, ada)


@pytest.mark.parametrize("is_verified", [True, False])
def test_a_passkey_as_the_second_step_of_a_link_is_no_identity_check(
    client: Client, ada: Person, is_verified: bool
):
    key = SoftKey(ada)
    link = sign_in_links.make_sign_in_link(actor=command_actor(), person=ada, now=timezone.now())
    client.post("/sign-in/", {"token": link.partition("#")[2]})
    page = client.get(SECOND_FACTOR)
    options = page.context["js_data"]["request_options"]["publicKey"]["challenge"]
    client.post(SECOND_FACTOR, {"credential": key.respond(options, is_verified=is_verified)})
    assert client.session["_auth_user_id"] == str(ada.pk)
    assert not is_recent(client, ada)


def test_completing_mfa_does_not_renew_the_password_check(
    client: Client, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    secret = "JBSWY3DPEHPK3PXP"
    set_up_app(ada, secret)
    client.post(LOGIN, {"login": "ada", "password": PASSWORD})
    session = client.session
    for record in session["account_authentication_methods"]:
        record["at"] -= timedelta(minutes=6).total_seconds()
    session.save()
    client.post(SECOND_FACTOR, {"code": code_of(secret)})
    assert client.session["_auth_user_id"] == str(ada.pk)
    assert not is_recent(client, ada)


def test_without_a_stored_identity_check_no_one_is_recent(db: None):
    request = RequestFactory().get("/")
    request.user, request.session = AnonymousUser(), SessionStore()
    assert not reauthentication.is_recent(request)


@pytest.mark.parametrize(
    ("wanted", "location"),
    [
        ("/people/?q=1", "/people/?q=1"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("", "/"),
    ],
)
def test_the_prompt_redirects_only_to_this_host(
    client_of: ClientOf, ada: Person, clock: SettableClock, wanted: str, location: str
):
    client = client_of(ada)
    clock.advance(minutes=6)
    page = client.get(ASK, {"next": wanted})
    assert f'name="next" value="{location}"' in page.content.decode()
    response = client.post(ASK, {"step_up-password": PASSWORD, "next": wanted})
    assert response["Location"] == location


def test_a_person_without_password_or_passkey_sees_what_to_do(
    client_of: ClientOf, ada: Person, clock: SettableClock
):
    ada.set_unusable_password()
    ada.save()
    client = client_of(ada)
    clock.advance(minutes=6)
    page = client.get(ASK).content.decode()
    assert "you don't have one" in page
    assert 'type="password"' not in page
    assert client.post(ASK, {"step_up-password": ""}).status_code == 422
    assert client.post(ASK, {"step_up-password": "!"}).status_code == 422
    assert not is_recent(client, ada)
    assert not Authenticator.objects.exists()

"""What counts as a proof, for how long, and what is kept of it."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client, RequestFactory
from django.utils import timezone

from connections.access.actor import command_actor
from connections.models import AuditEvent, Person
from connections.people import people
from connections.web import reauthentication
from tests.support.clock import SettableClock
from tests.support.mfa import code_of, set_up_app, set_up_recovery_codes
from tests.support.passkeys import SoftKey
from tests.support.people import PASSWORD

ClientOf = Callable[[Person], Client]
LOGIN, ASK = "/accounts/login/", "/accounts/reauthenticate/"
SECOND_FACTOR = "/accounts/2fa/authenticate/"


def is_recent(client: Client, person: Person) -> bool:
    """What the product would find for the next request of this browser."""
    request = RequestFactory().get("/")
    request.user, request.session = person, client.session
    return reauthentication.is_recent(request)


def events() -> list[tuple[str, str]]:
    return [(event.code, event.sentence) for event in AuditEvent.objects.order_by("seq")]


def test_signing_in_with_the_password_counts_for_five_minutes(
    client: Client, ada: Person, clock: SettableClock
) -> None:
    client.post(LOGIN, {"login": "ada", "password": PASSWORD})
    clock.advance(minutes=4, seconds=59)
    assert is_recent(client, ada)
    clock.advance(seconds=2)
    assert not is_recent(client, ada)


def test_a_clock_that_was_set_back_makes_no_proof_younger(
    client_of: ClientOf, ada: Person, clock: SettableClock
) -> None:
    client = client_of(ada)
    clock.advance(seconds=-150)
    assert not is_recent(client, ada)


def test_a_proof_refused_as_too_old_does_not_count_after_the_clock_was_set_back(
    client_of: ClientOf, ada: Person, clock: SettableClock
) -> None:
    client = client_of(ada)
    clock.advance(minutes=6)
    asked = client.get("/accounts/2fa/totp/activate/")
    assert asked["Location"].startswith("/accounts/reauthenticate/")
    assert "reauthenticated" not in client.session
    clock.advance(minutes=-4)
    assert not is_recent(client, ada)
    asked = client.get("/accounts/2fa/totp/activate/")
    assert asked["Location"].startswith("/accounts/reauthenticate/")


def test_the_proof_of_one_person_is_none_of_another(
    client_of: ClientOf, ada: Person, grace: Person
) -> None:
    client = client_of(ada)
    assert is_recent(client, ada)
    assert not is_recent(client, grace)


def test_the_password_again_counts_anew_and_is_recorded(
    client_of: ClientOf, ada: Person, clock: SettableClock
) -> None:
    client = client_of(ada)
    clock.advance(minutes=6)
    response = client.post(ASK, {"step_up-password": PASSWORD, "next": "/people/"})
    assert (response.status_code, response["Location"]) == (303, "/people/")
    assert is_recent(client, ada)
    assert events() == [("person.reauthenticated", "Ada passed an identity check with password.")]


def test_a_wrong_password_is_said_recorded_and_counts_for_nothing(
    client_of: ClientOf, ada: Person, clock: SettableClock
) -> None:
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


def test_after_five_wrong_answers_even_the_right_one_is_refused_and_one_event_says_so(
    client_of: ClientOf, ada: Person, clock: SettableClock
) -> None:
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


def test_a_right_answer_takes_back_what_the_wrong_ones_counted(
    client_of: ClientOf, ada: Person, clock: SettableClock
) -> None:
    client = client_of(ada)
    for _ in range(3):
        clock.advance(minutes=6)
        for _ in range(4):
            client.post(ASK, {"step_up-password": "wrong"})
        assert client.post(ASK, {"step_up-password": PASSWORD}).status_code == 303


def test_a_code_of_an_app_or_from_paper_alone_is_no_proof(
    client_of: ClientOf, ada: Person, clock: SettableClock
) -> None:
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
def test_a_key_as_the_second_factor_of_a_link_is_no_proof(
    client: Client, ada: Person, is_verified: bool
) -> None:
    key = SoftKey(ada)
    link = people.make_sign_in_link(actor=command_actor(), person=ada, now=timezone.now())
    client.post("/sign-in/", {"token": link.partition("#")[2]})
    page = client.get(SECOND_FACTOR)
    asked = page.context["js_data"]["request_options"]["publicKey"]["challenge"]
    client.post(SECOND_FACTOR, {"credential": key.answer(asked, is_verified=is_verified)})
    assert client.session["_auth_user_id"] == str(ada.pk)
    assert not is_recent(client, ada)


def test_after_the_second_factor_the_password_is_as_old_as_it_is(
    client: Client, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_nobody_is_ever_recent(db: None) -> None:
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
def test_the_question_leads_to_this_host_only(
    client_of: ClientOf, ada: Person, clock: SettableClock, wanted: str, location: str
) -> None:
    client = client_of(ada)
    clock.advance(minutes=6)
    page = client.get(ASK, {"next": wanted})
    assert f'name="next" value="{location}"' in page.content.decode()
    response = client.post(ASK, {"step_up-password": PASSWORD, "next": wanted})
    assert response["Location"] == location


def test_a_person_without_password_or_passkey_sees_what_to_do(
    client_of: ClientOf, ada: Person, clock: SettableClock
) -> None:
    ada.set_unusable_password()
    ada.save()
    client = client_of(ada)
    clock.advance(minutes=6)
    page = client.get(ASK).content.decode()
    assert "you don’t have one" in page
    assert 'type="password"' not in page
    assert client.post(ASK, {"step_up-password": ""}).status_code == 422
    assert client.post(ASK, {"step_up-password": "!"}).status_code == 422
    assert not is_recent(client, ada)
    assert not Authenticator.objects.exists()

"""Authenticator apps and recovery codes: setup, sign-in, refusals and audit events."""

import re
from collections.abc import Callable

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client
from pytest_django import Settings

from connections.access.actor import command_actor
from connections.models import AuditEvent, Person
from connections.operations.key_rotation import rotate_encryption_key
from connections.web.people.allauth_internals import SECRET_SESSION_KEY
from tests.support.mfa import (
    code_of,
    recovery_codes_of,
    set_up_app,
    set_up_recovery_codes,
)
from tests.support.passkeys import SoftKey
from tests.support.people import PASSWORD, just_signed_in

ClientOf = Callable[[Person], Client]
SET_UP = "/accounts/2fa/totp/activate/"
CODE = "/accounts/2fa/authenticate/"
SECRET = "JBSWY3DPEHPK3PXP"


def last_event() -> AuditEvent:
    return AuditEvent.objects.latest("seq")


def is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def shown_secret(client: Client) -> str:
    """The secret on a newly opened page."""
    secret: str = client.get(SET_UP).context["form"].secret
    return secret


def ask_for_code(person: Person) -> Client:
    """A browser at the MFA page, after the password was accepted."""
    client = Client()
    response = client.post("/accounts/login/", {"login": person.username, "password": PASSWORD})
    assert response["Location"] == CODE
    assert not is_signed_in(client)
    return client


def test_setting_up_an_app_shows_recovery_codes_and_is_recorded(ada: Person):
    client = just_signed_in(ada)
    response = client.post(SET_UP, {"code": code_of(shown_secret(client))}, follow=True)
    assert len(re.findall(r"<li>\d{8}</li>", response.text)) == 10
    assert last_event().code == "person.second_factor_added"
    assert last_event().sentence == "Ada set up an authenticator app."
    assert (last_event().actor_id, last_event().subject_id) == (ada.pk, str(ada.pk))


def test_the_secret_of_an_app_being_set_up_is_never_stored_in_plain_text(ada: Person):
    client = just_signed_in(ada)
    secret = shown_secret(client)
    assert secret not in repr(dict(client.session))
    # After a wrong code the same secret stays: the app has it already.
    again = client.post(SET_UP, {"code": "000000"}).context["form"].secret
    assert again == secret
    client.post(SET_UP, {"code": code_of(secret)})
    assert SECRET_SESSION_KEY not in client.session
    assert secret not in repr(list(Authenticator.objects.values_list("data", flat=True)))


def test_an_encryption_key_removed_during_setup_requires_scanning_again(ada: Person):
    client = just_signed_in(ada)
    secret = shown_secret(client)
    for _ in range(2):
        rotate_encryption_key(actor=command_actor(), drop_unused=True)
    page = client.post(SET_UP, {"code": code_of(secret)})
    assert page.status_code == 200
    assert page.context["form"].secret != secret
    assert not Authenticator.objects.exists()


def test_a_code_is_required_after_the_password_and_recorded(ada: Person):
    set_up_app(ada, SECRET)
    client = ask_for_code(ada)
    client.post(CODE, {"code": code_of(SECRET)})
    assert is_signed_in(client)
    assert (
        last_event().sentence
        == "Ada signed in with a password and an authenticator app from 127.0.0.1 "
        "using an unknown browser."
    )


def test_only_people_with_a_passkey_are_offered_to_use_it(ada: Person):
    set_up_app(ada, SECRET)
    assert "Use a passkey" not in ask_for_code(ada).get(CODE).text
    SoftKey(ada)
    assert "Use a passkey" in ask_for_code(ada).get(CODE).text


def test_a_code_works_for_one_sign_in(ada: Person):
    set_up_app(ada, SECRET)
    code = code_of(SECRET)
    first, second = ask_for_code(ada), ask_for_code(ada)
    first.post(CODE, {"code": code})
    second.post(CODE, {"code": code})
    assert (is_signed_in(first), is_signed_in(second)) == (True, False)


def test_a_recovery_code_signs_in_once(ada: Person):
    set_up_app(ada, SECRET)
    code = set_up_recovery_codes(ada)[0]
    client = ask_for_code(ada)
    client.post(CODE, {"code": code})
    assert is_signed_in(client)
    assert (
        last_event().sentence == "Ada signed in with a password and a recovery code from 127.0.0.1 "
        "using an unknown browser."
    )
    client = ask_for_code(ada)
    client.post(CODE, {"code": code})
    assert not is_signed_in(client)


def test_wrong_codes_are_recorded_and_after_five_even_a_correct_one_is_refused(ada: Person):
    set_up_app(ada, SECRET)
    recovery = set_up_recovery_codes(ada)[0]
    client = ask_for_code(ada)
    for _ in range(5):
        client.post(CODE, {"code": "000000"})
    assert last_event().sentence == "MFA for Ada failed, from 127.0.0.1."
    # From another browser and address too: the limit is per person.
    for code in (code_of(SECRET), recovery):
        other = Client(REMOTE_ADDR="127.0.0.2")
        other.post("/accounts/login/", {"login": "ada", "password": PASSWORD})
        other.post(CODE, {"code": code})
        assert not is_signed_in(other)
    refused = AuditEvent.objects.filter(code="person.second_factor_refused").order_by("seq")
    assert [event.details["is_over_limit"] for event in refused] == [False] * 5 + [True]
    assert "000000" not in repr([(event.sentence, event.details) for event in refused])


def test_turning_it_off_is_recorded_and_redirects_to_setup(ada: Person, settings: Settings):
    settings.REQUIRE_MFA = True
    set_up_app(ada, SECRET)
    client = just_signed_in(ada)
    client.post("/accounts/2fa/totp/deactivate/")
    assert last_event().sentence == "Ada removed an authenticator app."
    assert client.get("/")["Location"] == "/accounts/2fa/"


def test_making_new_recovery_codes_is_recorded(ada: Person):
    set_up_app(ada, SECRET)
    old = set_up_recovery_codes(ada)
    just_signed_in(ada).post("/accounts/2fa/recovery-codes/generate/")
    assert last_event().sentence == "Ada set up recovery codes."
    assert not set(old) & set(recovery_codes_of(ada))


@pytest.mark.parametrize(
    ("who", "is_required"),
    [
        ("ada", True),
        ("linus", True),
        ("margaret", True),
        ("root", True),
        ("edith", True),
        ("victor", False),
    ],
)
def test_everyone_but_viewers_needs_mfa(
    who: str,
    is_required: bool,
    db: None,
    request: pytest.FixtureRequest,
    settings: Settings,
    client_of: ClientOf,
):
    settings.REQUIRE_MFA = True
    response = client_of(request.getfixturevalue(who)).get("/")
    assert (response.status_code == 302) is is_required


def test_a_person_who_must_set_up_mfa_can_do_so_or_sign_out(ada: Person, settings: Settings):
    settings.REQUIRE_MFA = True
    client = just_signed_in(ada)
    assert "Set up MFA first" in client.get("/", follow=True).text
    client.post(SET_UP, {"code": code_of(shown_secret(client))})
    assert client.get("/").status_code == 200
    other = just_signed_in(Person.objects.get(pk=ada.pk))
    other.post("/accounts/logout/")
    assert not is_signed_in(other)


def test_a_malformed_passkey_response_is_refused_and_recorded(ada: Person):
    SoftKey(ada)
    client = ask_for_code(ada)
    assert client.post(CODE, {"credential": '{"id": "AA"}'}).status_code == 200
    assert last_event().code == "person.second_factor_refused"

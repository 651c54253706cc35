"""Signing in and out, and what is recorded."""

from collections.abc import Callable

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client, RequestFactory
from pytest_django import Settings

from connections.access.actor import command_actor
from connections.core.trusted_proxies import client_address
from connections.crypto.encryption import DecryptionError, check_key_ring
from connections.models import AuditEvent, Person
from connections.operations.key_rotation import rotate_encryption_key
from connections.web.people.accounts import AccountAdapter, MFAAdapter
from tests.support.mfa import (
    code_of,
    recovery_codes_of,
    set_up_app,
    set_up_recovery_codes,
)
from tests.support.passkeys import SoftKey
from tests.support.people import PASSWORD, just_signed_in

LOGIN = "/accounts/login/"


def codes() -> list[str]:
    return list(AuditEvent.objects.order_by("seq").values_list("code", flat=True))


def sign_in(client: Client, login: str, password: str = PASSWORD, **extra: str) -> object:
    return client.post(LOGIN, {"login": login, "password": password, **extra})


@pytest.mark.parametrize("login", ["ada", "ADA", "ada@example.com"])
def test_a_person_signs_in_by_name_or_address_and_out_again(
    client: Client, ada: Person, login: str
):
    sign_in(client, login)
    assert client.session["_auth_user_id"] == str(ada.pk)
    client.post("/accounts/logout/")
    assert "_auth_user_id" not in client.session
    assert codes() == ["person.signed_in", "person.signed_out"]
    assert set(AuditEvent.objects.values_list("actor_id", flat=True)) == {ada.pk}


def test_a_failed_sign_in_is_recorded_without_what_was_typed(client: Client, ada: Person):
    sign_in(client, "ada", "a-wrong-password")
    sign_in(client, "my-password-in-the-wrong-field", "x")
    known, unknown = AuditEvent.objects.order_by("seq")
    assert known.subject_id == str(ada.pk)
    assert known.sentence == "Failed sign-in as Ada from 127.0.0.1 using an unknown browser."
    assert unknown.subject_id == ""
    assert "password" not in repr([known.__dict__, unknown.__dict__])


def test_over_the_limit_one_event_a_minute_is_recorded(client: Client, ada: Person):
    for _ in range(8):
        sign_in(client, "ada", "a-wrong-password")
    assert codes() == ["person.sign_in_failed"] * 6
    assert AuditEvent.objects.latest("seq").details["is_over_limit"]
    sign_in(client, "ada")
    assert "_auth_user_id" not in client.session


def test_a_wrong_name_and_a_wrong_password_get_the_same_response(client: Client, ada: Person):
    def response(login: str) -> str:
        page = client.post(LOGIN, {"login": login, "password": "a-wrong-password"})
        form = page.context["form"]
        return str(form.non_field_errors())

    assert response("ada") == response("nobody")


def test_no_one_can_sign_up(client: Client, db: None):
    values = {"username": "eve", "email": "eve@example.com", "password1": PASSWORD}
    client.post("/accounts/signup/", values)
    assert not Person.objects.exists()
    # allauth asks this before it adds a person at any address.
    assert not AccountAdapter().is_open_for_signup(RequestFactory().post("/", values))


@pytest.mark.parametrize(
    ("wanted", "location"),
    [
        ("/people/", "/people/"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("http://localhost/deletions/", "/"),
    ],
)
def test_signing_in_redirects_only_to_this_host(
    client: Client, ada: Person, settings: Settings, wanted: str, location: str
):
    settings.ALLOWED_HOSTS = ["testserver", "localhost"]
    response = client.post(LOGIN, {"login": "ada", "password": PASSWORD, "next": wanted})
    assert response["Location"] == location


def test_signing_in_gives_the_browser_a_new_session(client: Client, ada: Person):
    session = client.session
    session["planted"] = "yes"
    session.save()
    sign_in(client, "ada")
    assert client.session.session_key != session.session_key


def test_a_disabled_person_cannot_sign_in(client: Client, ada: Person):
    Person.objects.filter(pk=ada.pk).update(is_active=False)
    sign_in(client, "ada")
    assert "_auth_user_id" not in client.session


def test_changing_the_password_is_recorded(ada: Person, client_of: Callable[[Person], Client]):
    new = "quite another pass phrase"
    values = {"oldpassword": PASSWORD, "password1": new, "password2": new}
    client_of(ada).post("/accounts/password/change/", values)
    ada.refresh_from_db()
    assert ada.check_password(new)
    assert codes() == ["person.password_set"]


def test_the_secret_of_an_authenticator_app_is_encrypted(ada: Person):
    client = just_signed_in(ada)
    page = "/accounts/2fa/totp/activate/"
    secret = client.get(page).context["form"].secret
    client.post(page, {"code": code_of(secret)})
    stored = Authenticator.objects.get(type=Authenticator.Type.TOTP).data["secret"]
    assert secret not in stored
    assert MFAAdapter().decrypt(stored) == secret
    with pytest.raises(DecryptionError):
        MFAAdapter().decrypt(secret)


def test_mfa_keeps_working_after_a_rotation_of_the_encryption_key(ada: Person):
    app = set_up_app(ada, "JBSWY3DPEHPK3PXP")
    codes_before = set_up_recovery_codes(ada)
    before = app.data["secret"]
    # The previous primary key is dropped at the second rotation at the earliest.
    for _ in range(2):
        rotate_encryption_key(actor=command_actor(), drop_unused=True)
    stored = Authenticator.objects.get(type=Authenticator.Type.TOTP).data["secret"]
    assert stored != before
    assert MFAAdapter().decrypt(stored) == "JBSWY3DPEHPK3PXP"
    assert recovery_codes_of(ada) == codes_before
    check_key_ring()


@pytest.mark.parametrize(
    ("trusted", "remote", "forwarded", "address"),
    [
        ([], "10.0.0.9", "1.2.3.4", "10.0.0.9"),
        (["10.0.0.9"], "10.0.0.9", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        (["10.0.0.0/8"], "10.0.0.9", "6.6.6.6, 1.2.3.4, 10.0.0.7", "1.2.3.4"),
        (["10.0.0.9"], "10.0.0.9", "nonsense", "10.0.0.9"),
        (["10.0.0.9"], "10.0.0.9", "", "10.0.0.9"),
        (["*"], "10.0.0.9", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ([], "", "", "local"),
    ],
)
def test_only_trusted_proxies_set_the_client_address(
    settings: Settings, trusted: list[str], remote: str, forwarded: str, address: str
):
    settings.TRUSTED_PROXIES = trusted
    request = RequestFactory().get("/", REMOTE_ADDR=remote, headers={"X-Forwarded-For": forwarded})
    assert client_address(request) == address


PASSKEY = "/accounts/2fa/webauthn/login/"


def test_a_passkey_with_user_verification_signs_in_alone(client: Client, ada: Person):
    key = SoftKey(ada)
    options = client.get(PASSKEY, headers={"X-Requested-With": "XMLHttpRequest"}).json()
    challenge = options["request_options"]["publicKey"]["challenge"]
    client.post(PASSKEY, {"credential": key.respond(challenge)})
    assert client.session["_auth_user_id"] == str(ada.pk)


@pytest.mark.parametrize("response", ["", '{"id": "AA"}'])
def test_a_refused_passkey_is_recorded(client: Client, ada: Person, response: str):
    client.post(PASSKEY, {"credential": response or SoftKey(ada).respond("made-up")})
    assert "_auth_user_id" not in client.session
    event = AuditEvent.objects.get()
    assert event.code == "person.sign_in_failed"
    assert (
        event.sentence == "Failed sign-in with a passkey from 127.0.0.1 using an unknown browser."
    )


def test_a_passkey_without_user_verification_is_refused_even_for_an_mfa_challenge(
    client: Client, ada: Person, grace: Person
):
    key = SoftKey(ada)
    set_up_app(grace, "JBSWY3DPEHPK3PXP")
    sign_in(client, "grace")
    page = client.get("/accounts/2fa/authenticate/")
    options = page.context["js_data"]["request_options"]["publicKey"]["challenge"]
    # Grace's sign-in expires, and its challenge does not.
    session = client.session
    session["account_login"] = session["account_login"] | {"initiated_at": 1.0}
    session.save()
    client.post(PASSKEY, {"credential": key.respond(options, is_verified=False)})
    assert "_auth_user_id" not in client.session

"""Passkeys in identity checks, without a browser: what is accepted and what is refused."""

import json
from collections.abc import Callable

import pytest
from django.test import Client

from connections.models import AuditEvent, Person
from connections.web.framework import reauthentication
from connections.web.people.passkeys import WRONG_PASSKEY
from tests.support.passkeys import SoftKey
from tests.support.people import let_proof_age

ClientOf = Callable[[Person], Client]
ASK, OPTIONS, ANSWER = (
    "/accounts/reauthenticate/",
    "/accounts/reauthenticate/passkey/",
    "step_up-passkey",
)


def challenge(client: Client) -> str:
    """The challenge that the page gives the browser."""
    text: str = client.post(OPTIONS).json()["publicKey"]["challenge"]
    return text


def codes() -> list[str]:
    return list(AuditEvent.objects.order_by("seq").values_list("code", flat=True))


def test_a_passkey_with_user_verification_passes_the_identity_check(
    ada: Person, late_client_of: ClientOf
):
    client, key = late_client_of(ada), SoftKey(ada)
    response = client.post(ASK, {ANSWER: key.respond(challenge(client)), "next": "/people/"})
    assert (response.status_code, response["Location"]) == (303, "/people/")
    event = AuditEvent.objects.get()
    assert (event.code, event.details) == ("person.reauthenticated", {"method": "passkey"})


def test_a_person_with_only_a_passkey_is_prompted_only_for_it(
    ada: Person, late_client_of: ClientOf
):
    ada.set_unusable_password()
    ada.save()
    key, client = SoftKey(ada), late_client_of(ada)
    page = client.get(ASK).content.decode()
    assert "Use a passkey" in page
    assert 'type="password"' not in page
    assert client.post(ASK, {ANSWER: key.respond(challenge(client))}).status_code == 303


def assert_refused(client: Client, passkey_response: str) -> None:
    response = client.post(ASK, {ANSWER: passkey_response})
    assert response.status_code == 422
    assert WRONG_PASSKEY in response.content.decode()
    assert client.get(ASK).status_code == 200
    assert codes() == ["person.reauthentication_failed"]


def test_a_passkey_without_user_verification_is_refused(ada: Person, late_client_of: ClientOf):
    client, key = late_client_of(ada), SoftKey(ada)
    assert_refused(client, key.respond(challenge(client), is_verified=False))


def test_it_is_refused_even_for_a_challenge_that_required_no_user_verification(
    ada: Person, client_of: ClientOf
):
    client, key = client_of(ada), SoftKey(ada)
    page = client.get("/accounts/2fa/webauthn/add/")
    options = page.context["js_data"]["creation_options"]["publicKey"]["challenge"]
    let_proof_age(client)
    assert_refused(client, key.respond(options, is_verified=False))


def test_another_persons_passkey_is_refused(ada: Person, grace: Person, late_client_of: ClientOf):
    SoftKey(ada)
    client, other = late_client_of(ada), SoftKey(grace)
    assert_refused(client, other.respond(challenge(client)))


def test_a_response_for_another_origin_is_refused(ada: Person, late_client_of: ClientOf):
    client, key = late_client_of(ada), SoftKey(ada)
    assert_refused(client, key.respond(challenge(client), origin="https://evil.example"))


def test_a_response_without_a_challenge_of_this_session_is_refused(
    ada: Person, late_client_of: ClientOf
):
    key = SoftKey(ada)
    elsewhere = challenge(late_client_of(ada))
    assert_refused(late_client_of(ada), key.respond(elsewhere))


def test_a_passkey_response_can_be_used_once(ada: Person, late_client_of: ClientOf):
    client, key = late_client_of(ada), SoftKey(ada)
    options = challenge(client)
    client.post(ASK, {ANSWER: key.respond(options, is_verified=False)})
    assert client.post(ASK, {ANSWER: key.respond(options)}).status_code == 422


@pytest.mark.parametrize(
    "passkey_response",
    [
        "not json",
        "[]",
        "7",
        '"text"',
        "null",
        "{}",
        '{"id": "AA"}',
        json.dumps({"id": "x", "rawId": "x", "type": "public-key", "response": {}}),
        json.dumps({"id": 1, "rawId": [], "type": {}, "response": "x"}),
        json.dumps(
            {
                "id": "AA",
                "rawId": "AA",
                "type": "public-key",
                "response": {"clientDataJSON": "!", "authenticatorData": "AA", "signature": "AA"},
            }
        ),
        json.dumps(
            {
                "id": "AA",
                "rawId": "AA",
                "type": "public-key",
                "response": {
                    "clientDataJSON": "e30",
                    "authenticatorData": "AAAA",
                    "signature": None,
                },
            }
        ),
    ],
)
def test_any_malformed_passkey_response_is_refused_with_a_message(
    ada: Person, late_client_of: ClientOf, passkey_response: str
):
    client = late_client_of(ada)
    SoftKey(ada)
    challenge(client)
    response = client.post(ASK, {ANSWER: passkey_response})
    assert response.status_code == 422
    assert "role=" in response.content.decode()


def test_passkeys_count_towards_the_same_limit(ada: Person, late_client_of: ClientOf):
    client, key = late_client_of(ada), SoftKey(ada)
    for _ in range(5):
        client.post(ASK, {ANSWER: key.respond(challenge(client), is_verified=False)})
    response = client.post(ASK, {ANSWER: key.respond(challenge(client))})
    assert reauthentication.TOO_MANY in response.content.decode()

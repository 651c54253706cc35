"""Access tokens in place of a key pair: checks, storing, rotation between the two kinds."""

from collections.abc import Callable

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from connections.access.actor import command_actor
from connections.core.datadog_keys import AccessToken, DatadogKeys
from connections.core.errors import InvalidInputError
from connections.core.secret import Secret
from connections.credentials import lifecycle
from connections.credentials.keys import choose_keys, clean_keys
from connections.crypto.encrypted_fields import key_ids_in_use
from connections.models import Credential, Person
from connections.operations.key_rotation import rotate_encryption_key
from sandbox import faults
from sandbox.server import SandboxServer
from tests.credentials.support import added, check_results, fields_of, keys_of, token_of
from tests.support.key_rings import exposed_by
from tests.support.sandbox import EU, US, key_pair_of

pytestmark = pytest.mark.django_db
ClientOf = Callable[[Person], Client]
CANARY = "canary0" * 5


def add(keys: DatadogKeys, *, name: str = "", site: str = US) -> Credential:
    return lifecycle.add_credential(actor=command_actor(), name=name, site=site, keys=keys)


def test_a_token_is_verified_from_the_current_user_on(sandbox: SandboxServer):
    credential = add(token_of(sandbox, "Payments US"))

    assert credential.is_verified
    assert credential.name == "Payments US"
    assert check_results(credential) == {"org": True, "permissions": True, "listing": True}
    assert lifecycle.count_connections(credential) == 2
    credential.snapshots.filter(pk=credential.snapshots.all()[0].pk).update(is_current=False)
    assert lifecycle.count_connections(credential) == 1
    paths = {request.path for request in sandbox.world.requests()}
    assert paths == {"/api/v2/current_user", "/api/v2/org_connections", "/api/v2/org"}
    for request in sandbox.world.requests():
        assert "authorization" in request.header_names
        assert not [name for name in request.header_names if name.startswith("dd-")]


def test_a_token_is_stored_encrypted_in_its_own_column(sandbox: SandboxServer):
    token = token_of(sandbox, "Payments US")
    plain = token.access_token.reveal()
    credential = add(token)

    assert plain not in str(Credential.objects.values().get())
    assert (credential.api_key_envelope, credential.application_key_envelope) == ("", "")
    assert (credential.api_key_last_four, credential.access_token_last_four) == ("", plain[-4:])
    stored = credential.open_keys()
    assert isinstance(stored, AccessToken)
    assert stored.access_token.reveal() == plain


def test_a_token_envelope_is_bound_to_its_column(sandbox: SandboxServer):
    credential = added(sandbox, "Payments US")
    Credential.objects.update(
        api_key_envelope="",
        application_key_envelope="",
        access_token_envelope=credential.api_key_envelope,
    )
    credential.refresh_from_db()
    lifecycle.verify_credential(actor=command_actor(), credential=credential)

    assert check_results(credential)["stored"] is False


def test_the_checks_of_a_damaged_token_are_those_of_a_token(sandbox: SandboxServer):
    credential = add(token_of(sandbox, "Payments US"))
    Credential.objects.update(access_token_envelope="v1.x.y")
    credential.refresh_from_db()
    lifecycle.verify_credential(actor=command_actor(), credential=credential)

    # Without those of a key pair.
    skipped = {"org": None, "permissions": None, "listing": None}
    assert check_results(credential) == {"stored": False} | skipped


def test_the_database_refuses_both_kinds_in_one_credential(sandbox: SandboxServer):
    add(token_of(sandbox, "Payments US"))
    with pytest.raises(IntegrityError), transaction.atomic():
        Credential.objects.update(api_key_envelope="v1.x.y")


def test_a_rejected_token_says_what_to_check(sandbox: SandboxServer):
    with pytest.raises(lifecycle.KeysRefusedError) as rejected:
        add(token_of(sandbox, "Payments US"), site=EU)

    assert rejected.value.field == "access_token"
    for expected in ("access token", "revoked", "expired", "another site", EU):
        assert expected in str(rejected.value)
    assert not Credential.objects.exists()


def test_texts_name_the_token_instead_of_keys(sandbox: SandboxServer):
    credential = add(token_of(sandbox, "Payments US"))
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="list")
    lifecycle.verify_credential(actor=command_actor(), credential=credential)
    texts = [check["text"] for check in credential.verification]

    assert "Org Payments US; owner " in texts[0]
    assert "the access token's scopes" in texts[1]
    assert "the access token's scopes" in texts[2]


def test_a_key_pair_is_rotated_to_a_token_and_back(sandbox: SandboxServer):
    credential = added(sandbox, "Payments US")
    pair = keys_of(key_pair_of(sandbox.world, "Payments US"))

    token = token_of(sandbox, "Payments US")
    rotated = lifecycle.rotate_credential(actor=command_actor(), credential=credential, keys=token)
    assert rotated.has_access_token
    assert rotated.is_verified
    assert (rotated.api_key_envelope, rotated.api_key_last_four) == ("", "")

    again = lifecycle.rotate_credential(actor=command_actor(), credential=rotated, keys=pair)
    assert not again.has_access_token
    assert again.access_token_envelope == ""
    assert again.open_keys().by_field["api_key"].reveal() == pair.api_key.reveal()


def test_rotating_the_encryption_key_reencrypts_tokens(sandbox: SandboxServer):
    token = token_of(sandbox, "Payments US")
    credential = add(token)
    rotation = rotate_encryption_key(actor=command_actor())

    credential.refresh_from_db()
    assert rotation.reencrypted == 1
    assert key_ids_in_use() == {rotation.primary_key_id}
    stored = credential.open_keys().by_field["access_token"]
    assert stored.reveal() == token.access_token.reveal()


BAD_TOKENS = {
    "an API key": CANARY,
    "an application key": f"ddapp_{CANARY}",
    "a space inside": f"ddpat_{CANARY} {CANARY}",
    "a line break inside": f"ddsat_{CANARY}\n{CANARY}",
    "too short": "ddpat_canary0",
    "too long": f"ddpat_{CANARY * 6}",
}


@pytest.mark.parametrize("text", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
def test_an_invalid_token_is_refused_without_repeating_it(text: str):
    with pytest.raises(InvalidInputError) as refused:
        clean_keys(AccessToken(access_token=Secret(text)))
    assert list(refused.value.fields) == ["access_token"]
    assert "canary" not in exposed_by(refused.value, leave_out=__file__)


def test_both_kinds_at_once_are_refused():
    filled = Secret(CANARY)
    with pytest.raises(InvalidInputError, match="not both"):
        choose_keys(api_key=filled, application_key=Secret(""), access_token=filled)


@pytest.mark.parametrize("page", ["new", "rotate"])
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"api_key": CANARY, "access_token": f"ddpat_{CANARY}"}, "not both"),
        ({}, "Paste an API key and an application key, or an access token."),
        ({"api_key": f"ddsat_{CANARY}", "application_key": CANARY}, "Paste it as the access token"),
        ({"api_key": CANARY}, "Paste the key."),
    ],
)
def test_a_form_explains_what_to_paste_and_keeps_the_rest(
    sandbox: SandboxServer,
    margaret: Person,
    client_of: ClientOf,
    page: str,
    given: dict[str, str],
    says: str,
):
    stored = added(sandbox, "Payments US")
    url = reverse("credential-new")
    if page == "rotate":
        url = reverse("credential-rotate", args=[stored.pk])
    response = client_of(margaret).post(url, {"name": "My name", "site": US} | given)

    assert response.status_code == 422
    content = response.content.decode()
    assert says in content
    assert "canary" not in content
    assert page == "rotate" or 'value="My name"' in content
    assert Credential.objects.count() == 1


def test_a_token_is_added_and_rotated_with_the_forms(
    sandbox: SandboxServer, margaret: Person, client_of: ClientOf
):
    client = client_of(margaret)
    plain = token_of(sandbox, "Payments US").access_token.reveal()
    response = client.post("/credentials/new/", {"name": "", "site": US, "access_token": plain})

    assert response.status_code == 303
    credential = Credential.objects.get()
    assert credential.is_verified
    page = client.get(response["Location"]).content.decode()
    assert "Access token" in page
    assert f"…{plain[-4:]}</code>" in page
    assert "Access token" in client.get(reverse("org-list")).content.decode()

    pair = fields_of(key_pair_of(sandbox.world, "Payments US"), site=US)
    rotate = reverse("credential-rotate", args=[credential.pk])
    assert client.post(rotate, pair).status_code == 303
    credential.refresh_from_db()
    assert not credential.has_access_token


@pytest.mark.parametrize("kind", ["pair", "token"])
def test_the_chosen_kind_counts_if_both_were_pasted(
    sandbox: SandboxServer, margaret: Person, client_of: ClientOf, kind: str
):
    typed = fields_of(key_pair_of(sandbox.world, "Payments US"), site=US)
    typed["access_token"] = token_of(sandbox, "Payments US").access_token.reveal()
    client_of(margaret).post("/credentials/new/", typed | {"kind": kind})

    assert Credential.objects.get().has_access_token == (kind == "token")

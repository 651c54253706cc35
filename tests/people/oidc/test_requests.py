"""What is requested of the identity provider, and what a sign-in there is worth here."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from pytest_django import Settings

from connections.models import Person
from tests.people.oidc.support import START, connect, is_signed_in, sign_in_at_provider
from tests.people.oidc.test_properties import Provider
from tests.people.oidc.test_reauthentication import is_prompted
from tests.support.provider import Claims, TestProvider


def asked(client: Client) -> dict[str, Any]:
    return parse_qs(urlsplit(client.get(START)["Location"]).query)


@pytest.mark.parametrize(
    ("metadata", "values", "expected"),
    [
        ({}, ["mfa"], None),
        ({"acr_values_supported": ["1", "urn:mfa"]}, [], None),
        ({"acr_values_supported": ["1", "urn:mfa"]}, ["mfa", "urn:mfa"], ["urn:mfa"]),
    ],
)
def test_only_an_acr_value_that_the_provider_knows_is_requested(
    client: Client,
    provider: TestProvider,
    settings: Settings,
    db: None,
    metadata: Claims,
    values: list[str],
    expected: list[str] | None,
):
    provider.more_metadata = metadata
    settings.OIDC_MFA_VALUES = values
    assert asked(client).get("acr_values") == expected


@pytest.mark.parametrize("values", [[], ["mfa"]])
def test_claims_are_requested_where_the_provider_takes_the_parameter(
    client: Client, provider: TestProvider, settings: Settings, db: None, values: list[str]
):
    settings.OIDC_MFA_VALUES = values
    assert "claims" not in asked(client)
    provider.more_metadata = {"claims_parameter_supported": True}
    (text,) = asked(client)["claims"]
    wanted = {"auth_time": {"essential": True}} | ({"amr": None} if values else {})
    assert json.loads(text) == {"id_token": wanted}


@pytest.mark.parametrize("value", ["mfa", "urn:mfa"])
def test_mfa_at_either_provider_is_asked_for_and_not_set_up_twice(
    client: Client, ada: Person, either_provider: Provider, settings: Settings, value: str
):
    if isinstance(either_provider, TestProvider):
        either_provider.extra |= {"acr": "urn:mfa"}
    settings.REQUIRE_MFA = True
    settings.OIDC_MFA_VALUES = [value]
    connect(ada, either_provider)
    sign_in_at_provider(client)
    assert client.get("/").status_code == 200


def test_a_fresh_sign_in_at_either_provider_counts_as_an_identity_check(
    client: Client, ada: Person, either_provider: Provider
):
    if isinstance(either_provider, TestProvider):
        either_provider.signed_in_ago = 0
    connect(ada, either_provider)
    sign_in_at_provider(client)
    assert not is_prompted(client)


@pytest.mark.parametrize(
    ("claims", "counts"),
    [
        ({"auth_time": 240}, True),
        ({"auth_time": 301}, False),
        ({"auth_time": -30}, True),
        ({"auth_time": -120}, False),
        ({"auth_time": None}, False),
    ],
)
def test_it_counts_from_the_time_that_the_provider_names(
    client: Client, ada: Person, provider: TestProvider, claims: Claims, counts: bool
):
    ago = claims["auth_time"]

    def change(given: Claims) -> Claims:
        auth_time = None if ago is None else given["iat"] - ago
        return given | {"auth_time": auth_time}

    provider.change_claims = change
    connect(ada, provider)
    sign_in_at_provider(client)
    assert is_signed_in(client, ada)
    assert is_prompted(client) is not counts


def test_signing_out_leads_on_to_the_providers_logout(
    client: Client, ada: Person, provider: TestProvider
):
    provider.more_metadata = {"end_session_endpoint": f"{provider.issuer}/logout?x=1"}
    connect(ada, provider)
    sign_in_at_provider(client)
    response = client.post("/accounts/logout/")
    assert response["Location"] == f"{START}signed-out/"
    assert "_auth_user_id" not in client.session
    page = client.get(response["Location"]).text
    assert f'href="{provider.issuer}/logout?x=1&amp;client_id=orgadmin"' in page
    assert "Sign out of Example SSO too" in page


def test_without_an_address_to_sign_out_there_the_sign_in_page_follows(
    client: Client, ada: Person, provider: TestProvider
):
    connect(ada, provider)
    sign_in_at_provider(client)
    assert client.post("/accounts/logout/")["Location"] == "/accounts/login/"
    assert "client_id" not in client.get(f"{START}signed-out/").text


@pytest.mark.parametrize("url", ["http://evil.example/", "javascript:alert(1)", 5])
def test_a_malformed_address_to_sign_out_starts_no_sign_in(
    client: Client, provider: TestProvider, db: None, url: object
):
    provider.more_metadata = {"end_session_endpoint": url}
    assert client.get(START).status_code == 502

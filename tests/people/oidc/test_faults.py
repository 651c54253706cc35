"""Responses of a provider, or of an attacker in between, that are refused."""

import json
import time
import warnings
from collections.abc import Callable

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from django.test import Client
from pytest_django import Settings

from connections.models import AuditEvent, Person
from connections.people.oidc.exchange import ProviderExchange
from tests.people.oidc.support import START, connect, sign_in_at_provider
from tests.support.provider import (
    Claims,
    TestProvider,
    public_key,
    signed,
    signed_with_public_key,
    unsigned,
)

Change = Callable[[TestProvider], None]


NO_LISTS_OF_STRINGS: list[object] = [
    5,
    5.5,
    True,
    "client_secret_post",
    {"client_secret_post": 1},
    [5],
    [[]],
]


def claims(**changed: object) -> Change:
    """Send an ID token with these claims; None leaves one out."""

    def change(provider: TestProvider) -> None:
        def changing(given: Claims) -> Claims:
            return {name: value for name, value in (given | changed).items() if value is not None}

        provider.change_claims = changing

    return change


def token(sign: Callable[[Claims], str]) -> Change:
    def change(provider: TestProvider) -> None:
        provider.sign = sign

    return change


def token_response(**changed: str) -> Change:
    def change(provider: TestProvider) -> None:
        provider.change_answer = lambda given: given | changed

    return change


def metadata(**changed: object) -> Change:
    def change(provider: TestProvider) -> None:
        provider.change_metadata = lambda given: given | changed

    return change


def garble(given: Claims) -> str:
    head, body, signature = signed(given).split(".")
    return f"{head}.{body}.{signature[:-4]}AAAA"


def late(seconds: int) -> Change:
    """Send an ID token issued this many seconds from the start of the test."""

    def change(provider: TestProvider) -> None:
        now = int(time.time())
        claims(iat=now + seconds, exp=now + seconds + 300)(provider)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(claims(nonce="another"), "wrong_nonce", id="another nonce"),
        pytest.param(claims(nonce=None), "wrong_nonce", id="no nonce"),
        pytest.param(claims(nonce=7), "wrong_nonce", id="a number for a nonce"),
        pytest.param(claims(nonce="\ud800"), "wrong_nonce", id="half a character for a nonce"),
        pytest.param(claims(sub="\ud800"), "bad_token", id="half a character for a subject"),
        pytest.param(claims(sub=["1"]), "bad_token", id="a list of subjects"),
        pytest.param(claims(aud="another"), "wrong_audience", id="another audience"),
        pytest.param(claims(aud=None), "bad_token", id="no audience"),
        pytest.param(
            claims(aud=["orgadmin", "another"]), "wrong_audience", id="two audiences, no azp"
        ),
        pytest.param(claims(azp="another"), "wrong_audience", id="given to another client"),
        pytest.param(claims(iss="https://evil.example"), "wrong_issuer", id="another issuer"),
        pytest.param(claims(iss=None), "bad_token", id="no issuer"),
        pytest.param(late(-600), "expired", id="expired"),
        pytest.param(late(600), "expired", id="from the future"),
        pytest.param(claims(exp=None), "bad_token", id="never expires"),
        pytest.param(claims(exp="soon"), "bad_token", id="expiry as text"),
        pytest.param(claims(sub=None), "bad_token", id="no subject"),
        pytest.param(claims(sub=""), "bad_token", id="an empty subject"),
        pytest.param(claims(sub="x" * 256), "bad_token", id="a long subject"),
        pytest.param(claims(sub="a\0b"), "bad_token", id="a NUL in the subject"),
        pytest.param(token(unsigned), "bad_token", id="algorithm none"),
        pytest.param(token(signed_with_public_key), "bad_token", id="HMAC with the public key"),
        pytest.param(token(lambda given: signed(given, number=1)), "bad_token", id="another key"),
        pytest.param(token(lambda given: signed(given, kid="9")), "bad_token", id="an unknown key"),
        pytest.param(token(garble), "bad_token", id="a garbled signature"),
        pytest.param(token(lambda given: "x.y"), "bad_token", id="no token at all"),
        pytest.param(
            token_response(iss="https://evil.example"), "wrong_issuer", id="mixed up issuers"
        ),
        pytest.param(token_response(code="guessed"), "refused", id="a guessed code"),
        pytest.param(token_response(code=""), "refused", id="no code"),
        pytest.param(token_response(error="access_denied"), "cancelled", id="cancelled"),
        pytest.param(
            token_response(error="server_error"), "refused", id="an error of the provider"
        ),
    ],
)
def test_it_is_refused_and_the_reason_is_recorded(
    client: Client, ada: Person, provider: TestProvider, change: Change, reason: str
):
    connect(ada, provider)
    change(provider)
    page = sign_in_at_provider(client, f"{START}?next=/deletions/")
    assert page.status_code == 403
    assert "_auth_user_id" not in client.session
    event = AuditEvent.objects.latest("seq")
    assert (event.code, event.details) == ("person.provider_sign_in_refused", {"reason": reason})


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"keys": "x"},
        {"keys": {"0": public_key(0)}},
        {"keys": [public_key(0) | {"alg": ["RS256"]}]},
        {"keys": [{"kty": "oct", "kid": "0"}]},
        {"keys": [None]},
        {"keys": [{"kty": 7, "kid": "0"}]},
        {"keys": [{"kty": "RSA", "kid": "0", "n": 1, "e": 2}]},
        {"keys": [{"kty": "oct", "kid": "0", "k": "AAAA"}]},
        pytest.param({"keys": [public_key(0), public_key(0)]}, id="the same id twice"),
    ],
)
def test_unusable_provider_keys_sign_no_one_in(
    client: Client, ada: Person, provider: TestProvider, keys: Claims
):
    connect(ada, provider)
    provider.keys = keys
    assert sign_in_at_provider(client).status_code == 403
    assert "_auth_user_id" not in client.session


def test_a_key_that_is_too_short_is_refused(client: Client, ada: Person, provider: TestProvider):
    connect(ada, provider)
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - meant

    def signing(given: Claims) -> str:
        with warnings.catch_warnings(action="ignore"):
            return jwt.encode(given, short, algorithm="RS256", headers={"kid": "0"})

    provider.sign = signing
    published = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(short.public_key()))
    provider.keys = {"keys": [published | {"kid": "0"}]}
    assert sign_in_at_provider(client).status_code == 403
    assert "_auth_user_id" not in client.session


@pytest.mark.parametrize("state", ["", "another", "../../", "\0"])
def test_a_wrong_state_is_refused_and_leaves_no_event(
    client: Client, ada: Person, provider: TestProvider, state: str
):
    connect(ada, provider)
    events = AuditEvent.objects.count()
    provider.change_answer = lambda given: given | {"state": state}
    page = sign_in_at_provider(client)
    assert page.status_code == 403
    assert "_auth_user_id" not in client.session
    assert AuditEvent.objects.count() == events


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(metadata(issuer="https://evil.example"), id="another issuer"),
        pytest.param(metadata(token_endpoint=None), id="no token endpoint"),
        pytest.param(metadata(token_endpoint="http://evil.example/token"), id="plain HTTP"),
        pytest.param(metadata(authorization_endpoint="javascript:alert(1)"), id="a script"),
        pytest.param(metadata(jwks_uri=7), id="a number for an address"),
        pytest.param(metadata(jwks_uri="https://["), id="half an address"),
        pytest.param(metadata(jwks_uri="https://\ud800/"), id="half a character in an address"),
    ],
)
def test_no_one_is_redirected_to_a_provider_with_wrong_metadata(
    client: Client, db: None, provider: TestProvider, change: Change
):
    change(provider)
    assert client.get(START).status_code in {403, 502}


@pytest.mark.sweep(every=5)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(metadata(issuer=["https://sso.example.com"]), id="a list of issuers"),
        *(
            pytest.param(metadata(token_endpoint_auth_methods_supported=value), id=f"{value!r}")
            for value in NO_LISTS_OF_STRINGS
        ),
        *(
            pytest.param(metadata(authorization_response_iss_parameter_supported=value), id=text)
            for value, text in ((1, "one for true"), ("false", "a word for false"), ([], "a list"))
        ),
        *(
            pytest.param(metadata(**{name: address}), id=f"{name} {address!r}")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
            for address in (
                "https://sso.example.com:99999/",
                "https://sso.example.com/" + "a" * 2000,
                "https://sso.example.com:0/",
                "https://sso.example.com:port/",
                "https://sso.example.com:-1/",
                "https://:443/",
                "https:///path",
                "https:sso.example.com",
                "https://a..b/",
                "https://.example.com/",
                "https://[::1/",
                "https://[::g]/",
                "https://sso.example.com\\@evil.example/",
                "https://sso@evil.example/",
                "https://sso.example.com/#fragment",
                "https://sso.example.com/\n",
                " https://sso.example.com/",
                "https://sso.example.com/a b",
                "//sso.example.com/",
                "ftp://127.0.0.1/",
                {"url": "https://sso.example.com/"},
            )
        ),
    ],
)
def test_malformed_metadata_shows_an_error_page_without_a_redirect(
    client: Client, db: None, provider: TestProvider, change: Change
):
    change(provider)
    page = client.get(START)
    assert page.status_code in {403, 502}
    headlines = ("Invalid response", "No response from the identity provider")
    assert any(headline in page.text for headline in headlines)
    assert "Location" not in page


@pytest.mark.sweep(every=2)
@pytest.mark.parametrize(
    "text",
    [
        '{"issuer": "ISSUER", "more": NaN, REST}',
        '{"issuer": "ISSUER", "more": -Infinity, REST}',
        '{"issuer": "https://evil.example", "issuer": "ISSUER", REST}',
        '["ISSUER"]',
        '"ISSUER"',
        "null",
        "",
        '{"issuer": "ISSUER"',
        "[" * 100_000,
        '{"issuer": "ISSUER", "more": ' + "9" * 5_000 + ", REST}",
        '{"issuer": "ISSUER", "more": "\xff", REST}',
    ],
    ids=range(11),
)
def test_metadata_that_is_not_strict_json_is_refused(
    client: Client, db: None, provider: TestProvider, text: str
):
    rest = json.dumps({**provider.metadata()} | {"issuer": None}).removeprefix('{"issuer": null, ')
    text = text.replace("REST}", rest).replace("ISSUER", provider.issuer)
    provider.metadata_text = text.encode("latin-1")
    assert client.get(START).status_code == 502


@pytest.mark.parametrize(
    "change",
    [
        metadata(token_endpoint_auth_methods_supported=[]),
        metadata(token_endpoint_auth_methods_supported=None),
        metadata(token_endpoint_auth_methods_supported=["client_secret_basic", "none"]),
        metadata(authorization_endpoint="https://login.example.com:8443/authorize?tenant=1"),
        metadata(authorization_endpoint="https://[2001:db8::1]:8443/authorize"),
        metadata(authorization_endpoint="https://xn--bcher-kva.example./a%20b"),
        metadata(authorization_endpoint="https://sso_test.example.com"),
    ],
    ids=range(7),
)
def test_valid_metadata_is_accepted(
    client: Client, db: None, provider: TestProvider, change: Change
):
    change(provider)
    assert client.get(START).status_code == 302


def test_a_malformed_issuer_gets_no_request(
    client: Client,
    db: None,
    provider: TestProvider,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
):
    fetched: list[str] = []
    monkeypatch.setattr(ProviderExchange, "fetch", lambda exchange, url: fetched.append(url))
    for issuer in ("http://[", "sso.example.com", f"{provider.issuer}#", "http://192.0.2.1"):
        settings.OIDC_ISSUER = issuer
        assert client.get(START).status_code == 502
    assert fetched == []


def test_an_unreachable_provider_is_named_and_passwords_still_work(
    client: Client, ada: Person, provider: TestProvider, settings: Settings
):
    settings.OIDC_ISSUER = "http://127.0.0.1:9"
    page = client.get(START)
    assert page.status_code == 502
    assert "No response from the identity provider" in page.text
    assert "/accounts/login/" in page.text


def test_invalid_keys_are_refused(client: Client, ada: Person, provider: TestProvider):
    connect(ada, provider)
    provider.change_metadata = lambda given: given | {"jwks_uri": f"{provider.issuer}/nothing"}
    assert sign_in_at_provider(client).status_code == 502


def test_a_wrong_pkce_verifier_is_refused_by_the_provider(
    client: Client, ada: Person, provider: TestProvider
):
    connect(ada, provider)
    there = client.get(START)
    session = client.session
    ((state, kept),) = session["provider_sign_ins"].items()
    session["provider_sign_ins"] = {
        state: kept | {"request": kept["request"] | {"verifier": "another"}}
    }
    session.save()
    back = requests.get(there["Location"], allow_redirects=False, timeout=10)
    page = client.get(back.headers["Location"].removeprefix("http://testserver"))
    assert page.status_code == 403
    assert "_auth_user_id" not in client.session

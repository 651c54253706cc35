"""The properties that every sign-in must keep, tested against two providers.

One is simulated, so that it can misbehave: test_faults.py and test_slow_provider.py test the
signature, malformed responses, the total deadline and redirects with it. The other is certified, so
that Org Admin doesn't only agree with itself.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test import Client

from connections.models import AuditEvent, Person, ProviderAccount
from connections.people.oidc.exchange import ProviderExchange
from tests.people.oidc.support import (
    START,
    connect,
    is_signed_in,
    last_event,
    redirect_back,
    sign_in_at_provider,
)
from tests.support.certified_provider import CertifiedProvider
from tests.support.provider import TestProvider, public_key

type Provider = TestProvider | CertifiedProvider


def change_pending(client: Client, **changed: str) -> None:
    """Change what the browser's session remembers of the sign-in that it started."""
    session = client.session
    (pending,) = session["provider_sign_ins"].values()
    pending["request"] |= changed
    session.save()


def is_refused_as(client: Client, back: str, reason: str) -> bool:
    page = client.get(back)
    assert page.status_code == 403
    assert "_auth_user_id" not in client.session
    return bool(last_event().details == {"reason": reason})


def test_a_connected_person_signs_in(client: Client, ada: Person, either_provider: Provider):
    connect(ada, either_provider)
    sign_in_at_provider(client)
    assert is_signed_in(client, ada)


def test_the_subject_alone_identifies_a_person_and_nothing_else_is_stored(
    client: Client, ada: Person, either_provider: Provider
):
    assert ada.email == "ada@example.com"
    assert is_refused_as(client, redirect_back(client), "unknown_account")
    assert not ProviderAccount.objects.exists()
    assert Person.objects.count() == 1
    tables = connection.introspection.table_names()
    # Tokens of the API are no provider's.
    stored = [table for table in tables if "social" in table or "token" in table]
    assert stored == ["connections_apitoken"]


def test_the_nonce_of_another_sign_in_is_refused(
    client: Client, ada: Person, either_provider: Provider
):
    connect(ada, either_provider)
    back = redirect_back(client)
    change_pending(client, nonce="another")
    assert is_refused_as(client, back, "wrong_nonce")


def test_the_code_of_another_sign_in_is_refused(
    client: Client, ada: Person, either_provider: Provider
):
    connect(ada, either_provider)
    back = redirect_back(client)
    change_pending(client, verifier="another" * 8)
    assert is_refused_as(client, back, "refused")


def test_a_response_of_another_issuer_is_refused(
    client: Client, ada: Person, either_provider: Provider
):
    connect(ada, either_provider)
    back = redirect_back(client)
    (issuer,) = parse_qs(urlsplit(back).query)["iss"]
    assert issuer == either_provider.issuer
    back = f"{back.split('iss=')[0]}iss=https://evil.example"
    assert is_refused_as(client, back, "wrong_issuer")


def test_a_response_without_issuer_is_refused_where_the_provider_sends_it(
    client: Client, ada: Person, either_provider: Provider
):
    connect(ada, either_provider)
    path, _, query = redirect_back(client).partition("?")
    rest = "&".join(part for part in query.split("&") if not part.startswith("iss="))
    assert is_refused_as(client, f"{path}?{rest}", "wrong_issuer")


def test_a_token_signed_with_another_key_is_refused(
    client: Client, ada: Person, either_provider: Provider, monkeypatch: pytest.MonkeyPatch
):
    connect(ada, either_provider)
    fetch: Callable[..., dict[str, Any]] = ProviderExchange.fetch

    def fetch_other_keys(exchange: ProviderExchange, url: str, **options: Any) -> dict[str, Any]:
        document = fetch(exchange, url, **options)
        if "keys" not in document:
            return document
        ids = [key["kid"] for key in document["keys"]]
        return {"keys": [public_key(1) | {"kid": key_id} for key_id in ids]}

    monkeypatch.setattr(ProviderExchange, "fetch", fetch_other_keys)
    assert is_refused_as(client, redirect_back(client), "bad_token")


def test_an_identity_check_needs_a_sign_in_after_it_was_requested(
    client: Client, ada: Person, either_provider: Provider
):
    connect(ada, either_provider)
    sign_in_at_provider(client)
    again = f"{START}again/"
    asked = parse_qs(urlsplit(client.get(again)["Location"]).query)
    assert (asked["prompt"], asked["max_age"]) == (["login"], ["0"])
    assert sign_in_at_provider(client, again).status_code == 302
    assert last_event().code == "person.reauthenticated"


def test_a_response_counts_once(client: Client, ada: Person, either_provider: Provider):
    connect(ada, either_provider)
    back = redirect_back(client)
    client.get(back)
    events = AuditEvent.objects.count()
    assert client.get(back).status_code == 403
    assert AuditEvent.objects.count() == events

"""Following the redirects to the provider and back, as a browser does."""

from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from django.test import Client

from connections.models import AuditEvent, Person, ProviderAccount
from connections.people import provider_accounts
from tests.support.certified_provider import CertifiedProvider
from tests.support.people import person_as_administrator
from tests.support.provider import TestProvider

START = "/sign-in/provider/"


def connect(person: Person, provider: TestProvider | CertifiedProvider) -> ProviderAccount:
    """Connect the provider's current subject to the person, as an administrator does."""
    return provider_accounts.connect_account(
        actor=person_as_administrator(),
        person=person,
        issuer=provider.issuer,
        subject=provider.subject,
    )


def redirect_back(client: Client, start: str = START) -> str:
    """Go to the provider; returns the path and query of its redirect back."""
    response = client.get(start)
    assert response.status_code == 302, response.text
    address = response["Location"]
    # The provider's cookies, which it needs while someone enters a password there.
    with requests.Session() as browser:
        while not address.startswith("http://testserver/"):
            page = browser.get(address, allow_redirects=False, timeout=10)
            assert page.is_redirect, page.text
            address = urljoin(address, page.headers["Location"])
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}"


def sign_in_at_provider(client: Client, start: str = START) -> Any:
    """Go to the provider and back; returns Org Admin's response."""
    return client.get(redirect_back(client, start))


def is_signed_in(client: Client, person: Person) -> bool:
    return client.session.get("_auth_user_id") == str(person.pk)


def last_event() -> AuditEvent:
    return AuditEvent.objects.latest("seq")

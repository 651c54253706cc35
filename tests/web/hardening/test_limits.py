"""Expensive requests are rate-limited across processes."""

from collections.abc import Callable
from uuid import UUID

import pytest
from django.test import Client

from connections.models import AuditEvent, Person

pytestmark = pytest.mark.django_db

# Views of one resource share a limit: requests to one count for the other.
EXPENSIVE = {
    "exports of deletions": (30, "GET", "/deletions/export/?format=csv"),
    "exports of connections": (30, "GET", "/connections/export/?format=csv"),
    "exports of events": (30, "GET", "/audit/export/?format=csv"),
    "refreshes": (20, "POST", "/connections/refresh/"),
    "verifications": (10, "POST", "/evidence/verify/"),
    "bundles": (10, "POST", "/evidence/bundle/"),
    "tests of a destination": (10, "POST", "/notices/test/"),
    # This ID doesn't exist, which is only checked after the request is counted.
    "checks with Datadog": (30, "POST", f"/deletions/{UUID(int=1)}/reconcile/"),
    "imports": (10, "POST", "/credentials/import/"),
    "checks of keys": (20, "POST", f"/credentials/{UUID(int=1)}/verify/"),
}


def send_request(client: Client, method: str, path: str) -> int:
    response = client.generic(method, path)
    if response.streaming:
        b"".join(response)
    return int(response.status_code)


@pytest.mark.parametrize("what", EXPENSIVE)
def test_too_many_requests_in_a_minute_are_refused_and_do_nothing(
    what: str, root: Person, client_of: Callable[[Person], Client]
):
    limit, method, path = EXPENSIVE[what]
    client = client_of(root)
    assert 429 not in {send_request(client, method, path) for _ in range(limit)}
    before = AuditEvent.objects.count()
    assert send_request(client, method, path) == 429
    assert AuditEvent.objects.count() == before


def test_one_persons_limit_does_not_affect_another(
    root: Person, edith: Person, client_of: Callable[[Person], Client]
):
    _, method, path = EXPENSIVE["verifications"]
    one, other = client_of(root), client_of(edith)
    while send_request(one, method, path) != 429:
        pass
    assert send_request(other, method, path) != 429


def test_the_refusal_explains_what_to_do(root: Person, client_of: Callable[[Person], Client]):
    client = client_of(root)
    _, _, path = EXPENSIVE["verifications"]
    response = client.post(path)
    while response.status_code != 429:
        response = client.post(path)
    assert "Nothing was changed. Try again in a minute" in response.text
    assert response["Retry-After"] == "60"

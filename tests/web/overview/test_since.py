"""One line says what happened since yesterday, and each figure leads to the list of it."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client

from connections.models import AccessKind, Credential, CredentialAccess, Person
from sandbox import faults
from sandbox.server import SandboxServer
from tests.access_requests.conftest import RequestAccess, create, credential, free_pair, listed_pair
from tests.flows.support import read
from tests.support.clock import SettableClock
from tests.web.overview.test_overview import add_deletion

__all__ = ["create", "credential", "free_pair", "listed_pair"]
ClientOf = Callable[[Person], Client]


def figures(client: Client, since: str = "") -> dict[str, str]:
    """What the line says, with the address of each list."""
    page = client.get("/", {"since": since} if since else {}).text
    [line] = re.findall(r'<p class="since" id="since">(.*?)</p>', page)
    found = re.findall(r'<a data-what="([a-z-]+)" href="([^"]+)">([^<]+)</a>', line)
    return {f"{what}: {text}": url.replace("&amp;", "&") for what, url, text in found}


@pytest.fixture
def labs(credential: Credential, ada: Person, clock: SettableClock) -> Credential:
    """A credential with deletions that ended lately, and long ago."""

    def settled(hours: float, outcome: str) -> None:
        at = clock.now() - timedelta(hours=hours)
        age = timedelta(days=30)
        add_deletion(credential, by=ada, outcome=outcome, age=age, settled_at=at)

    for hours, outcome in ((1, "deleted"), (20, "deleted"), (2, "refused"), (90, "deleted")):
        settled(hours, outcome)
    return credential


@pytest.mark.parametrize(
    ("since", "deleted"), [("", 2), ("24h", 2), ("7d", 3), ("nonsense", 2), ("2999-01-01", 2)]
)
def test_each_figure_counts_what_its_list_shows(
    labs: Credential, ada: Person, client_of: ClientOf, since: str, deleted: int
):
    client = client_of(ada)
    found = figures(client, since)
    assert list(found) == [f"deleted: {deleted} deleted", "failed: 1 deletion failed"]
    for text, url in found.items():
        rows = read(client.get(url)).text
        assert re.search(rf"\b{re.findall(r'[0-9]+', text)[0]} deletions?\b", rows), (text, url)


def test_the_address_can_name_a_time(
    labs: Credential, ada: Person, client_of: ClientOf, clock: SettableClock
):
    at = clock.now() - timedelta(hours=3)
    found = figures(client_of(ada), at.isoformat())
    assert list(found) == ["deleted: 1 deleted", "failed: 1 deletion failed"]


def test_access_that_was_created_or_failed_leads_to_the_access_requests(
    create: RequestAccess,
    ada: Person,
    client_of: ClientOf,
    sandbox: SandboxServer,
    clock: SettableClock,
):
    create(faults.RETURNS_400)
    sandbox.world.clear_faults()
    clock.advance(seconds=1)
    create()
    client = client_of(ada)

    found = figures(client)

    assert list(found) == ["created: 1 created", "failed: 1 access request failed"]
    for url in found.values():
        assert "1 access request" in read(client.get(url)).text


def test_a_quiet_day_says_so(credential: Credential, ada: Person, client_of: ClientOf):
    text = read(client_of(ada).get("/")).text
    assert "nothing was deleted or created, and nothing failed" in text


def test_what_someone_does_not_see_is_not_counted(
    labs: Credential, ada: Person, victor: Person, client_of: ClientOf
):
    CredentialAccess.objects.create(credential=labs, kind=AccessKind.SEE, person=ada)
    assert 'data-what="deleted"' not in client_of(victor).get("/").text

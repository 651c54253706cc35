"""One connection: its details, who can see it, how it changed, and its deletions."""

from collections.abc import Callable

import pytest
from django.test import Client

from connections.access.actor import command_actor
from connections.inventory import syncs
from connections.models import Credential, Person
from sandbox.entities import Connection
from sandbox.server import SandboxServer
from tests.flows.support import Page, read, store_credential
from tests.inventory.support import link_with_text
from tests.support.sandbox import connection_between

ClientOf = Callable[[Person], Client]


@pytest.fixture
def connection(sandbox: SandboxServer) -> Connection:
    return connection_between(sandbox.world, "Payments US", "Group SOC")


def open_detail(client: Client, connection: Connection) -> Page:
    return read(client.get(f"/connections/{connection.source_org.site.name}/{connection.id}/"))


def sync_again(*credentials: Credential) -> None:
    syncs.sync_credentials(credentials=list(credentials), actor=command_actor())


def test_it_shows_who_lists_it_and_deletes_with_the_source_side(
    client_of: ClientOf,
    ada: Person,
    sandbox: SandboxServer,
    payments: Credential,
    connection: Connection,
):
    soc = store_credential(sandbox, "Group SOC")
    page = open_detail(client_of(ada), connection)
    confirmation = f"/deletions/new/?credential={payments.pk}&connection_id={connection.id}"
    assert link_with_text(page.html, "Delete…") == confirmation
    assert "Payments US source side" in page.text
    assert "Group SOC destination side" in page.text
    assert f'href="/credentials/{soc.pk}/"' in page.html


def test_a_change_seen_by_two_credentials_is_shown_once(
    client_of: ClientOf,
    victor: Person,
    sandbox: SandboxServer,
    payments: Credential,
    connection: Connection,
):
    soc = store_credential(sandbox, "Group SOC")
    sandbox.world.change_connection(connection_id=connection.id, connection_types=("logs",))
    sync_again(payments, soc)
    page = open_detail(client_of(victor), connection)
    assert page.text.count("Removed metrics.") == 1
    assert page.text.index("First seen by Org Admin") < page.text.index("Narrowed")
    assert "Delete…" not in page.text


def test_an_unlisted_connection_is_shown_as_last_seen(
    client_of: ClientOf,
    ada: Person,
    sandbox: SandboxServer,
    payments: Credential,
    connection: Connection,
):
    sandbox.world.remove_connection(connection_id=connection.id)
    sync_again(payments)
    page = open_detail(client_of(ada), connection)
    assert page.status == 200
    assert 'class="org-pair is-gone"' in page.html
    assert "No longer listed in Datadog." in page.text
    assert "Removed elsewhere" in page.text
    assert "Delete…" not in page.text

"""Orgs are synced in parallel, so that a slow one does not delay the others."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from connections.core.datadog_keys import KeyPair
from connections.core.secret import Secret
from connections.models import Credential, Person, Sync
from tests.datadog.servers import ScriptedServer, http_response, respond

pytestmark = pytest.mark.django_db

AT_ONCE = 8


class Barrier:
    """Responds only once the maximum number of concurrent requests has arrived."""

    def __init__(self) -> None:
        self._together = threading.Barrier(AT_ONCE)
        self._lock = threading.Lock()
        self._present = 0
        self.most = 0

    def play(self, connection: socket.socket, is_over: threading.Event) -> None:
        """One request."""
        self._count(1)
        with suppress(threading.BrokenBarrierError):
            self._together.wait(timeout=5)
        self._count(-1)
        respond(http_response("503 Service Unavailable", b""))(connection, is_over)

    def _count(self, more: int) -> None:
        with self._lock:
            self._present += more
            self.most = max(self.most, self._present)


@pytest.fixture
def barrier(settings: Settings) -> Iterator[Barrier]:
    """The server of twice as many credentials as can be synced at once."""
    barrier = Barrier()
    with ScriptedServer([barrier.play]) as server:
        settings.EXTRA_SITES = {"slow": server.url}
        for number in range(2 * AT_ONCE):
            store_credential(number)
        yield barrier


def store_credential(number: int) -> None:
    """Store a credential of its own org."""
    now = timezone.now()
    credential = Credential(
        name=f"Org {number}", site="slow", org_id=f"org-{number}", keys_set_at=now, created_at=now
    )
    api_key, application_key = (f"{number:0{length}x}" for length in (32, 40))
    credential.seal_keys(KeyPair(api_key=Secret(api_key), application_key=Secret(application_key)))
    credential.save()


def test_at_most_eight_orgs_are_synced_at_once(
    barrier: Barrier, ada: Person, client_of: Callable[[Person], Client]
) -> None:
    client_of(ada).post("/connections/refresh/")
    assert barrier.most == AT_ONCE
    assert Sync.objects.filter(http_status=503).count() == 2 * AT_ONCE

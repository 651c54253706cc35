"""Orgs are synced in parallel, so that a slow one does not delay the others."""

import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import pytest
from django.db.models.signals import post_save
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from connections.access.actor import WORKER
from connections.core.causes import Cause
from connections.core.datadog_keys import KeyPair
from connections.core.secret import Secret
from connections.inventory import fetching, rate_limits, syncs
from connections.models import Credential, Person, Sync
from tests.datadog.servers import ScriptedServer, http_response, respond

pytestmark = pytest.mark.django_db

FAILURE = respond(http_response("503 Service Unavailable", b""))


class Barrier:
    """Responds once this many requests have arrived, or once no more arrive."""

    def __init__(self, parties: int, *, seconds: float) -> None:
        self._together = threading.Barrier(parties)
        self._seconds = seconds
        self._lock = threading.Lock()
        self._present = 0
        self.most = 0

    def play(self, connection: socket.socket, is_over: threading.Event) -> None:
        """One request."""
        self._count(1)
        with suppress(threading.BrokenBarrierError):
            self._together.wait(timeout=self._seconds)
        self._count(-1)
        FAILURE(connection, is_over)

    def _count(self, more: int) -> None:
        with self._lock:
            self._present += more
            self.most = max(self.most, self._present)


def store_credential(number: int, *, site: str, org_id: str) -> Credential:
    """Store a credential with keys of its own."""
    now = timezone.now()
    credential = Credential(
        name=f"{site} {number}", site=site, org_id=org_id, keys_set_at=now, created_at=now
    )
    api_key, application_key = (f"{number:0{length}x}" for length in (32, 40))
    credential.seal_keys(KeyPair(api_key=Secret(api_key), application_key=Secret(application_key)))
    credential.save()
    return credential


def test_24_requests_are_sent_at_once(
    settings: Settings, ada: Person, client_of: Callable[[Person], Client]
):
    barrier = Barrier(24, seconds=5)
    with ScriptedServer([barrier.play]) as server:
        settings.EXTRA_SITES = {"us": server.url}
        for number in range(15):
            store_credential(number, site="us", org_id=f"org-{number}")
        client_of(ada).post("/connections/refresh/")
    assert barrier.most == 24
    assert Sync.objects.filter(http_status=503).count() == 15


def test_2_requests_are_sent_at_once_to_an_org_with_several_credentials(settings: Settings):
    barrier = Barrier(3, seconds=2)
    with ScriptedServer([barrier.play]) as server:
        settings.EXTRA_SITES = {"us": server.url}
        credentials = [store_credential(number, site="us", org_id="org") for number in range(3)]
        syncs.sync_credentials(credentials=credentials, actor=WORKER)
    assert barrier.most == 2


def test_a_sync_waits_for_other_requests_to_its_org_within_its_deadline(settings: Settings):
    slot = partial(rate_limits.request_slot, site="us", org_id="org")
    with ScriptedServer([FAILURE]) as server, ExitStack() as in_progress:
        settings.EXTRA_SITES = {"us": server.url}
        credential = store_credential(1, site="us", org_id="org")
        for _ in range(rate_limits.REQUESTS_AT_ONCE):
            in_progress.enter_context(slot(0))
        # Without a timeout, the sync would wait until then.
        end = threading.Timer(20, in_progress.close)
        end.start()
        result = fetching.fetch(credential=credential, deadline_seconds=2, takes_turns=True)
        end.cancel()
    assert (result.is_complete, result.cause) == (False, Cause.NO_ANSWER_IN_TIME)


def test_an_org_that_does_not_respond_delays_the_storing_of_no_other(settings: Settings):
    stored = threading.Event()
    was_stored = []

    def note(sender: type[Sync], instance: Sync, **_: Any) -> None:
        stored.set()

    def respond_when_stored(connection: socket.socket, is_over: threading.Event) -> None:
        was_stored.append(stored.wait(timeout=5))
        FAILURE(connection, is_over)

    post_save.connect(note, sender=Sync)
    try:
        with ScriptedServer([respond_when_stored]) as slow, ScriptedServer([FAILURE]) as fast:
            settings.EXTRA_SITES = {"slow": slow.url, "fast": fast.url}
            credentials = [
                store_credential(number, site=site, org_id=site)
                for number, site in enumerate(("slow", "fast"))
            ]
            rows = syncs.sync_credentials(credentials=credentials, actor=WORKER)
    finally:
        post_save.disconnect(note, sender=Sync)
    assert was_stored == [True, True]
    assert [sync.credential for sync in rows] == credentials

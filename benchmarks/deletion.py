"""What we add to Datadog's own time when a deletion is confirmed: `python -m benchmarks.deletion`.

A stand-in for Datadog answers over real sockets on this machine and notes how long each answer
took; the POST of the review page is timed around it. The difference is ours: session, checks,
decryption, two durable transactions, the record, the page.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from typing import Any
from uuid import UUID, uuid4

from benchmarks.temporary_django import throwaway_django


@dataclass(kw_only=True)
class Spent:
    """Milliseconds of each deletion: in all, without Datadog's answers, and computing alone."""

    total: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    # Of `ours`, what the processor worked; the rest is waiting for the disk and for a turn.
    computing: list[float] = field(default_factory=list)
    # What one more deletion asked the database, as it was asked.
    statements: list[str] = field(default_factory=list)


def main() -> None:
    """Delete one connection after another and print p50 and p95 of what we add."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deletions", type=int, default=200)
    parser.add_argument("--listed", type=int, default=10, help="Other connections of the org.")
    options = parser.parse_args()
    with throwaway_django():
        spent = _measure(options.deletions, listed=options.listed)
    _say(f"{options.deletions} confirmed deletions, three requests to Datadog each")
    for name, values in (
        ("whole POST", spent.total),
        ("without Datadog's answers", spent.ours),
        ("of that computing", spent.computing),
    ):
        _say(f"{name:26} p50 {_share(values, 50):6.1f} ms   p95 {_share(values, 95):6.1f} ms")
    commits = sum(statement.startswith("COMMIT") for statement in spent.statements)
    _say(f"one of them: {len(spent.statements)} statements, {commits} of them commits")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - its output is a table


def _share(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


class _Watch:
    """Takes the time of what is done within it, by the wall's clock and by the thread's."""

    def __init__(self) -> None:
        self.wall = self.thread = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add the time that passes within."""
        wall, thread = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.wall += (time.perf_counter() - wall) * 1000
            self.thread += (time.thread_time() - thread) * 1000


def _measure(count: int, *, listed: int) -> Spent:
    from django.conf import settings
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from connections.models import Person
    from sandbox.server import SandboxServer

    settings.ALLOWED_HOSTS = ["testserver"]
    spent = Spent()
    world = _world(listed)
    with SandboxServer(world) as server:
        settings.EXTRA_SITES = server.base_urls
        credential = _store_credential(world)
        client = Client()
        client.force_login(Person.objects.create(username="ada", is_superuser=True))
        for number in range(count + 1):
            form = _form(credential=credential, connection_id=_add_connection(world))
            whole, datadog = _post(client, form)
            if number:
                # The first one opens the connection and fills caches.
                spent.total.append(whole.wall)
                spent.ours.append(whole.wall - datadog.wall)
                spent.computing.append(whole.thread - datadog.thread)
        form = _form(credential=credential, connection_id=_add_connection(world))
        with CaptureQueriesContext(connection) as captured:
            _post(client, form)
        spent.statements = [query["sql"] for query in captured.captured_queries]
    return spent


def _post(client: Any, form: dict[str, str]) -> tuple[_Watch, _Watch]:
    """Post the review's form; the time of all, and of what was spent on Datadog's answers."""
    module: Any = import_module("connections.datadog.client")
    send, whole, datadog = module.send, _Watch(), _Watch()

    def timed(**arguments: Any) -> Any:
        with datadog.running():
            return send(**arguments)

    module.send = timed
    try:
        with whole.running():
            response = client.post("/deletions/new/", form)
    finally:
        module.send = send
    if response.status_code != 303:
        raise SystemExit(f"The POST answered {response.status_code}.")
    return whole, datadog


def _world(listed: int) -> Any:
    from sandbox.world import World

    world = World(sites=("sandbox-us1",))
    world.add_key_pair(org=world.add_org(name="Source", site="sandbox-us1"))
    for _ in range(listed):
        _add_connection(world)
    return world


def _add_connection(world: Any) -> str:
    """Let the org share with one more; the id of the connection."""
    from sandbox.entities import make_user

    sink = world.add_org(name=f"Destination {uuid4()}", site="sandbox-us1")
    connection = world.add_connection(
        source_org=next(iter(world.key_pairs())).org,
        sink_org=sink,
        connection_types=("logs",),
        created_by=make_user(name="Dana Keller"),
        created_at=datetime(2025, 8, 26, tzinfo=UTC),
    )
    return str(connection.id)


def _store_credential(world: Any) -> Any:
    from django.utils import timezone

    from connections.models import Credential, KeyPair
    from connections.secret import Secret

    pair = next(iter(world.key_pairs()))
    now = timezone.now()
    credential = Credential(
        name="Source",
        site="sandbox-us1",
        org_id=pair.org.id,
        org_name=pair.org.name,
        keys_set_at=now,
        keys_set_by_name="Ada",
        verified_at=now,
        created_at=now,
        created_by_name="Ada",
    )
    keys = KeyPair(api_key=Secret(pair.api_key), application_key=Secret(pair.application_key))
    credential.seal_keys(keys)
    credential.save()
    return credential


def _form(*, credential: Any, connection_id: str) -> dict[str, str]:
    """The review's form of a connection that was just read, filled in."""
    from connections.actors import command_actor
    from connections.services.deletions import reviews
    from connections.services.org_connections import org_connections

    org_connections.refresh_credentials(credentials=[credential], actor=command_actor())
    shown = reviews.review(
        actor=command_actor(), credential=credential, connection_id=UUID(connection_id)
    )
    return {
        "credential": str(credential.pk),
        "connection_id": connection_id,
        "reason": "measured",
        "ticket": "",
        "request_id": str(uuid4()),
        "digest": shown.digest,
        "confirmation": shown.text_to_type,
    }


if __name__ == "__main__":
    main()

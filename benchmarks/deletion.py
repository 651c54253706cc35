"""Time that Org Admin adds to a confirmed deletion: `python -m benchmarks.deletion`.

Times the POST of the review page with the Datadog simulator on this machine, and subtracts the time
of the Datadog requests. The rest is session, checks, decryption, two durable transactions, audit
events and the page.
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

from benchmarks.reporting import print_line
from benchmarks.temporary_django import temporary_django


@dataclass(kw_only=True)
class Results:
    """Milliseconds for each deletion, and the SQL statements of one."""

    total: list[float] = field(default_factory=list)
    without_datadog: list[float] = field(default_factory=list)
    # CPU time of `without_datadog`; the rest is waiting for the disk or the CPU.
    cpu: list[float] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)


def main() -> None:
    """Delete connections one after another and print the median and the 95th percentile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deletions", type=int, default=200)
    parser.add_argument(
        "--listed", type=int, default=10, help="Number of other connections of the org."
    )
    options = parser.parse_args()
    with temporary_django():
        results = _measure(options.deletions, listed=options.listed)
    print_line(f"{options.deletions} confirmed deletions with two Datadog requests each")
    for name, values in (
        ("whole POST", results.total),
        ("without Datadog requests", results.without_datadog),
        ("CPU time of that", results.cpu),
    ):
        p50, p95 = _percentile(values, 50), _percentile(values, 95)
        print_line(f"{name:26} p50 {p50:6.1f} ms   p95 {p95:6.1f} ms")
    commits = sum(statement.startswith("COMMIT") for statement in results.statements)
    print_line(f"one deletion: {len(results.statements)} SQL statements, {commits} of them commits")


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


class _Stopwatch:
    """Adds up elapsed time and the thread's CPU time, in milliseconds."""

    def __init__(self) -> None:
        self.elapsed = self.cpu = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add the time spent in the context."""
        started, cpu_started = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.elapsed += (time.perf_counter() - started) * 1000
            self.cpu += (time.thread_time() - cpu_started) * 1000


def _measure(count: int, *, listed: int) -> Results:
    from django.conf import settings
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from connections.models import Person
    from sandbox.server import SandboxServer

    settings.ALLOWED_HOSTS = ["testserver"]
    results = Results()
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
                # Not the first one, which opens the connection and fills caches.
                results.total.append(whole.elapsed)
                results.without_datadog.append(whole.elapsed - datadog.elapsed)
                results.cpu.append(whole.cpu - datadog.cpu)
        form = _form(credential=credential, connection_id=_add_connection(world))
        with CaptureQueriesContext(connection) as captured:
            _post(client, form)
        results.statements = [query["sql"] for query in captured.captured_queries]
    return results


def _post(client: Any, form: dict[str, str]) -> tuple[_Stopwatch, _Stopwatch]:
    """Post the review form; return the times of the whole POST and of its Datadog requests."""
    module: Any = import_module("connections.datadog.client")
    send, whole, datadog = module.send, _Stopwatch(), _Stopwatch()

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
        raise SystemExit(f"The POST returned {response.status_code}.")
    return whole, datadog


def _world(listed: int) -> Any:
    from sandbox.world import World

    world = World(sites=("sandbox-us1",))
    world.add_key_pair(org=world.add_org(name="Source", site="sandbox-us1"))
    for _ in range(listed):
        _add_connection(world)
    return world


def _add_connection(world: Any) -> str:
    """Add a connection from the org to a new one and return its ID."""
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

    from connections.core.datadog_keys import KeyPair
    from connections.core.secret import Secret
    from connections.models import Credential

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
    """Sync, review the connection and return the filled-in review form."""
    from connections.access.actor import command_actor
    from connections.deletions import reviews
    from connections.inventory import sync

    sync.sync_credentials(credentials=[credential], actor=command_actor())
    shown = reviews.review(
        actor=command_actor(), credential=credential, connection_id=UUID(connection_id)
    )
    return {
        "credential": str(credential.pk),
        "connection_id": connection_id,
        "reason": "benchmark",
        "ticket": "",
        "request_id": str(uuid4()),
        "digest": shown.digest,
        "confirmation": shown.text_to_type,
    }


if __name__ == "__main__":
    main()

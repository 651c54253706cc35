"""What we add to Datadog's own time when a deletion is confirmed: `python -m benchmarks.deletion`.

A stand-in for Datadog answers over real sockets on this machine and notes how long each answer
took; the POST of the review page is timed around it. The difference is ours: session, checks,
decryption, two durable transactions, the record, the page.
"""

import argparse
import statistics
import time
from datetime import UTC, datetime
from importlib import import_module
from typing import Any
from uuid import uuid4

from benchmarks.throwaway import throwaway_django


def main() -> None:
    """Delete one connection after another and print p50 and p95 of what we add."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deletions", type=int, default=200)
    options = parser.parse_args()
    with throwaway_django():
        ours, total = _measure(options.deletions)
    _say(f"{options.deletions} confirmed deletions, three requests to Datadog each")
    _say(f"whole POST:   p50 {_share(total, 50):6.1f} ms   p95 {_share(total, 95):6.1f} ms")
    _say(f"ours of that: p50 {_share(ours, 50):6.1f} ms   p95 {_share(ours, 95):6.1f} ms")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - its output is a table


def _share(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _measure(count: int) -> tuple[list[float], list[float]]:
    """Milliseconds that are ours, and in all, of each deletion."""
    from django.conf import settings
    from django.test import Client

    from connections.models import Person
    from sandbox.server import SandboxServer

    settings.ALLOWED_HOSTS = ["testserver"]
    datadog: Any = import_module("connections.datadog.client")
    waited: list[float] = []
    send = datadog.send

    def timed(**arguments: Any) -> Any:
        started = time.perf_counter()
        try:
            return send(**arguments)
        finally:
            waited.append((time.perf_counter() - started) * 1000)

    datadog.send = timed
    ours, total = [], []
    with SandboxServer(_world(count + 1)) as server:
        settings.EXTRA_SITES = server.base_urls
        credential = _store_credential(server.world)
        client = Client()
        client.force_login(Person.objects.create(username="ada", is_superuser=True))
        for number, connection in enumerate(list(server.world.connections())):
            form = _form(client, credential=credential, connection_id=connection.id)
            waited.clear()
            started = time.perf_counter()
            response = client.post("/deletions/new/", form)
            taken = (time.perf_counter() - started) * 1000
            if response.status_code != 303:
                raise SystemExit(f"The POST answered {response.status_code}.")
            if number:
                # The first one opens the connection and fills caches.
                ours.append(taken - sum(waited))
                total.append(taken)
    return ours, total


def _world(count: int) -> Any:
    from sandbox.world import World, make_user

    world = World(sites=("sandbox-us1",))
    source = world.add_org(name="Source", site="sandbox-us1")
    world.add_key_pair(org=source)
    person = make_user(name="Dana Keller")
    for number in range(count):
        world.add_connection(
            source_org=source,
            sink_org=world.add_org(name=f"Destination {number}", site="sandbox-us1"),
            connection_types=("logs",),
            created_by=person,
            created_at=datetime(2025, 8, 26, tzinfo=UTC),
        )
    return world


def _store_credential(world: Any) -> Any:
    from django.utils import timezone

    from connections.actors import command_actor
    from connections.models import Credential, KeyPair
    from connections.secret import Secret
    from connections.services import org_connections

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
    org_connections.refresh_credentials(credentials=[credential], actor=command_actor())
    return credential


def _form(client: Any, *, credential: Any, connection_id: str) -> dict[str, str]:
    """The review's form, filled in."""
    from uuid import UUID

    from connections.actors import command_actor
    from connections.services import reviews

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

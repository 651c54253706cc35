"""A Datadog simulator for tests: a small world and the fixture that serves it."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from sandbox.entities import Connection, KeyPair, Org, make_user
from sandbox.faults import Fault, Transmission
from sandbox.server import SandboxServer
from sandbox.world import World

US = "sandbox-us1"
EU = "sandbox-eu1"


def seconds_for(fault: Fault | None) -> float:
    """Return how long to wait for the response to a DELETE: short when none will come."""
    return 2 if fault and fault.transmission is Transmission.NOTHING else 20


def make_world() -> World:
    """Return a world of two sites, four orgs, three key pairs and three connections.

    US site: "Payments US" → "Group SOC" (logs, metrics) and "Group SOC" → "Payments US" (audit).
    EU site: "Labs EU" → "Data Lake EU" (logs); "Data Lake EU" has no key pair.
    """
    world = World(sites=(US, EU))
    payments = world.add_org(name="Payments US", site=US)
    soc = world.add_org(name="Group SOC", site=US)
    labs = world.add_org(name="Labs EU", site=EU)
    lake = world.add_org(name="Data Lake EU", site=EU)
    for org in (payments, soc, labs):
        world.add_key_pair(org=org)
    person = make_user(name="Dana Keller")
    for source, sink, types in (
        (payments, soc, ("logs", "metrics")),
        (soc, payments, ("audit",)),
        (labs, lake, ("logs",)),
    ):
        world.add_connection(
            source_org=source,
            sink_org=sink,
            connection_types=types,
            created_by=person,
            created_at=datetime(2025, 8, 26, 20, 19, 35, 554634, tzinfo=UTC),
        )
    return world


def org_named(world: World, name: str) -> Org:
    """Return the one org with this name."""
    [org] = [org for org in world.orgs.values() if org.name == name]
    return org


def key_pair_of(world: World, org_name: str) -> KeyPair:
    """Return the first working key pair of the org."""
    return next(pair for pair in world.key_pairs() if pair.org.name == org_name)


def connection_between(world: World, source: str, sink: str) -> Connection:
    """Return the one connection from the source org to the sink org."""
    [connection] = [
        connection
        for connection in world.connections()
        if (connection.source_org.name, connection.sink_org.name) == (source, sink)
    ]
    return connection


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    """Serve `make_world()` on free loopback ports."""
    with SandboxServer(make_world()) as server:
        yield server


def key_headers(pair: KeyPair) -> dict[str, str]:
    """Return the headers that authenticate with the key pair."""
    return {
        "Accept": "application/json",
        "DD-API-KEY": pair.api_key,
        "DD-APPLICATION-KEY": pair.application_key,
    }

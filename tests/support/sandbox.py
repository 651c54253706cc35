"""A small Datadog for tests, and the fixture that serves it."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from sandbox.faults import Fault, Wire
from sandbox.server import SandboxServer
from sandbox.world import Connection, KeyPair, Org, World, make_user

US = "sandbox-us1"
EU = "sandbox-eu1"


def seconds_for(fault: Fault | None) -> float:
    """How long to wait for the answer to a DELETE: soon over where none comes, else longer than any
    machine is busy."""
    return 0.5 if fault and fault.wire is Wire.SILENCE else 20


def make_world() -> World:
    """Two sites, three orgs, a key pair each, three connections.

    On the US site "Payments US" lets "Group SOC" read logs and metrics, and "Group SOC" lets
    "Payments US" read audit events; "Labs EU" is alone on the EU site but for "Data Lake EU",
    which has no keys and which it lets read logs.
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
    """Give the one org of that name."""
    [org] = [one for one in world.orgs.values() if one.name == name]
    return org


def key_pair_of(world: World, org_name: str) -> KeyPair:
    """Give the first working key pair of the org."""
    return next(pair for pair in world.key_pairs() if pair.org.name == org_name)


def connection_between(world: World, source: str, sink: str) -> Connection:
    """Give the one connection from the first org to the second."""
    [connection] = [
        one
        for one in world.connections()
        if (one.source_org.name, one.sink_org.name) == (source, sink)
    ]
    return connection


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    """Serve `make_world()` on loopback ports of its own."""
    with SandboxServer(make_world()) as server:
        yield server


def key_headers(pair: KeyPair) -> dict[str, str]:
    """Give the headers that present the pair to Datadog."""
    return {
        "Accept": "application/json",
        "DD-API-KEY": pair.api_key,
        "DD-APPLICATION-KEY": pair.application_key,
    }

"""The orgs and connections of the benchmarks, the same at each run, and a simulator with them.

`python -m benchmarks.world DIRECTORY` serves them over TLS until its parent process ends.
"""

import argparse
import hashlib
import json
import os
import time
import uuid
from itertools import permutations
from pathlib import Path

from sandbox.certificates import make_certificate
from sandbox.fault_rules import OPERATIONS
from sandbox.faults import delayed
from sandbox.payloads import connection_list
from sandbox.server import SandboxServer
from sandbox.world import World

SITE = "sandbox-us1"
# Org 0 has the connections that are deleted. Each of the next 50 orgs lists 20 connections.
SOURCE = 0
# Has as many connections, which the other side of a comparison deletes. If they were org 0's, Org
# Admin's syncs would store their removals.
PEER = 999
SYNCED = range(1, 51)
LINKED = 10
# How many others are listed along with the connections to delete.
OTHERS = 10
_NAMES = uuid.UUID(int=7)


def org_of(number: int) -> tuple[str, str]:
    """The ID and name of an org. The first fifty are called Alpha, all others Beta."""
    return str(uuid.uuid5(_NAMES, f"org {number}")), f"{_group_of(number)} Team {number:02}"


def _group_of(number: int) -> str:
    return "Alpha" if number < 50 else "Beta"


def connection_of(source: int, sink: int) -> str:
    """The ID of the connection from one org to another."""
    return str(uuid.uuid5(_NAMES, f"{source} {sink}"))


def deletable(count: int, *, source: int = SOURCE) -> list[str]:
    """The IDs of the connections of one org that a benchmark can delete."""
    return [connection_of(source, 1000 + number) for number in range(count)]


def keys_of(number: int) -> tuple[str, str]:
    """The API key and application key of an org."""
    digest = hashlib.sha256(f"org {number}".encode()).hexdigest()
    return digest[:32], digest[24:]


def build_world(*, to_delete: int) -> World:
    """Every org with its keys and connections."""
    world = World(sites=(SITE,))
    orgs = {}
    for number in (SOURCE, PEER, *SYNCED, *range(1000, 1000 + to_delete + OTHERS)):
        org_id, name = org_of(number)
        orgs[number] = world.add_org(id=org_id, name=name, site=SITE)
    pairs = [(source, number) for number in orgs if number >= 1000 for source in (SOURCE, PEER)]
    for number in (SOURCE, PEER, *SYNCED):
        api_key, application_key = keys_of(number)
        world.add_key_pair(org=orgs[number], api_key=api_key, application_key=application_key)
    for number in SYNCED:
        pairs += [(number, (number + step - 1) % len(SYNCED) + 1) for step in range(1, LINKED + 1)]
    for source, sink in pairs:
        world.add_connection(
            id=connection_of(source, sink), source_org=orgs[source], sink_org=orgs[sink]
        )
    return world


def list_every_pair(*, orgs: int) -> str:
    """A connection from each org to each other, as Datadog's list has them."""
    world = World(sites=(SITE,))
    by_number = {}
    for number in range(orgs):
        org_id, name = org_of(number)
        by_number[number] = world.add_org(id=org_id, name=name, site=SITE)
    for source, sink in permutations(range(orgs), 2):
        world.add_connection(
            id=connection_of(source, sink), source_org=by_number[source], sink_org=by_number[sink]
        )
    page = world.connections()
    count = len(page)
    document = connection_list(page=page, total_count=count, total_filtered_count=count)
    return json.dumps(document, separators=(",", ":"))


def main() -> None:
    """Print the base URL as JSON, then serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="For the certificate and its key.")
    parser.add_argument("--to-delete", type=int, default=0, metavar="N")
    parser.add_argument("--delay", type=float, default=0.0, help="Of each response, in seconds.")
    options = parser.parse_args()
    parent = os.getppid()
    certificate = make_certificate(options.directory)
    world = build_world(to_delete=options.to_delete)
    if options.delay:
        for operation in OPERATIONS:
            world.set_fault(fault=delayed(seconds=options.delay), operation=operation)
    with SandboxServer(world, tls=certificate.server) as server:
        document = {"url": server.base_urls[SITE], "bundle": str(certificate.bundle)}
        print(json.dumps(document), flush=True)  # noqa: T201 - the caller reads it
        while os.getppid() == parent:
            time.sleep(0.2)


if __name__ == "__main__":
    main()

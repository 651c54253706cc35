"""The demo's world is realistic and always the same."""

from datetime import UTC, datetime

from sandbox.demo_world import (
    DEMO_FAULTS,
    EU1,
    SITES,
    VISIBLE_CONNECTIONS,
    connection_id_between,
    demo_access_token,
    demo_key_pairs,
    demo_world,
)
from sandbox.server import SandboxServer
from tests.sandbox.client import LIST, send

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def test_the_demo_world_is_always_the_same():
    one, two = demo_world(now=NOW), demo_world(now=NOW)
    assert one.connections() == two.connections()
    assert one.key_pairs() == two.key_pairs() == demo_key_pairs()


def test_the_key_pairs_of_44_of_50_orgs_list_400_connections():
    world = demo_world()
    pairs = world.key_pairs()
    seen = {connection.id for pair in pairs for connection in world.connections(org=pair.org)}
    assert (len(world.orgs), len(pairs)) == (50, 44)
    assert {pair.org.site.name for pair in pairs} == set(SITES)
    assert len(seen) == VISIBLE_CONNECTIONS == 400
    assert len(world.connections()) == 402


def test_two_credentials_of_one_org_list_different_connections():
    token = demo_access_token()
    [pair] = [pair for pair in demo_key_pairs() if pair.org == token.org]
    assert pair.unlisted == {connection_id_between(source="Robotics", sink="Mobile")}
    assert demo_access_token() == token


def test_two_connections_are_listed_by_both_of_their_orgs():
    world = demo_world()
    payments, soc = world.key_pairs()[:2]
    both = [
        connection
        for connection in world.connections(org=payments.org)
        if connection.involves(soc.org)
    ]
    assert len(both) == 2


def test_every_fault_belongs_to_a_connection_that_a_key_pair_lists():
    world = demo_world()
    seen = {
        connection.id
        for pair in world.key_pairs()
        for connection in world.connections(org=pair.org)
    }
    assert set(DEMO_FAULTS) <= seen
    assert len(DEMO_FAULTS) >= 12


def test_a_fault_applies_to_its_connection_only():
    with SandboxServer(demo_world()) as server:
        soc = server.world.key_pairs()[1]
        assert soc.org.site.name == EU1
        refused = connection_id_between(source="Claims EU", sink="Group SOC")
        deletable = connection_id_between(source="Partner Portal", sink="Group SOC")
        assert send(server, "DELETE", f"{LIST}/{refused}", pair=soc).status_code == 403
        assert send(server, "DELETE", f"{LIST}/{deletable}", pair=soc).status_code == 200

"""A fault applies to the requests that match its rule, and to no others."""

import pytest

from sandbox import faults
from sandbox.server import SandboxServer
from sandbox.world import World
from tests.sandbox.client import LIST, payments_connection, read_delete_response, send
from tests.support.sandbox import EU, key_pair_of


def test_a_fault_of_one_site_does_not_apply_to_others(sandbox: SandboxServer):
    sandbox.world.set_fault(site=EU, method="GET", fault=faults.RETURNS_503)
    labs, (payments, _) = key_pair_of(sandbox.world, "Labs EU"), payments_connection(sandbox)
    assert send(sandbox, "GET", LIST, pair=labs).status_code == 503
    assert send(sandbox, "GET", LIST, pair=payments).status_code == 200


def statuses_of_three_lists(world: World, sandbox: SandboxServer) -> list[int]:
    pair = key_pair_of(world, "Payments US")
    return [send(sandbox, "GET", LIST, pair=pair).status_code for _ in range(3)]


def test_times_limits_how_often_a_fault_applies(sandbox: SandboxServer):
    sandbox.world.set_fault(method="GET", fault=faults.RETURNS_500, times=2)
    assert statuses_of_three_lists(sandbox.world, sandbox) == [500, 500, 200]


def test_after_skips_the_first_requests(sandbox: SandboxServer):
    sandbox.world.set_fault(method="GET", fault=faults.RETURNS_500, after=1, times=1)
    assert statuses_of_three_lists(sandbox.world, sandbox) == [200, 500, 200]


def test_a_reset_before_reading_counts_each_request_once(sandbox: SandboxServer):
    pair, connection_id = payments_connection(sandbox)
    world = sandbox.world
    world.set_fault(org=pair.org, fault=faults.RESET_BEFORE_READING, after=1, times=1)
    assert send(sandbox, "DELETE", f"{LIST}/1234", pair=pair).status_code == 400
    with pytest.raises(ConnectionResetError):
        read_delete_response(sandbox, pair, connection_id)
    assert send(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair).status_code == 200


def test_the_newest_fault_wins(sandbox: SandboxServer):
    sandbox.world.set_fault(method="GET", fault=faults.RETURNS_500)
    sandbox.world.set_fault(method="GET", fault=faults.RETURNS_503, times=1)
    assert statuses_of_three_lists(sandbox.world, sandbox) == [503, 500, 500]


def test_a_fault_with_an_unknown_operation_is_refused(sandbox: SandboxServer):
    with pytest.raises(ValueError, match="is one of"):
        sandbox.world.set_fault(operation="explode", fault=faults.RETURNS_500)

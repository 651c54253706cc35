"""A fault strikes the requests to which it is bound, and no others."""

import pytest

from sandbox import faults
from sandbox.server import SandboxServer
from sandbox.world import World
from tests.sandbox.client import LIST, ask, bytes_of_delete, to_payments
from tests.support.sandbox import EU, key_pair_of


def test_a_fault_bound_to_a_site_leaves_the_others_alone(sandbox: SandboxServer) -> None:
    sandbox.world.set_fault(site=EU, method="GET", fault=faults.ANSWERS_503)
    labs, (payments, _) = key_pair_of(sandbox.world, "Labs EU"), to_payments(sandbox)
    assert ask(sandbox, "GET", LIST, pair=labs).status_code == 503
    assert ask(sandbox, "GET", LIST, pair=payments).status_code == 200


def statuses_of_three_listings(world: World, sandbox: SandboxServer) -> list[int]:
    pair = key_pair_of(world, "Payments US")
    return [ask(sandbox, "GET", LIST, pair=pair).status_code for _ in range(3)]


def test_a_fault_ends_after_its_times(sandbox: SandboxServer) -> None:
    sandbox.world.set_fault(method="GET", fault=faults.ANSWERS_500, times=2)
    assert statuses_of_three_listings(sandbox.world, sandbox) == [500, 500, 200]


def test_a_fault_lets_the_first_ones_pass(sandbox: SandboxServer) -> None:
    sandbox.world.set_fault(method="GET", fault=faults.ANSWERS_500, after=1, times=1)
    assert statuses_of_three_listings(sandbox.world, sandbox) == [200, 500, 200]


def test_a_reset_of_unread_requests_counts_each_request_once(sandbox: SandboxServer) -> None:
    pair, connection_id = to_payments(sandbox)
    world = sandbox.world
    world.set_fault(org=pair.org, fault=faults.CUT_BEFORE_READING, after=1, times=1)
    assert ask(sandbox, "DELETE", f"{LIST}/1234", pair=pair).status_code == 400
    with pytest.raises(ConnectionResetError):
        bytes_of_delete(sandbox, pair, connection_id)
    assert ask(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair).status_code == 200


def test_the_newest_binding_wins(sandbox: SandboxServer) -> None:
    sandbox.world.set_fault(method="GET", fault=faults.ANSWERS_500)
    sandbox.world.set_fault(method="GET", fault=faults.ANSWERS_503, times=1)
    assert statuses_of_three_listings(sandbox.world, sandbox) == [503, 500, 500]


def test_a_fault_needs_an_operation_that_exists(sandbox: SandboxServer) -> None:
    with pytest.raises(ValueError, match="bound to one of"):
        sandbox.world.set_fault(operation="explode", fault=faults.ANSWERS_500)

"""Six processes sync the same orgs at once; a connection that two orgs list is stored once."""

import pytest

from sandbox.server import SandboxServer
from tests.faults.concurrency.support import run_concurrently
from tests.support.databases import SharedDatabase
from tests.support.rows import rows_of
from tests.support.sandbox import org_named

pytestmark = pytest.mark.slow


def test_simultaneous_syncs_of_both_sides_neither_fail_nor_deadlock(
    shared_database: SharedDatabase, bare_sandbox: SandboxServer
):
    world = bare_sandbox.world
    payments, soc = (org_named(world, name) for name in ("Payments US", "Group SOC"))
    for _ in range(150):
        world.add_connection(source_org=payments, sink_org=soc)
    plans = [{"kind": "refresh", "number": number, "times": 6} for number in range(6)]
    run_concurrently(plans, database=shared_database, sandbox=bare_sandbox)
    query = "SELECT count(*) FROM connections_orgconnectionsnapshot WHERE is_current"
    assert rows_of(shared_database, query) == [(2 * 152,)]
    failed = "SELECT count(*) FROM connections_sync WHERE NOT is_complete"
    assert rows_of(shared_database, failed) == [(0,)]

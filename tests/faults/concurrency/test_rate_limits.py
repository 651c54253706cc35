"""A low rate limit that one process saw holds back every other, and those started later."""

from sandbox.server import SandboxServer
from tests.faults.concurrency.support import run_concurrently
from tests.support.databases import SharedDatabase
from tests.support.sandbox import org_named

LISTING = "/api/v2/org_connections"


def test_processes_share_a_low_rate_limit(
    shared_database: SharedDatabase, bare_sandbox: SandboxServer
):
    world = bare_sandbox.world
    payments, soc = (org_named(world, name) for name in ("Payments US", "Group SOC"))
    # Used up by the process that stores the credentials, which ends before the others begin.
    world.rate_limits.set(org_id=payments.id, limit=4, seconds=1800)
    later = {"kind": "sync_by_itself", "seconds": 600}

    run_concurrently([later, later], database=shared_database, sandbox=bare_sandbox)

    assert len(world.requests(org=payments, path=LISTING)) == 1
    # One of the two, since they also share the syncs.
    assert len(world.requests(org=soc, path=LISTING)) == 2

"""Six workers at once: each waiting deletion is sent once, by one of them."""

from collections import Counter

import pytest

from sandbox.faults import rate_limited
from sandbox.server import SandboxServer
from tests.faults.concurrency.support import PEOPLE, add_connections, run_concurrently
from tests.support.databases import SharedDatabase
from tests.support.rows import rows_of

pytestmark = pytest.mark.slow


@pytest.mark.smoke
def test_six_workers_send_each_waiting_deletion_once(
    shared_database: SharedDatabase, bare_sandbox: SandboxServer
):
    wanted = add_connections(bare_sandbox.world, orgs=3, each=3)
    for _, connection_id in wanted:
        bare_sandbox.world.set_fault(
            fault=rate_limited(reset="1"), connection_id=connection_id, times=1
        )
    ask = {"kind": "ask", "person": PEOPLE[0], "connections": wanted, "is_same_form": True}
    run_concurrently(
        [{"kind": "send"} for _ in range(6)],
        database=shared_database,
        sandbox=bare_sandbox,
        before=[ask],
    )
    # The attempt that got 429, and the one that deleted.
    received = Counter(bare_sandbox.world.deletes_received(one) for _, one in wanted)
    assert received == {2: len(wanted)}
    rows = rows_of(shared_database, "SELECT outcome, epoch FROM connections_deletion")
    assert Counter(rows) == {("deleted", 2): len(wanted)}

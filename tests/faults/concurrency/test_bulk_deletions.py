"""Real processes confirm, and then run, the same bulk deletion at once."""

from collections import Counter
from uuid import UUID

import pytest

from sandbox.faults import rate_limited
from sandbox.server import SandboxServer
from tests.faults.concurrency.support import PEOPLE, add_connections, run_concurrently
from tests.support.databases import SharedDatabase
from tests.support.rows import rows_of

pytestmark = [pytest.mark.slow, pytest.mark.processes(sqlite=2)]


def test_confirmations_at_once_queue_each_row_once(
    shared_database: SharedDatabase, bare_sandbox: SandboxServer
):
    wanted = add_connections(bare_sandbox.world, orgs=2, each=10)
    plan = {"person": PEOPLE[0], "connections": wanted}
    results = run_concurrently(
        [plan | {"kind": "confirm_batch"} for _ in range(4)],
        before=[plan | {"kind": "plan_batch"}],
        database=shared_database,
        sandbox=bare_sandbox,
    )
    responses = Counter(one["response"] for result in results for one in result)
    assert set(responses) <= {"running", "OvertakenError"}
    assert responses["running"] >= 1
    codes = rows_of(shared_database, "SELECT code FROM connections_auditevent")
    counts = Counter(code for (code,) in codes)
    assert [counts[f"batch.{what}"] for what in ("requested", "confirmed")] == [1, 1]
    assert [counts[f"deletion.{what}"] for what in ("requested", "confirmed")] == [20, 20]


def test_three_workers_that_claim_several_rows_at_a_time_send_each_row_once(
    shared_database: SharedDatabase, bare_sandbox: SandboxServer
):
    wanted = add_connections(bare_sandbox.world, orgs=2, each=18)
    # A third of the rows gets a 429 first, so that it is claimed twice.
    for _, connection_id in wanted[2::3]:
        bare_sandbox.world.set_fault(
            fault=rate_limited(reset="1"), connection_id=connection_id, times=1
        )
    plan = {"person": PEOPLE[0], "connections": wanted}
    run_concurrently(
        [{"kind": "run_batches", "parallel": 3} for _ in range(3)],
        before=[plan | {"kind": "plan_batch"}, plan | {"kind": "confirm_batch"}],
        database=shared_database,
        sandbox=bare_sandbox,
    )
    rows = rows_of(
        shared_database,
        "SELECT d.connection_id, d.outcome, d.epoch, COUNT(*) FROM connections_deletion d"
        " JOIN connections_attempt a ON a.deletion_id = d.id AND a.epoch = a.number"
        " GROUP BY d.connection_id, d.outcome, d.epoch",
    )
    assert {outcome for _, outcome, _, _ in rows} == {"deleted"}
    received = {UUID(one): bare_sandbox.world.deletes_received(one) for _, one in wanted}
    # Each attempt is one DELETE.
    assert {UUID(str(one)): epoch for one, _, epoch, _ in rows} == received
    assert {UUID(str(one)): count for one, _, _, count in rows} == received
    assert {bare_sandbox.world.deletes_executed(one) for _, one in wanted} == {1}

"""Four real processes confirm the same bulk deletion at once."""

from collections import Counter

import pytest

from sandbox.server import SandboxServer
from tests.faults.concurrency.support import PEOPLE, add_connections, run_concurrently
from tests.support.databases import SharedDatabase
from tests.support.rows import rows_of

pytestmark = pytest.mark.slow


def test_confirmations_at_once_queue_each_row_once(
    shared_database: SharedDatabase, bare_sandbox: SandboxServer
) -> None:
    wanted = add_connections(bare_sandbox.world, orgs=2, each=10)
    plan = {"person": PEOPLE[0], "connections": wanted}
    results = run_concurrently(
        [plan | {"kind": "confirm_batch"} for _ in range(4)],
        before=[plan | {"kind": "plan_batch"}],
        database=shared_database,
        sandbox=bare_sandbox,
    )
    responses = Counter(one["response"] for each in results for one in each)
    assert set(responses) <= {"running", "OvertakenError"}
    assert responses["running"] >= 1
    codes = rows_of(shared_database, "SELECT code FROM connections_auditevent")
    counts = Counter(code for (code,) in codes)
    assert [counts[f"batch.{what}"] for what in ("requested", "confirmed")] == [1, 1]
    assert [counts[f"deletion.{what}"] for what in ("requested", "confirmed")] == [20, 20]

"""Several people decide on the same deletions at once, each in a separate process."""

from collections import Counter
from typing import Any

import pytest

from sandbox.server import SandboxServer
from tests.faults.concurrency.deciding import APPROVERS, BREAKER
from tests.faults.concurrency.support import (
    PEOPLE,
    add_connections,
    run_concurrently,
    started_processes,
)
from tests.support.databases import SharedDatabase
from tests.support.rows import rows_of

pytestmark = [pytest.mark.slow, pytest.mark.processes(sqlite=3)]

STATES = """
    SELECT d.state, d.outcome, count(a.id) FROM connections_deletion d
    LEFT JOIN connections_approval a ON a.deletion_id = d.id AND a.decision = 'approved'
    GROUP BY d.id, d.state, d.outcome
"""
EVENTS = "SELECT code, count(*) FROM connections_auditevent GROUP BY code"


def requests_plan(wanted: list[tuple[str, str]], *, policy: str) -> dict[str, Any]:
    """The plan that runs first: one operator requests every deletion."""
    return {"kind": "guard", "person": PEOPLE[0], "connections": wanted, "policy": policy}


def decision_plan(person: str, act: str) -> dict[str, Any]:
    return {"kind": "decide", "person": person, "act": act}


def count_results(results: list[list[dict[str, str]]]) -> list[Counter[str]]:
    return [Counter(each["response"] for each in result) for result in results]


@pytest.mark.smoke
@pytest.mark.parametrize(("policy", "needed"), [("one", 1), ("two", 2)])
def test_of_four_concurrent_approvals_only_the_required_number_counts(
    shared_database: SharedDatabase, bare_sandbox: SandboxServer, policy: str, needed: int
):
    wanted = add_connections(bare_sandbox.world, orgs=2, each=3)
    results = run_concurrently(
        [decision_plan(person, "approve") for person in APPROVERS],
        database=shared_database,
        sandbox=bare_sandbox,
        before=[requests_plan(wanted, policy=policy)],
    )
    assert Counter(rows_of(shared_database, STATES)) == {("approved", "", needed): len(wanted)}
    expected = {
        "approved": len(wanted),
        "requested": len(wanted) * (needed - 1),
        "OvertakenError": len(wanted) * (len(APPROVERS) - needed),
    }
    assert sum(count_results(results), Counter()) == Counter(expected)
    events = dict(rows_of(shared_database, EVENTS))
    assert events["deletion.approved"] == len(wanted) * needed


@pytest.mark.parametrize(
    ("person", "act", "outcome"),
    [(PEOPLE[0], "withdraw", "withdrawn"), (APPROVERS[1], "decline", "declined")],
)
def test_a_concurrent_approval_and_end_leave_one_valid_state(
    shared_database: SharedDatabase,
    bare_sandbox: SandboxServer,
    person: str,
    act: str,
    outcome: str,
):
    wanted = add_connections(bare_sandbox.world, orgs=2, each=3)
    run_concurrently(
        [decision_plan(APPROVERS[0], "approve"), decision_plan(person, act)],
        database=shared_database,
        sandbox=bare_sandbox,
        before=[requests_plan(wanted, policy="one")],
    )
    found = Counter(rows_of(shared_database, STATES))
    # An approved deletion can still be withdrawn; a closed one has no later approval.
    possible = {("approved", "", 1), ("settled", outcome, 0)}
    possible |= {("settled", outcome, 1)} if act == "withdraw" else set()
    assert set(found) <= possible
    assert found.total() == len(wanted)
    assert not [one for _, one in wanted if bare_sandbox.world.deletes_received(one)]


def test_a_concurrent_approval_and_break_glass_send_it_once(
    shared_database: SharedDatabase, bare_sandbox: SandboxServer
):
    wanted = add_connections(bare_sandbox.world, orgs=2, each=3)
    run_concurrently(
        [
            decision_plan(APPROVERS[0], "approve"),
            decision_plan(APPROVERS[1], "approve"),
            decision_plan(BREAKER, "break"),
        ],
        database=shared_database,
        sandbox=bare_sandbox,
        before=[requests_plan(wanted, policy="two")],
    )
    sent = [bare_sandbox.world.deletes_received(one) for _, one in wanted]
    assert set(sent) <= {0, 1}
    query = "SELECT break_glass_at IS NOT NULL, state, outcome FROM connections_deletion"
    assert set(rows_of(shared_database, query)) <= {
        (True, "settled", "deleted"),
        (1, "settled", "deleted"),
        (False, "approved", ""),
        (0, "approved", ""),
    }


def test_a_connection_that_changes_during_approval_is_never_deleted(
    shared_database: SharedDatabase, bare_sandbox: SandboxServer
):
    wanted = add_connections(bare_sandbox.world, orgs=2, each=2)
    with started_processes(
        [decision_plan(person, "approve") for person in APPROVERS[:2]],
        database=shared_database,
        sandbox=bare_sandbox,
        before=[requests_plan(wanted, policy="two")],
    ) as started:
        started.wait_until_ready()
        started.start()
        for _, one in wanted:
            bare_sandbox.world.change_connection(connection_id=one, connection_types=("audit",))
        started.results()
    found = set(rows_of(shared_database, "SELECT state, outcome FROM connections_deletion"))
    assert found <= {("approved", ""), ("requested", ""), ("settled", "stale")}
    assert not [one for _, one in wanted if bare_sandbox.world.deletes_received(one)]

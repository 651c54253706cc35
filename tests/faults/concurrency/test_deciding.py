"""Several people decide on the same deletions at once, each in a process of their own."""

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

pytestmark = pytest.mark.slow

STATES = """
    SELECT d.state, d.outcome, count(a.id) FROM connections_deletion d
    LEFT JOIN connections_approval a ON a.deletion_id = d.id AND a.decision = 'approved'
    GROUP BY d.id, d.state, d.outcome
"""
EVENTS = "SELECT code, count(*) FROM connections_auditevent GROUP BY code"


def guarded(wanted: list[tuple[str, str]], *, policy: str) -> dict[str, Any]:
    """What comes before: everything is asked for by one Operator, and nobody has decided."""
    return {"kind": "guard", "person": PEOPLE[0], "connections": wanted, "policy": policy}


def decides(person: str, act: str) -> dict[str, Any]:
    return {"kind": "decide", "person": person, "act": act}


def answers(told: list[list[dict[str, str]]]) -> list[Counter[str]]:
    return [Counter(each["answer"] for each in one) for one in told]


@pytest.mark.parametrize(("policy", "needed"), [("one", 1), ("two", 2)])
def test_of_four_approvers_at_once_as_many_count_as_are_needed(
    shared_database: SharedDatabase, bare_sandbox: SandboxServer, policy: str, needed: int
) -> None:
    wanted = add_connections(bare_sandbox.world, orgs=3, each=4)
    told = run_concurrently(
        [decides(person, "approve") for person in APPROVERS],
        database=shared_database,
        sandbox=bare_sandbox,
        before=[guarded(wanted, policy=policy)],
    )
    assert Counter(rows_of(shared_database, STATES)) == {("approved", "", needed): len(wanted)}
    expected = {
        "approved": len(wanted),
        "requested": len(wanted) * (needed - 1),
        "ConflictError": len(wanted) * (len(APPROVERS) - needed),
    }
    assert sum(answers(told), Counter()) == Counter(expected)
    events = dict(rows_of(shared_database, EVENTS))
    assert events["deletion.approved"] == len(wanted) * needed


@pytest.mark.parametrize(
    ("person", "act", "outcome"),
    [(PEOPLE[0], "withdraw", "withdrawn"), (APPROVERS[1], "decline", "declined")],
)
def test_what_is_approved_and_ended_at_once_is_one_of_both(
    shared_database: SharedDatabase,
    bare_sandbox: SandboxServer,
    person: str,
    act: str,
    outcome: str,
) -> None:
    wanted = add_connections(bare_sandbox.world, orgs=3, each=4)
    run_concurrently(
        [decides(APPROVERS[0], "approve"), decides(person, act)],
        database=shared_database,
        sandbox=bare_sandbox,
        before=[guarded(wanted, policy="one")],
    )
    found = Counter(rows_of(shared_database, STATES))
    # An approved one may still be withdrawn; nothing that ended bears an approval given later.
    possible = {("approved", "", 1), ("settled", outcome, 0)}
    possible |= {("settled", outcome, 1)} if act == "withdraw" else set()
    assert set(found) <= possible
    assert found.total() == len(wanted)
    assert not [one for _, one in wanted if bare_sandbox.world.deletes_received(one)]


def test_what_is_approved_and_broken_at_once_is_sent_once(
    shared_database: SharedDatabase, bare_sandbox: SandboxServer
) -> None:
    wanted = add_connections(bare_sandbox.world, orgs=2, each=3)
    run_concurrently(
        [
            decides(APPROVERS[0], "approve"),
            decides(APPROVERS[1], "approve"),
            decides(BREAKER, "break"),
        ],
        database=shared_database,
        sandbox=bare_sandbox,
        before=[guarded(wanted, policy="two")],
    )
    sent = [bare_sandbox.world.deletes_received(one) for _, one in wanted]
    assert set(sent) <= {0, 1}
    glass = "SELECT break_glass_at IS NOT NULL, state, outcome FROM connections_deletion"
    assert set(rows_of(shared_database, glass)) <= {
        (True, "settled", "deleted"),
        (1, "settled", "deleted"),
        (False, "approved", ""),
        (0, "approved", ""),
    }


def test_what_changes_while_it_is_approved_is_never_sent(
    shared_database: SharedDatabase, bare_sandbox: SandboxServer
) -> None:
    wanted = add_connections(bare_sandbox.world, orgs=2, each=4)
    with started_processes(
        [decides(person, "approve") for person in APPROVERS[:2]],
        database=shared_database,
        sandbox=bare_sandbox,
        before=[guarded(wanted, policy="two")],
    ) as started:
        started.wait_until_ready()
        started.start()
        for _, one in wanted:
            bare_sandbox.world.change_connection(connection_id=one, connection_types=("audit",))
        started.results()
    found = set(rows_of(shared_database, "SELECT state, outcome FROM connections_deletion"))
    assert found <= {("approved", ""), ("requested", ""), ("settled", "stale")}
    assert not [one for _, one in wanted if bare_sandbox.world.deletes_received(one)]

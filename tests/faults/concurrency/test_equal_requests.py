"""Six real processes request the same deletions at once, on one database."""

from collections import Counter
from typing import Any

import pytest

from sandbox.server import SandboxServer
from tests.faults.concurrency.support import PEOPLE, add_connections, run_concurrently
from tests.support.databases import SharedDatabase
from tests.support.rows import rows_of

pytestmark = [pytest.mark.slow, pytest.mark.processes(sqlite=3)]


def plans(
    kind: str, connections: list[tuple[str, str]], *, is_same_form: bool
) -> list[dict[str, Any]]:
    """The same work for six processes: one person's form six times, or six people's forms."""
    return [
        {
            "kind": kind,
            "person": PEOPLE[0] if is_same_form else person,
            "connections": connections,
            "is_same_form": is_same_form,
        }
        for person in PEOPLE
    ]


def received(sandbox: SandboxServer, connections: list[tuple[str, str]]) -> Counter[int]:
    """The number of connections by the number of DELETEs received."""
    return Counter(sandbox.world.deletes_received(one) for _, one in connections)


@pytest.mark.smoke
def test_equal_requests_from_six_processes_create_one_deletion_and_one_delete_each(
    shared_database: SharedDatabase, bare_sandbox: SandboxServer
):
    wanted = add_connections(bare_sandbox.world, orgs=2, each=4)
    results = run_concurrently(
        plans("ask", wanted, is_same_form=True), database=shared_database, sandbox=bare_sandbox
    )
    assert Counter(each["response"] for result in results for each in result) == {"deletion": 48}
    # Each process got the same deletion.
    assert all(
        [each["id"] for each in result] == [each["id"] for each in results[0]] for result in results
    )
    assert received(bare_sandbox, wanted) == {1: 8}
    rows = rows_of(shared_database, "SELECT state, outcome FROM connections_deletion")
    assert Counter(rows) == {("settled", "deleted"): 8}
    assert rows_of(shared_database, "SELECT count(*) FROM connections_attempt") == [(8,)]


def test_six_people_who_request_the_same_deletions_send_each_once(
    shared_database: SharedDatabase, bare_sandbox: SandboxServer
):
    wanted = add_connections(bare_sandbox.world, orgs=2, each=3)
    results = run_concurrently(
        plans("ask", wanted, is_same_form=False), database=shared_database, sandbox=bare_sandbox
    )
    # Late requests get a message that it is gone; none fails with an error.
    responses = {each["response"] for result in results for each in result}
    late = {"TargetChangedError", "InvalidInputError", "ConflictError", "OvertakenError"}
    assert responses <= {"deletion"} | late
    assert received(bare_sandbox, wanted) == {1: 6}
    rows = rows_of(
        shared_database,
        "SELECT d.outcome, (SELECT count(*) FROM connections_attempt a"
        " WHERE a.deletion_id = d.id) FROM connections_deletion d",
    )
    kinds = Counter(rows)
    assert kinds.pop(("deleted", 1)) == 6
    # Requested between the DELETE and its verification: absent in the pre-send check, never sent.
    assert set(kinds) <= {("already_absent", 0)}


def test_forms_sent_by_six_browsers_at_once_send_each_delete_once(
    shared_database: SharedDatabase, bare_sandbox: SandboxServer
):
    wanted = add_connections(bare_sandbox.world, orgs=2, each=2)
    results = run_concurrently(
        plans("visit", wanted, is_same_form=False), database=shared_database, sandbox=bare_sandbox
    )
    responses = {each["response"] for result in results for each in result}
    # 409 and 422 show the current page to those whose form came after the deletion.
    assert responses <= {"303", "409", "422"}
    assert received(bare_sandbox, wanted) == {1: 4}

"""No lock is held while Datadog is slow to respond, as observed from another connection."""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from sandbox.faults import delayed
from sandbox.server import SandboxServer
from tests.faults.concurrency.support import (
    PEOPLE,
    add_connections,
    run_concurrently,
    started_processes,
)
from tests.support.databases import SharedDatabase
from tests.support.rows import rows_of

HANG = 1.6  # seconds; each request of a deletion hangs this long
SAMPLE_EVERY = 0.1
LONGEST_IDLE = 1.0
# Whether a backend of the product holds a transaction open without working, and for how long.
IDLE = """
    SELECT coalesce(max(extract(epoch FROM clock_timestamp() - state_change)), 0)
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND state LIKE 'idle in transaction%'
"""
# Locks others could wait for, without each transaction's lock on its own ID.
LOCKS = """
    SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
    WHERE d.datname = current_database() AND pid <> pg_backend_pid()
"""


def plan(wanted: list[tuple[str, str]]) -> dict[str, Any]:
    """The plan of one person who deletes these connections."""
    return {"kind": "ask", "person": PEOPLE[0], "connections": wanted, "is_same_form": True}


def requests_as_they_hang(sandbox: SandboxServer, *, many: int) -> Iterator[None]:
    """Yield each time another request has reached Datadog and hangs there."""
    before = len(sandbox.world.requests())

    def has_come(number: int) -> bool:
        return len(sandbox.world.requests()) >= before + number

    for number in range(1, many + 1):
        assert sandbox.world.wait_until(partial(has_come, number), seconds=30)
        yield


def hang(sandbox: SandboxServer) -> None:
    """Delay every response from Datadog."""
    for operation in ("list", "delete", "current_user"):
        fault = replace(delayed(seconds=HANG), name=f"slow_{operation}")
        sandbox.world.set_fault(fault=fault, operation=operation)


@pytest.mark.database
@pytest.mark.usefixtures("postgresql_url")
def test_no_transaction_is_idle_and_no_lock_is_held_while_datadog_hangs(
    shared_database: SharedDatabase, bare_sandbox: SandboxServer
):
    wanted = add_connections(bare_sandbox.world, orgs=1, each=1)
    samples: list[tuple[float, int]] = []
    with started_processes(
        [plan(wanted)], database=shared_database, sandbox=bare_sandbox
    ) as started:
        started.wait_until_ready()
        hang(bare_sandbox)
        started.start()
        # The list and the DELETE.
        for _ in requests_as_they_hang(bare_sandbox, many=2):
            until = time.monotonic() + HANG - 2 * SAMPLE_EVERY
            while time.monotonic() < until:
                time.sleep(SAMPLE_EVERY)
                [(idle,)] = rows_of(shared_database, IDLE)
                [(locks,)] = rows_of(shared_database, LOCKS)
                samples.append((float(idle), locks))
        started.results()
    # On a busy machine a sample takes longer.
    assert len(samples) > 10
    assert max(idle for idle, _ in samples) < LONGEST_IDLE
    assert max(locks for _, locks in samples) == 0
    assert bare_sandbox.world.deletes_executed(wanted[0][1]) == 1


def test_others_can_write_while_datadog_hangs(
    shared_database: SharedDatabase, bare_sandbox: SandboxServer
):
    wanted = add_connections(bare_sandbox.world, orgs=1, each=1)
    acts = {"kind": "record", "number": 1, "acts": 20}
    plans = [plan(wanted), acts]
    with started_processes(plans, database=shared_database, sandbox=bare_sandbox) as started:
        started.wait_until_ready()
        hang(bare_sandbox)
        started.start()
        written = "SELECT count(*) FROM connections_auditevent WHERE code = 'export.started'"
        deadline = time.monotonic() + HANG
        while rows_of(shared_database, written) != [(20,)] and time.monotonic() < deadline:
            time.sleep(SAMPLE_EVERY)
        assert rows_of(shared_database, written) == [(20,)]
        # The deletion's first request has had no response yet.
        assert rows_of(shared_database, "SELECT count(*) FROM connections_attempt") == [(0,)]
        bare_sandbox.world.clear_faults()
        started.results()


@pytest.mark.slow
def test_900_events_from_six_processes_are_all_recorded(
    shared_database: SharedDatabase, bare_sandbox: SandboxServer
):
    plans = [{"kind": "record", "number": number, "acts": 150} for number in range(6)]
    results = run_concurrently(plans, database=shared_database, sandbox=bare_sandbox)
    query = "SELECT sentence FROM connections_auditevent WHERE code = 'export.started'"
    sentences = [sentence for (sentence,) in rows_of(shared_database, query)]
    assert len(set(sentences)) == len(sentences) == 900
    assert set(sentences) == {each["response"] for result in results for each in result}

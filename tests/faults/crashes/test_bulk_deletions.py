"""Bulk deletions: workers that are killed, several at once, and a pause while rows are sent."""

import signal
from contextlib import ExitStack

import pytest

from sandbox.faults import delayed
from tests.faults.conftest import Tally
from tests.faults.crashes.cases import POINTS, Case, violations
from tests.faults.crashes.conftest import MakeStack
from tests.faults.crashes.plan import WHILE_SENDING
from tests.faults.crashes.stack import Stack
from tests.support.processes import until
from tests.support.rows import rows_of

pytestmark = pytest.mark.slow

DELETES = "deletes and responds"
FINISHED = "SELECT 1 FROM connections_batch WHERE state = 'finished'"
KILLED_AT = tuple(point for point in POINTS if point != WHILE_SENDING)


def run_until_killed(stack: Stack) -> bool:
    """Run a worker until it is killed; False when the bulk deletion has finished before."""
    with stack.start("worker") as worker:
        for _ in until(20):
            if worker.process.poll() is not None:
                return worker.process.returncode == -signal.SIGKILL
            if rows_of(stack.database, FINISHED):
                return False
    raise AssertionError(worker.output)


def test_after_killed_workers_every_row_is_recorded_correctly(
    make_stack: MakeStack, tally: Tally
) -> None:
    stack = make_stack(connections=60)
    stack.prepare(batch=stack.connection_ids)
    # Far enough apart that few are in progress when another one's worker is killed.
    points = dict(zip(stack.connection_ids[::10], KILLED_AT, strict=False))
    stack.plan.signal_points = points
    killed = sum(run_until_killed(stack) for _ in points)
    assert killed >= 3
    with stack.start("worker"):
        rows = stack.settled()
    found = [
        what
        for connection_id, row in rows.items()
        for what in violations(
            Case(
                connection_id=connection_id,
                point=points.get(connection_id, "beside another"),
                datadog=DELETES,
            ),
            row=row,
            world=stack.world,
        )
    ]
    tally(
        what="bulk deletion",
        database=stack.database_name,
        fault="workers killed while they send it",
        cases=len(rows),
        violations=len(found),
    )
    assert found == []
    assert rows_of(stack.database, FINISHED)


def test_three_workers_send_each_row_once(make_stack: MakeStack, tally: Tally) -> None:
    stack = make_stack(connections=40, delete_seconds=20, claim_seconds=60)
    stack.world.set_fault(fault=delayed(seconds=0.1))
    stack.prepare(batch=stack.connection_ids)
    with ExitStack() as together:
        workers = [together.enter_context(stack.start("worker")) for _ in range(3)]
        rows = stack.settled()
        assert [worker.end() for worker in workers] == [0, 0, 0]
        assert not any("The worker failed" in worker.output for worker in workers)
    twice = sum(stack.world.deletes_received(row) != 1 for row in rows)
    tally(
        what="3 workers",
        database=stack.database_name,
        fault="a bulk deletion of 40",
        cases=len(rows),
        violations=twice,
    )
    assert twice == 0
    assert {row["outcome"] for row in rows.values()} == {"deleted"}


def test_no_row_is_claimed_once_a_pause_was_committed(make_stack: MakeStack) -> None:
    stack = make_stack(connections=60, delete_seconds=20, claim_seconds=60)
    stack.world.set_fault(fault=delayed(seconds=0.4))
    stack.prepare(batch=stack.connection_ids)
    with stack.start("worker"):
        assert stack.world.wait_until(
            lambda: len(stack.world.requests(method="DELETE")) >= 8, seconds=30
        )
        stack.pause()
        sending = "SELECT 1 FROM connections_deletion WHERE state = 'sending'"
        assert any(not rows_of(stack.database, sending) for _ in until(20))
        sent = len(stack.world.requests(method="DELETE"))
        # Long enough for several passes of the worker.
        assert all(len(stack.world.requests(method="DELETE")) == sent for _ in until(1.5))
    late = "SELECT 1 FROM connections_attempt, connections_batch WHERE claimed_at > paused_at"
    assert rows_of(stack.database, late) == []
    assert sent < 60

"""Workers: stopping one, several at once, and one that freezes and resumes."""

import signal
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from connections.change_requests.failpoints import Point
from sandbox.faults import delayed
from tests.faults.conftest import Tally
from tests.faults.crashes.conftest import MakeStack
from tests.faults.crashes.stack import Browser, Stack, address_of
from tests.support.processes import Running, until
from tests.support.rows import rows_of

pytestmark = [pytest.mark.slow, pytest.mark.processes(postgresql=2)]

HEARTBEATS = "SELECT process_id FROM connections_workerheartbeat"


def wait_for_delete(stack: Stack, connection_id: str, *, seconds: float = 30) -> None:
    """Wait until Datadog has received the DELETE."""
    world = stack.world
    assert world.wait_until(lambda: world.deletes_received(connection_id) == 1, seconds=seconds)


def test_a_stopping_worker_first_records_the_response_to_its_delete(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(connections=2, delete_seconds=20, claim_seconds=60)
    first, second = stack.connection_ids
    stack.world.set_fault(fault=delayed(seconds=1.5))
    stack.prepare(waiting=[first, second])
    with stack.start("worker") as worker:
        wait_for_delete(stack, first)
        assert rows_of(stack.database, HEARTBEATS) == [(worker.process.pid,)]
        signaled_at = datetime.now(UTC)
        assert worker.end() == 0
        assert (datetime.now(UTC) - signaled_at).total_seconds() < 15
        assert "Traceback" not in worker.output
    rows = stack.stored()
    assert rows[first]["outcome"] == "deleted"
    assert (rows[second]["state"], rows[second]["attempts"]) == ("waiting", [])
    assert rows_of(stack.database, HEARTBEATS) == []


def test_four_workers_send_each_of_twenty_deletions_once(
    make_stack: MakeStack, tally: Tally
) -> None:
    stack = make_stack(connections=20, delete_seconds=20, claim_seconds=60)
    stack.world.set_fault(fault=delayed(seconds=0.1))
    stack.prepare(waiting=stack.connection_ids)
    with ExitStack() as together:
        workers = [together.enter_context(stack.start("worker")) for _ in range(4)]
        for worker in workers:
            # On a busy machine, all work can be done before the last one has started.
            worker.wait_for_line("Worker started")
        rows = stack.settled()
        assert [worker.end() for worker in workers] == [0, 0, 0, 0]
        # An error in one would be caused by another.
        assert not any("The worker failed" in worker.output for worker in workers)
    received = [stack.world.deletes_received(row) for row in rows]
    twice = sum(number != 1 for number in received)
    tally(
        what="4 workers",
        database=stack.database_name,
        fault="20 deletions are due at once",
        cases=len(received),
        violations=twice,
    )
    assert twice == 0
    assert {row["outcome"] for row in rows.values()} == {"deleted"}


def is_frozen(process: Running) -> bool:
    with open(f"/proc/{process.process.pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "T"


def test_a_worker_frozen_during_a_delete_overwrites_nothing(
    make_stack: MakeStack, tally: Tally
) -> None:
    stack = make_stack(connections=1, delete_seconds=60)
    [connection_id] = stack.connection_ids
    stack.world.set_fault(fault=delayed(seconds=0.5))
    stack.prepare(waiting=[connection_id])
    with stack.start("worker") as frozen:
        wait_for_delete(stack, connection_id)
        frozen.process.send_signal(signal.SIGSTOP)
        with stack.start("serve") as other:
            row = stack.settled()[connection_id]
            assert (row["outcome"], row["answers_recorded"]) == ("gone_unattributed", 0)
            frozen.process.send_signal(signal.SIGCONT)
            late = wait_for_response(stack, connection_id)
            page = Browser(address_of(other), credential=stack.credential).open(
                f"/deletions/{late['id']}/"
            )
    [attempt] = late["attempts"]
    assert (attempt["is_late"], attempt["http_status"]) == (True, 200)
    is_overwritten = late["outcome"] != "gone_unattributed"
    tally(
        what="worker",
        database=stack.database_name,
        fault="frozen past its claim while Datadog answers",
        cases=1,
        violations=int(is_overwritten),
    )
    assert not is_overwritten
    assert "Late response to attempt 1" in page.text
    assert "after Org Admin had stopped waiting for it. Datadog returned 200." in page.text
    assert 'role="alert"' in page.html


def wait_for_response(stack: Stack, connection_id: str) -> dict[str, Any]:
    """The row, once a response to its attempt was recorded."""
    answered = "SELECT 1 FROM connections_attempt WHERE answered_at IS NOT NULL"
    assert any(rows_of(stack.database, answered) for _ in until(20))
    row: dict[str, Any] = stack.stored()[connection_id]
    return row


def test_a_worker_frozen_between_claim_and_sending_sends_nothing_afterwards(
    make_stack: MakeStack, tally: Tally
) -> None:
    stack = make_stack(connections=1, signal="SIGSTOP")
    [connection_id] = stack.connection_ids
    stack.plan.signal_points = {connection_id: Point.AFTER_CLAIM}
    stack.prepare(waiting=[connection_id])
    with stack.start("worker") as frozen:
        assert any(is_frozen(frozen) for _ in until(20))
        with stack.start("worker"):
            assert stack.settled()[connection_id]["state"] == "still_present"
            frozen.process.send_signal(signal.SIGCONT)
            row = wait_for_response(stack, connection_id)
    sent = stack.world.deletes_received(connection_id)
    tally(
        what="worker",
        database=stack.database_name,
        fault="frozen past its claim before it sends",
        cases=1,
        violations=sent,
    )
    assert sent == 0
    assert row["state"] == "still_present"
    assert row["attempts"][0]["verdict"] == "not_sent"

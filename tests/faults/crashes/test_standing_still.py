"""A process or a database stands still between a list and the request that relies on it.

Meanwhile others give the pair a data type that nobody reviewed.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connections.change_requests.failpoints import Point
from tests.faults.conftest import Tally
from tests.faults.crashes.conftest import MakeStack
from tests.faults.crashes.outages import locked
from tests.faults.crashes.stack import Stack
from tests.support.databases import SharedDatabase
from tests.support.processes import Running, until

pytestmark = [pytest.mark.slow, pytest.mark.sweep]

METHODS = ("DELETE", "POST", "PATCH", "DELETE of a move", "POST of a move")
POINTS = (Point.BEFORE_CLAIM, Point.INSIDE_CLAIM, Point.AFTER_CLAIM)
# Longer than anything takes between these points if nothing stands still.
LIMIT = 3.0


def limits_at(point: Point) -> dict[str, float]:
    """The limit that a stop at this point exceeds."""
    return {"list_seconds" if point == Point.BEFORE_CLAIM else "first_byte_seconds": LIMIT}


def pass_limit() -> None:
    passed = time.monotonic() + LIMIT + 0.2
    assert any(time.monotonic() > passed for _ in until(LIMIT + 20))


def wait_until_frozen(process: Running) -> None:
    path = Path(f"/proc/{process.process.pid}/stat")
    assert any(path.read_text().rpartition(")")[2].split()[0] == "T" for _ in until(60))


def widen(stack: Stack, target: str) -> None:
    """Others give the pair another data type, or connect it with one."""
    world = stack.world
    if world.connection(connection_id=target):
        world.change_connection(connection_id=target, connection_types=("logs", "rum"))
        return
    [source] = [pair.org for pair in world.key_pairs()]
    world.add_connection(source_org=source, sink_org=world.orgs[target], connection_types=("rum",))


def go_on(process: Running) -> None:
    process.process.send_signal(signal.SIGCONT)


def run_past(stack: Stack, targets: list[str]) -> dict[str, dict[str, Any]]:
    """Let a worker stand still once for each target; return what is stored in the end."""
    stack.plan.signal = "SIGSTOP"
    with stack.start("worker") as worker:
        reached: set[str] = set()
        for _ in targets:
            wait_until_frozen(worker)
            [target] = {each for each in targets if stack.plan.was_signaled(each)} - reached
            reached.add(target)
            widen(stack, target)
            pass_limit()
            go_on(worker)
        return stack.settled()


@pytest.mark.parametrize("point", POINTS)
def test_a_process_that_stood_still_undoes_nothing_that_others_did(
    make_stack: MakeStack, tally: Tally, point: Point
):
    stack = make_stack(
        connections=len(METHODS), delete_seconds=60, claim_seconds=60, **limits_at(point)
    )
    targets = stack.prepare_waiting(methods=METHODS)
    stack.plan.signal_points = dict.fromkeys(targets, point)
    rows = run_past(stack, targets)
    sent = {
        method: len(received(stack, target))
        for method, target in zip(METHODS, targets, strict=True)
    }
    tally(
        what="worker",
        database=stack.database_name,
        fault=f"stopped at {point} for longer than allowed",
        cases=len(METHODS),
        violations=sum(sent.values()),
    )
    assert sent == dict.fromkeys(METHODS, 0)
    assert {rows[target]["outcome"] for target in targets} == {"stale"}
    verdicts = [] if point == Point.BEFORE_CLAIM else ["not_sent"]
    assert [each["verdict"] for each in rows[targets[0]]["attempts"]] == verdicts


@pytest.mark.parametrize("point", POINTS)
def test_a_row_of_a_bulk_deletion_undoes_nothing_either(make_stack: MakeStack, point: Point):
    stack = make_stack(connections=3, delete_seconds=60, claim_seconds=60, **limits_at(point))
    targets = stack.connection_ids
    stack.prepare(batch=targets)
    stack.plan.signal_points = {targets[1]: point}
    rows = run_past(stack, targets[1:2])
    assert [rows[each]["outcome"] for each in targets] == ["deleted", "stale", "deleted"]
    assert received(stack, targets[1]) == []


def test_a_database_that_is_busy_past_the_limit_lets_nothing_be_undone(
    make_stack: MakeStack, tally: Tally
):
    stack = make_stack(
        connections=len(METHODS), delete_seconds=60, claim_seconds=60, list_seconds=LIMIT
    )
    targets = stack.prepare_waiting(methods=METHODS)
    stack.plan.signal_points = dict.fromkeys(targets, Point.BEFORE_CLAIM)
    stack.plan.signal = "SIGSTOP"
    with stack.start("worker") as worker:
        reached: set[str] = set()
        for _ in targets:
            wait_until_frozen(worker)
            with busy(stack.database):
                [target] = {each for each in targets if stack.plan.was_signaled(each)} - reached
                reached.add(target)
                widen(stack, target)
                go_on(worker)
                pass_limit()
        rows = stack.settled()
    sent = [target for target in targets if received(stack, target)]
    tally(
        what="worker",
        database=stack.database_name,
        fault="database locked between the list and the claim",
        cases=len(METHODS),
        violations=len(sent),
    )
    assert sent == []
    assert {rows[target]["outcome"] for target in targets} == {"stale"}


@contextmanager
def busy(database: SharedDatabase) -> Iterator[None]:
    """Another process holds what a claim locks."""
    if database.is_sqlite:
        with locked(database.url):
            yield
        return
    with psycopg.connect(database.url) as holder:
        holder.execute("SELECT 1 FROM connections_credential FOR UPDATE")
        yield
        holder.rollback()


def received(stack: Stack, target: str) -> list[str]:
    """The methods of what Datadog received for this target that could change something.

    The DELETE of a move whose POST is the target names another one.
    """
    return [
        each.method
        for each in stack.world.requests()
        if each.method != "GET" and target in {each.connection_id, each.sink_org}
    ]

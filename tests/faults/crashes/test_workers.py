"""Workers: stopping one, several at once, and one that freezes and resumes."""

import signal
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from connections.change_requests.failpoints import Point
from sandbox.faults import delayed
from sandbox.request_log import ReceivedRequest
from tests.faults.conftest import Tally
from tests.faults.crashes.cases import Case, violations
from tests.faults.crashes.conftest import MakeStack
from tests.faults.crashes.plan import WHILE_SENDING
from tests.faults.crashes.stack import Browser, Stack, address_of
from tests.support.processes import PATIENCE, Running, until
from tests.support.rows import rows_of

pytestmark = [pytest.mark.slow, pytest.mark.processes(postgresql=2)]

# What became of it if lists showed its effect. A test run takes the DELETE alone.
EACH_METHOD = pytest.mark.parametrize(
    ("method", "outcome"),
    [
        ("DELETE", "gone_unattributed"),
        ("POST", "created"),
        ("PATCH", "changed"),
        ("DELETE of a move", "created"),
        ("POST of a move", "created"),
    ],
)
HEARTBEATS = "SELECT process_id FROM connections_workerheartbeat"


def wait_for_delete(
    stack: Stack, connection_id: str, *, method: str = "DELETE", seconds: float = 30
) -> None:
    """Wait until Datadog has received the DELETE, or another request."""
    assert stack.world.wait_until(
        lambda: len(received(stack, connection_id, method=method)) == 1, seconds=seconds
    )


def received(stack: Stack, target: str, *, method: str) -> list[ReceivedRequest]:
    """The requests about this connection or, for a POST, this destination org."""
    if method.startswith("POST"):
        return stack.world.requests(method="POST", sink_org=target)
    return stack.world.requests(method=method.split()[0], connection_id=target)


def test_a_stopping_worker_first_records_the_response_to_its_delete(make_stack: MakeStack):
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


def test_four_workers_send_each_request_once(make_stack: MakeStack, tally: Tally):
    methods = [*["DELETE"] * 6, *["POST"] * 5, *["PATCH"] * 5, *["DELETE of a move"] * 4]
    stack = make_stack(connections=20, delete_seconds=20, claim_seconds=60)
    for method in ("DELETE", "POST", "PATCH"):
        stack.world.set_fault(fault=delayed(seconds=0.1), method=method)
    targets = stack.prepare_waiting(methods=methods)
    with ExitStack() as together:
        workers = [together.enter_context(stack.start("worker")) for _ in range(4)]
        for worker in workers:
            # On a busy machine, all work can be done before the last one has started.
            worker.wait_for_line("Worker started")
        rows = stack.settled()
        assert [worker.end() for worker in workers] == [0, 0, 0, 0]
        # An error in one would be caused by another.
        assert not any("The worker failed" in worker.output for worker in workers)
    sent = [
        request.sink_org if request.method == "POST" else request.connection_id
        for request in stack.world.requests()
        if request.method != "GET"
    ]
    moves = [target for target, method in zip(targets, methods, strict=True) if "move" in method]
    # A move is a DELETE of its connection and then a POST for its destination org.
    expected = [*targets, *(rows[target]["sink_org"] for target in moves)]
    twice = len(sent) - len(expected)
    tally(
        what="4 workers",
        database=stack.database_name,
        fault="20 requests are due at once",
        cases=len(sent),
        violations=twice,
    )
    assert sorted(map(str, sent)) == sorted(expected)
    outcomes = {"DELETE": "deleted", "POST": "created", "PATCH": "changed"}
    outcomes["DELETE of a move"] = "created"
    assert {target: rows[target]["outcome"] for target in targets} == {
        target: outcomes[method] for target, method in zip(targets, methods, strict=True)
    }


# Where a worker that moves a connection is killed, from its DELETE to its POST.
WITHIN_A_MOVE = [
    ("DELETE of a move", WHILE_SENDING),
    ("DELETE of a move", Point.AFTER_RESPONSE),
    ("DELETE of a move", Point.INSIDE_RESULT),
    ("DELETE of a move", Point.AFTER_RESULT),
    ("POST of a move", Point.BEFORE_CLAIM),
    ("POST of a move", Point.INSIDE_CLAIM),
    ("POST of a move", Point.AFTER_CLAIM),
]


def test_a_worker_killed_within_a_move_leaves_it_to_two_others(make_stack: MakeStack, tally: Tally):
    # Longer than three workers need on a busy machine.
    stack = make_stack(connections=len(WITHIN_A_MOVE), delete_seconds=5, claim_seconds=8)
    targets = stack.prepare_waiting(methods=[method for method, _ in WITHIN_A_MOVE])
    cases = [
        Case(method=method, target=target, point=point, datadog="deletes and responds")
        for target, (method, point) in zip(targets, WITHIN_A_MOVE, strict=True)
    ]
    for case in cases:
        case.set_fault(stack.world)
    stack.plan.signal_points |= {case.target: case.point for case in cases}
    program = [sys.executable, "-m", "tests.faults.crashes.restarting", str(len(cases))]
    with ExitStack() as together:
        # Each kill ends one of three workers, which is then started again.
        for _ in range(3):
            together.enter_context(Running(program, env=stack.environment()))
        for _ in until(PATIENCE):
            if all(stack.plan.was_signaled(case.target) for case in cases):
                break
        rows = stack.settled()
    wrong = [
        each
        for case in cases
        for each in violations(case, row=rows[case.target], world=stack.world)
    ]
    tally(
        what="3 workers (move)",
        database=stack.database_name,
        fault="killed at each point between DELETE and POST",
        cases=len(cases),
        violations=len(wrong),
    )
    assert wrong == []
    sent = {
        case.point: (
            len(received(stack, row["moved_from"], method="DELETE")),
            len(received(stack, row["sink_org"], method="POST")),
            row["outcome"] or row["state"],
        )
        for case in cases
        for row in [rows[case.target]]
    }
    # Only an attempt that was claimed and never left isn't made again by itself.
    never_sent = {Point.AFTER_CLAIM: (1, 0, "approved")}
    assert sent == {case.point: (1, 1, "created") for case in cases} | never_sent


def is_frozen(process: Running) -> bool:
    with open(f"/proc/{process.process.pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "T"


@pytest.mark.sweep(every=3)
@EACH_METHOD
def test_a_worker_frozen_while_sending_overwrites_nothing(
    make_stack: MakeStack, tally: Tally, method: str, outcome: str
):
    stack = make_stack(connections=1, delete_seconds=60)
    stack.world.set_fault(fault=delayed(seconds=0.5), method=method.split()[0])
    [target] = stack.prepare_waiting(methods=[method])
    # A move has sent its DELETE before its POST.
    earlier = int(method == "POST of a move")
    with stack.start("worker") as frozen:
        wait_for_delete(stack, target, method=method)
        frozen.process.send_signal(signal.SIGSTOP)
        with stack.start("serve") as other:
            row = stack.settled()[target]
            assert row["outcome"] == outcome
            assert not row["attempts"][earlier]["is_answered"]
            frozen.process.send_signal(signal.SIGCONT)
            late = wait_for_response(stack, target, method=method)
            noun = "deletions" if method == "DELETE" else "access-requests"
            page = Browser(address_of(other), credential=stack.credential).open(
                f"/{noun}/{late['id']}/"
            )
    attempt = late["attempts"][earlier]
    assert (attempt["is_late"], attempt["http_status"]) == (True, 200)
    is_overwritten = late["outcome"] != outcome
    tally(
        what=f"worker ({method})",
        database=stack.database_name,
        fault="frozen past its claim while Datadog answers",
        cases=1,
        violations=int(is_overwritten),
    )
    assert not is_overwritten
    assert f"Late response to attempt {earlier + 1}" in page.text
    assert "after Org Admin had stopped waiting for it. Datadog returned 200." in page.text
    assert 'role="alert"' in page.html


def wait_for_response(stack: Stack, target: str, *, method: str) -> dict[str, Any]:
    """The row, once a response to each of its attempts was recorded."""
    table = "connections_attempt" if method == "DELETE" else "connections_accessrequestattempt"
    unanswered = f"SELECT 1 FROM {table} WHERE answered_at IS NULL"  # noqa: S608
    assert any(not rows_of(stack.database, unanswered) for _ in until(20))
    row: dict[str, Any] = stack.stored()[target]
    return row


@pytest.mark.sweep(every=3)
@EACH_METHOD
def test_a_worker_frozen_between_claim_and_sending_sends_nothing_afterwards(
    make_stack: MakeStack, tally: Tally, method: str, outcome: str
):
    del outcome
    stack = make_stack(connections=1, signal="SIGSTOP")
    [target] = stack.prepare_waiting(methods=[method])
    stack.plan.signal_points = {target: Point.AFTER_CLAIM}
    # The POST of a move can then be confirmed again.
    without_effect = {"DELETE": "still_present", "POST of a move": "approved"}
    state = without_effect.get(method, "no_effect")
    with stack.start("worker") as frozen:
        assert any(is_frozen(frozen) for _ in until(20))
        with stack.start("worker"):
            assert stack.settled()[target]["state"] == state
            frozen.process.send_signal(signal.SIGCONT)
            row = wait_for_response(stack, target, method=method)
    sent = len(received(stack, target, method=method))
    tally(
        what=f"worker ({method})",
        database=stack.database_name,
        fault="frozen past its claim before it sends",
        cases=1,
        violations=sent,
    )
    assert sent == 0
    assert row["state"] == state
    assert row["attempts"][-1]["verdict"] == "not_sent"

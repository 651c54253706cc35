"""The worker is killed at each point of an attempt, for each Datadog behavior."""

import signal

import pytest

from connections.change_requests.failpoints import Point
from tests.faults.conftest import Tally
from tests.faults.crashes.cases import POINTS, WORKER_PAIRS
from tests.faults.crashes.conftest import MakeStack
from tests.faults.crashes.matrix import cases_for, find_violations

pytestmark = [pytest.mark.slow, pytest.mark.sweep]


@pytest.mark.parametrize(
    "method", ["DELETE", "POST", "PATCH", "DELETE of a move", "POST of a move"]
)
def test_after_a_killed_worker_every_request_is_recorded_correctly(
    make_stack: MakeStack, tally: Tally, method: str
):
    stack = make_stack(connections=len(WORKER_PAIRS))
    targets = stack.prepare_waiting(methods=[method] * len(WORKER_PAIRS))
    cases = cases_for(stack, WORKER_PAIRS, targets=targets, method=method)
    assert stack.run_workers(len(cases)) == [-signal.SIGKILL] * len(cases)
    assert all(stack.plan.was_signaled(case.target) for case in cases)
    with stack.start("worker"):
        # A request killed before its claim is sent by the next worker; a claimed one never is.
        sent_at = tuple(point for point in POINTS if point != Point.AFTER_CLAIM)
        what = f"worker ({method})"
        assert find_violations(stack, cases, what=what, tally=tally, sent_at=sent_at) == []

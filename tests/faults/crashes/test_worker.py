"""The worker is killed at each point of an attempt, for each Datadog behavior."""

import signal

import pytest

from connections.change_requests.failpoints import Point
from tests.faults.conftest import Tally
from tests.faults.crashes.cases import POINTS, WORKER_PAIRS, Case
from tests.faults.crashes.conftest import MakeStack
from tests.faults.crashes.matrix import cases_for, find_violations

pytestmark = [pytest.mark.slow, pytest.mark.sweep]

METHODS = ("DELETE", "POST", "PATCH", "DELETE of a move", "POST of a move")
ONE_PAIR = ((Point.AFTER_RESPONSE, "deletes and responds"),)


@pytest.mark.parametrize(
    ("methods", "pairs"),
    [
        pytest.param(METHODS, ONE_PAIR, id="each", marks=pytest.mark.smoke),
        *(pytest.param((method,), WORKER_PAIRS, id=method) for method in METHODS),
    ],
)
def test_after_a_killed_worker_every_request_is_recorded_correctly(
    make_stack: MakeStack,
    tally: Tally,
    methods: tuple[str, ...],
    pairs: tuple[tuple[str, str], ...],
):
    named = [method for method in methods for _ in pairs]
    stack = make_stack(connections=len(named))
    targets = stack.prepare_waiting(methods=named)
    cases_of: dict[str, list[Case]] = {}
    for start, method in zip(range(0, len(named), len(pairs)), methods, strict=True):
        own = targets[start : start + len(pairs)]
        cases_of[method] = cases_for(stack, pairs, targets=own, method=method)
    assert stack.run_workers(len(named)) == [-signal.SIGKILL] * len(named)
    assert all(map(stack.plan.was_signaled, targets))
    with stack.start("worker"):
        # A request killed before its claim is sent by the next worker; a claimed one never is.
        sent_at = tuple(point for point in POINTS if point != Point.AFTER_CLAIM)
        for method, cases in cases_of.items():
            what = f"worker ({method})"
            assert find_violations(stack, cases, what=what, tally=tally, sent_at=sent_at) == []

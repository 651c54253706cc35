"""The worker is killed at each point of a sending, for each thing that Datadog may do."""

import signal

import pytest

from connections.deletions.failpoints import Point
from tests.faults.conftest import Tally
from tests.faults.crashes.cases import EVERY_PAIR, POINTS
from tests.faults.crashes.conftest import MakeStack
from tests.faults.crashes.matrix import cases_for, judge

pytestmark = pytest.mark.slow


def test_a_killed_worker_leaves_no_deletion_without_its_true_record(
    make_stack: MakeStack, tally: Tally
) -> None:
    stack = make_stack(connections=len(EVERY_PAIR))
    stack.prepare(waiting=stack.connection_ids)
    cases = cases_for(stack, EVERY_PAIR)
    assert stack.run_workers(len(cases)) == [-signal.SIGKILL] * len(cases)
    assert all(stack.plan.has_struck(case.connection_id) for case in cases)
    with stack.start("worker"):
        # What was struck before its claim is sent by the next worker; what was claimed never is.
        sent_at = tuple(point for point in POINTS if point != Point.AFTER_CLAIM)
        assert judge(stack, cases, what="worker", tally=tally, sent_at=sent_at) == []

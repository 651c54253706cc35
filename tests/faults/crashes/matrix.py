"""Runs all cases of the crash matrix on one installation, and counts violations."""

from collections import Counter

from tests.faults.conftest import Tally
from tests.faults.crashes.cases import DATADOG, LATE, Case, all_cases, violations
from tests.faults.crashes.stack import Stack


def cases_for(
    stack: Stack,
    pairs: tuple[tuple[str, str], ...],
    *,
    targets: list[str],
    method: str = "DELETE",
) -> list[Case]:
    """The cases, after setting up Datadog's faults and the plan for them."""
    cases = all_cases(targets, pairs, method=method)
    for case in cases:
        case.set_fault(stack.world)
    stack.plan.signal_points |= {case.target: case.point for case in cases}
    return cases


def find_violations(
    stack: Stack, cases: list[Case], *, what: str, tally: Tally, sent_at: tuple[str, ...]
) -> list[str]:
    """Wait until nothing changes; count by what Datadog did; return every violation.

    `sent_at`: the points whose request must have been sent, at the latest after the restart;
    otherwise the cases would prove nothing.
    """
    late = [case for case in cases if case.datadog == LATE]
    stack.settled()
    # Late requests are executed by now, so every list shows their effect.
    assert stack.world.wait_until(lambda: _all_executed(stack, late), seconds=30)
    rows = stack.settled()
    for case in cases:
        has_left = bool(case.received(stack.world))
        assert has_left == (case.point in sent_at), case
    found: Counter[str] = Counter()
    all_violations: list[str] = []
    for case in cases:
        case_violations = violations(case, row=rows[case.target], world=stack.world)
        found[case.datadog] += len(case_violations)
        all_violations += case_violations
    for datadog in DATADOG:
        number = sum(case.datadog == datadog for case in cases)
        if not number:
            continue
        tally(
            what=what,
            database=stack.database_name,
            fault=f"killed at {number} points; Datadog {datadog}",
            cases=number,
            violations=found[datadog],
        )
    return all_violations


def _all_executed(stack: Stack, cases: list[Case]) -> bool:
    return all(request.executed for case in cases for request in case.received(stack.world))

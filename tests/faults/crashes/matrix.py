"""Running all cases of the crash matrix on one installation, and counting what is wrong."""

from collections import Counter

from tests.faults.conftest import Tally
from tests.faults.crashes.cases import DATADOG, LATE, Case, all_cases, violations
from tests.faults.crashes.stack import Stack


def cases_for(stack: Stack, pairs: tuple[tuple[str, str], ...]) -> list[Case]:
    """The cases, with Datadog and the plan prepared for them."""
    cases = all_cases(stack.connection_ids, pairs)
    for case in cases:
        stack.world.set_fault(fault=case.fault, connection_id=case.connection_id)
    stack.plan.strikes = {case.connection_id: case.point for case in cases}
    return cases


def judge(
    stack: Stack, cases: list[Case], *, what: str, tally: Tally, sent_at: tuple[str, ...]
) -> list[str]:
    """Wait until nothing moves; count by what Datadog did; give every violation.

    `sent_at`: the points of which a request must have left, be it after the restart; without
    that the cases would prove nothing.
    """
    late = [case.connection_id for case in cases if case.datadog == LATE]
    stack.settled()
    # What was received late enough is executed by now; then every listing shows it.
    assert stack.world.wait_until(lambda: _all_executed(stack, late), seconds=30)
    rows = stack.settled()
    for case in cases:
        has_left = stack.world.deletes_received(case.connection_id) > 0
        assert has_left == (case.point in sent_at), case
    found: Counter[str] = Counter()
    wrong: list[str] = []
    for case in cases:
        one = violations(case, row=rows[case.connection_id], world=stack.world)
        found[case.datadog] += len(one)
        wrong += one
    for datadog in DATADOG:
        number = sum(case.datadog == datadog for case in cases)
        tally(
            what=what,
            database=stack.database_name,
            fault=f"killed at {number} points; Datadog {datadog}",
            cases=number,
            violations=found[datadog],
        )
    return wrong


def _all_executed(stack: Stack, connection_ids: list[str]) -> bool:
    received = [
        one
        for connection_id in connection_ids
        for one in stack.world.requests(method="DELETE", connection_id=connection_id)
    ]
    return all(one.executed for one in received)

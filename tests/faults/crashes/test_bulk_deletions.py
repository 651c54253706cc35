"""Bulk deletions: killed processes, several at once, outages, rate limits and cut connections."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from uuid import UUID

import pytest
import requests

from connections.batches.running import PARALLEL_DELETES
from connections.change_requests.failpoints import Point
from connections.management.base import UNKNOWN
from sandbox.faults import delayed
from tests.faults.conftest import Tally
from tests.faults.crashes.cases import DATADOG, EVERY_PAIR, LATE, Case, violations
from tests.faults.crashes.conftest import MakeStack
from tests.faults.crashes.crash_scenario import Until
from tests.faults.crashes.outages import outage_of
from tests.faults.crashes.stack import SITE, Browser, Stack, address_of, kill_all, stack_on
from tests.flows.support import REASON
from tests.support.databases import SharedDatabase
from tests.support.processes import Running, until
from tests.support.rows import rows_of
from tests.support.sweeps import TAKES_ALL

pytestmark = [pytest.mark.slow, pytest.mark.sweep, pytest.mark.processes(postgresql=3)]

DELETES = "deletes and responds"
BESIDE = "beside another"
COUNTS = (
    "SELECT state, outcome, cause, due_at, count(*) FROM connections_deletion GROUP BY 1, 2, 3, 4"
)
STATE = "SELECT state FROM connections_batch"
SIZE = 100 if TAKES_ALL else 20
OUTAGE_SECONDS = 10 if TAKES_ALL else 2


def state_of(stack: Stack) -> str:
    """The state of the bulk deletion."""
    [(state,)] = rows_of(stack.database, STATE)
    return str(state)


def run_to_the_end(stack: Stack, *, seconds: float = 120) -> None:
    """Wait until the bulk deletion has finished, and resume it whenever it pauses."""
    for _ in until(seconds, every=0.1):
        state = state_of(stack)
        if state == "finished":
            return
        if state == "paused":
            stack.resume()
    raise AssertionError(rows_of(stack.database, COUNTS))


def run_until_killed(stack: Stack) -> bool:
    """Run a worker until it is killed; False when the bulk deletion has finished before."""
    with stack.start("worker") as worker:
        for _ in until(120, every=0.1):
            if worker.process.poll() is not None:
                return worker.process.returncode == -signal.SIGKILL
            state = state_of(stack)
            if state == "finished":
                return False
            if state == "paused":
                stack.resume()
    raise AssertionError(f"{rows_of(stack.database, COUNTS)}\n{worker.output}")


def check(stack: Stack, cases: Sequence[Case], *, fault: str, tally: Tally) -> None:
    """Wait until nothing changes, and count what is wrong with the rows."""
    late = [case.target for case in cases if case.datadog == LATE]
    rows = stack.settled()
    if late:
        sent = [each for each in late if stack.world.deletes_received(each)]
        assert stack.world.wait_until(
            lambda: all(stack.world.deletes_executed(each) for each in sent), seconds=30
        )
        rows = stack.settled()
    found = [
        what
        for case in cases
        for what in violations(case, row=rows[case.target], world=stack.world)
    ]
    tally(
        what="bulk deletion",
        database=stack.database_name,
        fault=fault,
        cases=len(cases),
        violations=len(found),
    )
    assert len(rows) == len(cases)
    assert found == []
    assert state_of(stack) == "finished"


def test_after_killed_workers_every_row_is_recorded_correctly(make_stack: MakeStack, tally: Tally):
    pairs = EVERY_PAIR if TAKES_ALL else EVERY_PAIR[:: len(DATADOG)]
    # Other rows in between, so that few are in progress when a worker is killed.
    stack = make_stack(connections=len(pairs) * 4)
    cases = [
        Case(target=each, point=pairs[number // 4][0], datadog=pairs[number // 4][1])
        if number % 4 == 0
        else Case(target=each, point=BESIDE, datadog=DELETES)
        for number, each in enumerate(stack.connection_ids)
    ]
    for case in cases:
        stack.world.set_fault(fault=case.fault, connection_id=case.target)
    stack.plan.signal_points = {case.target: case.point for case in cases if case.point != BESIDE}
    stack.prepare(batch=stack.connection_ids)
    killed = 0
    while run_until_killed(stack):
        killed += 1
    assert killed >= len(pairs) // 2
    with stack.start("worker"):
        check(stack, cases, fault="workers killed while they send it", tally=tally)


# The event at whose recording the web server is killed, and whether its transaction has committed.
KILLED_AT_EVENTS: list[tuple[Until, str, bool]] = [
    ("draft", "batch.requested", False),
    ("draft", "batch.confirmed", True),
    ("approved", "batch.confirmed", False),
    ("draft", "batch.confirmed", False),
    ("approved", "batch.confirmed", True),
]


@pytest.mark.parametrize(
    ("before", "event", "is_committed"), KILLED_AT_EVENTS[: None if TAKES_ALL else 2]
)
def test_a_killed_web_server_has_confirmed_every_row_or_none(
    make_stack: MakeStack, tally: Tally, before: Until, event: str, is_committed: bool
):
    stack = make_stack(connections=12, delete_seconds=20, claim_seconds=60)
    stack.plan.signal_event, stack.plan.signal_after_commit = event, is_committed
    stack.prepare(batch=stack.connection_ids, until=before)
    [(pk,)] = rows_of(stack.database, "SELECT id FROM connections_batch")
    path = f"/deletions/batches/{UUID(str(pk))}/"
    with stack.start("serve") as process:
        browser = Browser(address_of(process), credential=stack.credential)
        action = f"{path}{'request' if before == 'draft' else 'execute'}/"
        form = browser.open(path).form_to(action)
        with pytest.raises(requests.ConnectionError):
            browser.press(form, reason=REASON, confirmation=form.attributes["data-confirm"])
        kill_all(process)
    stack.plan.signal_event = ""
    if not is_committed:
        assert state_of(stack) == before
        assert not stack.world.requests(method="DELETE")
        with stack.start("serve") as process:
            browser = Browser(address_of(process), credential=stack.credential)
            form = browser.open(path).form_to(action)
            browser.press(form, reason=REASON, confirmation=form.attributes["data-confirm"])
            run_to_the_end(stack)
            finish(stack, tally, fault=f"web server killed before {event} commits")
        return
    with stack.start("worker"):
        run_to_the_end(stack)
        finish(stack, tally, fault=f"web server killed after {event} commits")


def finish(stack: Stack, tally: Tally, *, fault: str) -> None:
    """`check`, where Datadog deletes every connection."""
    rows = rows_of(stack.database, "SELECT connection_id FROM connections_deletion")
    cases = [Case(target=str(UUID(str(pk))), point=BESIDE, datadog=DELETES) for (pk,) in rows]
    check(stack, cases, fault=fault, tally=tally)


@pytest.mark.smoke
def test_rows_claimed_together_are_not_sent_after_their_worker_was_killed(
    make_stack: MakeStack, tally: Tally
):
    stack = make_stack(connections=8)
    stack.prepare(batch=stack.connection_ids)
    # The first row makes the check that the others share, and is claimed before them.
    _, *together = stack.connection_ids
    stack.plan.signal_points = {together[0]: Point.AFTER_CLAIM}
    assert run_until_killed(stack)
    unanswered = "SELECT 1 FROM connections_attempt WHERE answered_at IS NULL"
    assert len(rows_of(stack.database, unanswered)) >= len(together)
    with stack.start("worker"):
        rows = stack.settled()
    sent = [row for row in together if stack.world.deletes_received(row)]
    tally(
        what="bulk deletion",
        database=stack.database_name,
        fault="killed after a claim of 7 rows",
        cases=len(together),
        violations=len(sent),
    )
    assert sent == []
    assert {rows[row]["state"] for row in together} == {"still_present"}


def test_no_row_is_claimed_once_a_pause_was_committed(make_stack: MakeStack):
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


@contextmanager
def command_running(stack: Stack, connection_ids: Sequence[str]) -> Iterator[Running]:
    """`delete_org_connections` with these connections."""
    plan = stack.database.data_dir / "plan.csv"
    plan.write_text(
        "\n".join(["site,connection_id", *(f"{SITE},{each}" for each in connection_ids)])
    )
    options = ("--plan", str(plan), "--reason", "contract ended", "--yes")
    with stack.start("delete_org_connections", *options) as process:
        yield process


@pytest.mark.parametrize("runner", ["worker", "command"])
def test_while_the_database_is_unavailable_no_row_is_lost_or_sent_twice(
    database: SharedDatabase, tally: Tally, runner: str
):
    limits = {"delete_seconds": 20, "claim_seconds": 60, "lock_seconds": 0.5}
    with stack_on(database, connections=SIZE, **limits) as stack:
        cases = [Case(target=each, point=BESIDE, datadog=DELETES) for each in stack.connection_ids]
        stack.world.set_fault(fault=delayed(seconds=0.5), method="DELETE")
        is_worker = runner == "worker"
        stack.prepare(batch=stack.connection_ids if is_worker else ())
        with (
            stack.start("worker") if is_worker else command_running(stack, stack.connection_ids)
        ) as process:
            assert stack.world.wait_until(
                lambda: len(stack.world.requests(method="DELETE")) >= 10, seconds=60
            )
            with outage_of(stack):
                # Those in progress, and no more.
                in_progress = 10 + 2 * PARALLEL_DELETES
                assert all(
                    len(stack.world.requests(method="DELETE")) <= in_progress
                    for _ in until(OUTAGE_SECONDS)
                )
            if not is_worker:
                assert process.process.wait(60) == UNKNOWN, process.output
            with nullcontext() if is_worker else stack.start("worker"):
                run_to_the_end(stack)
                check(
                    stack,
                    cases,
                    fault=f"database unavailable for {OUTAGE_SECONDS} s ({runner})",
                    tally=tally,
                )


def test_two_workers_share_the_windows_of_a_rate_limit(make_stack: MakeStack, tally: Tally):
    stack = make_stack(connections=SIZE, delete_seconds=20, claim_seconds=60)
    # So slow that most are in progress when the first response says how much is left.
    stack.world.set_fault(fault=delayed(seconds=1.0), method="DELETE")
    stack.prepare(batch=stack.connection_ids)
    org_id = stack.world.key_pairs()[0].org.id
    stack.world.rate_limits.set(org_id=org_id, limit=max(8, SIZE // 4), seconds=4)
    with stack.start("worker"), stack.start("worker"):
        run_to_the_end(stack)
        refused = stack.world.rate_limits.exceeded(org_id=org_id)
        received = len(stack.world.requests(method="DELETE"))
        # What a 429 refused was not executed, so it may be sent again.
        executed = sum(request.executed for request in stack.world.requests(method="DELETE"))
        rows = stack.settled()
    assert executed == SIZE
    assert {row["outcome"] for row in rows.values()} == {"deleted"}
    too_many = [each for each in refused if each > 2 * PARALLEL_DELETES]
    tally(
        what="bulk deletion",
        database=stack.database_name,
        fault=f"rate limit, 2 workers: {sum(refused)} of {received} DELETEs refused",
        cases=len(refused),
        violations=len(too_many),
    )
    assert len(refused) >= 2
    assert too_many == []


def test_after_cut_connections_every_row_is_settled_with_its_record(
    make_stack: MakeStack, tally: Tally
):
    stack = make_stack(connections=SIZE)
    cut = [
        "deletes and resets the connection",
        "never receives",
    ]
    cases = [
        Case(
            target=each,
            point=BESIDE,
            datadog=cut[number // 3 % 2] if number % 3 == 0 else DELETES,
        )
        for number, each in enumerate(stack.connection_ids)
    ]
    for case in cases:
        stack.world.set_fault(fault=case.fault, connection_id=case.target)
    stack.prepare(batch=stack.connection_ids)
    with stack.start("worker"), stack.start("worker"):
        run_to_the_end(stack)
        check(stack, cases, fault="connections cut, 2 workers", tally=tally)

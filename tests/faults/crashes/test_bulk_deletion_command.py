"""`delete_org_connections` in a process of its own: signals, a crash, and the same plan again."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from connections.batches.running import PARALLEL_DELETES
from connections.change_requests.failpoints import Point
from connections.management.base import FAILED, UNKNOWN
from sandbox import faults
from tests.faults.conftest import Tally
from tests.faults.crashes.cases import POINTS, Case, violations
from tests.faults.crashes.conftest import MakeStack
from tests.faults.crashes.plan import WHILE_SENDING
from tests.faults.crashes.stack import MANAGE, SITE, Stack
from tests.faults.crashes.test_bulk_deletions import BESIDE, DELETES
from tests.faults.crashes.test_stopping_the_command import (
    finish,
    list_requests,
    on_sqlite,
    wait_for_list_requests,
)
from tests.support.processes import PATIENCE
from tests.support.rows import rows_of
from tests.support.template_process import start

pytestmark = pytest.mark.slow

BATCHES = "SELECT state FROM connections_batch"


@contextmanager
def running(stack: Stack) -> Iterator[subprocess.Popen[str]]:
    """The running command with the same plan each time, which deletes every connection."""
    plan = stack.database.data_dir / "plan.csv"
    if not plan.exists():
        rows = [f"{SITE},{each}" for each in stack.connection_ids]
        plan.write_text("\n".join(["site,connection_id", *rows]))
    process = start(
        [
            *MANAGE,
            "delete_org_connections",
            *("--plan", str(plan), "--reason", "contract ended", "--yes", "--json"),
        ],
        env=stack.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_deletes(stack: Stack, number: int) -> None:
    """Wait until Datadog has received so many DELETEs."""
    world = stack.world
    assert world.wait_until(
        lambda: len(world.requests(method="DELETE")) >= number, seconds=PATIENCE
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once_and_the_same_plan_again_sends_nothing_twice(
    make_stack: MakeStack, number: signal.Signals
):
    stack = make_stack(connections=20, delete_seconds=20, claim_seconds=2)
    # Longer than a command takes that ends at once.
    stack.world.set_fault(fault=faults.delayed(seconds=15), method="DELETE")
    stack.prepare()
    with running(stack) as process:
        # Every claim has been sent: what was claimed only would be found still present.
        wait_for_deletes(stack, PARALLEL_DELETES)
        signaled_at = time.monotonic()
        process.send_signal(number)
        output, errors = finish(process)
        assert time.monotonic() - signaled_at < 10
    assert process.returncode == UNKNOWN
    [text] = json.loads(output).values()
    assert text.startswith("Stopped. DELETEs might have been sent and might have worked.")
    assert "/deletions/batches/" in text
    assert errors == f"CommandError: {text}\n"

    stack.world.clear_faults()
    with running(stack) as process:
        output, errors = finish(process)
    # Rows that the first command left are unknown until a worker has checked them twice.
    assert process.returncode == UNKNOWN, errors
    assert set(json.loads(output)["counts"]) == {"deleted", "unknown"}
    with stack.start("worker"):
        rows = stack.settled()
    assert {row["outcome"] for row in rows.values()} <= {"deleted", "gone_unattributed"}
    assert len(stack.world.requests(method="DELETE")) == 20
    assert rows_of(stack.database, BATCHES) == [("finished",)]


@on_sqlite
def test_a_signal_before_the_first_claim_cancels_what_it_requested(make_stack: MakeStack):
    stack = make_stack(connections=2)
    stack.plan.signal_points = dict.fromkeys(stack.connection_ids, Point.INSIDE_CLAIM)
    stack.plan.signal = "SIGTERM"
    stack.prepare()
    with running(stack) as process:
        output, _ = finish(process)
    assert process.returncode == FAILED
    [text] = json.loads(output).values()
    assert text.startswith("Stopped. Nothing was sent. Bulk deletion: /deletions/batches/")
    assert rows_of(stack.database, BATCHES) == [("cancelled",)]
    assert {row["outcome"] for row in stack.stored().values()} == {"withdrawn"}
    assert stack.world.requests(method="DELETE") == []


@on_sqlite
def test_a_signal_during_the_first_sync_stores_and_sends_nothing(make_stack: MakeStack):
    stack = make_stack(connections=2)
    stack.prepare()
    stack.world.set_fault(fault=faults.delayed(seconds=1.0), operation="list")
    so_far = len(list_requests(stack))
    with running(stack) as process:
        wait_for_list_requests(stack, more_than=so_far)
        process.send_signal(signal.SIGTERM)
        output, _ = finish(process)
    assert process.returncode == FAILED
    assert json.loads(output) == {"error": "Stopped. Nothing was sent."}
    assert rows_of(stack.database, BATCHES) == []
    assert stack.world.requests(method="DELETE") == []


def test_after_it_was_killed_the_same_plan_goes_on_and_sends_nothing_twice(
    make_stack: MakeStack, tally: Tally
):
    stack = make_stack(connections=30)
    stack.prepare()
    killed_at = (point for point in POINTS if point != WHILE_SENDING)
    points = dict(zip(stack.connection_ids[::5], killed_at, strict=True))
    stack.plan.signal_points = points
    codes = []
    for _ in range(len(points) + 1):
        with running(stack) as process:
            output, errors = finish(process)
        codes.append(process.returncode)
        if process.returncode >= 0:
            break
    assert codes.count(-signal.SIGKILL) >= 2
    # Rows that a killed command left are unknown until a worker has checked them twice.
    assert codes[-1] == 6, errors
    assert set(json.loads(output)["counts"]) == {"deleted", "unknown"}
    with stack.start("worker"):
        rows = stack.settled()
    found = [
        what
        for connection_id, row in rows.items()
        for what in violations(
            Case(
                target=connection_id,
                point=points.get(connection_id, BESIDE),
                datadog=DELETES,
            ),
            row=row,
            world=stack.world,
        )
    ]
    tally(
        what="bulk deletion",
        database=stack.database_name,
        fault="delete_org_connections killed while it sends",
        cases=len(rows),
        violations=len(found),
    )
    assert found == []
    assert rows_of(stack.database, BATCHES) == [("finished",)]

"""`delete_org_connections` in a process of its own: signals, a crash, and the same plan again."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

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


@on_sqlite
def test_after_a_signal_it_records_what_it_sent_and_goes_on_when_it_is_run_again(
    make_stack: MakeStack,
):
    stack = make_stack(connections=20, delete_seconds=20, claim_seconds=60)
    stack.world.set_fault(fault=faults.delayed(seconds=0.5), method="DELETE")
    stack.prepare()
    with running(stack) as process:
        wait_for_deletes(stack, 1)
        process.send_signal(signal.SIGTERM)
        output, errors = finish(process)
    assert process.returncode == 5, errors
    assert "Stopping after the DELETEs in progress" in errors
    sent = len(stack.world.requests(method="DELETE"))
    assert json.loads(output)["counts"] == {"deleted": sent, "waiting": 20 - sent}

    with running(stack) as process:
        output, errors = finish(process)
    assert process.returncode == 0, errors
    assert json.loads(output)["counts"] == {"deleted": 20}
    assert len(stack.world.requests(method="DELETE")) == 20
    assert rows_of(stack.database, BATCHES) == [("finished",)]


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
    assert process.returncode == 1
    assert json.loads(output) == {"error": "Stopped. Nothing was sent."}
    assert rows_of(stack.database, BATCHES) == []
    assert stack.world.requests(method="DELETE") == []


@on_sqlite
def test_a_second_signal_stops_it_at_once_and_says_what_is_open(make_stack: MakeStack):
    stack = make_stack(connections=2, delete_seconds=20, claim_seconds=60)
    stack.prepare()
    stack.world.set_fault(fault=faults.NO_RESPONSE, method="DELETE")
    with running(stack) as process:
        assert process.stderr
        wait_for_deletes(stack, 1)
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline().startswith("Stopping after the DELETEs in progress")
        process.send_signal(signal.SIGINT)
        output, errors = finish(process)
    assert process.returncode == 6
    assert "DELETEs in progress might have worked" in json.loads(output)["error"]
    assert "/deletions/batches/" in errors


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

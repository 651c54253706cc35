"""A signal ends `delete_org_connection` at once. A worker settles what might have been sent."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from connections.audit.signing import new_signing_key_text
from connections.change_requests.failpoints import Point
from connections.core.errors import STOP_SIGNALS
from connections.core.private_files import create_private_text
from connections.management.base import UNKNOWN
from sandbox import faults
from sandbox.request_log import ReceivedRequest
from tests.faults.crashes.conftest import MakeStack
from tests.faults.crashes.outages import outage_of
from tests.faults.crashes.stack import MANAGE, Stack, stack_on
from tests.support.databases import SharedDatabase
from tests.support.processes import PATIENCE
from tests.support.template_process import start

pytestmark = [pytest.mark.slow, pytest.mark.processes(postgresql=3)]

# Longer than any test waits for a command that ends at once.
HELD_SECONDS = 15.0
POINTS_BEFORE_CLAIM = [Point.BEFORE_CLAIM, Point.INSIDE_CLAIM]
# For signals while nothing is written: the code is the same for both databases.
on_sqlite = pytest.mark.parametrize("shared_database", ["sqlite"], indirect=True)
# What becomes of the request, depending on how far it was when the signal came.
RESULTS_AFTER_CLAIM = {
    Point.AFTER_CLAIM: "still_present",
    Point.AFTER_RESPONSE: "gone_unattributed",
    Point.INSIDE_RESULT: "gone_unattributed",
    Point.AFTER_RESULT: "deleted",
}


@pytest.fixture
def stack(make_stack: MakeStack) -> Stack:
    one = make_stack(connections=1, delete_seconds=20.0, claim_seconds=30.0)
    one.prepare(waiting=[])
    if not one.database.is_sqlite:
        # None is created by itself, and the command would warn that it made no checkpoint.
        create_private_text(one.database.data_dir / "signing_key.json", new_signing_key_text())
    return one


@contextmanager
def running(
    stack: Stack, *more: str, stdout: int | IO[str] = subprocess.PIPE, connection_id: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """The running command, which deletes the one connection or this one."""
    connection_id = connection_id or stack.connection_ids[0]
    process = start(
        [
            *MANAGE,
            "delete_org_connection",
            *("--credential", "Payments", "--connection-id", connection_id),
            *("--reason", "contract ended", "--yes", *more),
        ],
        env=stack.environment(),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_list_requests(stack: Stack, *, more_than: int) -> None:
    """Wait until Datadog has received another request for a list of connections."""
    assert stack.world.wait_until(lambda: len(list_requests(stack)) > more_than, seconds=PATIENCE)


def wait_for_delete(stack: Stack, connection_id: str) -> None:
    """Wait until Datadog has received the DELETE."""
    assert stack.world.wait_until(
        lambda: stack.world.deletes_received(connection_id) == 1, seconds=PATIENCE
    )


def list_requests(stack: Stack) -> list[ReceivedRequest]:
    """Every request for a list of connections so far."""
    received = stack.world.requests(method="GET")
    return [request for request in received if request.path.endswith("/org_connections")]


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for the command to exit. Return its standard output and error.

    Leaves out the log line about a missing signing key, which PostgreSQL installations create by
    hand.
    """
    output, errors = process.communicate(timeout=PATIENCE)
    lines = errors.splitlines(keepends=True)
    return output, "".join(line for line in lines if "audit.signing: " not in line)


def only_deletion(stack: Stack) -> dict[str, Any]:
    [deletion] = stack.stored().values()
    return deletion


def stop_text(deletion: dict[str, Any]) -> str:
    """What a command says that might have sent this deletion."""
    return (
        "Stopped. The DELETE might have been sent and might have worked. Don't delete again: a "
        "worker or reconcile_deletions checks Datadog's list. "
        f"Deletion: /deletions/{deletion['id']}/"
    )


@pytest.mark.parametrize("number", STOP_SIGNALS)
@on_sqlite
def test_a_signal_during_the_delete_ends_it_at_once_and_a_worker_settles_it(
    stack: Stack, number: signal.Signals
):
    [connection_id] = stack.connection_ids
    # The worker waits for the end of the claim.
    stack.plan.claim_seconds = 5.0
    stack.world.set_fault(fault=faults.delayed(seconds=HELD_SECONDS), connection_id=connection_id)
    with running(stack, "--json") as process:
        wait_for_delete(stack, connection_id)
        signaled_at = time.monotonic()
        process.send_signal(number)
        output, errors = finish(process)
        assert time.monotonic() - signaled_at < HELD_SECONDS

    deletion = only_deletion(stack)
    assert process.returncode == UNKNOWN
    assert errors == f"CommandError: {stop_text(deletion)}\n"
    assert json.loads(output) == {"error": stop_text(deletion)}
    assert deletion["state"] == "sending"
    assert [attempt["is_answered"] for attempt in deletion["attempts"]] == [False]
    with running(stack, connection_id=connection_id) as process:
        finish(process)
    assert process.returncode == UNKNOWN
    with stack.start("worker"):
        assert stack.settled()[connection_id]["outcome"] == "gone_unattributed"
    assert stack.world.deletes_received(connection_id) == 1


@pytest.mark.parametrize("point", RESULTS_AFTER_CLAIM)
def test_a_signal_after_the_claim_never_says_that_nothing_was_sent(stack: Stack, point: Point):
    [connection_id] = stack.connection_ids
    stack.plan.signal_points = {connection_id: point}
    stack.plan.signal, stack.plan.claim_seconds = "SIGINT", 2.0
    with running(stack, "--json") as process:
        output, errors = finish(process)
    text = stop_text(only_deletion(stack))
    assert process.returncode == UNKNOWN
    assert json.loads(output) == {"error": text}
    assert errors == f"CommandError: {text}\n"

    with stack.start("worker"):
        row = stack.settled()[connection_id]
    assert (row["outcome"] or row["state"]) == RESULTS_AFTER_CLAIM[point]
    assert stack.world.deletes_received(connection_id) == (point != Point.AFTER_CLAIM)


@on_sqlite
def test_a_signal_while_django_loads_sends_nothing(stack: Stack):
    [connection_id] = stack.connection_ids
    stack.plan.signal_at_start = "SIGHUP"
    with running(stack, "--json") as process:
        output, errors = finish(process)
    stack.plan.signal_at_start = ""

    assert process.returncode == 1
    assert json.loads(output) == {"error": "Stopped. Nothing was sent."}
    assert errors == "CommandError: Stopped. Nothing was sent.\n"
    assert stack.stored() == {}
    assert stack.world.deletes_received(connection_id) == 0


@pytest.mark.smoke
@pytest.mark.parametrize("point", POINTS_BEFORE_CLAIM)
def test_a_signal_before_the_claim_is_committed_sends_nothing(stack: Stack, point: Point):
    [connection_id] = stack.connection_ids
    stack.plan.signal_points = {connection_id: point}
    stack.plan.signal = "SIGINT"
    with running(stack, "--json") as process:
        output, errors = finish(process)

    deletion = only_deletion(stack)
    text = f"Stopped. Nothing was sent. Deletion: /deletions/{deletion['id']}/"
    assert process.returncode == 1
    assert json.loads(output) == {"error": text}
    assert errors == f"CommandError: {text}\n"
    # It is neither left open nor sent later by a worker.
    assert (deletion["state"], deletion["outcome"]) == ("settled", "withdrawn")
    assert deletion["attempts"] == []
    assert stack.world.deletes_received(connection_id) == 0


@on_sqlite
def test_a_signal_during_the_first_sync_ends_it_at_once_and_records_nothing(stack: Stack):
    stack.world.set_fault(fault=faults.delayed(seconds=HELD_SECONDS), operation="list")
    so_far = len(list_requests(stack))
    with running(stack, "--json") as process:
        wait_for_list_requests(stack, more_than=so_far)
        signaled_at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        output, errors = finish(process)
        # A sync ends after 10 s.
        assert time.monotonic() - signaled_at < 8

    assert process.returncode == 1
    assert json.loads(output) == {"error": "Stopped. Nothing was sent."}
    assert errors == "CommandError: Stopped. Nothing was sent.\n"
    assert stack.stored() == {}


@on_sqlite
def test_a_signal_that_interrupts_no_wait_of_the_main_thread_ends_it_too(stack: Stack):
    stack.world.set_fault(fault=faults.delayed(seconds=HELD_SECONDS), operation="list")
    so_far = len(list_requests(stack))
    with running(stack) as process:
        wait_for_list_requests(stack, more_than=so_far)
        signaled_at = time.monotonic()
        # The kernel gives it to the thread with this ID, which began last.
        thread_ids = [int(path.name) for path in Path(f"/proc/{process.pid}/task").iterdir()]
        os.kill(max(thread_ids), signal.SIGTERM)
        _, errors = finish(process)
        assert time.monotonic() - signaled_at < 8

    assert errors == "CommandError: Stopped. Nothing was sent.\n"


@on_sqlite
def test_a_second_signal_changes_nothing(stack: Stack):
    [connection_id] = stack.connection_ids
    stack.world.set_fault(fault=faults.NO_RESPONSE, connection_id=connection_id)
    with running(stack) as process:
        wait_for_delete(stack, connection_id)
        # A closing terminal sends two.
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        _, errors = finish(process)

    assert process.returncode == UNKNOWN
    assert errors == f"CommandError: {stop_text(only_deletion(stack))}\n"


def test_a_database_that_is_lost_after_the_claim_is_no_exit_code_of_nothing_sent(
    database: SharedDatabase,
):
    limits = {"delete_seconds": 20, "claim_seconds": 2, "lock_seconds": 0.5}
    with stack_on(database, connections=1, **limits) as stack:
        [connection_id] = stack.connection_ids
        stack.world.set_fault(fault=faults.delayed(seconds=1.0), connection_id=connection_id)
        stack.prepare(waiting=[])
        with running(stack) as process:
            wait_for_delete(stack, connection_id)
            with outage_of(stack):
                process.send_signal(signal.SIGINT)
                _, errors = finish(process)
        assert process.returncode == UNKNOWN, errors
        assert "CommandError: Stopped. The DELETE might have been sent" in errors
        with stack.start("worker"):
            row = stack.settled()[connection_id]
        assert row["outcome"] == "gone_unattributed"
    assert stack.world.deletes_received(connection_id) == 1


@on_sqlite
def test_the_exit_code_is_that_of_the_outcome_even_if_it_cannot_be_printed(stack: Stack):
    with Path("/dev/full").open("w") as full, running(stack, stdout=full) as process:
        _, errors = finish(process)

    assert (process.returncode, errors) == (0, "")
    assert only_deletion(stack)["outcome"] == "deleted"

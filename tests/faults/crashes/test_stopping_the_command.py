"""`delete_org_connection` gets a signal: it reports what was sent and the outcome."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import pytest

from connections.audit.signing import new_signing_key_text
from connections.change_requests.failpoints import Point
from connections.core.errors import STOP_SIGNALS, StopRequestedError
from connections.core.private_files import create_private_text
from connections.management.interruption import Stop
from sandbox import faults
from sandbox.request_log import ReceivedRequest
from tests.faults.crashes.conftest import MakeStack
from tests.faults.crashes.stack import MANAGE, Stack
from tests.support.processes import PATIENCE
from tests.support.template_process import start

pytestmark = [pytest.mark.slow, pytest.mark.processes(postgresql=3)]

HELD_SECONDS = 1.0
POINTS_BEFORE_CLAIM = [Point.BEFORE_CLAIM, Point.INSIDE_CLAIM]
# For signals while nothing is written: the code is the same for both databases.
on_sqlite = pytest.mark.parametrize("shared_database", ["sqlite"], indirect=True)
POINTS_AFTER_CLAIM = [
    Point.AFTER_CLAIM,
    Point.AFTER_RESPONSE,
    Point.INSIDE_RESULT,
    Point.AFTER_RESULT,
]


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
    stack: Stack, *more: str, stdout: int | IO[str] = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """The running command, which deletes the one connection."""
    [connection_id] = stack.connection_ids
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


@pytest.mark.parametrize("number", STOP_SIGNALS)
@on_sqlite
def test_a_signal_during_the_delete_lets_it_record_and_print_the_outcome(
    stack: Stack, number: signal.Signals
):
    [connection_id] = stack.connection_ids
    stack.world.set_fault(fault=faults.delayed(seconds=HELD_SECONDS), connection_id=connection_id)
    with running(stack, "--json") as process:
        wait_for_delete(stack, connection_id)
        process.send_signal(number)
        output, errors = finish(process)

    assert process.returncode == 0, errors
    document = json.loads(output)
    assert (document["state"], document["outcome"]) == ("settled", "deleted")
    assert errors == (
        "Waiting up to 20 s for Datadog's response. A second signal stops immediately.\n"
    )
    deletion = only_deletion(stack)
    assert [attempt["http_status"] for attempt in deletion["attempts"]] == [200]
    assert stack.world.deletes_received(connection_id) == 1


@on_sqlite
def test_after_a_signal_the_exit_code_is_that_of_the_outcome(stack: Stack):
    [connection_id] = stack.connection_ids
    stack.plan.signal_points = {connection_id: Point.AFTER_CLAIM}
    stack.plan.signal = "SIGINT"
    stack.world.set_fault(fault=faults.RETURNS_403, connection_id=connection_id)
    with running(stack) as process:
        output, errors = finish(process)

    assert process.returncode == 4, errors
    assert "Datadog: '" in output
    assert "Traceback" not in errors


@pytest.mark.parametrize("point", POINTS_AFTER_CLAIM)
def test_a_signal_after_the_claim_is_committed_lets_it_print_the_outcome(
    stack: Stack, point: Point
):
    [connection_id] = stack.connection_ids
    stack.plan.signal_points = {connection_id: point}
    stack.plan.signal = "SIGINT"
    with running(stack, "--json") as process:
        output, errors = finish(process)

    assert process.returncode == 0, errors
    assert json.loads(output)["outcome"] == "deleted"
    assert "Traceback" not in errors
    assert only_deletion(stack)["outcome"] == "deleted"
    assert stack.world.deletes_received(connection_id) == 1


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
def test_a_signal_during_the_first_sync_records_and_sends_nothing(stack: Stack):
    [connection_id] = stack.connection_ids
    stack.world.set_fault(fault=faults.delayed(seconds=HELD_SECONDS), operation="list")
    so_far = len(list_requests(stack))
    with running(stack, "--json") as process:
        wait_for_list_requests(stack, more_than=so_far)
        process.send_signal(signal.SIGTERM)
        output, errors = finish(process)

    assert process.returncode == 1
    assert json.loads(output) == {"error": "Stopped. Nothing was sent."}
    assert errors == "CommandError: Stopped. Nothing was sent.\n"
    assert stack.stored() == {}
    assert stack.world.deletes_received(connection_id) == 0


@on_sqlite
def test_a_signal_during_verification_lets_it_print_the_recorded_outcome(stack: Stack):
    [connection_id] = stack.connection_ids
    # The first sync and the pre-send check pass; the verification afterwards is delayed.
    stack.world.set_fault(fault=faults.delayed(seconds=HELD_SECONDS), operation="list", after=2)
    so_far = len(list_requests(stack))
    with running(stack, "--json") as process:
        wait_for_delete(stack, connection_id)
        wait_for_list_requests(stack, more_than=so_far + 2)
        process.send_signal(signal.SIGINT)
        output, errors = finish(process)

    assert process.returncode == 0, errors
    document = json.loads(output)
    assert (document["outcome"], document["verified_at"]) == ("deleted", None)
    assert errors == ""


@on_sqlite
def test_a_second_signal_stops_it_at_once_and_prints_the_deletion(stack: Stack):
    [connection_id] = stack.connection_ids
    stack.world.set_fault(fault=faults.NO_RESPONSE, connection_id=connection_id)
    with running(stack, "--json") as process:
        assert process.stderr
        wait_for_delete(stack, connection_id)
        process.send_signal(signal.SIGTERM)
        assert process.stderr.readline().startswith("Waiting up to ")
        process.send_signal(signal.SIGINT)
        output, errors = finish(process)

    deletion = only_deletion(stack)
    text = (
        "Stopped. The DELETE might have been sent and might have worked. Don't delete again: a "
        "worker or reconcile_deletions checks Datadog's list. "
        f"Deletion: /deletions/{deletion['id']}/"
    )
    assert process.returncode == 6
    assert errors == f"{text}\n"
    assert json.loads(output) == {"error": text}
    assert deletion["state"] == "sending"
    assert [attempt["is_answered"] for attempt in deletion["attempts"]] == [False]


@on_sqlite
def test_a_second_hangup_of_the_same_terminal_is_ignored(stack: Stack):
    [connection_id] = stack.connection_ids
    stack.world.set_fault(fault=faults.delayed(seconds=HELD_SECONDS), connection_id=connection_id)
    with running(stack) as process:
        assert process.stderr
        wait_for_delete(stack, connection_id)
        process.send_signal(signal.SIGHUP)
        assert process.stderr.readline().startswith("Waiting up to ")
        process.send_signal(signal.SIGHUP)
        output, errors = finish(process)

    assert process.returncode == 0, errors
    assert "Deletion: /deletions/" in output


@on_sqlite
def test_the_exit_code_is_that_of_the_outcome_even_if_it_cannot_be_printed(stack: Stack):
    with Path("/dev/full").open("w") as full, running(stack, stdout=full) as process:
        _, errors = finish(process)

    assert (process.returncode, errors) == (0, "")
    assert only_deletion(stack)["outcome"] == "deleted"


def test_a_claim_is_not_committed_after_a_signal_that_the_code_ignored():
    stop = Stop(when_noted=lambda: None, end_immediately=lambda: None, is_requested=True)

    with pytest.raises(StopRequestedError):
        stop.begin_sending(uuid4())

    assert stop.sent_id is None

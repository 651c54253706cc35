"""reconcile_deletions: one pass that syncs and never sends."""

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from connections.access.actor import command_actor
from connections.core import time_limits
from connections.models import Deletion
from sandbox import faults
from sandbox.entities import Connection
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.flows.support import store_credential
from tests.support.clock import SettableClock
from tests.support.deletions import request_deletion
from tests.support.sandbox import connection_between, seconds_for

SendWithFault = Callable[[Fault], Connection]


@pytest.fixture
def send_with_fault(
    db: None, sandbox: SandboxServer, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> SendWithFault:
    """Send one DELETE to which Datadog responds with a fault."""
    credential = store_credential(sandbox, "Payments US")
    connection = connection_between(sandbox.world, "Payments US", "Group SOC")

    def send(fault: Fault) -> Connection:
        monkeypatch.setattr(time_limits, "SEND_SECONDS", seconds_for(fault))
        sandbox.world.set_fault(fault=fault, connection_id=connection.id)
        request_deletion(actor=command_actor(), credential=credential, connection_id=connection.id)
        return connection

    return send


def reconcile() -> tuple[int, dict[str, Any]]:
    """Run the command; its exit code and its document."""
    output = StringIO()
    code = 0
    try:
        call_command("reconcile_deletions", "--json", stdout=output)
    except SystemExit as end:
        code = int(str(end.code))
    return code, json.loads(output.getvalue())


def test_two_passes_settle_an_unknown_deletion_without_resending_it(
    send_with_fault: SendWithFault, sandbox: SandboxServer, clock: SettableClock
):
    connection = send_with_fault(faults.EXECUTES_THEN_RESET)

    clock.advance(seconds=36)
    code, document = reconcile()
    assert (code, document["unknown"]) == (6, 1)
    assert document["deletions"][0]["state"] == "unknown"

    clock.advance(seconds=61)
    code, document = reconcile()
    assert (code, document["unknown"]) == (0, 0)
    assert document["deletions"][0]["outcome"] == "gone_unattributed"
    assert sandbox.world.deletes_received(connection.id) == 1


def test_a_delete_without_effect_is_recorded_as_still_present(
    send_with_fault: SendWithFault, clock: SettableClock
):
    send_with_fault(faults.NO_RESPONSE)

    clock.advance(seconds=36)
    reconcile()
    clock.advance(seconds=61)
    output = StringIO()
    call_command("reconcile_deletions", stdout=output)

    deletion = Deletion.objects.get()
    assert deletion.state == "still_present"
    assert output.getvalue().splitlines() == [
        f"{deletion.pk}  No effect  No effect so far. Two complete syncs still list the "
        "connection. Never resent automatically.",
        "Unknown: 0.",
    ]


def test_an_unfinished_attempt_becomes_unknown(
    send_with_fault: SendWithFault, clock: SettableClock
):
    send_with_fault(faults.NO_RESPONSE)
    Deletion.objects.update(state="sending", cause="")

    clock.advance(seconds=61)
    code, document = reconcile()

    assert code == 6
    assert document["deletions"][0]["state"] == "unknown"
    assert document["deletions"][0]["cause"] == "answer_lost"


def test_a_waiting_deletion_is_left_alone(send_with_fault: SendWithFault, sandbox: SandboxServer):
    connection = send_with_fault(faults.rate_limited())

    code, document = reconcile()

    assert (code, document["deletions"]) == (0, [])
    assert sandbox.world.deletes_received(connection.id) == 1


def test_an_unverified_deletion_is_checked(send_with_fault: SendWithFault, clock: SettableClock):
    send_with_fault(faults.RETURNS_200_WITHOUT_DELETING)

    clock.advance(minutes=6)
    code, document = reconcile()

    assert code == 0
    assert document["deletions"][0]["contradicted_at"]

"""delete_org_connection: one run, one JSON document, one exit code for each outcome."""

import json
from dataclasses import dataclass
from functools import partial
from io import StringIO
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import InterfaceError

from connections.change_requests import failpoints
from connections.change_requests.failpoints import Point
from connections.core import time_limits
from connections.deletions import requesting
from connections.management.commands.delete_org_connection import Command
from connections.management.deleting import exit_code_of
from connections.models import ApprovalPolicy, AuditEvent, Credential, Deletion, Outcome, Person
from sandbox import faults
from sandbox.entities import Connection
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.flows.support import store_credential
from tests.support.failing_statements import driver_error, failing_statement, raise_error
from tests.support.sandbox import connection_between, org_named, seconds_for


@pytest.fixture
def credential(db: None, sandbox: SandboxServer) -> Credential:
    return store_credential(sandbox, "Payments US", is_read=False)


@pytest.fixture
def target(sandbox: SandboxServer) -> Connection:
    return connection_between(sandbox.world, "Payments US", "Group SOC")


@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """A command's exit code and its JSON document."""

    code: int
    document: dict[str, Any]


def run(
    connection_id: str, *more: str, reason: str = "carve-out", name: str = "Payments US"
) -> CommandResult:
    output = StringIO()
    arguments = ("--credential", name, "--connection-id", connection_id, "--reason", reason)
    try:
        call_command("delete_org_connection", *arguments, "--json", *more, stdout=output)
    except SystemExit as end:
        code = int(str(end.code))
    except CommandError as error:
        code = error.returncode
    else:
        code = 0
    return CommandResult(code=code, document=json.loads(output.getvalue()))


@pytest.mark.usefixtures("credential")
def test_it_syncs_sends_verifies_and_prints_the_outcome(sandbox: SandboxServer, target: Connection):
    result = run(target.id, "--yes", "--ticket", "SEC-212")

    assert result.code == 0
    deletion = Deletion.objects.get()
    expected: dict[str, Any] = {
        "id": str(deletion.pk),
        "url": f"/deletions/{deletion.pk}/",
        "connection_id": target.id,
        "state": "settled",
        "outcome": "deleted",
        "cause": None,
        "http_status": 200,
        "errors": [],
        "reason": "carve-out",
        "ticket": "SEC-212",
        "is_reviewed": True,
    }
    assert {key: result.document[key] for key in expected} == expected
    assert result.document["verified_at"]
    assert len(result.document["attempts"]) == 1
    assert result.document["requested_by"].startswith("command: ")
    assert sandbox.world.deletes_received(target.id) == 1
    assert {event.actor_kind for event in AuditEvent.objects.all()} == {"command"}


@pytest.mark.parametrize(
    ("fault", "code", "state", "outcome"),
    [
        (faults.EXECUTES_THEN_404, 3, "settled", "already_absent"),
        (faults.RETURNS_403, 4, "settled", "refused"),
        (faults.rate_limited(), 5, "waiting", None),
        (faults.RETURNS_500, 6, "unknown", None),
        (faults.EXECUTES_THEN_RESET, 6, "unknown", None),
        (faults.NO_RESPONSE, 6, "unknown", None),
        (faults.RETURNS_200_WITHOUT_DELETING, 9, "settled", "deleted"),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
@pytest.mark.usefixtures("credential")
def test_each_response_has_its_exit_code(
    sandbox: SandboxServer,
    target: Connection,
    monkeypatch: pytest.MonkeyPatch,
    *,
    fault: Fault,
    code: int,
    state: str,
    outcome: str | None,
):
    monkeypatch.setattr(time_limits, "SEND_SECONDS", seconds_for(fault))
    sandbox.world.set_fault(fault=fault, connection_id=target.id)

    result = run(target.id, "--yes")

    assert result.code == code
    assert (result.document["state"], result.document["outcome"]) == (state, outcome)
    assert sandbox.world.deletes_received(target.id) == 1


@pytest.mark.sweep(every=3)
@pytest.mark.parametrize("first", range(3))
@pytest.mark.usefixtures("transactional_db", "credential")
def test_after_the_claim_it_never_exits_with_1_whichever_statement_fails(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, first: int
):
    claimed: list[UUID] = []

    def note_claim(point: Point, *, change_request_id: UUID) -> None:
        if point == Point.AFTER_CLAIM:
            claimed.append(change_request_id)

    monkeypatch.setattr(failpoints, "hit", note_claim)
    world = sandbox.world
    source = org_named(world, "Payments US")
    # Each fails every third statement, beginning with another.
    kinds: list[type[Exception]] = [InterfaceError, driver_error(), LookupError]
    codes = []
    for number in count(1):
        sink = world.add_org(name=f"Partner {number}", site=source.site)
        connection = world.add_connection(source_org=source, sink_org=sink)
        claimed.clear()
        with failing_statement(
            number,
            fail=partial(raise_error, kinds[(first + number) % len(kinds)]),
            starts=lambda: bool(claimed),
        ) as statement:
            codes.append(run(connection.id, "--yes").code)
        if not statement.has_failed:
            break
    assert (codes.pop(), set(codes)) == (0, {6})


@pytest.mark.usefixtures("credential")
def test_what_cannot_be_read_after_the_request_might_have_been_sent(
    target: Connection, monkeypatch: pytest.MonkeyPatch
):
    def fail(_: object) -> None:
        raise InterfaceError("the connection is closed")

    def lose_the_database(**_: object) -> None:
        monkeypatch.setattr(Command, "_find_request", fail)
        raise InterfaceError("the connection is closed")

    monkeypatch.setattr(requesting, "request_deletion", lose_the_database)
    result = run(target.id, "--yes")
    assert result.code == 6
    assert result.document["error"].endswith("checks Datadog's list. Deletion: /deletions/")


@pytest.mark.usefixtures("credential")
def test_an_error_before_the_response_is_recorded_is_no_exit_code_of_nothing_sent(
    sandbox: SandboxServer, target: Connection, monkeypatch: pytest.MonkeyPatch
):
    def fail(point: Point, **_: Any) -> None:
        if point == Point.AFTER_RESPONSE:
            raise LookupError("a bug")

    monkeypatch.setattr(failpoints, "hit", fail)
    result = run(target.id, "--yes")
    assert sandbox.world.deletes_received(target.id) == 1
    assert result.code == 6
    assert "The DELETE might have been sent and might have worked." in result.document["error"]


@pytest.mark.usefixtures("credential")
def test_a_connection_missing_from_a_complete_list_is_recorded_as_already_absent(
    sandbox: SandboxServer,
):
    connection_id = str(uuid4())

    result = run(connection_id, "--yes")

    assert result.code == 3
    assert result.document["outcome"] == "already_absent"
    assert sandbox.world.deletes_received(connection_id) == 0


@pytest.mark.usefixtures("credential")
def test_without_a_list_nothing_is_sent(sandbox: SandboxServer, target: Connection):
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="list")

    result = run(target.id, "--yes")

    assert result.code == 1
    assert "the sync failed" in result.document["error"]
    assert not Deletion.objects.exists()
    assert sandbox.world.deletes_received(target.id) == 0


@pytest.mark.parametrize("is_synced", [True, False], ids=["synced before", "never synced"])
def test_unreviewed_sends_without_a_list(
    is_synced: bool, db: None, sandbox: SandboxServer, target: Connection
):
    store_credential(sandbox, "Payments US", is_read=is_synced)
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="list")

    result = run(target.id, "--yes", "--unreviewed")

    assert result.code == 0
    assert result.document["attempts"][0]["was_rechecked"] is False
    assert sandbox.world.deletes_executed(target.id) == 1


@pytest.mark.usefixtures("credential")
def test_a_failed_pre_send_check_leaves_no_deletion_open(
    sandbox: SandboxServer, target: Connection
):
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="list", after=1)

    result = run(target.id, "--yes")

    assert result.code == 1
    assert result.document["outcome"] == "withdrawn"
    assert sandbox.world.deletes_received(target.id) == 0


@pytest.mark.usefixtures("credential")
def test_an_open_deletion_is_named_and_nothing_is_sent(sandbox: SandboxServer, target: Connection):
    sandbox.world.set_fault(fault=faults.RETURNS_500, connection_id=target.id)
    first = run(target.id, "--yes")

    second = run(target.id, "--yes")

    assert second.code == 6
    assert second.document["id"] == first.document["id"]
    assert second.document["is_existing"] is True
    assert sandbox.world.deletes_received(target.id) == 1


@pytest.mark.parametrize(
    ("more", "changes", "message"),
    [
        ((), {}, "--yes"),
        (("--yes",), {"reason": "  "}, "--reason: Enter a reason."),
        (("--yes",), {"name": "Nowhere"}, "No credential is named"),
        (("--yes", "--as", "nobody"), {}, "No person has the username"),
        *(
            (("--yes", "--connection-id", wrong), {}, "")
            for wrong in ("../../v2", "{0}", "０" * 32)
        ),
    ],
)
@pytest.mark.usefixtures("credential")
def test_a_usage_error_sends_nothing(
    sandbox: SandboxServer,
    target: Connection,
    more: tuple[str, ...],
    changes: dict[str, str],
    message: str,
):
    result = run(target.id, *more, **changes)

    assert result.code == 2
    assert message in result.document["error"]
    assert sandbox.world.requests() == []


def test_an_approval_is_required_when_the_policy_requires_one(
    db: None, sandbox: SandboxServer, target: Connection, ada: Person
):
    store_credential(sandbox, "Payments US", policy=ApprovalPolicy.ONE, is_read=False)

    assert run(target.id, "--yes").code == 2

    result = run(target.id, "--yes", "--as", "ada")
    assert result.code == 7
    assert result.document["state"] == "requested"
    assert result.document["requested_by"] == "Ada"
    assert sandbox.world.deletes_received(target.id) == 0


@pytest.mark.usefixtures("credential")
def test_a_person_without_permission_to_delete_cannot_be_named(
    sandbox: SandboxServer, target: Connection, victor: Person
):
    result = run(target.id, "--yes", "--as", "victor")

    assert result.code == 1
    assert "doesn't have permission to delete connections" in result.document["error"]
    assert not Deletion.objects.exists()


def test_without_json_the_headline_comes_first(credential: Credential, target: Connection):
    output = StringIO()

    with pytest.raises(SystemExit, match="0"):
        call_command(
            "delete_org_connection",
            "--credential=Payments US",
            f"--connection-id={target.id}",
            "--reason=carve-out",
            "--yes",
            stdout=output,
        )

    assert output.getvalue().startswith("Deleted and verified.\n200 OK in ")


@pytest.mark.parametrize(
    ("outcome", "code"),
    [("declined", 1), ("withdrawn", 1), ("expired", 1), ("unresolved", 6)],
)
def test_a_deletion_that_another_person_closed_meanwhile_has_its_exit_code(outcome: str, code: int):
    assert exit_code_of(Deletion(state="settled", outcome=outcome)) == code


def test_every_outcome_has_its_exit_code():
    for outcome in Outcome:
        assert exit_code_of(Deletion(state="settled", outcome=outcome)) in range(10)


@pytest.mark.parametrize(("policy", "code"), [(ApprovalPolicy.NONE, 0), (ApprovalPolicy.ONE, 7)])
def test_a_dry_run_prints_who_loses_what_and_sends_nothing(
    db: None, sandbox: SandboxServer, policy: ApprovalPolicy, code: int
):
    store_credential(sandbox, "Payments US", policy=policy)
    target = connection_between(sandbox.world, "Payments US", "Group SOC")
    sent = len(sandbox.world.requests())
    result = run(target.id, "--dry-run")
    assert (result.code, result.document["changes"][0]) == (
        code,
        "Group SOC loses access to Payments US's logs and metrics. Dashboards and notebooks using "
        "them might break. No data is deleted.",
    )
    assert (Deletion.objects.count(), len(sandbox.world.requests())) == (0, sent)


def test_a_dry_run_of_an_unlisted_connection_says_why(credential: Credential):
    result = run(str(uuid4()), "--dry-run")
    assert (result.code, "didn't list" in result.document["error"]) == (2, True)


def test_a_dry_run_beside_an_open_deletion_says_so(
    ada: Person, sandbox: SandboxServer, target: Connection
):
    store_credential(sandbox, "Payments US", policy=ApprovalPolicy.ONE)
    run(target.id, "--as=ada", "--yes")
    result = run(target.id, "--dry-run")
    assert (result.code, "open deletion" in result.document["error"]) == (2, True)

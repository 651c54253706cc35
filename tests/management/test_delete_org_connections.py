"""delete_org_connections: a plan file in, one JSON document and one exit code out."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from connections.access.actor import command_actor, person_actor
from connections.batches import foreground, plan_files, requesting, running, stopping
from connections.change_requests import saved_responses, sending
from connections.crypto.encryption import EncryptionError
from connections.inventory import protections
from connections.models import (
    AccessKind,
    ApprovalPolicy,
    AuditEvent,
    Batch,
    BatchState,
    Credential,
    CredentialAccess,
    Deletion,
    Person,
    WorkerHeartbeat,
)
from sandbox import faults
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.batches.support import add_connections, approve, sync_now
from tests.flows.support import read, store_credential
from tests.support.sandbox import connection_between

Run = Callable[..., "CommandResult"]
NO_WORKER = "No worker is running"


@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """A command's exit code and its JSON document."""

    code: int
    document: dict[str, Any]

    @property
    def failed(self) -> list[tuple[int, str]]:
        return [(each["line"], each["error"]) for each in self.document["failed"]]

    @property
    def results(self) -> list[str]:
        return [deletion["outcome"] or deletion["state"] for deletion in self.document["deletions"]]


@pytest.fixture
def payments(db: None, sandbox: SandboxServer) -> Credential:
    return store_credential(sandbox, "Payments US", is_read=False)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the command with this text as its plan."""

    def run_with(
        plan: str,
        *more: str,
        reason: str = "carve-out",
    ) -> CommandResult:
        path = tmp_path / "plan"
        path.write_text(plan)
        output, arguments = StringIO(), ("--plan", str(path), "--reason", reason, "--json", *more)
        try:
            call_command("delete_org_connections", *arguments, stdout=output)
        except SystemExit as end:
            code = int(str(end.code))
        except CommandError as error:
            code = error.returncode
        return CommandResult(code=code, document=json.loads(output.getvalue()))

    return run_with


def csv_of(connections: Sequence[str], *, header: str = "site,connection_id") -> str:
    return "\n".join([header, *(connection.replace("/", ",", 1) for connection in connections)])


def send_nothing(**_: object) -> None:
    """Replaces what sends the rows."""


def sent(sandbox: SandboxServer) -> int:
    return len(sandbox.world.requests(method="DELETE"))


@pytest.mark.usefixtures("payments")
def test_it_syncs_sends_verifies_and_prints_every_outcome(run: Run, sandbox: SandboxServer):
    plan = csv_of(add_connections(sandbox, 3))
    result = run(plan, "--yes", "--ticket", "SEC-212")
    assert result.code == 0
    batch = Batch.objects.get()
    assert result.document["batch"] == str(batch.pk)
    assert result.document["counts"] == {"deleted": 3}
    assert result.document["failed"] == []
    rows = result.document["deletions"]
    assert {(row["state"], row["outcome"], row["cause"]) for row in rows} == {
        ("settled", "deleted", None)
    }
    assert batch.state == BatchState.FINISHED
    assert (batch.reason, batch.ticket) == ("carve-out", "SEC-212")
    assert not Deletion.objects.filter(verified_at=None).exists()
    assert sent(sandbox) == 3
    assert {event.actor_kind for event in AuditEvent.objects.all()} == {"command"}


@pytest.mark.usefixtures("payments")
def test_a_json_plan_deletes_too(run: Run, sandbox: SandboxServer):
    connections = add_connections(sandbox, 2)
    names = ("site", "connection_id")
    entries = [dict(zip(names, connection.split("/"), strict=True)) for connection in connections]
    result = run(json.dumps([entries[0], {"site": "nowhere"}, entries[1]]), "--yes")
    assert (result.code, result.results) == (2, ["deleted", "deleted"])
    assert [line for line, _ in result.failed] == [2]


@pytest.mark.usefixtures("payments")
def test_each_line_that_cant_be_used_is_named_and_stops_no_other(run: Run, sandbox: SandboxServer):
    [good] = add_connections(sandbox, 1)
    site, connection_id = good.split("/")
    rows = [
        f"{good},",
        f"{good},",
        f"{site}/{uuid4()},",
        f"{site}/not-an-id,",
        f"nowhere/{connection_id},",
        f"{good},Nobody",
        f'{site}/"x,',
        site,
    ]
    result = run(csv_of(rows, header="site,connection_id,credential"), "--yes")
    assert result.code == 2
    assert result.results == ["deleted"]
    assert result.failed == [
        (3, "An earlier row has the same connection."),
        (4, "No sync lists this ID on this site."),
        (5, "This isn't a valid site and connection ID."),
        (6, "Unknown site. Use a name such as EU1 or a host such as datadoghq.eu."),
        (7, "No credential in use on this site has this name."),
        (8, "This line isn't valid CSV. Check its quotes."),
        (9, "Expected 3 columns, found 1."),
    ]
    assert sent(sandbox) == 1


def test_a_line_that_the_requester_cannot_delete_names_them(
    run: Run, payments: Credential, ada: Person
):
    unknown = f"{payments.site}/{uuid4()}"
    result = run(csv_of([unknown]), "--yes", "--as", ada.username)
    assert result.failed == [(2, f"No sync that {ada.display_name} can see lists this ID.")]


def test_a_line_that_no_credential_of_the_requester_can_delete_names_them(
    run: Run, payments: Credential, ada: Person, grace: Person, sandbox: SandboxServer
):
    [connection] = add_connections(sandbox, 1)
    sync_now(payments)
    CredentialAccess.objects.create(credential=payments, kind=AccessKind.USE, person=grace)
    CredentialAccess.objects.create(credential=payments, kind=AccessKind.SEE, person=ada)
    result = run(csv_of([connection]), "--yes", "--as", ada.username)
    assert result.failed == [
        (2, f"{ada.display_name} can't use any credential that can delete it.")
    ]


def test_a_line_that_no_credential_can_delete_says_so(
    run: Run, payments: Credential, sandbox: SandboxServer
):
    [connection] = add_connections(sandbox, 1)
    sync_now(payments)
    cannot_write = {"check": "permissions", "ok": False, "cause": "write_not_granted"}
    Credential.objects.update(verification=[cannot_write])
    result = run(csv_of([connection]), "--yes")
    assert result.failed == [(2, "No credential can delete it.")]


def test_a_protected_connection_is_not_sent(
    run: Run, payments: Credential, grace: Person, sandbox: SandboxServer
):
    [connection] = add_connections(sandbox, 1)
    sync_now(payments)
    row = payments.snapshots.get(connection_id=connection.split("/")[1])
    protections.protect_connection(actor=person_actor(person=grace), key=row.key, reason="In use.")
    result = run(csv_of([connection]), "--yes")
    assert (result.code, result.document["batch"]) == (2, None)
    assert result.failed == [(2, "It can't be deleted in Org Admin.")]
    assert not Batch.objects.exists()


def test_only_the_named_credential_sends_a_line(
    run: Run, payments: Credential, sandbox: SandboxServer
):
    soc = store_credential(sandbox, "Group SOC")
    both = connection_between(sandbox.world, "Payments US", "Group SOC")
    [only_payments] = add_connections(sandbox, 1)
    site = both.source_org.site.name
    rows = [f"{site}/{both.id},{soc.name.upper()}", f"{only_payments},{soc.name}"]
    result = run(csv_of(rows, header="site,connection_id,credential"), "--yes")
    assert result.failed == [(3, "The credential Group SOC can't delete it.")]
    assert [deletion["credential"] for deletion in result.document["deletions"]] == ["Group SOC"]


CASES = {
    "403": (faults.RETURNS_403, 4, "refused"),
    "429": (faults.rate_limited(reset="1"), 5, "waiting"),
    "500": (faults.RETURNS_500, 6, "unknown"),
    "404": (faults.EXECUTES_THEN_404, 3, "already_absent"),
    "200 that deleted nothing": (faults.RETURNS_200_WITHOUT_DELETING, 9, "deleted"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.usefixtures("payments")
def test_the_most_serious_result_decides_the_exit_code(
    case: tuple[Fault, int, str], run: Run, sandbox: SandboxServer
):
    fault, code, result_of_first = case
    first, second = add_connections(sandbox, 2)
    sandbox.world.set_fault(fault=fault, connection_id=first.split("/")[1])
    result = run(csv_of([first, second]), "--yes")
    assert (result.code, result.results) == (code, [result_of_first, "deleted"])


@pytest.mark.usefixtures("payments", "ada")
def test_a_dry_run_requests_nothing_and_exits_as_the_run_would_begin(
    run: Run, sandbox: SandboxServer
):
    connections = add_connections(sandbox, 2)
    result = run(csv_of(connections), "--dry-run")
    assert (result.code, len(result.document["deletions"])) == (0, 2)
    assert run(csv_of([*connections, f"{connections[0]}0"]), "--dry-run").code == 2
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    assert run(csv_of(connections), "--dry-run").code == 2
    with_bad_line = csv_of([*connections, f"{connections[0]}0"])
    assert run(with_bad_line, "--dry-run", "--as", "ada").code == 2
    assert run(csv_of(connections), "--dry-run", "--as", "ada").code == 7
    assert (sent(sandbox), Batch.objects.count()) == (0, 0)


def test_a_plan_that_needs_approval_waits_for_it_and_is_named_when_it_is_given_again(
    run: Run, payments: Credential, ada: Person, linus: Person, sandbox: SandboxServer
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    plan = csv_of(add_connections(sandbox, 2))
    assert run(plan, "--yes").code == 2
    assert not Batch.objects.exists()

    result = run(plan, "--yes", "--as", "ada")
    assert (result.code, result.results) == (7, ["requested", "requested"])
    batch = Batch.objects.get()
    assert batch.requested_by == ada
    approve(batch, linus)
    again = run(plan, "--yes", "--as", "ada")
    assert (again.code, again.document["batch"]) == (7, str(batch.pk))
    assert sent(sandbox) == 0


@pytest.mark.usefixtures("payments")
def test_a_paused_bulk_deletion_is_named_and_a_running_one_is_continued(
    run: Run, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    plan = csv_of(add_connections(sandbox, 3))
    with monkeypatch.context() as patch:
        patch.setattr(foreground, "run_to_end", send_nothing)
        assert run(plan, "--yes").code == 5
    batch = Batch.objects.get()
    stopping.pause_batch(batch=batch, actor=command_actor())
    paused = run(plan, "--yes")
    assert (paused.code, paused.document["state"], sent(sandbox)) == (5, "paused", 0)
    stopping.resume_batch(batch=batch, actor=command_actor())
    done = run(plan, "--yes")
    assert (done.code, done.document["batch"]) == (0, str(batch.pk))
    assert (sent(sandbox), Batch.objects.count()) == (3, 1)


@pytest.mark.usefixtures("payments", "ada")
def test_a_dry_run_of_an_open_plan_reports_what_the_run_would_do_with_it(
    run: Run,
    tmp_path: Path,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    plan = csv_of(add_connections(sandbox, 2))
    monkeypatch.setattr(foreground, "run_to_end", send_nothing)
    run(plan, "--yes")
    batch = Batch.objects.get()
    dry = run(plan, "--dry-run")
    assert (dry.code, dry.document["batch"], dry.document["state"]) == (0, str(batch.pk), "running")
    assert dry.results == ["waiting"] * 2
    with pytest.raises(SystemExit):
        call_command(
            "delete_org_connections",
            *("--plan", str(tmp_path / "plan"), "--reason", "carve-out", "--dry-run"),
        )
    shown = capsys.readouterr()
    assert "Its bulk deletion is still open." in shown.err
    assert "\nWithout --dry-run, this command would send the rest." in shown.out
    stopping.pause_batch(batch=batch, actor=command_actor())
    assert (run(plan, "--dry-run").code, run(f"{plan}\nx,y", "--dry-run").code) == (0, 2)
    stopping.cancel_batch(batch=batch, actor=command_actor())
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    run(plan, "--yes", "--as", "ada")
    with_bad_line = run(f"{plan}\nx,y", "--dry-run")
    assert (with_bad_line.code, with_bad_line.document["state"]) == (2, "requested")
    assert run(plan, "--dry-run").code == 7
    Batch.objects.filter(ended_at=None).update(expires_at=timezone.now())
    for option in ("--dry-run", "--yes"):
        with pytest.raises(SystemExit) as ended:
            call_command(
                "delete_org_connections",
                *("--plan", str(tmp_path / "plan"), "--reason", "carve-out", option),
            )
        assert ended.value.code == 1
        assert "the bulk deletion expired. Cancel it" in capsys.readouterr().out
    assert sent(sandbox) == 0


@pytest.mark.usefixtures("payments")
def test_it_waits_for_a_rate_limit_while_that_brings_results(
    run: Run, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(running, "PARALLEL_DELETES", 1)
    first, *rest = add_connections(sandbox, 3)
    limited = faults.rate_limited(reset="1")
    sandbox.world.set_fault(fault=limited, connection_id=first.split("/")[1], times=1)
    result = run(csv_of([first, *rest]), "--yes")
    assert (result.code, result.results) == (0, ["deleted"] * 3)


@pytest.mark.usefixtures("payments")
def test_its_page_misses_no_worker_while_it_runs_but_the_overview_does(
    run: Run,
    ada: Person,
    client_of: Callable[[Person], Client],
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
):
    browser, send_due, seen = client_of(ada), running.send_due, []

    def look_and_send(*, batch: Batch, **options: Any) -> int:
        pages = (f"/deletions/batches/{batch.pk}/", "/")
        seen.append([NO_WORKER in read(browser.get(page)).text for page in pages])
        return send_due(batch=batch, **options)

    monkeypatch.setattr(running, "send_due", look_and_send)
    assert run(csv_of(add_connections(sandbox, 1)), "--yes").code == 0
    assert seen[0] == [False, True]
    assert not WorkerHeartbeat.objects.exists()


def test_rows_of_other_bulk_deletions_are_not_sent(
    run: Run, payments: Credential, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    mine, other = add_connections(sandbox, 2)
    with monkeypatch.context() as patch:
        patch.setattr(foreground, "run_to_end", send_nothing)
        run(csv_of([other]), "--yes")
    Batch.objects.update(state=BatchState.REQUESTED, expires_at=timezone.now())
    assert run(csv_of([mine]), "--yes").code == 0
    assert sandbox.world.deletes_received(other.split("/")[1]) == 0
    # Its expiry would say that the command's user ended it.
    assert Batch.objects.filter(ended_at=None).count() == 1


@pytest.mark.usefixtures("payments")
def test_a_request_whose_commit_may_have_succeeded_is_named_and_exits_with_6(
    run: Run, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    request_batch = requesting.request_batch

    def lose_the_connection(**options: Any) -> None:
        request_batch(**options)
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(requesting, "request_batch", lose_the_connection)
    result = run(csv_of(add_connections(sandbox, 1)), "--yes")
    assert result.code == 6
    assert result.document["error"].endswith(f"/deletions/batches/{Batch.objects.get().pk}/")


@pytest.mark.parametrize(
    ("module", "name", "error", "code"),
    [
        (sending, "send_claimed", RuntimeError("can't start new thread"), 6),
        (saved_responses, "record_saved_responses", PermissionError(13, "Permission denied"), 5),
        (running, "verify_batch", EncryptionError("The key ring can't be read."), 0),
    ],
)
@pytest.mark.usefixtures("payments")
def test_a_failure_after_the_request_ends_with_what_is_known(
    module: ModuleType,
    name: str,
    error: Exception,
    code: int,
    run: Run,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(module, name, fail)
    result = run(csv_of(add_connections(sandbox, 2)), "--yes")
    assert (result.code, len(result.results)) == (code, 2)
    assert result.document["batch"] == str(Batch.objects.get().pk)
    assert (error.strerror if isinstance(error, OSError) else str(error)) in result.document[
        "error"
    ]


def test_the_same_plan_is_recognized_with_a_malformed_line_and_a_renamed_credential(
    run: Run, payments: Credential, ada: Person, sandbox: SandboxServer
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    good, other = (connection.split("/") for connection in add_connections(sandbox, 2))
    lines = [[*good, payments.name], [other[0], "\0" + "x" * 300, ""], [*other, "Nobody"]]
    names = ("site", "connection_id", "credential")
    plan = json.dumps([dict(zip(names, line, strict=True)) for line in lines])
    first = run(plan, "--yes", "--as", "ada")
    Credential.objects.update(name="Renamed")
    again = run(plan, "--yes", "--as", "ada")
    assert (again.code, again.document["batch"]) == (7, first.document["batch"])
    assert [number for number, _ in again.failed] == [2, 3]


@pytest.mark.usefixtures("payments")
def test_the_same_plan_requested_by_another_process_meanwhile_is_continued(
    run: Run, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    plan = csv_of(add_connections(sandbox, 2))
    request_batch = requesting.request_batch
    others: list[CommandResult] = []

    def request_after_another(**options: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(requesting, "request_batch", request_batch)
            patch.setattr(foreground, "run_to_end", send_nothing)
            others.append(run(plan, "--yes"))
        request_batch(**options)

    monkeypatch.setattr(requesting, "request_batch", request_after_another)
    result = run(plan, "--yes")
    assert (result.code, result.document["batch"]) == (0, others[0].document["batch"])


@pytest.mark.usefixtures("payments")
def test_a_json_entry_with_a_repeated_key_or_a_surrogate_deletes_nothing(
    run: Run, sandbox: SandboxServer
):
    first, second, third = (connection.split("/") for connection in add_connections(sandbox, 3))
    repeated = f'{{"site":"{first[0]}","connection_id":"{first[1]}","connection_id":"{second[1]}"}}'
    surrogate = f'{{"site":"{first[0]}","connection_id":"\\ud800"}}'
    good = json.dumps({"site": third[0], "connection_id": third[1]})
    result = run(f"[{repeated},{surrogate},{good}]", "--yes")
    assert (result.code, [number for number, _ in result.failed]) == (2, [1, 2])
    assert [deletion["connection_id"] for deletion in result.document["deletions"]] == [third[1]]


@pytest.mark.parametrize(
    "change",
    [{"credentials": "Payments US"}, {"connection_id": None}, [1], 7, "text", None],
)
def test_an_entry_of_a_json_plan_with_other_keys_is_refused(db: None, change: object):
    good = {"site": "EU1", "connection_id": str(uuid4())}
    entry = (
        {name: value for name, value in (good | change).items() if value}
        if isinstance(change, dict)
        else change
    )
    lines = plan_files.read_plan(json.dumps([entry, good]).encode())
    assert lines[0].problem.startswith("Expected an object with site, connection_id")
    assert lines[1].problem == ""


def test_a_name_of_a_credential_is_preferred_as_it_is_written(
    payments: Credential, sandbox: SandboxServer
):
    Credential.objects.update(name="Stra\u00dfe")
    soc = store_credential(sandbox, "Group SOC", is_read=False)
    Credential.objects.filter(pk=soc.pk).update(name="STRASSE", site=payments.site)
    names = ("Stra\u00dfe", "STRASSE", "strasse")
    rows = [f"{payments.site},{uuid4()},{name}" for name in names]
    lines = plan_files.read_plan("\n".join(["site,connection_id,credential", *rows]).encode())
    assert [line.credential for line in lines] == [payments, soc, None]


@pytest.mark.parametrize(
    ("plan", "more", "message"),
    [
        ("site,connection_id\nx,y", (), "--yes"),
        ("site,connection_id\nx,y", ("--yes", "--as", "nobody"), "No person has the username"),
        ("site\nx", ("--yes",), "The first line must be the header"),
        ("site,connection_id\n", ("--yes",), "names no connection"),
        ('{"site": "x"}', ("--yes",), "isn't a JSON list"),
        (csv_of(["us1/x"] * 1001), ("--yes",), "can have at most 1,000 connections"),
        (csv_of(["us1/x"]), ("--dry-run", "--reason", "\u200b"), "--reason: Enter a reason."),
    ],
)
@pytest.mark.usefixtures("payments")
def test_a_usage_error_sends_nothing(
    plan: str, more: tuple[str, ...], message: str, run: Run, sandbox: SandboxServer
):
    result = run(plan, *more)
    assert result.code == 2
    assert message in result.document["error"]
    assert sandbox.world.requests() == []

"""request_access: one run, one JSON document, one exit code for each outcome."""

import json
from contextlib import suppress
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from connections.access.actor import person_actor
from connections.management.deleting import exit_code_of
from connections.models import (
    AccessOutcome,
    AccessRequest,
    AccessState,
    Agreement,
    ApprovalPolicy,
    Credential,
    Deletion,
    OrgConnectionSnapshot,
    OrgPair,
    Person,
    State,
)
from sandbox import faults
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.support.clock import SettableClock
from tests.support.deletions import request_deletion
from tests.support.sandbox import connection_between

pytestmark = pytest.mark.django_db

CREATE = ("--kind=create", "--types=logs", "--owner-text=SOC team", "--purpose=incident response")
CHANGE = (
    "--kind=change",
    "--types=audit, logs",
    "--owner-text=SOC team",
    "--purpose=incident response",
)


def run(pair: OrgPair, *more: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the document."""
    output = StringIO()
    arguments = [
        f"--source={pair.site}/{pair.source_org_id}",
        "--destination=Group SOC",
        "--reason=quarterly report",
        *more,
    ]
    try:
        call_command("request_access", *arguments, "--json", stdout=output)
    except SystemExit as end:
        code = int(str(end.code))
    except CommandError as error:
        code = error.returncode
    else:
        code = 0
    return code, json.loads(output.getvalue())


def test_it_syncs_creates_verifies_and_prints_the_outcome(
    clock: SettableClock, free_pair: OrgPair, sandbox: SandboxServer
):
    until = clock.at.date() + timedelta(days=30)
    code, document = run(free_pair, *CREATE, "--yes", f"--until={until}", "--ticket=SEC-1")
    assert code == 0, document
    request = AccessRequest.objects.get()
    created = connection_between(sandbox.world, "Payments US", "Group SOC")
    expected: dict[str, Any] = {
        "id": str(request.pk),
        "url": f"/access-requests/{request.pk}/",
        "kind": "create",
        "outcome": "created",
        "connection_id": created.id,
        "types_after": ["logs"],
        "ends_on": until.isoformat(),
        "owner_text": "SOC team",
        "is_existing": False,
    }
    assert {key: document[key] for key in expected} == expected
    assert document["verified_at"]
    assert document["requested_by"].startswith("command: ")
    assert Agreement.objects.get().ends_on == until


POST, PATCH = "POST", "PATCH"
CASES = [
    pytest.param(POST, faults.RETURNS_403, 4, "refused", id="POST 403"),
    pytest.param(POST, faults.rate_limited(), 5, "waiting", id="POST 429"),
    pytest.param(POST, faults.EXECUTES_THEN_500, 6, "unknown", id="POST 500"),
    pytest.param(POST, faults.RETURNS_200_WITHOUT_DELETING, 9, "created", id="POST contradicted"),
    pytest.param(PATCH, faults.RETURNS_403, 4, "refused", id="PATCH 403"),
    pytest.param(PATCH, faults.EXECUTES_THEN_RESET, 6, "unknown", id="PATCH cut"),
    pytest.param(PATCH, faults.RETURNS_200_WITHOUT_DELETING, 9, "changed", id="PATCH contradicted"),
    pytest.param(PATCH, None, 0, "changed", id="PATCH 200"),
]


@pytest.mark.parametrize(("method", "fault", "expected", "status"), CASES)
def test_each_response_has_its_exit_code(
    sandbox: SandboxServer,
    request: pytest.FixtureRequest,
    method: str,
    fault: Fault | None,
    expected: int,
    status: str,
):
    pair = request.getfixturevalue("free_pair" if method == POST else "listed_pair")
    if fault:
        sandbox.world.set_fault(fault=fault, method=method)
    code, document = run(pair, *(CREATE if method == POST else CHANGE), "--yes")
    assert (code, document["outcome"] or document["state"]) == (expected, status)


CODES = {
    AccessOutcome.CREATED: 0,
    AccessOutcome.CHANGED: 0,
    AccessOutcome.EXTENDED: 0,
    AccessOutcome.ALREADY_EXISTS: 3,
    AccessOutcome.ALREADY_AS_REQUESTED: 3,
    AccessOutcome.EXISTS_UNATTRIBUTED: 3,
    AccessOutcome.GONE: 3,
    AccessOutcome.REFUSED: 4,
    AccessOutcome.NOT_SENT: 5,
    AccessOutcome.UNRESOLVED: 6,
    AccessOutcome.STALE: 8,
    AccessOutcome.CHANGED_ELSEWHERE: 8,
    AccessOutcome.DECLINED: 1,
    AccessOutcome.WITHDRAWN: 1,
    AccessOutcome.EXPIRED: 1,
}


@pytest.mark.parametrize("outcome", AccessOutcome)
def test_each_outcome_has_its_exit_code(outcome: AccessOutcome):
    settled = AccessRequest(kind="create", state=State.SETTLED, outcome=outcome)
    assert exit_code_of(settled) == CODES[outcome]


def test_what_had_no_effect_has_the_exit_code_of_what_changed():
    assert exit_code_of(AccessRequest(kind="change", state=AccessState.NO_EFFECT)) == 8


@pytest.mark.parametrize(
    ("kind", "types", "exit_code"),
    [
        ("create", "logs,metrics", 3),
        ("create", "logs", 8),
        ("change", "logs,metrics", 3),
    ],
)
def test_what_is_already_so_or_differs_has_an_exit_code_and_no_record(
    listed_pair: OrgPair, sandbox: SandboxServer, kind: str, types: str, exit_code: int
):
    code, document = run(listed_pair, *CREATE, f"--kind={kind}", f"--types={types}", "--yes")
    assert (code, list(document), AccessRequest.objects.count()) == (exit_code, ["error"], 0)
    assert not sandbox.world.requests(method="POST") + sandbox.world.requests(method="PATCH")


@pytest.mark.parametrize("kind", ["change", "move"])
def test_changing_or_moving_what_is_not_connected_differs(free_pair: OrgPair, kind: str):
    assert run(free_pair, *CHANGE, f"--kind={kind}", "--yes")[0] == 8
    assert not AccessRequest.objects.exists()


def test_what_needs_approval_waits_for_it_and_the_same_command_names_it(
    ada: Person, credential: Credential, free_pair: OrgPair, sandbox: SandboxServer
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    code, document = run(free_pair, *CREATE, "--yes")
    assert (code, "--as USERNAME" in document["error"]) == (2, True)
    assert run(free_pair, *CREATE, "--yes", "--as=ada")[0] == 7
    code, document = run(free_pair, *CREATE, "--yes", "--as=ada")
    assert (code, document["is_existing"]) == (7, True)
    assert AccessRequest.objects.get().requested_by == ada
    assert not sandbox.world.requests(method="POST")


def test_an_org_is_not_connected_to_itself(listed_pair: OrgPair, sandbox: SandboxServer):
    pair = listed_pair._replace(source_org_id=listed_pair.sink_org_id)
    code, document = run(pair, *CREATE, "--yes")
    assert (code, "Choose two different orgs." in document["error"]) == (2, True)
    assert not sandbox.world.requests(method="POST")


def test_an_end_is_extended_without_a_request_to_datadog(
    clock: SettableClock, listed_pair: OrgPair, sandbox: SandboxServer
):
    soon, later = (clock.at.date() + timedelta(days=days) for days in (10, 20))
    assert run(listed_pair, *CHANGE, "--yes", f"--until={soon}")[0] == 0
    code, document = run(listed_pair, "--kind=extend", f"--until={later}", "--yes")
    assert (code, document["outcome"], document["ends_on"]) == (0, "extended", later.isoformat())
    assert len(sandbox.world.requests(method="PATCH")) == 1
    assert Agreement.objects.order_by("-version")[0].ends_on == later


def test_a_deleted_connection_is_restored(credential: Credential, listed_pair: OrgPair):
    snapshot = credential.snapshots.get(is_current=True, **listed_pair._asdict())
    with suppress(SystemExit):
        call_command(
            "delete_org_connection",
            "--credential=Payments US",
            f"--connection-id={snapshot.connection_id}",
            "--reason=carve-out",
            "--yes",
        )
    deletion = Deletion.objects.get()
    restore = ("--kind=restore", "--owner-text=SOC team", "--purpose=needed again", "--yes")
    code, document = run(listed_pair, *restore, f"--deletion={deletion.pk}")
    assert (code, document["outcome"]) == (0, "created"), document
    assert document["types_after"] == sorted(deletion.connection_types)
    assert document["restored_from"] == str(deletion.pk)


MOVE = ("--kind=move", "--yes")


def test_a_move_needs_nothing_but_a_reason_beyond_what_is_agreed(
    listed_pair: OrgPair, credential: Credential, sandbox: SandboxServer
):
    Credential.objects.update(verification=[{"check": "permissions", "ok": True}])
    old = connection_between(sandbox.world, "Payments US", "Group SOC")
    assert run(listed_pair, *MOVE)[0] == 2
    code, document = run(listed_pair, *MOVE, "--owner-text=SOC team", "--purpose=incidents")
    assert (code, document["outcome"], document["moved_from"]) == (0, "created", old.id), document
    new = connection_between(sandbox.world, "Payments US", "Group SOC")
    assert (document["connection_id"], document["owner_text"]) == (new.id, "SOC team")
    assert document["types_after"] == ["logs", "metrics"]
    # These keys' owner created it now.
    assert run(listed_pair, *MOVE)[0] == 3
    Credential.objects.update(key_owner_is_service_account=False, key_owner_id="someone")
    assert run(listed_pair, *MOVE)[0] == 2


def test_a_move_whose_post_is_refused_says_that_access_is_interrupted(
    listed_pair: OrgPair, credential: Credential, sandbox: SandboxServer
):
    Credential.objects.update(verification=[{"check": "permissions", "ok": True}])
    sandbox.world.set_fault(fault=faults.RETURNS_403, method="POST")
    code, document = run(listed_pair, *MOVE, "--owner-text=SOC team", "--purpose=incidents")
    assert (code, document["state"], document["cause"]) == (4, "approved", "move_creating")
    assert document["removed_at"]


UNUSABLE = {
    "create without types": ("--kind=create", "--yes"),
    "restore without a deletion": ("--kind=restore", "--yes"),
    "restore of an unknown deletion": ("--kind=restore", f"--deletion={uuid4()}", "--yes"),
    "restore of no ID": ("--kind=restore", "--deletion=x", "--yes"),
    "deletion for another kind": (*CREATE, "--deletion=x", "--yes"),
    "no --yes": CREATE,
    "no date": (*CREATE, "--until=soon", "--yes"),
    "a past date": (*CREATE, "--until=2001-01-01", "--yes"),
    "no owner": ("--kind=create", "--types=logs", "--purpose=x", "--yes"),
    "unknown owner": ("--kind=create", "--types=logs", "--purpose=x", "--owner=nobody", "--yes"),
    "no site": (*CREATE, "--source=Payments US", "--yes"),
    "unknown credential": (*CREATE, "--credential=other", "--yes"),
    "blank reason": (*CREATE, "--reason= ", "--yes"),
    "unknown org": (*CREATE, "--destination=nowhere", "--yes"),
}


@pytest.mark.parametrize("arguments", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_unusable_input_is_exit_code_2(
    free_pair: OrgPair, sandbox: SandboxServer, arguments: tuple[str, ...]
):
    code, document = run(free_pair, *arguments)
    assert (code, list(document)) == (2, ["error"])
    assert not AccessRequest.objects.exists()
    assert not sandbox.world.requests(method="POST")


def test_the_keys_of_a_person_create_nothing(credential: Credential, free_pair: OrgPair):
    Credential.objects.update(key_owner_is_service_account=False, person_can_create=False)
    code, document = run(free_pair, *CREATE, "--yes")
    assert (code, "belong to a person" in document["error"]) == (2, True)
    Credential.objects.update(person_can_create=True)
    assert run(free_pair, *CREATE, "--yes")[0] == 0


def test_nothing_is_requested_if_the_sync_before_fails(free_pair: OrgPair, sandbox: SandboxServer):
    sandbox.world.set_fault(fault=faults.RETURNS_500, method="GET")
    code, document = run(free_pair, *CREATE, "--yes")
    assert (code, document["error"].split(":")[0]) == (1, "Nothing was sent")
    assert not AccessRequest.objects.exists()


def test_access_requests_are_listed_newest_first(
    free_pair: OrgPair, capsys: pytest.CaptureFixture[str]
):
    run(free_pair, *CREATE, "--yes")
    call_command("list_access_requests", "--json")
    [row] = json.loads(capsys.readouterr().out)["access_requests"]
    assert (row["kind"], row["outcome"]) == ("create", "created")
    call_command("list_access_requests")
    assert "Create  Created  Payments US → Group SOC" in capsys.readouterr().out


@pytest.mark.parametrize(("policy", "code"), [(ApprovalPolicy.NONE, 0), (ApprovalPolicy.ONE, 7)])
def test_a_dry_run_prints_what_changes_and_stores_and_sends_nothing(
    listed_pair: OrgPair, sandbox: SandboxServer, policy: ApprovalPolicy, code: int
):
    Credential.objects.update(policy=policy)
    sent = len(sandbox.world.requests())
    exit_code, document = run(listed_pair, *CHANGE, "--dry-run")
    assert exit_code == code
    assert document["changes"][:2] == [
        "Group SOC loses access to Payments US's metrics and gains access to its audit events. "
        "It keeps logs.",
        "Data types: logs, metrics → logs, audit",
    ]
    assert (AccessRequest.objects.count(), len(sandbox.world.requests())) == (0, sent)


def test_a_dry_run_of_what_cannot_be_requested_says_why(listed_pair: OrgPair):
    code, document = run(listed_pair, *CREATE, "--dry-run")
    assert (code, "already connected" in document["error"]) == (2, True)


def test_only_a_new_connection_needs_no_reason_besides_its_purpose(
    free_pair: OrgPair, listed_pair: OrgPair
):
    code, document = run(listed_pair, *CHANGE, "--dry-run", "--reason=")
    assert (code, document["error"]) == (2, "--reason: Enter a reason.")
    code, _ = run(free_pair, *CREATE, "--yes", "--reason=")
    assert (code, AccessRequest.objects.get().reason) == (0, "incident response")


@pytest.mark.parametrize("other", ["access request", "deletion"])
def test_a_dry_run_beside_an_open_request_says_that_it_is_open(
    listed_pair: OrgPair, ada: Person, other: str
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    if other == "deletion":
        target = OrgConnectionSnapshot.objects.get(**listed_pair._asdict())
        request_deletion(
            actor=person_actor(person=ada),
            credential=Credential.objects.get(),
            connection_id=target.connection_id,
        )
    else:
        run(listed_pair, *CHANGE, "--as=ada", "--yes")
    code, document = run(listed_pair, *CHANGE, "--dry-run")
    assert (code, "is open" in document["error"]) == (2, True)

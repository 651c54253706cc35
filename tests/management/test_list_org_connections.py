"""The command that lists org connections."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from connections.core.causes import cause_text
from connections.models import AuditEvent, Credential, Sync
from sandbox import faults
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.flows.support import store_credential
from tests.support.sandbox import connection_between, key_pair_of


@pytest.fixture
def payments(sandbox: SandboxServer, db: None) -> Credential:
    return store_credential(sandbox, "Payments US", is_read=False)


@pytest.fixture
def labs(sandbox: SandboxServer, db: None) -> Credential:
    return store_credential(sandbox, "Labs EU", is_read=False)


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    out, err = StringIO(), StringIO()
    try:
        call_command("list_org_connections", *arguments, stdout=out, stderr=err)
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue(), err.getvalue()
    except CommandError as error:
        return error.returncode, out.getvalue(), str(error)
    return 0, out.getvalue(), err.getvalue()


def run_json(*arguments: str) -> tuple[int, dict[str, Any]]:
    code, out, _ = run("--json", *arguments)
    document: dict[str, Any] = json.loads(out)
    return code, document


def test_it_syncs_stores_and_prints_every_connection(
    sandbox: SandboxServer, payments: Credential, labs: Credential
):
    code, document = run_json()
    connection = connection_between(sandbox.world, "Payments US", "Group SOC")
    [found] = [one for one in document["org_connections"] if one["id"] == connection.id]
    assert code == 0
    assert document["failures"] == []
    assert len(document["org_connections"]) == 3
    assert found == {
        "id": connection.id,
        "site": "sandbox-us1",
        "source_org": {"id": connection.source_org.id, "name": "Payments US"},
        "sink_org": {"id": connection.sink_org.id, "name": "Group SOC"},
        "connection_types": ["logs", "metrics"],
        "created_at": "2025-08-26T20:19:35.554634+00:00",
        "created_by": {
            "id": connection.created_by.id,
            "name": "Dana Keller",
            "disabled": False,
            "service_account": False,
        },
        "seen_by": ["Payments US"],
        "agreed": False,
        "reasons": ["no_agreement"],
        "agreement": None,
        "accepted": False,
        "accepted_at": None,
    }
    assert Sync.objects.count() == 2


def test_an_org_that_cannot_be_listed_is_a_failure_and_hides_no_other_org(
    sandbox: SandboxServer, payments: Credential, labs: Credential
):
    sandbox.world.revoke(key_pair_of(sandbox.world, "Labs EU"))
    code, document = run_json()
    [failure] = document["failures"]
    assert code == 1
    assert len(document["org_connections"]) == 2
    assert (failure["credential"], failure["http_status"]) == ("Labs EU", 403)
    assert failure["errors"] == ["Forbidden"]


@pytest.mark.parametrize("fault", faults.CONTRADICTIONS, ids=lambda fault: fault.name)
def test_a_listing_that_contradicts_itself_is_a_failure(
    sandbox: SandboxServer, payments: Credential, fault: Fault
):
    sandbox.world.set_fault(fault=fault, operation="list")
    code, document = run_json()
    assert code == 1
    [failure] = document["failures"]
    assert failure["message"] == cause_text(Sync.objects.get().cause)


def test_stored_sends_datadog_no_request(payments: Credential, sandbox: SandboxServer):
    run()
    sandbox.world.revoke(key_pair_of(sandbox.world, "Payments US"))
    code, document = run_json("--stored")
    assert code == 0
    assert len(document["org_connections"]) == 2
    assert Sync.objects.count() == 1


def test_stored_reports_what_was_never_synced(payments: Credential):
    code, document = run_json("--stored")
    assert code == 1
    assert document["failures"][0]["message"] == "Never synced."


def test_one_credential_can_be_selected_by_name(payments: Credential, labs: Credential):
    code, document = run_json("--credential", "labs eu")
    assert code == 0
    assert [connection["seen_by"] for connection in document["org_connections"]] == [["Labs EU"]]
    assert Sync.objects.get().credential == labs


def test_a_credential_that_does_not_exist_is_a_usage_error(payments: Credential):
    code, document = run_json("--credential", "Nobody")
    assert code == 2
    assert document == {"error": "No credential in use is named 'Nobody'."}


def test_text_output_has_one_line_per_connection_and_failures_on_standard_error(
    sandbox: SandboxServer, payments: Credential, labs: Credential
):
    sandbox.world.revoke(key_pair_of(sandbox.world, "Labs EU"))
    code, out, err = run()
    assert code == 1
    assert len(out.splitlines()) == 2
    assert "sandbox-us1  Payments US -> Group SOC  logs,metrics" in out
    assert err.startswith("Labs EU: ")


def test_no_key_is_printed(payments: Credential, sandbox: SandboxServer):
    pair = key_pair_of(sandbox.world, "Payments US")
    _, out, err = run("--json")
    assert pair.api_key not in out + err
    assert pair.application_key not in out + err
    assert not AuditEvent.objects.exists()


def test_at_a_moment_what_it_cannot_say_is_null(sandbox: SandboxServer, payments: Credential):
    run_json()
    finished_at = Sync.objects.latest("pk").finished_at.isoformat()
    code, document = run_json("--at", finished_at)
    assert code == 0
    [found, *_] = document["org_connections"]
    now = run_json("--stored")[1]["org_connections"][0]
    unknown = ("agreed", "reasons", "accepted", "accepted_at", "agreement")
    assert found["as_of"]
    assert found["changing"] is False
    assert {name: found[name] for name in now} == now | dict.fromkeys(unknown)
    assert document["at"] == finished_at
    assert {org["last_synced_at"] for org in document["not_covered"]} == {None}
    assert Sync.objects.count() == 1


def test_before_the_first_sync_it_fails_and_says_why(sandbox: SandboxServer, payments: Credential):
    run_json()
    code, document = run_json("--at", "2020-01-31")
    assert code == 1
    assert "Nothing is stored about 2020-01-31 23:59:59 UTC." in document["error"]


@pytest.mark.parametrize("text", ["yesterday", "", "9999-01-01"])
def test_a_moment_that_cannot_be_is_a_usage_error(payments: Credential, text: str):
    assert run("--at", text)[0] == 2


def test_whether_a_past_connection_was_agreed_cannot_be_asked(payments: Credential):
    assert run("--at", "2020-01-31", "--not-agreed")[0] == 2

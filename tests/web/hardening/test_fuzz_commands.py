"""Hostile values in every option of every command cause a message, never a traceback."""

import json
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command, load_command_class
from django.db import transaction

from connections.models import Person
from sandbox.server import SandboxServer
from tests.flows.support import store_credential
from tests.support.sandbox import connection_between, key_pair_of
from tests.support.sweeps import sample
from tests.web.hardening.test_fuzz import HOSTILE

pytestmark = [pytest.mark.django_db, pytest.mark.slow, pytest.mark.sweep]

COMMANDS = Path(__file__).parents[3] / "connections/management/commands"
ORG = "Payments US"
PERSON = {"--username": "hedy", "--email": "hedy@example.com"}
# The other arguments of each command; a command without typed options needs none.
USUAL: dict[str, dict[str, str]] = {
    "add_credential": {
        "--site": "sandbox-us1",
        "--api-key-file": "api_key",
        "--application-key-file": "application_key",
    },
    "add_person": PERSON,
    "backup": {"--output": "copy"},
    "change_person": {"--username": "ada"},
    "connect_people": {},
    "createsuperuser": {"--noinput": "", **PERSON},
    "delete_org_connection": {"--credential": ORG, "--reason": "over", "--yes": ""},
    "delete_org_connections": {"--plan": "plan.csv", "--reason": "over", "--yes": ""},
    "erase_person": {"--username": "ada", "--yes": ""},
    "export_audit": {},
    "export_deletions": {"--format": "json"},
    "hold": {},
    "import_agreements": {},
    "import_credentials": {},
    "import_org_groups": {},
    "list_access_requests": {},
    "list_changes": {},
    "list_org_connections": {"--stored": ""},
    "make_api_token": {"--username": "ada", "--name": "CMDB", "--scope": "read"},
    "make_evidence_bundle": {"--output": "bundle.zip"},
    "make_keys": {"--output": "keys"},
    "make_sign_in_link": {"--username": "ada"},
    "move_database": {},
    "request_access": {
        "--kind": "change",
        "--source": f"sandbox-us1/{ORG}",
        "--destination": "Group SOC",
        "--types": "logs",
        "--owner-text": "SOC",
        "--purpose": "incident response",
        "--reason": "over",
        "--yes": "",
    },
    "restore": {"--from": "copy"},
    "retire_credential": {"--yes": ""},
    "verify_audit": {},
    "verify_credentials": {"--credential": ORG},
}
# Long-running processes; tests/management/ and tests/orgadmin/ start them.
PROCESSES = {"serve", "web", "worker"}
DJANGO_COMMANDS = {"--version", "--verbosity", "--settings", "--pythonpath", "--database"}
# A process argument can't contain U+0000; invalid UTF-8 arrives as a lone surrogate.
VALUES = (*(value for value in HOSTILE if "\0" not in value), "\udcff")


def typed_options() -> Iterator[tuple[str, str]]:
    """Every option of every command that takes a value."""
    for path in sorted(COMMANDS.glob("[a-z]*.py")):
        parser = load_command_class("connections", path.stem).create_parser("manage.py", path.stem)
        for action in parser._actions:
            option = max(action.option_strings, key=len, default=action.dest)
            if (
                path.stem not in PROCESSES
                and action.nargs is None
                and option not in DJANGO_COMMANDS
            ):
                yield path.stem, option


@pytest.fixture(autouse=True)
def _scene(
    ada: Person,
    root: Person,
    sandbox: SandboxServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    store_credential(sandbox, ORG)
    pair = key_pair_of(sandbox.world, "Group SOC")
    Path("api_key").write_text(pair.api_key)
    Path("application_key").write_text(pair.application_key)
    connection = connection_between(sandbox.world, ORG, "Group SOC")
    monkeypatch.setitem(USUAL["delete_org_connection"], "--connection-id", connection.id)
    Path("plan.csv").write_text(f"site,connection_id\nsandbox-us1,{connection.id}\n")


def run(command: str, options: dict[str, str]) -> str:
    """The command's output as a pipe receives it; its database changes are rolled back."""
    output = BytesIO()
    out = TextIOWrapper(output, encoding="utf-8", write_through=True)
    before = transaction.savepoint_create()
    arguments = [f"{name}={value}" if value else name for name, value in options.items()]
    with suppress(CommandError, SystemExit):
        call_command(command, *arguments, "--json", stdout=out)
    transaction.savepoint_rollback(before)
    return output.getvalue().decode()


@pytest.mark.parametrize(
    ("number", "command", "option"),
    [(number, *each) for number, each in enumerate(typed_options())],
)
def test_a_hostile_value_is_refused_with_a_message(number: int, command: str, option: str):
    # In a test run, every option gets a twelfth of the values, each another one than the next.
    for value in sample(VALUES, every=12, start=number):
        # At most one document in every case.
        written = run(command, USUAL[command] | {option: value})
        assert not written or json.loads(written) is not None

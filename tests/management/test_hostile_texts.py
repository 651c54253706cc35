"""No text from outside adds a line to a command's output or controls the terminal."""

import json
import logging
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command, load_command_class
from django.utils import timezone
from pytest_django import Settings

from connections.access.actor import command_actor
from connections.core.errors import ConflictError
from connections.core.logs import TEXT_FORMAT, TextFormatter
from connections.inventory import syncs
from connections.management.base import LineOutput
from connections.models import Credential, OrgPair, Person, RequestKind, Role
from connections.operations import holds
from sandbox.entities import make_user
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.access_reviews.support import close, start
from tests.flows.support import store_credential
from tests.support.access_requests import request_for
from tests.support.deletions import request_deletion
from tests.support.people import make_person
from tests.support.processes import clean_environment, manage
from tests.support.sandbox import US
from tests.support.undo import undone

COMMANDS = sorted(
    path.stem
    for path in (Path(__file__).parents[2] / "connections/management/commands").glob("[a-z]*.py")
)
# Clears the screen, sets the title, reverses the direction, sends C1 controls, breaks the line.
HOSTILE = (
    "Evil \x1b[2J\x1b]0;pwn\x07\u202e\u2066\u200b\x9b1m\x7f\x0b\u0085\u2028"
    "\r\nINJECTED\nINJECTED \U000e0001"
)
# What a line of a CSV file can contain.
HOSTILE_CELL = "Evil \x1b[2J\x9b1m\u202e"


def put_on_hold() -> list[str]:
    with suppress(ConflictError):
        holds.put_on_hold(actor=command_actor(), reason=HOSTILE)
    return []


def unprintable_in(text: str) -> set[str]:
    return {c for line in text.split("\n") for c in line if not c.isprintable()}


def assert_safe(text: str) -> None:
    assert unprintable_in(text) == set()
    assert [line for line in text.split("\n") if line.startswith("INJECTED")] == []


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What outsiders named: orgs, connections, a person, Datadog's errors, a reason."""

    listed: str
    review: str
    same_files: Path  # another directory with the files of the current one


@pytest.fixture
def scene(
    sandbox: SandboxServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    edith: Person,
) -> Scene:
    monkeypatch.chdir(tmp_path)
    settings.DATA_DIR = tmp_path / f"Data {HOSTILE}"
    settings.DATA_DIR.mkdir()
    world = sandbox.world
    source, sink, other = (world.add_org(name=f"{HOSTILE} {number}", site=US) for number in "123")
    pair = world.add_key_pair(org=source, user=make_user(name=HOSTILE))
    creator = make_user(name=HOSTILE)
    refused, listed = (
        world.add_connection(source_org=one, sink_org=another, created_by=creator)
        for one, another in ((source, sink), (sink, source))
    )
    credential = store_credential(sandbox, "", pair=pair, name=HOSTILE)
    Credential.objects.update(keys_set_at=timezone.now() - timedelta(days=900))
    world.add_connection(source_org=source, sink_org=other, created_by=creator)
    syncs.sync_credentials(credentials=[credential], actor=command_actor())
    ada = make_person("ada", Role.OPERATOR)
    Person.objects.filter(pk=ada.pk).update(username=HOSTILE, first_name=HOSTILE)
    review = close(start(edith, edith), edith, open_reason=HOSTILE)
    request_for(
        actor=command_actor(),
        pair=OrgPair(US, source.id, other.id),
        kind=RequestKind.CHANGE,
        wanted={"types": ["audit"], "owner_text": HOSTILE, "purpose": HOSTILE},
        reason=HOSTILE,
    )
    error = json.dumps({"errors": [f"{HOSTILE} error"]})
    world.set_fault(fault=Fault(name="says", executes=False, status=400, body=error))
    request_deletion(
        actor=command_actor(),
        credential=credential,
        connection_id=refused.id,
        reason=HOSTILE,
        requester=Person.objects.get(pk=ada.pk),
    )
    Path("api_key").write_text(pair.api_key)
    Path("application_key").write_text(pair.application_key)
    Path("plan.csv").write_text(f"site,connection_id\n{US},{listed.id}\n")
    Path("bad plan.csv").write_text(f"site,connection_id\n{HOSTILE_CELL},{listed.id}\n")
    keys = f"{'0' * 32},{'0' * 40}"
    Path("keys.csv").write_text(f"name,site,api_key,application_key\n{HOSTILE_CELL},{US},{keys}\n")
    Path("accounts.csv").write_text(f"username,subject\n{HOSTILE_CELL},1\n")
    Path("groups.csv").write_text(
        f"site,org,group,owner\n{US},{HOSTILE_CELL},,\n{US},Payments US,,{HOSTILE_CELL}\n"
    )
    Path("agreements.csv").write_text(
        "site,source_org,destination_org,owner,owner_text,purpose,ticket,ends_on,connection_types\n"
        f"{US},{HOSTILE_CELL},x,,,,,,\n{US},Payments US,Group SOC,,x,x,,{HOSTILE_CELL},\n"
    )
    full = Path(f"Full {HOSTILE}")
    full.mkdir()
    (full / "file").touch()
    same_files = shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name} again"))
    return Scene(listed=listed.id, review=str(review.pk), same_files=same_files)


ArgumentsOf = Callable[[Scene], list[str]]
KEY_FILES = ["--site", US, "--api-key-file=api_key", "--application-key-file=application_key"]
DELETION = ["--reason", HOSTILE, "--yes"]
ACCESS = [
    *("--source", f"{US}/{HOSTILE} 1", "--types", f"logs,{HOSTILE}"),
    *("--owner-text", HOSTILE, "--purpose", HOSTILE),
]
# Every command, with each way to make it print something from outside.
RUNS: dict[str, list[ArgumentsOf]] = {
    "add_credential": [
        lambda scene: KEY_FILES,
        lambda scene: ["--site", HOSTILE],
        lambda scene: ["--site", US, "--access-token-file", HOSTILE],
    ],
    "add_person": [
        lambda scene: ["--username", HOSTILE, "--email", HOSTILE],
        lambda scene: ["--username=a", "--email=a@example.com", "--role", HOSTILE],
    ],
    "after_restore": [lambda scene: []],
    "backup": [lambda scene: ["--output", f"Full {HOSTILE}"]],
    "change_person": [
        lambda scene: ["--username", HOSTILE, "--disable"],
        lambda scene: ["--username", f"not {HOSTILE}", "--disable"],
    ],
    "changepassword": [lambda scene: [HOSTILE]],
    "connect_people": [
        lambda scene: ["--file=accounts.csv"],
        lambda scene: ["--file", HOSTILE],
    ],
    "createsuperuser": [
        lambda scene: ["--noinput", "--username", HOSTILE, "--email=a@example.com"]
    ],
    "delete_org_connection": [
        lambda scene: ["--credential", HOSTILE, "--connection-id", scene.listed, *DELETION],
        lambda scene: ["--credential", f"x{HOSTILE}", "--connection-id", scene.listed, *DELETION],
        lambda scene: ["--credential", HOSTILE, "--connection-id", HOSTILE, *DELETION],
    ],
    "delete_org_connections": [
        lambda scene: ["--plan=plan.csv", *DELETION],
        lambda scene: ["--plan=bad plan.csv", *DELETION],
        lambda scene: ["--plan", HOSTILE, *DELETION],
    ],
    "doctor": [lambda scene: []],
    "erase_person": [lambda scene: ["--username", HOSTILE, "--yes"]],
    "export_audit": [lambda scene: [], lambda scene: ["--checkpoint-file=keys.csv"]],
    "export_deletions": [
        lambda scene: ["--format=json"],
        lambda scene: ["--format=ndjson"],
        lambda scene: ["--format=json", "--org", HOSTILE],
    ],
    "forget_lost_keys": [lambda scene: []],
    "hold": [lambda scene: ["--reason", HOSTILE]],
    "import_agreements": [
        lambda scene: ["--file=agreements.csv"],
        lambda scene: ["--file", HOSTILE],
    ],
    "import_org_groups": [
        lambda scene: ["--file=groups.csv"],
        lambda scene: ["--file", HOSTILE],
    ],
    "import_credentials": [
        lambda scene: ["--file=keys.csv"],
        lambda scene: ["--file", HOSTILE],
    ],
    "list_access_requests": [lambda scene: []],
    "list_changes": [lambda scene: [], lambda scene: ["--since", HOSTILE]],
    "list_org_connections": [
        lambda scene: [],
        lambda scene: ["--stored"],
        lambda scene: ["--credential", f"x{HOSTILE}"],
    ],
    "list_orgs": [lambda scene: []],
    "make_api_token": [
        lambda scene: ["--username", HOSTILE, "--name", HOSTILE, "--scope", "read"],
        lambda scene: ["--username", HOSTILE, "--name", HOSTILE, "--scope", HOSTILE],
    ],
    "make_evidence_bundle": [
        lambda scene: ["--output", HOSTILE],
        lambda scene: ["--output", HOSTILE, "--review", scene.review],
        lambda scene: ["--output=new.zip", "--checkpoint", HOSTILE],
    ],
    "make_keys": [lambda scene: ["--output", HOSTILE]],
    "make_sign_in_link": [lambda scene: ["--username", HOSTILE]],
    "reconcile_deletions": [lambda scene: []],
    "migrate": [lambda scene: [HOSTILE]],
    "move_database": [lambda scene: ["--to", HOSTILE]],
    "request_access": [
        lambda scene: [*ACCESS, "--kind=create", "--destination", f"{HOSTILE} 3", *DELETION],
        lambda scene: [*ACCESS, "--kind=change", "--destination", f"{HOSTILE} 2", *DELETION],
        lambda scene: [*ACCESS, "--kind=create", "--destination", HOSTILE, *DELETION],
    ],
    "release_hold": [lambda scene: put_on_hold()],
    "restore": [lambda scene: ["--from", HOSTILE]],
    "retire_credential": [
        lambda scene: ["--name", HOSTILE, "--yes"],
        lambda scene: ["--name", f"x{HOSTILE}", "--yes"],
    ],
    "rotate_encryption_key": [lambda scene: []],
    "rotate_signing_key": [lambda scene: []],
    "serve": [lambda scene: []],
    "verify_audit": [lambda scene: [], lambda scene: ["--checkpoint", HOSTILE]],
    "verify_credentials": [
        lambda scene: [],
        lambda scene: ["--credential", f"x{HOSTILE}"],
    ],
    "web": [lambda scene: []],
    "worker": [lambda scene: ["--once"]],
}
# These print nothing that anyone from outside wrote, other than in a usage error.
SAY_NOTHING_OF_IT = {
    "changepassword",
    "createsuperuser",
    "after_restore",
    "erase_person",
    "forget_lost_keys",
    "make_sign_in_link",
    "move_database",
    "rotate_encryption_key",
    "rotate_signing_key",
    "worker",
}
NO_JSON = {"changepassword", "createsuperuser", "migrate", "serve", "web"}


def run(name: str, *arguments: str) -> None:
    """Run the command as a program does, with its errors on standard error."""
    command = load_command_class("connections", name)
    command._called_from_command_line = True  # type: ignore[attr-defined]
    try:
        call_command(command, *arguments)
    except SystemExit:
        pass
    except CommandError as error:
        command.stderr.write(f"CommandError: {error}")


def test_every_command_is_listed_here():
    assert sorted(RUNS) == COMMANDS


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("name", COMMANDS)
def test_no_text_from_outside_adds_a_line_or_an_unprintable_character(
    name: str,
    scene: Scene,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
):
    # Not for `doctor`, which would request the provider's metadata.
    settings.OIDC_ISSUER = "https://sso.example.org" if name == "connect_people" else ""
    handler = logging.StreamHandler()
    handler.setFormatter(TextFormatter("%(message)s"))
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    printed = ""
    for arguments_of in RUNS[name]:
        with undone():
            run(name, *arguments_of(scene))
        output, errors = capfd.readouterr()
        assert_safe(output)
        assert_safe(errors)
        printed += output + errors
    assert ("Evil" in printed) == (name not in SAY_NOTHING_OF_IT)
    run(name, *RUNS[name][0](scene), HOSTILE)
    usage = capfd.readouterr().err
    assert "Evil" in usage
    assert_safe(usage)

    monkeypatch.chdir(scene.same_files)
    monkeypatch.setattr(sys, "argv", ["manage.py", name, "--json"])
    for arguments_of in RUNS[name] if name not in NO_JSON else ():
        if (arguments := arguments_of(scene)) == ["--format=ndjson"]:
            continue
        with undone():
            run(name, *arguments, "--json")
        document, errors = capfd.readouterr()
        assert_safe(document)
        assert_safe(errors)
        assert json.loads(document) is not None


@pytest.mark.django_db
def test_a_json_document_keeps_every_character_of_a_value(
    scene: Scene, capfd: pytest.CaptureFixture[str]
):
    run("list_orgs", "--json")
    orgs = json.loads(capfd.readouterr().out)["orgs"]
    assert {f"{HOSTILE} {number}" for number in "12"} <= {org["name"] for org in orgs}


@pytest.mark.django_db
def test_printable_letters_of_any_language_stay_as_they_are_in_text_and_json(
    sandbox: SandboxServer, capfd: pytest.CaptureFixture[str]
):
    org = sandbox.world.add_org(name="Zürich 東京 🙂", site=US)
    pair = sandbox.world.add_key_pair(org=org)
    store_credential(sandbox, "", pair=pair, name=org.name)
    for arguments in ([], ["--json"]):
        run("list_orgs", *arguments)
        assert org.name in capfd.readouterr().out


@pytest.mark.django_db
@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_csv_export_is_escaped_only_for_a_terminal(
    is_terminal: bool, scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    output = StringIO()
    monkeypatch.setattr(output, "isatty", lambda: is_terminal)
    call_command("export_deletions", "--format=csv", stdout=output, stderr=StringIO())
    text = output.getvalue()
    assert (HOSTILE.split("\r")[0] in text) != is_terminal
    assert text.startswith("id,") == is_terminal
    if is_terminal:
        assert unprintable_in(text) == set()


def test_the_color_of_an_error_is_the_only_escape_sequence():
    output = StringIO()
    LineOutput(output).write(HOSTILE, lambda text: f"\x1b[31m{text}\x1b[0m")
    assert output.getvalue().count("\x1b") == 2
    assert output.getvalue().count("\n") == 1


def test_no_text_passes_for_a_record_of_the_log():
    formatter = TextFormatter(TEXT_FORMAT, style="{")
    error = (ValueError, ValueError(HOSTILE), None)
    record = logging.LogRecord("x", logging.ERROR, "x", 1, "%s", (HOSTILE,), error)
    first, *trace = formatter.format(record).split("\n")
    assert " ERROR x" in first
    assert ": Evil [U+001B][2J" in first
    assert trace[0].startswith("  ValueError: Evil")
    assert [line for line in trace if not line.startswith("  ")] == []
    assert unprintable_in("\n".join([first, *trace])) == set()


@pytest.mark.parametrize("option", ["--verbosity=1", "--traceback"])
def test_a_process_prints_its_error_and_a_traceback_without_control_characters(
    option: str, tmp_path: Path
):
    (tmp_path / HOSTILE).mkdir()
    (tmp_path / HOSTILE / "keyring.json").touch()
    arguments = ("--output", str(tmp_path / HOSTILE), option)
    done = manage("make_keys", *arguments, env=clean_environment(data_dir=tmp_path / "data"))
    assert done.returncode == 1
    assert "Evil [U+001B][2J" in done.stderr
    assert ("Traceback" in done.stderr) == (option == "--traceback")
    assert unprintable_in(done.stderr) == set()

"""add_credential and verify_credentials: keys from files or standard input, exit codes, JSON."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from connections.models import AuditEvent, Credential
from sandbox import faults
from sandbox.server import SandboxServer
from tests.credentials.support import added
from tests.support.key_rings import exposed_by
from tests.support.sandbox import EU, US, key_pair_of, org_named

pytestmark = pytest.mark.django_db
CANARY = "canary0" * 6


def run(*arguments: str) -> tuple[int, str]:
    """Exit code and standard output, as a shell would see them."""
    output = io.StringIO()
    try:
        call_command(*arguments, stdout=output)
    except SystemExit as left:
        return int(left.code or 0), output.getvalue()
    except CommandError as error:
        return error.returncode, output.getvalue()
    return 0, output.getvalue()


def run_json(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document of a command run with `--json`."""
    code, output = run(*arguments, "--json")
    document: dict[str, Any] = json.loads(output)
    return code, document


def set_stdin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Replace standard input with this text; it is not a terminal."""
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def add(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, *more: str) -> tuple[int, Any]:
    pair = key_pair_of(sandbox.world, "Payments US")
    set_stdin(monkeypatch, f"{pair.api_key}\n{pair.application_key}\n")
    return run_json("add_credential", "--site", US, *more)


def test_keys_on_two_lines_of_standard_input_are_added_and_verified(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    code, document = add(sandbox, monkeypatch, "--name", "Pay")

    assert code == 0
    assert (document["name"], document["site"], document["verified"]) == ("Pay", US, True)
    assert document["org"]["name"] == "Payments US"
    assert document["org_connections"] == 2
    first = document["key_checks"][0]
    assert (first["check"], first["ok"]) == ("api_key", True)
    assert first["text"].endswith(" accepts the API key.")
    assert AuditEvent.objects.earliest("seq").actor_name.startswith("command: ")


def test_keys_can_be_a_json_document_on_standard_input(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    pair = key_pair_of(sandbox.world, "Payments US")
    keys = {"api_key": pair.api_key, "application_key": pair.application_key}
    set_stdin(monkeypatch, json.dumps(keys, indent=2))

    assert run("add_credential", "--site", US)[0] == 0


@pytest.mark.parametrize("document", [["access_token"], {"access_token": "t", "api_key": "k"}])
def test_a_json_document_with_two_kinds_of_keys_or_none_is_refused(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, document: Any
):
    set_stdin(monkeypatch, json.dumps(document))

    assert run("add_credential", "--site", US)[0] == 2


def test_keys_are_read_from_two_files(sandbox: SandboxServer, tmp_path: Path):
    pair = key_pair_of(sandbox.world, "Payments US")
    (tmp_path / "api").write_text(f"{pair.api_key}\n")
    (tmp_path / "application").write_text(f"{pair.application_key}\n")
    files = (
        f"--api-key-file={tmp_path / 'api'}",
        f"--application-key-file={tmp_path / 'application'}",
    )

    code, output = run("add_credential", f"--site={US}", *files)
    assert code == 0
    assert "Payments US (sandbox-us1): keys accepted" in output
    assert pair.api_key not in output


def test_a_key_pair_that_could_not_be_checked_is_stored_and_exits_1(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="validate")
    code, document = add(sandbox, monkeypatch)

    assert (code, document["verified"], document["cause"]) == (1, False, "server_error")
    assert Credential.objects.count() == 1


def test_rejected_keys_are_not_stored_and_exit_1(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    pair = key_pair_of(sandbox.world, "Payments US")
    set_stdin(monkeypatch, f"{pair.api_key}\n{pair.application_key}\n")
    code, document = run_json("add_credential", "--site", EU)

    assert (code, list(document)) == (1, ["error"])
    assert document["error"].startswith("Datadog rejected the API key (403).")
    assert pair.api_key not in document["error"]
    assert not Credential.objects.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        CANARY,
        f"{CANARY}\n{CANARY}\n{CANARY}",
        f"{CANARY} x\n{CANARY}",
        f'{{"api_key": "{CANARY}"',
        f'{{"api_key": "{CANARY}"}}',
        f'{{"api_key": ["{CANARY}"], "application_key": 1}}',
    ],
)
def test_malformed_input_exits_2_and_is_never_printed(
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
):
    set_stdin(monkeypatch, text)
    with pytest.raises(CommandError) as refused:
        call_command("add_credential", "--site", US)

    assert refused.value.returncode == 2
    assert "canary" not in str(refused.value)
    assert "canary" not in str(capsys.readouterr())
    assert not Credential.objects.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--site", "nowhere"),
        ("--site", US, "--api-key-file", "/nonexistent"),
        ("--site", US, "--api-key-file", "/nonexistent", "--application-key-file", "/nonexistent"),
    ],
)
def test_invalid_arguments_exit_2(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
):
    set_stdin(monkeypatch, "")
    code, document = run_json("add_credential", *arguments)
    assert (code, list(document)) == (2, ["error"])


def test_the_exception_for_a_refused_key_does_not_contain_it(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    set_stdin(monkeypatch, json.dumps({"api_key": f"{CANARY} x", "application_key": CANARY}))
    with pytest.raises(CommandError) as refused:
        call_command("add_credential", "--site", US)
    assert "canary" not in exposed_by(refused.value, leave_out=__file__)


def test_there_is_no_argument_for_a_key(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        call_command("add_credential", "--help")
    options = {word.rstrip(",") for word in capsys.readouterr().out.split() if word[:2] == "--"}
    assert {option for option in options if "key" in option} == {
        "--api-key-file",
        "--application-key-file",
    }


def test_verifying_all_exits_0_when_all_are_verified(sandbox: SandboxServer):
    added(sandbox, "Payments US")
    added(sandbox, "Labs EU")
    code, document = run_json("verify_credentials")

    assert code == 0
    assert [credential["verified"] for credential in document["credentials"]] == [True, True]


def test_verifying_all_exits_1_when_one_is_not(sandbox: SandboxServer):
    added(sandbox, "Payments US")
    added(sandbox, "Labs EU")
    sandbox.world.revoke(key_pair_of(sandbox.world, "Labs EU"))
    code, document = run_json("verify_credentials")

    assert code == 1
    assert {
        credential["name"]: credential["verified"] for credential in document["credentials"]
    } == {
        "Labs EU": False,
        "Payments US": True,
    }


def test_verifying_one_credential_sends_no_requests_for_others(sandbox: SandboxServer):
    added(sandbox, "Payments US")
    added(sandbox, "Labs EU")
    requests_before = len(sandbox.world.requests(site=EU))
    code, document = run_json("verify_credentials", "--credential", "payments us")

    assert (code, len(document["credentials"])) == (0, 1)
    assert len(sandbox.world.requests(site=EU)) == requests_before


def test_verifying_an_unknown_name_exits_2(sandbox: SandboxServer):
    assert run_json("verify_credentials", "--credential", "nobody")[0] == 2


def token_file(sandbox: SandboxServer, tmp_path: Path) -> Path:
    path = tmp_path / "token"
    token = sandbox.world.add_access_token(org=org_named(sandbox.world, "Payments US"))
    path.write_text(f"{token.access_token}\n")
    return path


@pytest.mark.parametrize("source", ["file", "line", "document"])
def test_an_access_token_is_added_and_verified(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str
):
    path = token_file(sandbox, tmp_path)
    token = path.read_text()
    set_stdin(monkeypatch, json.dumps({"access_token": token}) if source == "document" else token)
    options = ["--access-token-file", str(path)] if source == "file" else []
    code, document = run_json("add_credential", "--site", US, *options)

    assert (code, document["verified"]) == (0, True)
    assert Credential.objects.get().has_access_token


def test_an_access_token_beside_keys_is_a_usage_error(sandbox: SandboxServer, tmp_path: Path):
    path = str(token_file(sandbox, tmp_path))
    code, document = run_json(
        "add_credential", "--site", US, "--access-token-file", path, "--api-key-file", path
    )
    assert code == 2
    assert "either" in document["error"]
    assert not Credential.objects.exists()


HEADER = "name,site,api_key,application_key"


def csv_of(sandbox: SandboxServer, *org_names: str) -> str:
    pairs = [key_pair_of(sandbox.world, name) for name in org_names]
    rows = [
        f"{pair.org.name},{pair.org.site.name},{pair.api_key},{pair.application_key}"
        for pair in pairs
    ]
    return "\n".join([HEADER, *rows, ""])


def set_binary_stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Replace standard input with these bytes."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("is_file", [True, False])
def test_an_import_reports_each_line(
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    encoding: str,
    is_file: bool,
):
    added(sandbox, "Group SOC")
    text = csv_of(sandbox, "Payments US", "Group SOC") + f"Bad,{US},x,y\n"
    path = tmp_path / "keys.csv"
    path.write_bytes(text.encode(encoding))
    set_binary_stdin(monkeypatch, text.encode(encoding))
    code, document = run_json("import_credentials", "--file", str(path) if is_file else "-")

    assert code == 1
    [failed] = document.pop("failed")
    assert (failed["line"], failed["name"]) == (4, "Bad")
    assert failed["error"].startswith("API key: The key is too short")
    assert document == {
        "added": [{"line": 2, "name": "Payments US"}],
        "rotated": [],
        "skipped": [{"line": 3, "name": "Group SOC"}],
    }


def test_an_import_without_failures_ends_with_0_and_can_rotate(
    sandbox: SandboxServer, tmp_path: Path
):
    added(sandbox, "Payments US")
    path = tmp_path / "keys.csv"
    pair = sandbox.world.add_key_pair(org=org_named(sandbox.world, "Payments US"))
    path.write_text(f"{HEADER}\nPayments US,{US},{pair.api_key},{pair.application_key}\n")

    assert run("import_credentials", "--file", str(path))[0] == 1
    code, output = run("import_credentials", "--file", str(path), "--rotate")
    assert (code, output) == (0, "line 2: rotated Payments US\n")


@pytest.mark.parametrize(
    "content", [f"{CANARY},{CANARY}\n".encode(), HEADER.encode(), f"{CANARY}é".encode("latin-1")]
)
def test_a_file_that_cannot_be_imported_is_a_usage_error_without_its_content(
    tmp_path: Path, content: bytes
):
    path = tmp_path / "keys.csv"
    path.write_bytes(content)
    code, document = run_json("import_credentials", "--file", str(path))
    assert code == 2
    assert "canary" not in document["error"]
    with pytest.raises(CommandError) as refused:
        call_command("import_credentials", "--file", str(path))
    assert "canary" not in exposed_by(refused.value, leave_out=__file__)


def test_a_missing_file_is_a_usage_error(tmp_path: Path):
    code, document = run_json("import_credentials", "--file", str(tmp_path / "absent.csv"))
    assert code == 2
    why = "absent.csv can't be read (No such file or directory). Check the path and that you can"
    assert why in document["error"]

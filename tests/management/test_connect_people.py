"""connect_people: many people's accounts at the identity provider, from CSV."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from connections.models import AuditEvent, Person, ProviderAccount

ISSUER = "https://sso.example.org"


@pytest.fixture(autouse=True)
def issuer(settings: Settings) -> None:
    settings.OIDC_ISSUER = ISSUER


def run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> tuple[int, dict[str, Any]]:
    """The exit code and the JSON document."""
    path = tmp_path / "people.csv"
    path.write_bytes(content)
    code = 0
    try:
        call_command("connect_people", file=str(path), json=True)
    except SystemExit as error:
        code = int(error.code or 0)
    return code, json.loads(capsys.readouterr().out)


def test_each_line_is_connected_unchanged_or_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ada: Person, grace: Person
):
    assert run(tmp_path, capsys, b"\xef\xbb\xbfusername,subject\r\nada,1\r\n") == (
        0,
        {"set": [{"line": 2, "username": "ada"}], "unchanged": [], "failed": []},
    )
    event = AuditEvent.objects.latest("seq")
    assert (event.code, event.actor_kind) == ("provider_account.connected", "command")
    lines = b'subject, Username\n1,ada\n\n2,"grace"\n3,nobody\n1,grace\n9\n,ada\n4,ada\n'
    code, document = run(tmp_path, capsys, lines)
    assert code == 1
    assert document["unchanged"] == [{"line": 2, "username": "ada"}]
    assert document["set"] == [{"line": 4, "username": "grace"}]
    assert [row["line"] for row in document["failed"]] == [5, 6, 7, 8, 9]
    assert "no person with this username" in document["failed"][0]["error"]
    assert ProviderAccount.objects.get(person=ada).subject == "1"
    assert ProviderAccount.objects.get(person=grace).issuer == ISSUER


@pytest.mark.parametrize("content", [b"", b"name,subject\n", b"username,subject\n\xff,1\n"])
def test_another_file_is_a_usage_error(tmp_path: Path, db: None, content: bytes):
    path = tmp_path / "people.csv"
    path.write_bytes(content)
    with pytest.raises(CommandError) as raised:
        call_command("connect_people", file=str(path))
    assert raised.value.returncode == 2


def test_without_an_issuer_nothing_is_connected(tmp_path: Path, ada: Person, settings: Settings):
    settings.OIDC_ISSUER = ""
    path = tmp_path / "people.csv"
    path.write_bytes(b"username,subject\nada,1\n")
    with pytest.raises(CommandError, match="ORGADMIN_OIDC_ISSUER") as raised:
        call_command("connect_people", file=str(path))
    assert raised.value.returncode == 2
    assert not ProviderAccount.objects.exists()

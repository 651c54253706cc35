"""Commands that add people and make their sign-in links."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, ManagementUtility, call_command
from pytest_django import Settings

from connections.core import clock
from connections.models import AuditEvent, Person, Role
from connections.people import sign_in_links
from connections.people.api_tokens import find_token


def run(*arguments: str) -> str:
    output = StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def failure(*arguments: str) -> CommandError:
    with pytest.raises(CommandError) as failed:
        run(*arguments)
    return failed.value


ADD_HEDY = ("add_person", "--username", "hedy", "--email", "hedy@example.com")


def test_add_person_grants_every_named_role(db: None):
    document = run_json(*ADD_HEDY, "--role", "Operator", "--role", "Auditor")
    hedy = Person.objects.get(username="hedy")
    assert hedy.roles == {Role.OPERATOR, Role.AUDITOR}
    assert document == {
        "id": str(hedy.pk),
        "username": "hedy",
        "email": "hedy@example.com",
        "roles": ["Auditor", "Operator"],
        "is_administrator": False,
        "is_program": False,
    }
    assert AuditEvent.objects.get().actor_kind == "command"


def test_a_taken_username_is_a_usage_error(db: None, ada: Person):
    failed = failure("add_person", "--username", "ada", "--email", "other@example.com")
    assert failed.returncode == 2
    assert "Another person" in str(failed)


def test_a_failure_with_json_is_one_document_too(db: None, ada: Person):
    output = StringIO()
    with pytest.raises(CommandError):
        call_command(
            "add_person", "--username", "ada", "--email", "o@example.com", "--json", stdout=output
        )
    assert set(json.loads(output.getvalue())) == {"error"}


@pytest.mark.parametrize("base_url", ["", "https://orgadmin.example.com"])
def test_make_sign_in_link_prints_a_link_that_works(
    db: None, ada: Person, settings: Settings, base_url: str
):
    # Without a base URL, only a path: more than one host is named.
    settings.BASE_URL, settings.ALLOWED_HOSTS = base_url, ["a.example.com", "b.example.com"]
    link = run("make_sign_in_link", "--username", "ADA").strip()
    token = link.removeprefix(f"{base_url}/sign-in/#")
    assert sign_in_links.use_sign_in_link(token=token, password="") == ada


def test_make_sign_in_link_reports_in_json_what_the_link_does(db: None, ada: Person):
    document = run_json("make_sign_in_link", "--username", "ada", "--removes-second-factor")
    assert document["removes_second_factor"] is True
    assert set(document) == {"username", "link", "expires_at", "removes_second_factor"}


def test_a_link_for_an_unknown_person_is_a_usage_error(db: None):
    assert failure("make_sign_in_link", "--username", "nobody").returncode == 2


def test_a_link_for_a_disabled_person_is_a_failure(db: None, ada: Person):
    Person.objects.filter(pk=ada.pk).update(is_active=False)
    assert failure("make_sign_in_link", "--username", "ada").returncode == 1


def test_changepassword_is_refused_because_it_would_record_nothing(
    db: None, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("getpass.getpass", lambda *_: "a long enough pass phrase")
    assert "make_sign_in_link" in str(failure("changepassword", "ada"))
    before = ada.password
    ada.refresh_from_db()
    assert ada.password == before


def test_createsuperuser_makes_an_administrator_and_records_it(
    db: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "a long enough pass phrase")
    run("createsuperuser", "--noinput", "--username", "root", "--email", "root@example.com")
    root = Person.objects.get()
    assert root.is_superuser
    assert root.check_password("a long enough pass phrase")
    event = AuditEvent.objects.get()
    assert (event.code, event.subject_id) == ("person.added", str(root.pk))


def test_createsuperuser_refuses_a_name_that_looks_like_another_persons(
    grace: Person, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "a long enough pass phrase")
    arguments = ("createsuperuser", "--noinput", "--username", "gráce", "--email", "g@example.com")
    assert "name looks the same" in str(failure(*arguments))
    assert not Person.objects.filter(is_superuser=True).exists()


def test_change_person_sets_exactly_the_named_roles(db: None, ada: Person):
    document = run_json("change_person", "--username", "ADA", "--role", "Viewer")
    assert document["roles"] == ["Viewer"]
    assert Person.objects.get(pk=ada.pk).session_epoch == ada.session_epoch + 1


def test_change_person_disables_and_enables_without_changing_roles(db: None, ada: Person):
    disabled = run_json("change_person", "--username", "ada", "--disable")
    assert (disabled["is_active"], disabled["roles"]) == (False, ["Operator"])
    assert run_json("change_person", "--username", "ada", "--enable")["is_active"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--username", "nobody", "--disable"),
        ("--username", "ada"),
        ("--username", "ada", "--role", "Viewer", "--no-role"),
    ],
)
def test_change_person_refuses_incomplete_or_conflicting_arguments(
    db: None, ada: Person, arguments: tuple[str, ...]
):
    assert failure("change_person", *arguments).returncode == 2


def test_change_person_keeps_the_last_administrator(db: None, root: Person):
    assert failure("change_person", "--username", "root", "--disable").returncode == 1
    assert failure("change_person", "--username", "root", "--no-role").returncode == 1


def test_a_usage_error_with_json_is_one_document_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    arguments = ["manage.py", "change_person", "--json"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as ended:
        ManagementUtility(arguments).execute()
    assert ended.value.code == 2
    assert "--username" in json.loads(capsys.readouterr().out)["error"]


def test_add_person_adds_an_account_for_a_program_and_make_api_token_its_token(db: None):
    program = run_json("add_person", "--username", "cmdb", "--program", "--role", "Auditor")
    assert (program["is_program"], program["email"]) == (True, "")
    new = ("make_api_token", "--username", "cmdb", "--name", "CMDB")
    text = run(*new, "--scope", "orgs", "--expires", "3").strip()
    token = find_token(text=text, now=clock.now())
    assert token
    assert (token.person.username, token.scopes) == ("cmdb", ["orgs"])
    assert set(run_json(*new, "--scope", "read")) == {
        *("id", "username", "name", "scopes", "expires_at", "token")
    }
    assert "Two tokens named" in str(failure(*new, "--scope", "read"))
    assert "--email --program is required" in str(failure("add_person", "--username", "x"))

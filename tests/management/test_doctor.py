"""doctor: an installation without problems, and each problem it reports."""

import json
import re
import uuid
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import ERROR, INFO, WARNING, CheckMessage
from django.core.management import call_command
from django.test import override_settings
from pytest_django import Settings

from connections.core import clock
from connections.models import (
    AccessRequest,
    ApprovalPolicy,
    Deletion,
    RequestKind,
)
from connections.operations import checks
from connections.operations.variables import NAMES
from sandbox.server import SandboxServer
from tests.credentials.support import added
from tests.support.processes import ROOT, clean_environment, manage


def run_json() -> tuple[dict[str, Any], int]:
    """The command's document and its exit code."""
    out = StringIO()
    code = 0
    try:
        call_command("doctor", "--json", stdout=out)
    except SystemExit as end:
        code = int(end.code or 0)
    document: dict[str, Any] = json.loads(out.getvalue())
    return document, code


def levels(check: str) -> set[int]:
    return {finding.level for finding in checks.run_all_checks() if finding.obj == check}


@pytest.mark.usefixtures("root")
@pytest.mark.django_db
@pytest.mark.database
def test_an_installation_without_problems_exits_with_0():
    document, code = run_json()
    assert (document["ok"], code) == (True, 0)
    names = {finding["check"] for finding in document["findings"]}
    assert names >= {"settings", "database", "migrations", "key ring", "email", "approval policy"}


@pytest.mark.django_db
def test_a_missing_administrator_is_a_warning_not_an_error():
    assert levels("people") == {WARNING}
    assert run_json()[1] == 0


@pytest.mark.django_db
def test_an_altered_key_ring_is_an_error(key_ring_file: Path):
    key_ring_file.parent.mkdir(exist_ok=True)
    key_ring_file.write_text("{}")
    key_ring_file.chmod(0o600)
    document, code = run_json()
    assert (document["ok"], code) == (False, 1)
    assert levels("key ring") == {ERROR}


@pytest.mark.django_db
def test_without_a_credential_it_does_not_say_that_every_one_requires_approval():
    [finding] = [check for check in checks.run_all_checks() if check.obj == "approval policy"]
    assert (finding.level, finding.msg) == (INFO, "no credential yet")


@pytest.mark.django_db(transaction=True)
def test_it_names_the_credentials_that_need_no_approval(sandbox: SandboxServer):
    credential = added(sandbox, "Payments US", name="Payments")
    [finding] = [check for check in checks.run_all_checks() if check.obj == "approval policy"]
    assert finding.level == WARNING
    assert "Payments" in finding.msg
    credential.policy = ApprovalPolicy.ONE
    credential.save()
    # No person can approve yet, which is a separate warning.
    assert levels("approval policy") == {INFO, WARNING}


@pytest.mark.parametrize(
    ("kind", "named"), [(Deletion, "1 deletion"), (AccessRequest, "1 access request")]
)
@pytest.mark.django_db(transaction=True)
def test_an_overdue_request_is_reported_as_a_missing_worker(
    sandbox: SandboxServer, kind: Any, named: str
):
    assert ERROR not in levels("worker")
    credential, now = added(sandbox, "Payments US"), clock.now()
    ids = (
        {"connection_id": uuid.uuid4(), "is_reviewed": False}
        if kind is Deletion
        else {
            "kind": RequestKind.CREATE,
            "source_org_id": "1",
            "sink_org_id": "2",
            "types_after": ["logs"],
            "owner_text": "SOC",
            "purpose": "alerts",
        }
    )
    kind.objects.create(
        request_id=uuid.uuid4(),
        site=credential.site,
        credential=credential,
        requested_at=now,
        due_at=now - timedelta(minutes=6),
        **ids,
    )
    [finding] = [check for check in checks.run_all_checks() if check.obj == "worker"]
    message = f"not running: {named} overdue by more than 5 min"
    assert (finding.level, finding.msg) == (ERROR, message)


def public_findings(**values: Any) -> list[CheckMessage]:
    strict = {
        "IS_LOCAL": False,
        "ALLOWED_HOSTS": ["example.org"],
        "TRUSTED_PROXIES": ["10.0.0.1"],
        "BASE_URL": "https://example.org",
        "REQUIRE_MFA": True,
        "SECURE_SSL_REDIRECT": True,
        "SECURE_HSTS_SECONDS": 31_536_000,
        "SESSION_COOKIE_SECURE": True,
        "CSRF_COOKIE_SECURE": True,
    }
    with override_settings(**strict | values):
        found = checks.run_all_checks()
    return [one for one in found if one.obj == "settings" and one.level != INFO]


@pytest.mark.django_db
def test_a_public_installation_can_pass_every_check():
    assert public_findings() == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("values", "level"),
    [
        ({"TRUSTED_PROXIES": []}, ERROR),
        ({"BASE_URL": ""}, WARNING),
        ({"REQUIRE_MFA": False}, WARNING),
        ({"SECURE_SSL_REDIRECT": False}, ERROR),
        ({"DEBUG": True}, ERROR),
    ],
)
def test_it_reports_what_is_wrong_with_a_public_installation(values: dict[str, Any], level: int):
    findings = public_findings(**values)
    assert level in {finding.level for finding in findings}
    assert all(finding.hint for finding in findings)


@pytest.mark.django_db
def test_a_data_directory_that_others_can_read_is_a_warning(settings: Settings, tmp_path: Path):
    settings.DATA_DIR = tmp_path
    settings.DATABASE_IS_SQLITE = True
    tmp_path.chmod(0o755)
    assert levels("data directory") == {WARNING}
    tmp_path.chmod(0o700)
    assert levels("data directory") == {INFO}


def test_an_unavailable_database_is_one_finding_in_one_document(tmp_path: Path):
    env = clean_environment(
        data_dir=tmp_path, DATABASE_URL="postgres://nobody@127.0.0.1:1/nothing", SECRET_KEY="x" * 60
    )
    done = manage("doctor", "--json", env=env)
    assert done.returncode == 1
    findings = json.loads(done.stdout)["findings"]
    assert "not available" in findings[-1]["message"]


@pytest.mark.parametrize("command", [["doctor"], ["worker", "--check"]])
@pytest.mark.parametrize("is_empty", [False, True])
def test_without_a_database_it_says_so_and_creates_nothing(
    tmp_path: Path, command: list[str], *, is_empty: bool
):
    directory = tmp_path / "data"
    if is_empty:
        directory.mkdir()
        (directory / "orgadmin.sqlite3").touch()
    before = list(tmp_path.rglob("*"))
    done = manage(*command, env=clean_environment(data_dir=directory))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"There is no database at {directory}/orgadmin.sqlite3. Set " in done.stderr
    assert list(tmp_path.rglob("*")) == before


@pytest.mark.django_db
def test_a_misspelled_variable_is_a_warning(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ORGADMIN_FOURYES", "one")
    monkeypatch.setenv("ORGADMIN_OTHER", "one")
    found = {each.msg: each.hint for each in checks.run_all_checks() if each.level == WARNING}
    assert found["nothing reads the variable ORGADMIN_FOURYES"] == "Use ORGADMIN_FOUR_EYES."
    assert "CONFIGURATION.md" in str(found["nothing reads the variable ORGADMIN_OTHER"])


def test_every_variable_that_something_reads_is_known():
    files = [
        ROOT / "run",
        *(ROOT / "connections").rglob("*.py"),
        *(ROOT / "orgadmin").rglob("*.py"),
    ]
    read = re.findall(r"ORGADMIN_(\w*[A-Z])", "\n".join(file.read_text() for file in files))
    assert sorted(set(read)) == NAMES.split()

"""Searches every place where a key must never be for a known key pair or access token."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from django.conf import settings as django_settings
from django.core import mail
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from connections.models import Credential, Deletion, Person
from sandbox.faults import RETURNS_403, delayed
from sandbox.server import SandboxServer
from tests.flows.support import Requester
from tests.support.sandbox import connection_between, key_pair_of, org_named

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]
ClientOf = Callable[[Person], Client]
Keys = tuple[str, ...]


@pytest.fixture(params=["key pair", "access token"])
def key_fields(sandbox: SandboxServer, request: pytest.FixtureRequest) -> dict[str, str]:
    """The keys by form field, as a person would paste them."""
    if request.param == "access token":
        org = org_named(sandbox.world, "Payments US")
        return {"access_token": sandbox.world.add_access_token(org=org).access_token}
    pair = key_pair_of(sandbox.world, "Payments US")
    return {"api_key": pair.api_key, "application_key": pair.application_key}


@pytest.fixture
def keys(key_fields: dict[str, str]) -> Keys:
    """The texts to search for."""
    return tuple(key_fields.values())


class _LogCollector(logging.Handler):
    """Collects every log record, both formatted and with all its attributes."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{self.format(record)} {vars(record)!r}")


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Everything logged at DEBUG by any logger, from the start of the test."""
    names = (None, "urllib3", "requests", "django", "connections", "asyncio")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    collector = _LogCollector()
    logging.getLogger().addHandler(collector)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    yield collector.lines
    logging.getLogger().removeHandler(collector)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def requester_after_use(
    log: list[str],
    sandbox: SandboxServer,
    key_fields: dict[str, str],
    margaret: Person,
    ada: Person,
    client_of: ClientOf,
) -> Requester:
    """The keys added with the form, rotated, and used for a refused and a successful deletion."""
    site = org_named(sandbox.world, "Payments US").site.name
    pasted = {"name": "Payments US", "site": site} | key_fields
    assert client_of(margaret).post("/credentials/new/", pasted).status_code == 303
    credential = Credential.objects.get()
    requester = Requester(
        client=client_of(ada),
        credential=credential,
        connection=connection_between(sandbox.world, "Payments US", "Group SOC"),
    )
    sandbox.world.set_fault(fault=RETURNS_403, connection_id=requester.connection.id, times=1)
    requester.delete()
    requester.delete()
    return requester


def assert_clean(text: str | bytes, keys: Keys, where: str) -> None:
    content = text if isinstance(text, bytes) else text.encode()
    assert [where for key in keys if key.encode() in content] == []


def test_the_search_finds_a_key(keys: Keys):
    with pytest.raises(AssertionError):
        assert_clean(f"a log line with {keys[0]}", keys, "here")


def test_the_keys_were_used(requester_after_use: Requester, sandbox: SandboxServer):
    assert [d.outcome for d in Deletion.objects.order_by("requested_at")] == ["refused", "deleted"]


def test_no_debug_log_contains_a_key(requester_after_use: Requester, keys: Keys, log: list[str]):
    assert any("urllib3" in line for line in log), "the client logged nothing: this proves nothing"
    for line in log:
        assert_clean(line, keys, line[:200])


def test_no_page_contains_a_key(
    requester_after_use: Requester, keys: Keys, root: Person, client_of: ClientOf
):
    client = client_of(root)
    credential = Credential.objects.get()
    site, wanted = credential.site, UUID(requester_after_use.connection.id)
    urls = [
        reverse(name)
        for name in (
            "overview",
            "org-connection-list",
            "deletion-list",
            "org-list",
            "credential-new",
            "person-list",
            "audit-list",
            "metrics",
            "deletion-confirm",
        )
    ]
    urls += [
        reverse("credential-detail", args=[credential.pk]),
        reverse("credential-rotate", args=[credential.pk]),
        reverse("credential-retire", args=[credential.pk]),
        reverse("org-connection-detail", args=[site, wanted]),
        reverse("org-connection-export") + "?format=json",
        reverse("deletion-export") + "?format=json",
        *(reverse("deletion-detail", args=[d.pk]) for d in Deletion.objects.all()),
        f"{reverse('deletion-confirm')}?credential={credential.pk}&connection_id={wanted}",
    ]
    for url in urls:
        response = client.get(url)
        assert response.status_code == 200, url
        assert_clean(response.getvalue(), keys, url)


@pytest.mark.parametrize("wrong", [{"name": "x" * 300}, {"site": "nowhere"}])
def test_an_invalid_form_is_shown_again_without_keys(
    key_fields: dict[str, str],
    keys: Keys,
    margaret: Person,
    client_of: ClientOf,
    sandbox: SandboxServer,
    wrong: dict[str, str],
):
    site = org_named(sandbox.world, "Payments US").site.name
    typed = {"name": "P", "site": site} | key_fields | wrong
    response = client_of(margaret).post("/credentials/new/", typed)
    assert response.status_code == 422
    assert_clean(response.content, keys, "form")


@pytest.mark.parametrize(
    "broken", ["connections.crypto.encryption.encrypt", "connections.core.clock.now"]
)
def test_a_500_page_with_debug_on_contains_no_key(
    key_fields: dict[str, str],
    keys: Keys,
    margaret: Person,
    client_of: ClientOf,
    sandbox: SandboxServer,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
):
    site = org_named(sandbox.world, "Payments US").site.name
    client = client_of(margaret)
    client.raise_request_exception = False
    settings.DEBUG = True

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(broken, fail)
    typed = {"name": "P", "site": site} | key_fields
    response = client.post("/credentials/new/", typed)
    assert response.status_code == 500
    assert b"broken on purpose" in response.content
    assert_clean(response.content, keys, "500 page")


def test_a_500_page_while_sending_contains_no_key(
    requester_after_use: Requester,
    keys: Keys,
    sandbox: SandboxServer,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken on purpose")

    again = connection_between(sandbox.world, "Group SOC", "Payments US")
    requester = Requester(
        client=requester_after_use.client,
        credential=requester_after_use.credential,
        connection=again,
    )
    typed = requester.typed()
    settings.DEBUG = True
    requester.client.raise_request_exception = False
    monkeypatch.setattr("connections.datadog.client.DatadogClient.delete_org_connection", fail)
    response = requester.client.post("/deletions/new/", typed)
    assert response.status_code == 500
    assert b"broken on purpose" in response.content
    assert_clean(response.content, keys, "500 page")


def test_no_mail_session_cache_or_dump_contains_a_key(
    requester_after_use: Requester, keys: Keys, ada: Person
):
    Client().post("/accounts/password/reset/", {"email": ada.email})
    assert mail.outbox, "no mail was sent, so this would prove nothing"
    assert_clean(repr([vars(message) for message in mail.outbox]), keys, "mail")
    dump = io.StringIO()
    call_command("dumpdata", stdout=dump)
    assert "org_name" in dump.getvalue()
    assert_clean(dump.getvalue(), keys, "dumpdata")
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608 - our own tables
            assert_clean(repr(cursor.fetchall()), keys, table)


@pytest.mark.django_db(transaction=True)
def test_a_command_reads_keys_from_standard_input_and_no_process_list_shows_them(
    sandbox: SandboxServer, keys: Keys, migrated_directory: Path
):
    site = org_named(sandbox.world, "Payments US").site.name
    sandbox.world.set_fault(fault=delayed(seconds=0.5), site=site, operation="current_user")
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "orgadmin.settings",
        "ORGADMIN_DATA_DIR": str(migrated_directory),
        "ORGADMIN_EXTRA_SITES": sandbox.extra_sites_setting(),
        "ORGADMIN_LOG_LEVEL": "DEBUG",
        "DATABASE_URL": "",
    }
    environment.pop("DATABASE_URL")
    manage = [sys.executable, str(ROOT / "manage.py")]
    process = subprocess.Popen(
        [*manage, "add_credential", "--name", "P", "--site", site, "--json"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    process.stdin.write("\n".join(keys) + "\n")
    process.stdin.close()
    process.stdin = None
    shown = b""
    current_user = "/api/v2/current_user"
    sandbox.world.wait_until(lambda: bool(sandbox.world.requests(path=current_user)), seconds=20)
    for name in ("cmdline", "environ"):
        shown += (Path("/proc") / str(process.pid) / name).read_bytes()
    out, err = process.communicate(timeout=30)
    assert json.loads(out)["name"] == "P", err
    assert b"add_credential" in shown
    assert_clean(shown, keys, "process")
    assert_clean(out + err, keys, "output")
    for path in migrated_directory.rglob("*"):
        if path.is_file():
            assert_clean(path.read_bytes(), keys, path.name)


def test_the_tests_use_a_temporary_data_directory():
    assert Path(os.environ["ORGADMIN_TEST_DATA_DIR"]) == django_settings.DATA_DIR
    assert django_settings.DATA_DIR != ROOT / "data"

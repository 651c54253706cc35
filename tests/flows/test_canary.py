"""Two known keys, looked for everywhere a key must never be."""

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
from tests.flows.support import Desk
from tests.support.sandbox import connection_between, key_pair_of, org_named

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]
ClientOf = Callable[[Person], Client]
Keys = tuple[str, str]


@pytest.fixture
def keys(sandbox: SandboxServer) -> Keys:
    """The two keys, as a person would paste them."""
    pair = key_pair_of(sandbox.world, "Payments US")
    return pair.api_key, pair.application_key


class _Keep(logging.Handler):
    """Keeps every record, as a person would read it and with all that hangs on it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{self.format(record)} {vars(record)!r}")


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Everything that is logged by anybody at DEBUG, from the first act on."""
    names = (None, "urllib3", "requests", "django", "connections", "asyncio")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    keep = _Keep()
    logging.getLogger().addHandler(keep)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    yield keep.lines
    logging.getLogger().removeHandler(keep)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def lived(
    log: list[str],
    sandbox: SandboxServer,
    keys: Keys,
    margaret: Person,
    ada: Person,
    client_of: ClientOf,
) -> Desk:
    """The keys added by the form, rotated, used for a refused and for a carried out deletion."""
    site = org_named(sandbox.world, "Payments US").site.name
    pasted = {"name": "Payments US", "site": site}
    pasted |= {"api_key": keys[0], "application_key": keys[1]}
    assert client_of(margaret).post("/credentials/new/", pasted).status_code == 303
    credential = Credential.objects.get()
    desk = Desk(
        client=client_of(ada),
        credential=credential,
        connection=connection_between(sandbox.world, "Payments US", "Group SOC"),
    )
    sandbox.world.set_fault(fault=RETURNS_403, connection_id=desk.connection.id, times=1)
    desk.delete()
    desk.delete()
    return desk


def assert_clean(text: str | bytes, keys: Keys, where: str) -> None:
    content = text if isinstance(text, bytes) else text.encode()
    assert [where for key in keys if key.encode() in content] == []


def test_the_canary_sings_where_a_key_is(keys: Keys) -> None:
    with pytest.raises(AssertionError):
        assert_clean(f"a log line with {keys[0]}", keys, "here")


def test_the_keys_really_were_used(lived: Desk, sandbox: SandboxServer) -> None:
    assert [d.outcome for d in Deletion.objects.order_by("requested_at")] == ["refused", "deleted"]


def test_no_log_at_debug_holds_a_key(lived: Desk, keys: Keys, log: list[str]) -> None:
    assert any("urllib3" in line for line in log), "the client logged nothing: this proves nothing"
    for line in log:
        assert_clean(line, keys, line[:200])


def test_no_page_holds_a_key(lived: Desk, keys: Keys, root: Person, client_of: ClientOf) -> None:
    client = client_of(root)
    credential = Credential.objects.get()
    site, wanted = credential.site, UUID(lived.connection.id)
    urls = [
        reverse(name)
        for name in (
            "overview",
            "org-connection-list",
            "deletion-list",
            "credential-list",
            "credential-new",
            "person-list",
            "audit-list",
            "metrics",
            "deletion-new",
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
        f"{reverse('deletion-new')}?credential={credential.pk}&connection_id={wanted}",
    ]
    for url in urls:
        response = client.get(url)
        assert response.status_code == 200, url
        assert_clean(response.getvalue(), keys, url)


@pytest.mark.parametrize("wrong", [{"name": "x" * 300}, {"site": "nowhere"}])
def test_a_form_that_comes_back_holds_no_key(
    keys: Keys, margaret: Person, client_of: ClientOf, sandbox: SandboxServer, wrong: dict[str, str]
) -> None:
    site = org_named(sandbox.world, "Payments US").site.name
    typed = {"name": "P", "site": site, "api_key": keys[0], "application_key": keys[1]} | wrong
    response = client_of(margaret).post("/credentials/new/", typed)
    assert response.status_code == 422
    assert_clean(response.content, keys, "form")


@pytest.mark.parametrize(
    "broken", ["connections.crypto.encryption.encrypt", "connections.core.clock.now"]
)
def test_a_500_page_with_debug_on_holds_no_key(
    keys: Keys,
    margaret: Person,
    client_of: ClientOf,
    sandbox: SandboxServer,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
) -> None:
    site = org_named(sandbox.world, "Payments US").site.name
    client = client_of(margaret)
    client.raise_request_exception = False
    settings.DEBUG = True

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(broken, fail)
    typed = {"name": "P", "site": site, "api_key": keys[0], "application_key": keys[1]}
    response = client.post("/credentials/new/", typed)
    assert response.status_code == 500
    assert b"broken on purpose" in response.content
    assert_clean(response.content, keys, "500 page")


def test_a_500_page_while_sending_holds_no_key(
    lived: Desk,
    keys: Keys,
    sandbox: SandboxServer,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken on purpose")

    again = connection_between(sandbox.world, "Group SOC", "Payments US")
    desk = Desk(client=lived.client, credential=lived.credential, connection=again)
    typed = desk.typed()
    settings.DEBUG = True
    desk.client.raise_request_exception = False
    monkeypatch.setattr("connections.datadog.client.DatadogClient.delete_org_connection", fail)
    response = desk.client.post("/deletions/new/", typed)
    assert response.status_code == 500
    assert b"broken on purpose" in response.content
    assert_clean(response.content, keys, "500 page")


def test_no_mail_session_cache_or_dump_holds_a_key(lived: Desk, keys: Keys, ada: Person) -> None:
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
def test_a_command_takes_keys_by_standard_input_and_no_process_shows_them(
    sandbox: SandboxServer, keys: Keys, tmp_path: Path
) -> None:
    site = org_named(sandbox.world, "Payments US").site.name
    sandbox.world.set_fault(fault=delayed(seconds=0.5), site=site, operation="validate")
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "orgadmin.settings",
        "ORGADMIN_DATA_DIR": str(tmp_path / "data"),
        "ORGADMIN_EXTRA_SITES": sandbox.extra_sites_setting(),
        "ORGADMIN_LOG_LEVEL": "DEBUG",
        "DATABASE_URL": "",
    }
    environment.pop("DATABASE_URL")
    manage = [sys.executable, str(ROOT / "manage.py")]
    subprocess.run([*manage, "migrate", "-v0"], env=environment, check=True)
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
    validate = "/api/v1/validate"
    sandbox.world.wait_until(lambda: bool(sandbox.world.requests(path=validate)), seconds=20)
    for name in ("cmdline", "environ"):
        shown += (Path("/proc") / str(process.pid) / name).read_bytes()
    out, err = process.communicate(timeout=30)
    assert json.loads(out)["name"] == "P", err
    assert b"add_credential" in shown
    assert_clean(shown, keys, "process")
    assert_clean(out + err, keys, "output")
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            assert_clean(path.read_bytes(), keys, path.name)


def test_the_data_directory_of_the_tests_is_a_throw_away_one() -> None:
    assert "orgadmin-test-" in str(django_settings.DATA_DIR)

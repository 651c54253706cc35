"""The page that imports credentials: what it accepts, shows and never stores."""

import logging
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from pytest_django import Settings

from connections.models import Credential, OrgConnectionSnapshot, Person
from connections.web.credentials import imports
from sandbox import faults
from sandbox.server import SandboxServer
from tests.credentials.support import added
from tests.support.sandbox import US, key_pair_of, org_named

ClientOf = Callable[[Person], Client]
pytestmark = pytest.mark.django_db
URL = "/credentials/import/"
HEADER = "name,site,api_key,application_key"
CANARY = "canary0" * 5


@pytest.fixture
def manager(client_of: ClientOf, margaret: Person) -> Client:
    return client_of(margaret)


def csv_of(sandbox: SandboxServer, *org_names: str) -> str:
    pairs = [key_pair_of(sandbox.world, name) for name in org_names]
    rows = [f",{pair.org.site.name},{pair.api_key},{pair.application_key}" for pair in pairs]
    return "\r\n".join([HEADER, *rows, ""])


def text_of(response: Any) -> str:
    return unescape(response.content.decode())


def rows_of(response: Any) -> list[tuple[int, str]]:
    results = [row["result"] for row in response.context["rows"]]
    return [(result.number, result.outcome.value) for result in results]


def test_pasted_lines_are_imported_and_each_gets_a_result(sandbox: SandboxServer, manager: Client):
    added(sandbox, "Group SOC")
    text = csv_of(sandbox, "Payments US", "Group SOC") + f"Bad,{US},{CANARY}x,{CANARY}\r\n"
    response = manager.post(URL, {"csv": text})

    assert response.status_code == 200
    assert rows_of(response) == [(4, "failed"), (2, "added"), (3, "skipped")]
    page = text_of(response)
    listed = OrgConnectionSnapshot.objects.values("connection_id").distinct().count()
    assert f'<a href="/connections/">View {listed} connections</a>' in page
    assert "1 failed, 1 added, 1 skipped" in page
    assert "Some lines weren't imported" in page
    assert 'data-line="4" data-outcome="failed"' in page
    assert "Datadog rejected the API key" in page
    assert "canary" not in page
    for key in ("Payments US", "Group SOC"):
        assert key_pair_of(sandbox.world, key).api_key not in page


@pytest.mark.parametrize("marker", [b"", b"\xef\xbb\xbf"])
def test_a_file_is_imported(sandbox: SandboxServer, manager: Client, marker: bytes):
    content = marker + csv_of(sandbox, "Payments US", "Labs EU").encode()
    response = manager.post(URL, {"file": SimpleUploadedFile("keys.csv", content)})

    assert rows_of(response) == [(2, "added"), (3, "added")]
    assert "Import complete" in text_of(response)
    assert Credential.objects.count() == 2


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({}, "Paste lines, or choose one file"),
        ({"csv": HEADER}, "There are no lines after the header."),
        ({"csv": f"{CANARY},{CANARY}"}, "The first line must be the header"),
        ({"csv": "\n".join([HEADER, *[f"{CANARY},EU1,a,b"] * 201])}, "There are 201 lines"),
        ({"file": f"{HEADER}\n{CANARY}é".encode("latin-1")}, "isn't UTF-8"),
        ({"file": HEADER.encode("utf-16")}, "isn't UTF-8"),
        ({"file": b""}, "empty"),
        ({"file": b"x" * 300_000}, "at most 256 KB"),
        ({"file": HEADER.encode(), "csv": f"{HEADER}\n{CANARY}"}, "choose one file"),
    ],
)
def test_what_cannot_be_imported_is_refused_without_repeating_it(
    sandbox: SandboxServer, manager: Client, typed: dict[str, Any], says: str
):
    if "file" in typed:
        typed = typed | {"file": SimpleUploadedFile(f"{CANARY}.csv", typed["file"])}
    response = manager.post(URL, typed | {"rotate": "on"})

    assert response.status_code == 422
    assert says in text_of(response)
    assert "canary" not in text_of(response)
    assert "checked" in text_of(response)
    assert sandbox.world.requests() == []


def test_lines_that_were_not_reached_are_listed_and_can_be_sent_again(
    sandbox: SandboxServer, manager: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(imports, "IMPORT_SECONDS", 2.0)
    sandbox.world.set_fault(fault=faults.delayed(seconds=3), operation="validate")
    text = csv_of(sandbox, "Payments US")
    response = manager.post(URL, {"csv": text})

    assert rows_of(response) == [(2, "not_reached")]
    assert "Send the same lines again" in text_of(response)
    sandbox.world.clear_faults()
    monkeypatch.undo()
    assert rows_of(manager.post(URL, {"csv": text})) == [(2, "added")]


def test_the_lines_are_in_no_log_session_cache_or_table(
    sandbox: SandboxServer, manager: Client, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    token = sandbox.world.add_access_token(org=org_named(sandbox.world, "Payments US"))
    pair = key_pair_of(sandbox.world, "Group SOC")
    secrets = [token.access_token, pair.api_key, pair.application_key]
    tokens = f"name,site,access_token\nPay,{US},{token.access_token}\nX,{US},ddpat_{CANARY}"
    shown = [
        manager.post(URL, {"csv": tokens}),
        manager.post(URL, {"file": SimpleUploadedFile("k", csv_of(sandbox, "Group SOC").encode())}),
    ]
    assert [rows_of(one) for one in shown] == [[(3, "failed"), (2, "added")], [(2, "added")]]

    places = [one.content.decode() for one in shown]
    places += [f"{record.getMessage()} {vars(record)!r}" for record in caplog.records]
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608 - our own tables
            places.append(repr(cursor.fetchall()))
    for place in places:
        assert not [secret for secret in (*secrets, CANARY) if secret in place]


@pytest.mark.parametrize("field", ["csv", "file"])
@pytest.mark.parametrize(
    "broken",
    [
        "connections.crypto.encryption.encrypt",
        "connections.credentials.import_file.find_site",
        "connections.core.clock.now",
    ],
)
def test_a_500_page_with_debug_on_contains_no_key(
    sandbox: SandboxServer,
    manager: Client,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    field: str,
    broken: str,
):
    text = csv_of(sandbox, "Payments US")
    pair = key_pair_of(sandbox.world, "Payments US")
    manager.raise_request_exception = False
    settings.DEBUG = True

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(broken, fail)
    typed = {field: text if field == "csv" else SimpleUploadedFile("keys.csv", text.encode())}
    response = manager.post(URL, typed)
    assert response.status_code == 500
    assert b"broken on purpose" in response.content
    assert pair.api_key not in response.content.decode()
    assert pair.application_key not in response.content.decode()


def test_the_list_links_to_the_import_only_for_managers(
    manager: Client, ada: Person, client_of: ClientOf
):
    assert URL in text_of(manager.get("/orgs/"))
    assert URL not in text_of(client_of(ada).get("/orgs/"))

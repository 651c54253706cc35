"""Every export is recorded before its first byte and when it ends, complete or aborted."""

import base64
import hashlib
import http.client
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.core.signals import request_finished
from django.db import close_old_connections
from django.http.response import HttpResponseBase
from django.test import Client
from pytest_django.live_server_helper import LiveServer

from connections.access.actor import command_actor
from connections.audit import EventCode, checkpoints
from connections.deletions import export as deletion_export
from connections.deletions.history import HistoryFilter
from connections.exports import export as audit_export
from connections.models import AuditEvent, Checkpoint, Deletion, Person
from tests.deletions.history.conftest import Make

pytestmark = pytest.mark.django_db
ClientOf = Callable[[Person], Client]
URLS = ("/deletions/export/?format=ndjson", "/connections/export/?format=json")


def event(code: EventCode) -> AuditEvent:
    return AuditEvent.objects.get(code=code)


def codes() -> list[str]:
    found = AuditEvent.objects.filter(code__startswith="export.").order_by("seq")
    return list(found.values_list("code", flat=True))


def disconnect(response: HttpResponseBase) -> None:
    """Close the response as the server does, but keep the test's database connection open."""
    request_finished.disconnect(close_old_connections)
    response.close()
    request_finished.connect(close_old_connections)


@pytest.mark.database
@pytest.mark.parametrize("url", URLS)
def test_a_complete_export_is_recorded_with_its_row_count_and_hash(
    client_of: ClientOf, edith: Person, make: Make, url: str
):
    make(reason="Süd")
    body = client_of(edith).get(url).getvalue()
    started, finished = event(EventCode.EXPORT_STARTED), event(EventCode.EXPORT_FINISHED)
    assert codes() == ["export.started", "export.finished"]
    assert finished.details["started"] == started.seq
    assert finished.details["sha256"] == hashlib.sha256(body).hexdigest()
    assert finished.details["bytes"] == len(body)
    assert finished.details["rows"] == (1 if "deletions" in url else 0)
    assert finished.request_id == started.request_id != ""


@pytest.mark.database
def test_it_is_recorded_before_the_first_byte(client_of: ClientOf, edith: Person, make: Make):
    response = client_of(edith).get(URLS[0])
    assert codes() == ["export.started"]
    disconnect(response)


def test_a_client_that_disconnects_leaves_an_aborted_export(
    make: Make, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(audit_export, "CHUNK_BYTES", 10)
    make()
    make(minute=1)
    export = deletion_export.prepare_export(
        actor=command_actor(), filters=HistoryFilter(), file_format="ndjson", query=""
    )
    running = audit_export.start_export(export=export)
    next(running)
    running.close()
    running.close()
    aborted = event(EventCode.EXPORT_ABORTED)
    assert codes() == ["export.started", "export.aborted"]
    assert (aborted.details["rows"], aborted.details["cause"]) == (1, "receiver_gone")
    assert aborted.details["started"] == event(EventCode.EXPORT_STARTED).seq


@pytest.mark.database
def test_an_error_in_an_export_is_recorded_and_raised(
    client_of: ClientOf, edith: Person, make: Make, monkeypatch: pytest.MonkeyPatch
):
    make()

    def fail(deletion: Deletion) -> None:
        raise ZeroDivisionError(str(deletion))

    monkeypatch.setitem(deletion_export.DELETION_EXPORT_COLUMNS.values, "ticket", fail)
    response = client_of(edith).get(URLS[0])
    with pytest.raises(ZeroDivisionError):
        response.getvalue()
    disconnect(response)
    assert event(EventCode.EXPORT_ABORTED).details["cause"] == "ZeroDivisionError"
    assert codes() == ["export.started", "export.aborted"]


@pytest.mark.database
def test_an_export_whose_end_cannot_be_recorded_does_not_end(
    edith: Person, make: Make, monkeypatch: pytest.MonkeyPatch
):
    make()
    export = deletion_export.prepare_export(
        actor=command_actor(), filters=HistoryFilter(), file_format="csv", query=""
    )
    running = audit_export.start_export(export=export)
    record = audit_export._record

    def refuse(given: audit_export.Export[Any], *, code: EventCode, **more: object) -> int:
        if code == EventCode.EXPORT_FINISHED:
            raise OSError("full")
        return record(given, code=code, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(audit_export, "_record", refuse)
    with pytest.raises(OSError, match="full"):
        list(running)
    running.close()
    assert event(EventCode.EXPORT_ABORTED).details["cause"] == "OSError"


def test_a_head_request_records_nothing(client_of: ClientOf, edith: Person, make: Make):
    response = client_of(edith).head(URLS[0])
    assert response.status_code == 200
    assert codes() == []


@pytest.mark.parametrize("url", URLS)
def test_the_newest_checkpoint_is_sent_outside_the_content(
    client_of: ClientOf, edith: Person, url: str
):
    client = client_of(edith)
    client.get(url).getvalue()
    checkpoint = checkpoints.make_checkpoint()
    assert checkpoint
    response = client.get(url)
    body = response.getvalue()
    note = base64.b64decode(response["X-Orgadmin-Checkpoint"]).decode()
    assert note == checkpoint.note
    assert f"-cp{checkpoint.size}-{checkpoint.root[:16]}." in response["Content-Disposition"]
    assert checkpoint.root.encode() not in body
    started = AuditEvent.objects.filter(code=EventCode.EXPORT_STARTED).latest("seq")
    assert started.details["checkpoint_root"] == checkpoint.root


def test_a_command_is_recorded_too_and_prints_the_checkpoint_separately(
    make: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    make()
    call_command("export_deletions", "--format", "csv")
    first = capsys.readouterr()
    assert first.err == ""
    digest = hashlib.sha256(first.out.encode()).hexdigest()
    assert event(EventCode.EXPORT_FINISHED).details["sha256"] == digest
    checkpoint = checkpoints.make_checkpoint()
    assert checkpoint
    call_command("export_deletions", "--format", "csv")
    second = capsys.readouterr()
    assert second.out == first.out
    assert second.err == checkpoint.note
    call_command("export_deletions", "--format", "csv", "--checkpoint-file", tmp_path / "kept.txt")
    assert (tmp_path / "kept.txt").read_text() == checkpoint.note
    assert capsys.readouterr().err == ""


def test_a_command_overwrites_only_an_earlier_checkpoint_file(make: Make, tmp_path: Path):
    make()
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    export = ("export_deletions", "--format", "csv", "--checkpoint-file", path)
    with pytest.raises(CommandError, match="something other than a checkpoint"):
        call_command(*export)
    assert path.read_text() == "mine"
    path.unlink()
    call_command("export_deletions", "--format", "csv")
    older = checkpoints.make_checkpoint()
    assert older
    call_command(*export)
    assert path.read_text() == older.note
    newer = checkpoints.make_checkpoint()
    assert newer
    call_command(*export)
    assert path.read_text() == newer.note
    assert newer.note != older.note


@pytest.fixture
def signed_in_cookie(client_of: ClientOf, edith: Person) -> str:
    cookie = client_of(edith).cookies[django_settings.SESSION_COOKIE_NAME]
    return f"{cookie.key}={cookie.value}"


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_a_closed_socket_is_detected_and_recorded(
    live_server: LiveServer, make: Make, signed_in_cookie: str
):
    for minute in range(40):
        make(minute=minute, reason="x" * 400_000)
    address = urlsplit(live_server.url)
    connection = http.client.HTTPConnection(address.netloc, timeout=10)
    ended = threading.Event()

    def note(**_: object) -> None:
        ended.set()

    # The event alone doesn't show that its transaction, on this connection too, is over.
    request_finished.connect(note)
    connection.request("GET", URLS[0], headers={"Cookie": signed_in_cookie})
    assert connection.getresponse().read(1000)
    connection.sock.close() if connection.sock else None
    connection.close()
    assert ended.wait(10)
    assert codes() == ["export.started", "export.aborted"]
    assert Checkpoint.objects.count() == 0
    assert json.loads(event(EventCode.EXPORT_ABORTED).text)["details"]["rows"] < 40

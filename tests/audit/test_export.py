"""Exports of the audit log: by the page with filters, and in increments by a log shipper."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from connections import audit
from connections.audit import EventCode, chain, personal_data, search
from connections.exports.events import EVENT_EXPORT_COLUMNS
from connections.models import AuditEvent, AuditHead, Person
from tests.web.audit.support import add_event

pytestmark = pytest.mark.django_db
ClientOf = Callable[[Person], Client]


def body_of(client: Client, url: str) -> str:
    return client.get(url).getvalue().decode()


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.database
def test_an_unfiltered_export_contains_the_whole_chain(
    client_of: ClientOf, edith: Person, ada: Person
):
    for number in range(3):
        add_event(
            audit.Sentence("{ada} did {number}.", ada=personal_data.name_of(ada), number=number),
            by=ada,
        )
    rows = lines_of(body_of(client_of(edith), "/audit/export/?format=ndjson"))
    assert [row["seq"] for row in rows] == [1, 2, 3, 4]
    head = chain.NO_HASH
    for row in rows:
        head = chain.event_hash(head, row["text"].encode())
        assert row["hash"] == head.hex()
    assert rows[0]["sentence"] == "Ada did 0."
    # The last event in it is the start of this export.
    assert rows[-1]["code"] == "export.started"
    assert set(EVENT_EXPORT_COLUMNS.values) == set(rows[0])


@pytest.mark.database
def test_a_csv_is_exactly_the_filtered_set_and_safe_to_open(client_of: ClientOf, edith: Person):
    add_event("Another.")
    add_event("=HYPERLINK(1)", code=EventCode.PERSON_DISABLED)
    text = body_of(client_of(edith), "/audit/export/?format=csv&code=person.")
    [row] = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    assert row["sentence"] == "'=HYPERLINK(1)"
    assert json.loads(row["details"]) == {}
    assert json.loads(row["text"])["seq"] == int(row["seq"])


@pytest.mark.database
def test_an_export_of_a_text_search_includes_every_batch(
    client_of: ClientOf, edith: Person, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(search, "EXPORT_BATCH_SIZE", 2)
    for number in range(5):
        add_event(f"Wanted {number}.")
        add_event("Not that.")
    rows = lines_of(body_of(client_of(edith), "/audit/export/?q=wanted"))
    assert [row["sentence"] for row in rows] == [f"Wanted {number}." for number in range(5)]


@pytest.mark.parametrize("query", ["format=xml", "since=yesterday", "q=go", "code=nothing."])
def test_an_unreadable_filter_is_refused_and_not_ignored(
    client_of: ClientOf, edith: Person, query: str
):
    assert client_of(edith).get(f"/audit/export/?{query}").status_code == 400
    assert not AuditEvent.objects.exists()


class Shipper:
    """Calls the command repeatedly and remembers the last event."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys, self.since = capsys, 0

    def ship(self, *arguments: str) -> list[dict[str, Any]]:
        call_command("export_audit", "--since", str(self.since), *arguments)
        captured = self.capsys.readouterr()
        assert captured.err == ""
        rows = lines_of(captured.out)
        if rows:
            self.since = rows[-1]["seq"]
        return rows


@pytest.fixture
def shipper(capsys: pytest.CaptureFixture[str]) -> Shipper:
    return Shipper(capsys)


def size() -> int:
    return AuditHead.objects.get().size


@pytest.mark.database
def test_a_log_shipper_gets_every_event_once_and_in_order(shipper: Shipper, ada: Person):
    got: list[int] = []
    for number in range(3):
        add_event(
            audit.Sentence("{ada} did {number}.", ada=personal_data.name_of(ada), number=number),
            by=ada,
        )
        got += [row["seq"] for row in shipper.ship()]
    add_event("The last.")
    got += [row["seq"] for row in shipper.ship()]
    assert got == list(range(1, got[-1] + 1))
    texts = [event.text for event in AuditEvent.objects.order_by("seq")[:1]]
    call_command("export_audit", "--limit", "1")
    [row] = lines_of(shipper.capsys.readouterr().out)
    assert (row["text"], row["sentence"], row["actor"]) == (texts[0], "Ada did 0.", "Ada")


def test_without_new_events_nothing_is_written_or_recorded(shipper: Shipper):
    assert shipper.ship() == []
    add_event("Something.")
    assert [row["sentence"] for row in shipper.ship()] == ["Something."]
    before = size()
    for _ in range(3):
        assert shipper.ship() == []
    assert size() == before


def test_two_log_shippers_do_not_trigger_each_other(capsys: pytest.CaptureFixture[str]):
    add_event("Something.")
    shippers = [Shipper(capsys), Shipper(capsys)]
    for _ in range(3):
        for each in shippers:
            each.ship()
    assert size() == 5


def test_an_export_by_a_person_counts_as_a_new_event(
    shipper: Shipper, client_of: ClientOf, edith: Person
):
    add_event("Something.")
    shipper.ship()
    body_of(client_of(edith), "/deletions/export/?format=csv")
    assert [row["code"] for row in shipper.ship()] == ["export.started", "export.finished"] * 2


def test_a_limit_is_respected_and_the_rest_comes_next(shipper: Shipper):
    for number in range(5):
        add_event(f"Act {number}.")
    assert [row["seq"] for row in shipper.ship("--limit", "2")] == [1, 2]
    assert [row["seq"] for row in shipper.ship("--limit", "2")] == [3, 4]


def test_a_cursor_beyond_the_end_is_refused(shipper: Shipper):
    add_event("Something.")
    shipper.since = 7
    with pytest.raises(CommandError, match="The audit log ends at event 1") as raised:
        shipper.ship()
    assert raised.value.returncode == 2


def test_with_json_it_is_one_document(capsys: pytest.CaptureFixture[str]):
    call_command("export_audit", "--json")
    assert json.loads(capsys.readouterr().out) == []
    add_event("Something.")
    call_command("export_audit", "--json")
    assert len(json.loads(capsys.readouterr().out)) == 1

"""A removal waits for the credentials whose syncs fail, for 24 hours."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from connections.models import Credential, Notification, Person
from connections.notifications.change_digests import enqueue_changes
from connections.notifications.messages import build_message
from tests.changes.support import kinds, make_connection, make_credential, sync
from tests.flows.support import read
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db

X = make_connection(1)
OTHER = make_connection(9, sink="lab")
WIDER = replace(X, connection_types=("logs", "audit"))

type Two = tuple[Credential, Credential]


@pytest.fixture
def two(clock: SettableClock) -> Two:
    """The first one no longer lists X, and the syncs of the second one have just begun to fail."""
    first, second = make_credential("narrow"), make_credential("full")
    sync(first, X)
    sync(second, X, OTHER)
    clock.advance(minutes=15)
    assert sync(first) == []
    assert sync(second, is_complete=False) == []
    return first, second


def test_the_removal_waits_while_a_credential_fails(clock: SettableClock, two: Two):
    first, second = two
    for _ in range(23):
        clock.advance(hours=1)
        assert sync(first) == []
        assert sync(second, is_complete=False) == []
    clock.advance(minutes=59)
    assert sync(second, X, OTHER) == []
    clock.advance(hours=48)
    # It was still listed by the sync before.
    assert sync(first) == []


def test_a_complete_sync_without_it_confirms_the_removal(clock: SettableClock, two: Two):
    first, second = two
    clock.advance(hours=1)
    [change] = sync(second, OTHER)
    assert (change.kind, change.not_checked_by) == ("removed", [])
    assert change.observed_by == [str(first.pk), str(second.pk)]


@pytest.mark.parametrize("is_last_to_sync", [True, False])
def test_after_24_hours_it_is_reported_with_the_credential_that_was_not_checked(
    clock: SettableClock, two: Two, is_last_to_sync: bool
):
    first, second = two
    lost_at = clock.now()
    clock.advance(hours=24)
    [change] = sync(second, is_complete=False) if is_last_to_sync else sync(first)
    assert (change.kind, change.needs_attention) == ("removed", True)
    assert (change.observed_by, change.not_checked_by) == ([str(first.pk)], [str(second.pk)])
    assert change.detected_at == lost_at


def test_a_credential_that_failed_before_and_not_since_is_waited_for(
    clock: SettableClock, two: Two
):
    first, second = two
    sync(second, X)
    clock.advance(minutes=1)
    sync(second, is_complete=False)
    sync(first, X)
    clock.advance(hours=25)
    assert sync(first) == []
    clock.advance(minutes=1)
    assert kinds(sync(second, is_complete=False)) == ["removed"]


def test_one_failure_after_a_day_without_syncs_is_not_a_day_of_failures(clock: SettableClock):
    first, second = make_credential("a"), make_credential("b")
    sync(first, X)
    sync(second, X)
    clock.advance(hours=72)
    assert sync(first) == []
    assert sync(second, is_complete=False) == []


def test_a_retired_credential_is_not_waited_for(clock: SettableClock, two: Two):
    first, second = two
    second.retired_at = clock.now()
    second.save()
    clock.advance(minutes=15)
    [change] = sync(first)
    assert (change.kind, change.not_checked_by) == ("removed", [])


def test_fewer_data_types_wait_in_the_same_way(clock: SettableClock):
    first, second = make_credential("a"), make_credential("b")
    sync(first, WIDER)
    sync(second, WIDER)
    last_shown_at = clock.now()
    clock.advance(minutes=15)
    assert sync(first, X) == []
    sync(second, is_complete=False)
    clock.advance(hours=24)
    [change] = sync(first, X)
    assert (change.kind, change.widened) == ("types_changed", False)
    assert change.after == {"connection_types": ["logs"]}
    # A list with fewer types didn't show that the others were still there.
    assert (change.earliest_at, change.detected_at) == (last_shown_at, clock.now())


@pytest.mark.database
def test_every_list_export_and_message_names_it(
    clock: SettableClock,
    two: Two,
    ada: Person,
    client_of: Callable[[Person], Client],
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
):
    first, second = two
    clock.advance(hours=24)
    sync(second, is_complete=False)
    client = client_of(ada)
    sentence = "Not checked with full: syncs failed for 24 hours."
    assert sentence in read(client.get("/changes/")).text
    assert sentence in read(client.get(f"/connections/{first.site}/{X.id}/")).text
    for options in ([], ["--json"]):
        with pytest.raises(SystemExit):
            call_command("list_changes", *options)
    text, document = capsys.readouterr().out.split("\n", maxsplit=1)
    assert sentence in text
    assert json.loads(document)["changes"][0]["not_checked"] == ["full"]

    def export(file_format: str) -> str:
        response = client.get(f"/changes/export/?format={file_format}")
        return b"".join(response.streaming_content).decode()  # type: ignore[attr-defined]

    [row] = csv.DictReader(io.StringIO(export("csv")))
    assert "full" in row["not_checked"]
    assert [row["not_checked"] for row in json.loads(export("json"))] == [["full"]]
    assert json.loads(export("ndjson"))["not_checked"] == ["full"]

    settings.HAS_MAIL, settings.WEBHOOK_URL = True, "https://hook.example"
    clock.advance(seconds=30)
    enqueue_changes()
    by_email = build_message(Notification.objects.get(person=ada))
    assert sentence in by_email.as_text()
    by_webhook = build_message(Notification.objects.get(person=None))
    assert json.loads(by_webhook.as_json())["data"]["changes"][0]["not_checked"] == ["full"]

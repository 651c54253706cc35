"""Syncs that are interrupted, or that end at the same time, neither lose nor repeat a change."""

from dataclasses import replace
from functools import partial

import pytest
from django.db import connection

from connections.changes import detection
from connections.models import Change, Sync
from tests.changes.support import all_kinds, kinds, make_connection, make_credential, sync
from tests.support.at_once import at_once
from tests.support.clock import SettableClock

pytestmark = [pytest.mark.database]

X = make_connection(1)


@pytest.mark.django_db
def test_an_interrupted_sync_leaves_everything_to_the_next(
    clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    credential = make_credential("a")
    sync(credential, X)
    clock.advance(minutes=15)
    store = detection._store_changes

    def store_and_fail(changes: list[Change]) -> None:
        store(changes)
        raise RuntimeError("The process died.")

    with monkeypatch.context() as patch:
        patch.setattr(detection, "_store_changes", store_and_fail)
        with pytest.raises(RuntimeError):
            sync(credential, make_connection(2))
    assert (Change.objects.count(), Sync.objects.count()) == (0, 1)
    clock.advance(minutes=15)
    assert kinds(sync(credential, make_connection(2))) == ["recreated"]


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time.")
@pytest.mark.django_db(transaction=True)
def test_two_sides_that_are_synced_at_once_report_once():
    sides = [make_credential("a"), make_credential("b", org_id="dev")]
    for credential in sides:
        sync(credential, X)
    for number in range(2, 8):
        item = make_connection(number, types=("logs",))
        at_once([partial(sync, side, item) for side in sides])
    # Each sync of the other side that began earlier may leave the removal to the next one.
    for credential in sides:
        sync(credential, make_connection(7))
    replaced = Change.objects.filter(kind__in=["recreated", "appeared"])
    assert replaced.count() == 6
    assert set(all_kinds()) <= {"recreated", "appeared", "removed"}


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time.")
@pytest.mark.django_db(transaction=True)
def test_two_sites_that_are_synced_at_once_number_their_changes_without_a_gap():
    credentials = [make_credential("a"), make_credential("b", site="EU1")]
    many = [make_connection(number, sink=f"org-{number}") for number in range(1, 40)]
    for credential in credentials:
        sync(credential, *many)
    for types in (("audit",), ("logs",), ("metrics",)):
        changed = [replace(each, connection_types=types) for each in many]
        at_once([partial(sync, credential, *changed) for credential in credentials])
    numbers = list(Change.objects.order_by("number").values_list("number", flat=True))
    assert numbers == list(range(1, 2 * 3 * 39 + 1))

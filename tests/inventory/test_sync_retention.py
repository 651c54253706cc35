"""Syncs are kept for 90 days, and longer while the next one is compared with them."""

import pytest

from connections.inventory.syncs import delete_old_syncs
from connections.models import Sync
from tests.changes.support import kinds, make_connection, make_credential, sync
from tests.support.clock import SettableClock

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def test_old_syncs_are_deleted_except_the_newest_complete_one(clock: SettableClock) -> None:
    stopped, synced = make_credential("a"), make_credential("b")
    for credential in (stopped, synced):
        sync(credential, make_connection())
        clock.advance(minutes=15)
        sync(credential, make_connection())
        clock.advance(minutes=15)
        sync(credential, is_complete=False)
    clock.advance(hours=91 * 24)
    sync(synced, make_connection())
    assert delete_old_syncs() == 5
    left = Sync.objects.order_by("pk").values_list("credential__name", "is_complete")
    assert list(left) == [("a", True), ("b", True)]
    # Not a baseline, though the credential was not synced for so long.
    assert kinds(sync(stopped)) == []
    assert kinds(sync(synced)) == ["removed"]


def test_recent_syncs_are_kept(clock: SettableClock) -> None:
    credential = make_credential("a")
    sync(credential)
    clock.advance(hours=89 * 24)
    sync(credential)
    assert delete_old_syncs() == 0

"""Syncs are kept for 90 days, and longer while the next one is compared with them."""

import pytest

from connections.inventory.syncs import delete_old_syncs
from connections.models import Sync, SyncDay
from tests.changes.support import kinds, make_connection, make_credential, sync
from tests.support.clock import SettableClock

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def test_old_syncs_are_deleted_except_the_newest_complete_one(clock: SettableClock):
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


def test_recent_syncs_are_kept(clock: SettableClock):
    credential = make_credential("a")
    sync(credential)
    clock.advance(hours=89 * 24)
    sync(credential)
    assert delete_old_syncs() == 0


def test_each_day_on_which_an_org_was_synced_is_kept(clock: SettableClock):
    credential, of_same_org = make_credential("a"), make_credential("b")
    first_day = clock.now().date()
    sync(credential)
    clock.advance(hours=1)
    sync(of_same_org)
    newest_at = Sync.objects.latest("pk").finished_at
    clock.advance(hours=1)
    sync(credential, is_complete=False)
    clock.advance(hours=91 * 24)
    sync(credential)
    delete_old_syncs()
    days = SyncDay.objects.filter(org_id=credential.org_id).order_by("day")
    assert [day.day for day in days] == [first_day, clock.now().date()]
    assert days[0].newest_at == newest_at > days[0].first_at

"""A recreated pair is one change, whichever credential shows the old or the new connection first.

Datadog allows one connection from one org to another: a new one proves that the old one is gone.
"""

from dataclasses import replace

import pytest

from connections.models import Credential, Outcome
from tests.changes.support import (
    all_kinds,
    kinds,
    make_connection,
    make_credential,
    make_deletion,
    minutes,
    sync,
)
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db

OLD = make_connection(1)
NEW = make_connection(2)

type BothSides = tuple[Credential, Credential]


@pytest.fixture
def both_sides(clock: SettableClock) -> BothSides:
    """The credentials of both orgs, which listed the old connection 15 minutes ago."""
    credentials = make_credential("a"), make_credential("b", org_id="dev")
    for credential in credentials:
        sync(credential, OLD)
    clock.advance(minutes=15)
    return credentials


def test_recreated_between_the_requests_of_one_round(clock: SettableClock, both_sides: BothSides):
    first, second = both_sides
    # A worker's syncs begin at one time, and end one after the other.
    began = clock.now()
    clock.advance(seconds=1)
    sync(first, OLD, started_at=began)
    assert kinds(sync(second, NEW, started_at=began)) == ["recreated"]
    clock.advance(minutes=15)
    for credential in both_sides:
        assert sync(credential, NEW) == []


def test_recreated_while_only_one_credential_had_lost_the_old_one(
    clock: SettableClock, both_sides: BothSides
):
    first, second = both_sides
    began = clock.now()
    clock.advance(seconds=1)
    # It is deleted after the second was read and before the first.
    sync(first, started_at=began)
    sync(second, OLD, started_at=began)
    clock.advance(minutes=15)
    assert kinds(sync(first, NEW)) == ["recreated"]
    clock.advance(minutes=1)
    assert sync(second, NEW) == []


def test_recreated_where_no_credential_lists_both(clock: SettableClock):
    first, second = make_credential("a"), make_credential("b")
    sync(first, OLD)
    sync(second)
    clock.advance(minutes=15)
    assert kinds(sync(second, NEW)) == ["recreated"]
    clock.advance(minutes=1)
    assert sync(first) == []


def test_a_baseline_leaves_a_recreated_pair_to_the_next_sync(clock: SettableClock):
    first = make_credential("a")
    sync(first, OLD)
    clock.advance(minutes=15)
    assert sync(make_credential("b", org_id="dev"), NEW) == []
    clock.advance(minutes=1)
    assert kinds(sync(first, NEW)) == ["recreated"]


def test_a_baseline_reports_what_org_admin_deleted_before_a_sync_has_confirmed_it(
    clock: SettableClock,
):
    first = make_credential("a")
    sync(first, OLD)
    clock.advance(minutes=1)
    deletion = make_deletion(first, OLD)
    clock.advance(minutes=1)
    [change] = sync(make_credential("b", org_id="dev"), NEW)
    assert (change.kind, change.deletion) == ("recreated", deletion)
    clock.advance(minutes=15)
    assert sync(first, NEW) == []


def test_a_late_sync_that_shows_an_older_connection_removes_no_newer_one(
    clock: SettableClock, both_sides: BothSides
):
    first, second = both_sides
    began = clock.now()
    clock.advance(seconds=5)
    newest = make_connection(3)
    assert kinds(sync(first, newest)) == ["recreated"]
    clock.advance(seconds=1)
    assert sync(second, NEW, started_at=began) == []
    clock.advance(minutes=15)
    for credential in both_sides:
        assert sync(credential, newest) == []


def test_the_creation_times_say_which_of_two_is_newer(clock: SettableClock, both_sides: BothSides):
    first, second = both_sides
    began = clock.now()
    clock.advance(seconds=1)
    # It began later and was read earlier.
    sync(first, OLD)
    newer = replace(NEW, created_at=clock.now())
    [change] = sync(second, newer, started_at=began)
    assert change.kind == "recreated"
    # The old one was shown by a sync that began later.
    assert change.earliest_at == change.detected_at == began


@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [("deleted", Outcome.DELETED), ("ambiguous", Outcome.UNRESOLVED)],
)
def test_a_delete_after_which_it_was_still_listed_caused_nothing(
    clock: SettableClock, verdict: str, outcome: Outcome
):
    credential = make_credential("a")
    sync(credential, OLD)
    clock.advance(minutes=1)
    make_deletion(credential, OLD, verdict=verdict, outcome=outcome)
    clock.at += minutes(60)
    sync(credential, OLD)
    clock.at += minutes(15)
    [removed] = sync(credential)
    assert (removed.deletion, removed.needs_attention) == (None, True)
    clock.at += minutes(15)
    [recreated] = sync(credential, NEW)
    assert (recreated.kind, recreated.deletion) == ("recreated", None)


def test_a_delete_that_was_sent_after_the_removal_did_not_cause_it(clock: SettableClock):
    credential = make_credential("a")
    sync(credential, OLD)
    clock.advance(minutes=15)
    sync(credential)
    clock.advance(minutes=15)
    make_deletion(credential, OLD, verdict="ambiguous", outcome=Outcome.GONE_UNATTRIBUTED)
    clock.advance(minutes=15)
    [change] = sync(credential, NEW)
    assert (change.kind, change.deletion) == ("recreated", None)
    assert all_kinds() == ["removed", "recreated"]

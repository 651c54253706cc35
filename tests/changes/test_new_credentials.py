"""What the first sync of a new credential reports.

It takes what it lists as known, except connections that were created after another credential's
list lacked them: the next sync of that credential would have reported them.
"""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from connections.datadog.payloads import OrgConnection
from connections.models import Credential, KnownConnection
from tests.changes.support import (
    kinds,
    make_connection,
    make_credential,
    make_deletion,
    minutes,
    sync,
)
from tests.support.clock import SettableClock

pytestmark = [pytest.mark.django_db, pytest.mark.database(every=5)]

X = make_connection(1)


def created(at: datetime | None, *, types: tuple[str, ...] = ("logs",)) -> OrgConnection:
    return replace(make_connection(9, sink="lab", types=types), created_at=at)


@pytest.fixture
def first(clock: SettableClock) -> Credential:
    """A credential that listed X 15 minutes ago."""
    credential = make_credential("a")
    sync(credential, X)
    clock.advance(minutes=15)
    return credential


@pytest.mark.parametrize("org_id", ["prod", "lab"])
def test_a_connection_created_since_another_credential_was_synced_is_reported(
    clock: SettableClock, first: Credential, org_id: str
):
    new = created(clock.now() - minutes(5), types=("audit",))
    listed = (X, new) if org_id == "prod" else (new,)
    [change] = sync(make_credential("new", org_id=org_id), *listed)
    assert (change.kind, str(change.connection_id)) == ("appeared", new.id)
    assert change.needs_attention
    assert not change.newly_visible
    assert change.earliest_at == clock.now() - minutes(15)
    clock.advance(minutes=15)
    assert sync(first, X, new) == []


def test_it_is_reported_when_a_retired_credential_is_added_again(clock: SettableClock):
    first, other_side = make_credential("a"), make_credential("b", org_id="lab")
    sync(first, X)
    sync(other_side)
    first.retired_at = clock.now()
    first.save()
    clock.advance(minutes=15)
    assert kinds(sync(make_credential("again"), X, created(clock.now()))) == ["appeared"]


def test_after_a_removal_it_is_reported_as_recreated(clock: SettableClock, first: Credential):
    sync(first)
    clock.advance(minutes=15)
    again = replace(make_connection(2), created_at=clock.now())
    [change] = sync(make_credential("b", org_id="dev"), again)
    assert (change.kind, change.before and change.before["connection_id"]) == ("recreated", X.id)
    clock.advance(minutes=15)
    assert sync(first, again) == []


def test_a_deletion_in_org_admin_is_linked(clock: SettableClock, first: Credential):
    deletion = make_deletion(first, X)
    sync(first)
    clock.advance(minutes=15)
    again = replace(make_connection(2), created_at=clock.now())
    [change] = sync(make_credential("b", org_id="dev"), again)
    assert (change.kind, change.deletion) == ("recreated", deletion)


@pytest.mark.parametrize("age", [minutes(16), timedelta(days=100), None])
def test_a_credential_that_lists_more_reports_nothing_old(
    clock: SettableClock, first: Credential, age: timedelta | None
):
    old = created(clock.now() - age if age else None)
    assert sync(make_credential("b"), X, old) == []
    assert KnownConnection.objects.filter(connection_id=old.id).exists()


def test_clocks_that_differ_a_little_hide_nothing(clock: SettableClock, first: Credential):
    shortly_before = created(clock.now() - minutes(15) - timedelta(seconds=4))
    [change] = sync(make_credential("b"), X, shortly_before)
    assert (change.kind, change.newly_visible) == ("appeared", False)


def test_a_creation_time_at_the_end_of_the_calendar_is_new(clock: SettableClock, first: Credential):
    latest = created(datetime.fromisoformat("9999-12-31T23:59:59.999999Z"))
    assert kinds(sync(make_credential("b"), X, latest)) == ["appeared"]


@pytest.mark.parametrize("without", ["retired", "never synced", "other org"])
def test_without_another_credential_to_compare_with_everything_is_known(
    clock: SettableClock, without: str
):
    other = make_credential("a", org_id="other" if without == "other org" else "prod")
    if without != "never synced":
        sync(other)
    if without == "retired":
        other.retired_at = clock.now()
        other.save()
    clock.advance(minutes=15)
    assert sync(make_credential("b"), X, created(clock.now())) == []


def test_each_other_credential_counts(clock: SettableClock, first: Credential):
    # The second one lists less, and was synced later.
    second = make_credential("b")
    new = created(clock.now())
    clock.advance(minutes=5)
    sync(second, X)
    clock.advance(minutes=5)
    [change] = sync(make_credential("c", org_id="lab"), new)
    assert change.kind == "appeared"
    assert change.earliest_at == clock.now() - minutes(25)

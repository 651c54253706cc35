"""What a change says: attention, times, our deletions, baselines, and late syncs."""

from dataclasses import replace
from typing import Any

import pytest

from connections.changes.changes import ChangeFilter, matching_changes
from connections.changes.detection import changes_digest
from connections.models import (
    AuditEvent,
    Change,
    Credential,
    KnownConnection,
    Org,
    OrgConnectionSnapshot,
    Outcome,
)
from tests.changes.support import (
    CREATED_AT,
    SITE,
    all_kinds,
    kinds,
    make_connection,
    make_credential,
    make_deletion,
    minutes,
    sync,
    with_creator,
)
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db

X = make_connection(1)
NEW = make_connection(2)
AUDITED = replace(X, connection_types=("logs", "audit"))


def test_a_baseline_is_silent_and_complete(clock: SettableClock):
    credential = make_credential("a")
    assert sync(credential, X, make_connection(9, sink="lab")) == []
    assert KnownConnection.objects.filter(is_present=True).count() == 2
    assert set(Org.objects.values_list("org_id", "name")) == {
        ("prod", "Acme Prod"),
        ("dev", "Acme Dev"),
        ("lab", "Lab"),
    }


def test_a_failed_first_sync_is_no_baseline(clock: SettableClock):
    credential = make_credential("a")
    sync(credential, is_complete=False)
    clock.advance(minutes=15)
    assert sync(credential, X) == []
    clock.advance(minutes=15)
    assert kinds(sync(credential)) == ["removed"]


def test_a_baseline_leaves_a_difference_to_the_next_sync(clock: SettableClock):
    first, second = make_credential("a"), make_credential("b", org_id="dev")
    sync(first, X)
    clock.advance(minutes=15)
    assert sync(second, AUDITED) == []
    clock.advance(minutes=15)
    [change] = sync(first, AUDITED)
    assert (change.kind, change.widened, change.needs_attention) == ("types_changed", True, True)


def test_new_keys_are_no_new_baseline(clock: SettableClock):
    credential = make_credential("a")
    sync(credential, X)
    credential.fingerprint = "0123456789ab"
    credential.save()
    clock.advance(minutes=15)
    assert kinds(sync(credential, X, make_connection(9, sink="lab"))) == ["appeared"]


def test_retiring_a_credential_removes_nothing(clock: SettableClock):
    first, second = make_credential("a"), make_credential("b", org_id="dev")
    sync(first, X)
    sync(second, X)
    second.retired_at = clock.now()
    second.save()
    clock.advance(minutes=15)
    assert sync(first, X) == []
    clock.advance(minutes=15)
    # It no longer counts as a credential that lists the connection.
    [change] = sync(first)
    assert (change.kind, change.observed_by) == ("removed", [str(first.pk)])


@pytest.mark.parametrize("changed", [{"retired_at": CREATED_AT}, {"site": "EU1"}])
def test_a_name_counts_unless_a_credential_of_that_org_can_show_another(
    changed: dict[str, Any], clock: SettableClock
):
    own, other = make_credential("a"), make_credential("b", org_id="dev")
    renamed = replace(X, source_org=replace(X.source_org, name="Acme Production"))
    sync(other, X)
    clock.advance(minutes=15)
    assert sync(other, renamed) == []
    Credential.objects.filter(pk=own.pk).update(**changed)
    clock.advance(minutes=15)
    [change] = sync(other, renamed)
    assert (change.kind, change.org_id, change.org_name) == (
        "org_renamed",
        "prod",
        "Acme Production",
    )
    assert (change.before, change.after) == ({"name": "Acme Prod"}, {"name": "Acme Production"})
    org = Org.objects.get(site=SITE, org_id="prod")
    assert (org.name, org.established_at) == ("Acme Production", clock.at)


@pytest.mark.parametrize(
    ("before", "after", "attention"),
    [
        ((X,), (X, make_connection(9, sink="lab")), False),
        ((X,), (X, make_connection(9, sink="lab", types=("audit",))), True),
        ((X,), (AUDITED,), True),
        ((AUDITED,), (X,), False),
        ((X,), (), True),
        ((X,), (NEW,), False),
        ((X,), (replace(NEW, connection_types=("logs", "metrics")),), True),
        ((AUDITED,), (replace(NEW, connection_types=("audit",)),), True),
        ((X,), (with_creator(X, disabled=True),), True),
        ((X,), (with_creator(X, id="eve"),), False),
        ((X,), (with_creator(X, id="eve", disabled=True),), True),
    ],
)
def test_what_needs_attention(
    clock: SettableClock, before: tuple[object, ...], after: tuple[object, ...], attention: bool
):
    credential = make_credential("a")
    sync(credential, *before)  # type: ignore[arg-type]
    clock.advance(minutes=15)
    [change] = sync(credential, *after)  # type: ignore[arg-type]
    assert change.needs_attention is attention


@pytest.mark.database
def test_an_unknown_value_is_no_change_and_replaces_none(clock: SettableClock):
    credential = make_credential("a")
    sync(credential, X)
    nothing = with_creator(X, id="", name="", disabled=None, service_account=None)
    unknown = replace(
        nothing,
        created_at=None,
        source_org=replace(X.source_org, name=""),
        sink_org=replace(X.sink_org, name=""),
    )
    clock.advance(minutes=15)
    assert sync(credential, unknown) == []
    clock.advance(minutes=15)
    [change] = sync(credential, with_creator(X, disabled=True))
    assert change.before is not None
    assert change.before["created_by"] == {
        "id": "user-ada",
        "name": "Ada",
        "disabled": False,
        "service_account": False,
    }


@pytest.mark.database
def test_types_in_another_order_are_the_same(clock: SettableClock):
    credential = make_credential("a")
    sync(credential, AUDITED)
    clock.advance(minutes=15)
    assert sync(credential, replace(X, connection_types=("audit", "logs"))) == []


def test_it_happened_between_two_syncs(clock: SettableClock):
    first, second = make_credential("a"), make_credential("b", org_id="dev")
    sync(first, X)
    began = clock.now()
    sync(second, X)
    clock.advance(minutes=15)
    sync(first, X)
    shown = clock.now()
    clock.advance(minutes=5)
    sync(second, is_complete=False)
    clock.advance(minutes=10)
    lacking = clock.now()
    assert sync(first) == []
    clock.advance(minutes=1)
    [change] = sync(second)
    assert (change.earliest_at, change.detected_at) == (shown, lacking)
    assert change.observed_by == [str(first.pk), str(second.pk)]
    assert began < shown


def test_a_credential_that_failed_is_named(clock: SettableClock):
    first, second = make_credential("a"), make_credential("b", org_id="dev")
    sync(first, X)
    sync(second, X)
    clock.advance(minutes=15)
    sync(first)
    assert sync(second, is_complete=False) == []
    clock.advance(hours=24)
    [change] = sync(second, is_complete=False)
    assert (change.observed_by, change.not_checked_by) == ([str(first.pk)], [str(second.pk)])
    assert not OrgConnectionSnapshot.objects.filter(is_current=True).exists()


@pytest.mark.parametrize(
    ("verdict", "outcome", "is_ours"),
    [
        ("deleted", Outcome.DELETED, True),
        ("ambiguous", Outcome.GONE_UNATTRIBUTED, True),
        ("refused", Outcome.REFUSED, False),
        ("not_found", Outcome.ALREADY_ABSENT, False),
        ("not_sent", Outcome.NOT_SENT, False),
        ("none", Outcome.WITHDRAWN, False),
    ],
)
def test_a_removal_is_ours_only_if_our_delete_can_have_caused_it(
    clock: SettableClock, verdict: str, outcome: Outcome, is_ours: bool
):
    credential = make_credential("a")
    sync(credential, X)
    clock.advance(minutes=1)
    deletion = make_deletion(credential, X, verdict=verdict, outcome=outcome)
    clock.advance(minutes=15)
    [change] = sync(credential)
    assert change.deletion == (deletion if is_ours else None)
    assert change.needs_attention is not is_ours


def test_a_deletion_explains_one_removal(clock: SettableClock):
    credential = make_credential("a")
    sync(credential, X)
    deletion = make_deletion(credential, X)
    clock.advance(minutes=15)
    [ours] = sync(credential)
    clock.advance(minutes=15)
    sync(credential, X)
    clock.advance(minutes=15)
    [another] = sync(credential)
    assert (ours.deletion, another.deletion) == (deletion, None)
    assert another.needs_attention


def test_a_removal_before_our_delete_is_not_ours(clock: SettableClock):
    first, second = make_credential("a"), make_credential("b", org_id="dev")
    sync(first, X)
    sync(second, X)
    clock.advance(minutes=15)
    sync(first)
    clock.advance(minutes=15)
    make_deletion(second, X, verdict="ambiguous", outcome=Outcome.GONE_UNATTRIBUTED)
    clock.advance(minutes=1)
    [change] = sync(second)
    assert change.deletion is None


@pytest.mark.database
def test_recreated_after_our_deletion(clock: SettableClock):
    credential = make_credential("a")
    sync(credential, X)
    deletion = make_deletion(credential, X)
    clock.advance(minutes=15)
    sync(credential)
    before = clock.now()
    clock.advance(minutes=15)
    [change] = sync(credential, replace(NEW, created_at=clock.now()))
    assert (change.kind, change.deletion, change.needs_attention) == ("recreated", deletion, True)
    assert change.before is not None
    assert change.before["connection_id"] == X.id
    assert str(change.connection_id) == NEW.id
    assert (change.earliest_at, change.newly_visible) == (before, False)


def test_a_baseline_reports_a_pair_that_org_admin_deleted(clock: SettableClock):
    first = make_credential("a")
    sync(first, X)
    deletion = make_deletion(first, X)
    clock.advance(minutes=15)
    sync(first)
    clock.advance(minutes=15)
    second = make_credential("b", org_id="dev")
    [change] = sync(second, NEW, make_connection(9, sink="lab"))
    assert (change.kind, change.deletion) == ("recreated", deletion)


def test_a_baseline_reports_no_other_pair(clock: SettableClock):
    first = make_credential("a")
    sync(first, X)
    clock.advance(minutes=15)
    make_deletion(first, X, verdict="refused", outcome=Outcome.REFUSED)
    sync(first)
    clock.advance(minutes=15)
    assert sync(make_credential("b", org_id="dev"), NEW) == []


def test_what_is_older_than_the_last_sync_is_newly_visible(clock: SettableClock):
    credential = make_credential("a")
    sync(credential, X)
    clock.advance(minutes=15)
    old = make_connection(8, sink="lab")
    young = replace(make_connection(9, sink="test"), created_at=clock.now())
    changes = {str(change.connection_id): change for change in sync(credential, X, old, young)}
    assert changes[old.id].newly_visible
    assert not changes[young.id].newly_visible


def test_a_late_sync_undoes_nothing(clock: SettableClock):
    first, second = make_credential("a"), make_credential("b", org_id="dev")
    sync(first, X)
    sync(second, X)
    clock.advance(minutes=15)
    began = clock.now()
    clock.advance(seconds=1)
    assert kinds(sync(first, AUDITED)) == ["types_changed"]
    clock.advance(seconds=1)
    # It began before the other one ended, so it may have seen the older state.
    assert sync(second, X, started_at=began) == []
    clock.advance(minutes=15)
    assert sync(second, AUDITED) == []
    assert all_kinds() == ["types_changed"]


@pytest.mark.database
def test_an_overlapping_sync_is_caught_up_by_the_next(clock: SettableClock):
    first, second = make_credential("a"), make_credential("b", org_id="dev")
    sync(first, X)
    sync(second, X)
    clock.advance(minutes=15)
    began = clock.now()
    clock.advance(seconds=1)
    sync(first, AUDITED)
    clock.advance(seconds=1)
    narrowed = replace(X, connection_types=("metrics",))
    assert sync(second, narrowed, started_at=began) == []
    clock.advance(minutes=15)
    assert kinds(sync(first, narrowed)) == ["types_changed"]


@pytest.mark.database
def test_the_same_sync_stored_twice_reports_once(clock: SettableClock):
    credential = make_credential("a")
    sync(credential, X)
    clock.advance(minutes=15)
    began = clock.now()
    clock.advance(seconds=1)
    assert kinds(sync(credential, NEW, started_at=began)) == ["recreated"]
    assert sync(credential, NEW, started_at=began) == []


@pytest.mark.database
def test_since_finds_a_removal_that_was_recorded_later_than_detected(clock: SettableClock):
    first, second = make_credential("a"), make_credential("b", org_id="dev")
    sync(first, X)
    sync(second, X)
    clock.advance(minutes=15)
    assert sync(first) == []
    clock.advance(minutes=5)
    polled_at = clock.now()
    clock.advance(minutes=10)
    [change] = sync(second)
    assert change.detected_at < polled_at
    filters = ChangeFilter(since=polled_at)
    assert list(matching_changes(filters)) == [change]


def test_an_outdated_sync_is_compared_with_nothing(clock: SettableClock):
    credential = make_credential("a")
    sync(credential, X)
    clock.advance(minutes=15)
    began = clock.now()
    clock.advance(seconds=1)
    sync(credential, X)
    assert sync(credential, AUDITED, started_at=began) == []


def test_one_event_for_a_sync_that_found_changes(clock: SettableClock):
    credential = make_credential("a")
    sync(credential, X)
    clock.advance(minutes=15)
    found = sync(credential, NEW, make_connection(9, sink="lab"))
    [event] = AuditEvent.objects.filter(code="changes.detected")
    assert event.sentence == "A sync with a found 2 changes."
    assert event.details["changes"] == [str(change.pk) for change in found]
    stored = Change.objects.order_by("number")
    assert event.details["sha256"] == changes_digest(stored)


@pytest.mark.database
def test_a_sync_of_many_takes_no_more_queries_than_one_of_few(
    clock: SettableClock, django_assert_max_num_queries: object
):
    credential = make_credential("a")
    many = [make_connection(number, sink=f"org-{number}") for number in range(1, 201)]
    sync(credential, *many)
    clock.advance(minutes=15)
    with django_assert_max_num_queries(40):  # type: ignore[operator]
        found = sync(credential, *(replace(each, connection_types=("audit",)) for each in many))
    assert len(found) == 200


def test_snapshots_of_others_stay_while_one_sees_less(clock: SettableClock):
    first, second = make_credential("a"), make_credential("b")
    sync(first, X)
    sync(second, X)
    clock.advance(minutes=15)
    sync(first)
    current = OrgConnectionSnapshot.objects.filter(is_current=True)
    assert [each.credential for each in current] == [second]
    assert clock.now() - current[0].last_seen_at == minutes(15)

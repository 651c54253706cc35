"""A reviewer finds any past deletion: every filter, pages by key, bounded counts."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from connections.access.actor import person_actor
from connections.deletions import history
from connections.deletions.history import Cursor, HistoryFilter
from connections.models import Deletion, Outcome, Person, State
from tests.deletions.history.conftest import START, Make
from tests.support.query_plans import plan_of

pytestmark = [pytest.mark.django_db, pytest.mark.database(every=3)]


def found(viewer: Person, **filters: Any) -> list[Deletion]:
    page = history.history_page(actor=person_actor(person=viewer), filters=HistoryFilter(**filters))
    return page.deletions


def test_the_newest_deletion_comes_first(make: Make, victor: Person):
    old, new = make(minute=1), make(minute=2)
    assert found(victor) == [new, old]


@pytest.mark.parametrize(
    ("fields", "filters"),
    [
        ({"site": "us5.datadoghq.com"}, {"site": ("us5.datadoghq.com",)}),
        ({"source_org_id": "org-labs"}, {"org": ("datadoghq.eu/org-labs",)}),
        ({"sink_org_id": "org-lake"}, {"org": ("datadoghq.eu/org-lake",)}),
        ({"sink_org_id": "org-lake"}, {"org": ("datadoghq.eu/x", "datadoghq.eu/org-lake")}),
        ({"site": "us5.datadoghq.com"}, {"site": ("us3.datadoghq.com", "us5.datadoghq.com")}),
        ({"ticket": "SEC-212"}, {"ticket": "SEC-212"}),
        ({"reason": "vendor contract ended"}, {"text": "Contract VENDOR"}),
        ({"reason": "“quoted” 50 % off_"}, {"text": "% off_"}),
        ({"sink_org_name": "Gruppe Süd"}, {"text": "süd"}),
        ({"reason": 'say "no"'}, {"text": '"no"'}),
        ({"reason": "go"}, {"text": "go"}),
        ({"contradicted_at": START}, {"status": ("contradicted",)}),
        ({"outcome": Outcome.REFUSED}, {"status": ("refused", "break_glass")}),
        ({"outcome": Outcome.STALE}, {"status": ("not_deleted",)}),
        ({"outcome": Outcome.UNRESOLVED}, {"status": ("undetermined",)}),
        (
            {"state": State.WAITING, "outcome": "", "settled_at": None},
            {"status": ("open", "unknown")},
        ),
    ],
)
def test_a_filter_finds_the_matching_deletion(
    make: Make, victor: Person, fields: dict[str, Any], filters: dict[str, Any]
):
    make(minute=1)
    wanted = make(minute=2, **fields)
    make(minute=3)
    assert found(victor, **filters) == [wanted]


def test_an_org_is_filtered_by_its_site_and_id_and_never_by_its_name(make: Make, victor: Person):
    make(minute=1, sink_org_id="org-other", sink_org_name="Data Lake")
    make(minute=2, sink_org_id="org-lake", sink_org_name="Data Lake", site="us5.datadoghq.com")
    wanted = make(minute=3, sink_org_id="org-lake", sink_org_name="Data Lake")
    assert found(victor, org=("datadoghq.eu/org-lake",)) == [wanted]
    for other in ("Data Lake", "org-lake", "datadoghq.eu/", "/org-lake"):
        assert found(victor, org=(other,)) == []


def test_an_id_is_found_by_its_last_characters(make: Make, victor: Person):
    make(minute=1)
    wanted = make(minute=2)
    assert found(victor, text=str(wanted.connection_id)[-8:]) == [wanted]


def test_a_person_and_a_connection_can_be_filtered(make: Make, victor: Person, grace: Person):
    make(minute=1)
    wanted = make(minute=2, requested_by=grace)
    assert found(victor, person=(grace.pk,)) == [wanted]
    assert found(victor, connection_id=wanted.connection_id) == [wanted]


def test_several_values_are_merged_in_order_and_each_match_is_listed_once(
    make: Make, victor: Person, grace: Person
):
    first = make(minute=0, source_org_id="a", sink_org_id="b")
    make(minute=1)
    second = make(minute=2, source_org_id="b", sink_org_id="c", requested_by=grace)
    third = make(minute=3, source_org_id="d", sink_org_id="a", requested_by=grace)
    orgs = ("datadoghq.eu/a", "datadoghq.eu/b")
    assert found(victor, org=orgs) == [third, second, first]
    people = (grace.pk, first.requested_by_id)
    assert found(victor, org=orgs, person=people, site=("datadoghq.eu", "x")) == [
        *(third, second, first)
    ]
    assert found(victor, org=orgs, person=(grace.pk,)) == [third, second]
    exported = history.iterate_values(
        actor=person_actor(person=victor),
        filters=HistoryFilter(org=orgs),
        fields=("id", "requested_at"),
    )
    assert [row.id for rows in exported for row in rows] == [third.pk, second.pk, first.pk]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="asks SQLite for its plans")
@pytest.mark.parametrize("name", ["org", "person", "credential", "site"])
def test_several_values_are_each_read_from_an_index_in_its_order(
    make: Make, victor: Person, name: str
):
    deletion = make()
    values: dict[str, Any] = {"org": ("x/a", "x/b"), "site": ("a", "b")}
    ids = {"person": deletion.requested_by_id, "credential": deletion.credential_id}
    filters = HistoryFilter(**{name: values.get(name, (ids.get(name), uuid4()))})
    actor = person_actor(person=victor)
    with CaptureQueriesContext(connection) as captured:
        history.history_page(actor=actor, filters=filters)
    plans = [plan_of(query["sql"]) for query in captured if "COUNT(" not in query["sql"]]
    assert len([plan for plan in plans if "USING INDEX history_by_" in plan]) >= 2
    assert not any("TEMP B-TREE" in plan for plan in plans)


def test_a_period_includes_its_start_and_excludes_its_end(make: Make, victor: Person):
    first, last = make(minute=0), make(minute=10)
    filters = {"since": START, "until": START + timedelta(minutes=10)}
    assert found(victor, **filters) == [first]
    assert last not in found(victor, **filters)


def test_pages_have_no_gaps_or_repeats_even_at_equal_times(make: Make, victor: Person):
    stored = {make(minute=minute // 3).pk for minute in range(10)}
    actor = person_actor(person=victor)
    seen: list[object] = []
    cursor: Cursor | None = None
    while True:
        page = history.history_page(actor=actor, filters=HistoryFilter(), after=cursor, size=4)
        seen += [deletion.pk for deletion in page.deletions]
        if page.next is None:
            break
        cursor = Cursor.parse(str(page.next))
    assert len(seen) == 10
    assert set(seen) == stored


def test_pages_sorted_oldest_first_are_the_reverse_of_newest_first(make: Make, victor: Person):
    for minute in range(10):
        make(minute=minute // 3)
    actor = person_actor(person=victor)
    seen: list[Deletion] = []
    cursor: Cursor | None = None
    while len(seen) < 10:
        page = history.history_page(
            actor=actor, filters=HistoryFilter(), after=cursor, is_oldest_first=True, size=4
        )
        seen += page.deletions
        cursor = page.next
    assert seen == found(victor)[::-1]


def test_the_history_count_is_exact_up_to_its_limit(
    make: Make, victor: Person, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(history, "MAX_COUNTED", 3)
    actor = person_actor(person=victor)
    for minute in range(3):
        make(minute=minute)
    assert history.history_page(actor=actor, filters=HistoryFilter()).count == 3
    make(minute=4)
    assert history.history_page(actor=actor, filters=HistoryFilter()).count is None


def test_a_deletion_with_one_org_on_both_sides_counts_once(make: Make, victor: Person):
    make(minute=0)
    make(minute=1, sink_org_id="org-payments")
    make(minute=2, source_org_id="org-labs", sink_org_id="org-payments")
    make(minute=3, source_org_id="org-labs")
    filters = HistoryFilter(org=("datadoghq.eu/org-payments",))
    page = history.history_page(actor=person_actor(person=victor), filters=filters)
    assert page.count == len(page.deletions) == 3


@pytest.mark.parametrize("text", ["", "x", "2026-01-01T09:00:00", "2026-01-01T09:00:00+00:00~no"])
def test_an_invalid_cursor_is_refused(text: str):
    with pytest.raises(ValueError, match=r"."):
        Cursor.parse(text)

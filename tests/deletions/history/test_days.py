"""Daily counts in the deletion history and the audit log."""

import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest
from django.test import Client

from connections.access.actor import person_actor
from connections.audit import EventCode, search
from connections.core.days import daily_counts
from connections.deletions import history
from connections.models import Outcome, Person, State
from tests.deletions.history.conftest import Make
from tests.flows.support import read
from tests.support.clock import SettableClock
from tests.web.audit.support import add_event

pytestmark = pytest.mark.database
ClientOf = Callable[[Person], Client]
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = 24 * 60


def rows(*days_ago: int, kind: str = "deleted") -> list[tuple[str, str, int]]:
    return [(f"{NOON - timedelta(days=number):%Y-%m-%d}", kind, 1) for number in days_ago]


def test_empty_days_appear_between_days_with_entries() -> None:
    found = daily_counts([*rows(0, kind="refused"), *rows(0, 3)], limit=100)
    assert [(day.date.day, dict(day.counts)) for day in found.days] == [
        (7, {"deleted": 1}),
        (8, {}),
        (9, {}),
        (10, {"refused": 1, "deleted": 1}),
    ]
    assert not found.has_older


def test_at_most_a_month_is_shown_and_older_entries_are_mentioned() -> None:
    found = daily_counts(rows(0, 30, 31), limit=100)
    assert len(found.days) == 31
    assert found.days[0].date == date(2026, 2, 8)
    assert found.has_older


def test_an_incompletely_counted_day_is_not_drawn() -> None:
    found = daily_counts(rows(0, 1, 1), limit=3)
    assert [day.date.day for day in found.days] == [10]
    assert found.has_older
    days = daily_counts(rows(0, 0, 0), limit=3)
    assert [day.counts for day in days.days] == [Counter(deleted=3)]
    assert days.has_older


def test_no_entries_means_no_chart() -> None:
    assert daily_counts([], limit=3).days == ()


def chart_in(html: str) -> ET.Element:
    """The chart of a page, read as XML."""
    [svg] = re.findall(r'<svg class="bars".*?</svg>', html, re.DOTALL)
    return ET.fromstring(svg)  # noqa: S314 - our own page


@pytest.mark.django_db
def test_the_history_chart_follows_the_filter_and_has_an_equivalent_table(
    client_of: ClientOf, victor: Person, make: Make
) -> None:
    make(minute=0, ticket="SEC-1")
    make(minute=2 * DAY, ticket="SEC-1", outcome=Outcome.REFUSED)
    make(minute=2 * DAY + 1, ticket="SEC-1", state=State.UNKNOWN, outcome="", settled_at=None)
    make(minute=3 * DAY)
    page = read(client_of(victor).get("/deletions/?ticket=SEC-1"))
    label = "Deletions per day, 1 Jan 2026 to 3 Jan 2026, UTC"
    svg = chart_in(page.html)
    assert svg.attrib["aria-label"] == label
    titles = [title.text for title in svg.iter("title")]
    assert titles == ["1 Jan 2026: 1", "2 Jan 2026: 0", "3 Jan 2026: 2"]
    assert [part.attrib["class"] for part in svg.iter("rect")] == [
        "tone-ok",
        "tone-danger",
        "tone-unknown",
    ]
    assert "Day Deleted Failed Unknown All 1 Jan 2026 1 0 0 1" in page.text
    assert "3 Jan 2026 0 1 1 2" in page.text
    assert "style=" not in page.html


@pytest.mark.django_db
def test_an_org_on_both_sides_is_drawn_once_and_the_newest_first(
    victor: Person, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_COUNTED", 3)
    make(minute=0)
    make(minute=DAY, sink_org_id="org-payments")
    make(minute=2 * DAY, source_org_id="org-labs", sink_org_id="org-payments")
    make(minute=3 * DAY, source_org_id="org-labs")
    page = history.history_page(
        actor=person_actor(person=victor),
        filters=history.HistoryFilter(org="datadoghq.eu/org-payments"),
    )
    assert page.count == 3
    assert page.days
    assert [day.counts.total() for day in page.days.days] == [1, 1, 1]


@pytest.mark.django_db
def test_the_audit_log_chart_groups_events_by_subject(
    client_of: ClientOf, edith: Person, clock: SettableClock
) -> None:
    add_event("A sign-in.", code=EventCode.SIGNED_IN)
    clock.advance(hours=24)
    for _ in range(2):
        add_event("An answer.", code=EventCode.DELETION_ANSWERED)
    add_event("An export.")
    page = read(client_of(edith).get("/audit/"))
    assert "Events per day, 2 Mar 2026 to 3 Mar 2026, UTC." in page.text
    assert "Day Deletions People Others All 2 Mar 2026 0 1 0 1 3 Mar 2026 2 0 1 3" in page.text
    page = read(client_of(edith).get("/audit/?code=deletion."))
    assert "Events per day, 3 Mar 2026, UTC." in page.text


@pytest.mark.django_db
def test_the_page_says_what_the_chart_leaves_out(
    client_of: ClientOf,
    edith: Person,
    make: Make,
    clock: SettableClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "CHART_EVENTS", 2)
    monkeypatch.setattr(history, "MAX_COUNTED", 2)
    for number in range(4):
        make(minute=number * DAY)
        add_event("An act.")
        clock.advance(hours=24)
    for url in ("/audit/", "/deletions/"):
        page = read(client_of(edith).get(url))
        assert "The chart doesn't show older ones." in page.text
        assert len(list(chart_in(page.html).iter("title"))) == 2

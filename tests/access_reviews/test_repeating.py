"""The worker starts the next access review so many months after the last one, or says why not."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from pytest_django import Settings

from connections.access.actor import WORKER, person_actor
from connections.access_reviews import repeating
from connections.access_reviews.repeating import change_repetition, next_start, start_due
from connections.core import clock as database_clock
from connections.core.errors import ConflictError, InvalidInputError
from connections.evidence import verification
from connections.models import AccessReview, AuditEvent, Credential, EventCode, Notification, Person
from connections.notifications.messages import build_message
from sandbox.server import SandboxServer
from tests.access_reviews.conftest import MakeReview
from tests.access_reviews.support import close, decide
from tests.batches.support import sync_now
from tests.flows.support import read
from tests.support.clock import SettableClock

pytestmark = [pytest.mark.django_db, pytest.mark.database]

FAILED = EventCode.ACCESS_REVIEW_REPEAT_FAILED


def repeat(review: AccessReview, person: Person, months: int | None) -> None:
    change_repetition(review=review, actor=person_actor(person=person), repeat_months=months)


def wait(clock: SettableClock, *, days: float) -> None:
    clock.advance(seconds=timedelta(days=days).total_seconds())
    start_due(actor=WORKER)
    start_due(actor=WORKER)


def failures() -> list[str]:
    events = AuditEvent.objects.filter(code=FAILED).order_by("seq")
    return [event.details["reason"] for event in events]


def test_the_next_one_has_the_same_name_filters_reviewers_and_span(
    make_review: MakeReview, ada: Person, edith: Person, clock: SettableClock, settings: Settings
):
    settings.HAS_MAIL = True
    first = make_review(2, ada, days=14)
    repeat(first, edith, 1)
    decide(first, ada)
    close(first, edith)
    wait(clock, days=20)
    assert AccessReview.objects.count() == 1
    wait(clock, days=12)
    second = AccessReview.objects.get(repeats=first)
    for name in ("name", "scope", "assignment", "repeat_months", "created_by", "row_count"):
        assert getattr(second, name) == getattr(first, name)
    assert second.due_at.date() - second.created_at.date() == timedelta(days=14)
    assert [each.person for each in second.reviewers.all()] == [ada]
    event = AuditEvent.objects.filter(code=EventCode.ACCESS_REVIEW_STARTED).latest("seq")
    assert (event.actor_id, event.subject_id) == (None, str(second.pk))
    assert Notification.objects.filter(code=EventCode.ACCESS_REVIEW_STARTED).count() == 2
    with pytest.raises(ConflictError):
        repeat(first, edith, 3)
    wait(clock, days=32)
    assert AccessReview.objects.filter(repeats=second).count() == 1
    assert verification.verify_audit_log().fault is None


def test_it_stops_repeating_while_it_is_open_and_once_it_is_closed(
    make_review: MakeReview, ada: Person, edith: Person, clock: SettableClock
):
    review = make_review(1, ada)
    repeat(review, edith, 3)
    decide(review, ada)
    close(review, edith)
    repeat(review, edith, None)
    wait(clock, days=100)
    assert AccessReview.objects.count() == 1
    with pytest.raises(InvalidInputError):
        repeat(review, edith, 2)
    assert verification.verify_audit_log().fault is None


def test_why_it_was_not_started_is_recorded_once_a_day_and_shown(
    make_review: MakeReview,
    ada: Person,
    edith: Person,
    root: Person,
    clock: SettableClock,
    settings: Settings,
    client_of: Callable[[Person], Client],
):
    settings.HAS_MAIL = True
    review = make_review(1, ada)
    repeat(review, edith, 1)
    decide(review, ada)
    close(review, edith)
    groups = list(edith.groups.all())
    edith.groups.clear()
    wait(clock, days=32)
    reason = "The person who started the last one can no longer start one."
    assert failures() == [reason]
    notified = Notification.objects.filter(code=FAILED)
    assert {each.person for each in notified} == {edith, root}
    message = build_message(notified.get(person=root))
    assert (message.title, message.reason) == ("Access review not repeated", reason)
    page = read(client_of(root).get(f"/reviews/{review.pk}/")).text
    assert f"{reason} The worker tries again each day. If that can't help, stop it" in page
    assert "Repeats every month. The next" not in page
    page = read(client_of(ada).get(f"/reviews/{review.pk}/")).text
    assert f"{reason} The worker tries again each day." in page
    assert "stop it" not in page
    assert "Not repeated" in client_of(root).get("/").text
    wait(clock, days=0.5)
    assert failures() == [reason]
    wait(clock, days=0.6)
    assert failures() == [reason] * 2
    edith.groups.set(groups)
    ada.groups.clear()
    wait(clock, days=1.1)
    assert failures()[2:] == ["None of its reviewers can still be a reviewer."]
    repeat(review, root, 3)
    assert "Not repeated" not in client_of(root).get("/").text
    assert verification.verify_audit_log().fault is None


def test_two_workers_start_it_once(
    make_review: MakeReview, edith: Person, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    review = make_review(1)
    repeat(review, edith, 1)
    find = repeating.find_last_repeating

    def find_and_let_another_be_first() -> list[AccessReview]:
        found = list(find())
        monkeypatch.setattr(repeating, "find_last_repeating", find)
        start_due(actor=WORKER)
        return found

    monkeypatch.setattr(repeating, "find_last_repeating", find_and_let_another_be_first)
    wait(clock, days=32)
    assert AccessReview.objects.filter(repeats=review).count() == 1
    assert failures() == []


def test_nothing_is_started_when_nothing_matches(
    make_review: MakeReview,
    payments: Credential,
    sandbox: SandboxServer,
    edith: Person,
    clock: SettableClock,
):
    review = make_review(1)
    repeat(review, edith, 1)
    [row] = review.rows.all()
    sandbox.world.remove_connection(connection_id=str(row.connection_id))
    sync_now(payments)
    wait(clock, days=32)
    assert failures() == ["No connection matches. Choose other filters."]


@pytest.mark.parametrize(
    ("months", "expected"), [(1, "02-28"), (3, "04-30"), (6, "07-31"), (12, "01-31")]
)
def test_the_last_day_of_a_shorter_month_takes_the_place_of_a_later_one(months: int, expected: str):
    start = datetime(2027, 1, 31, 9, tzinfo=UTC)
    at = next_start(AccessReview(created_at=start, repeat_months=months))
    assert f"{at:%m-%d %H}" == f"{expected} 09"


@pytest.mark.parametrize(
    ("months", "started_on", "expected"),
    [
        (1, ["01-31", "02-28", "03-31", "04-30"], "05-31"),
        # Late, because the worker was down or nothing matched for some days.
        (1, ["01-31", "03-02"], "03-31"),
        (1, ["01-31", "04-02", "04-30"], "05-31"),
        (3, ["01-31", "05-02", "07-31"], "10-31"),
        (3, ["01-31", "08-15"], "10-31"),
    ],
)
def test_each_one_is_counted_from_the_first(
    make_review: MakeReview,
    edith: Person,
    clock: SettableClock,
    months: int,
    started_on: list[str],
    expected: str,
):
    def wait_until(day: str) -> None:
        until = datetime.fromisoformat(f"2027-{day}T09:00:00Z") - database_clock.now()
        clock.advance(seconds=until.total_seconds())

    wait_until(started_on[0])
    review = make_review(1)
    repeat(review, edith, months)
    for day in started_on[1:]:
        wait_until(day)
        start_due(actor=WORKER)
        review = AccessReview.objects.get(repeats=review)
        assert f"{review.created_at:%m-%d}" == day
    assert f"{next_start(review):%m-%d}" == expected


def test_it_is_chosen_at_the_start_and_changed_on_the_page(
    make_review: MakeReview, edith: Person, client_of: Callable[[Person], Client]
):
    make_review(1)
    client = client_of(edith)
    posted = {"name": "Q1", "due": "2099-01-31", "scope": "q=Partner", "repeat_months": "3"}
    url = client.post("/reviews/new/", posted).headers["Location"]
    assert "Repeats every 3 months." in client.get(url).text
    assert client.post(f"{url}repeat/", {"repeat_months": "2"}).status_code == 422
    assert client.post(f"{url}repeat/", {"repeat_months": ""}).status_code == 303
    assert "Repeats every" not in client.get(url).text

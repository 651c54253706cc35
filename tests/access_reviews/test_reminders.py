"""Reviewers with something to decide get an email before the due date, and once after it."""

import pytest
from pytest_django import Settings

from connections.access.actor import WORKER
from connections.access_reviews import reminders
from connections.models import (
    AccessKind,
    AccessReview,
    AuditEvent,
    Credential,
    CredentialAccess,
    EventCode,
    Notification,
    Person,
    Role,
)
from connections.notifications.messages import build_message
from sandbox.server import SandboxServer
from tests.access_reviews.conftest import MakeReview
from tests.access_reviews.support import close, decide, texts_of
from tests.batches.support import sync_now
from tests.support.clock import SettableClock
from tests.support.people import make_person

pytestmark = [pytest.mark.django_db, pytest.mark.database(every=4)]

DAY = 86_400


@pytest.fixture(autouse=True)
def _mail(settings: Settings) -> None:
    settings.HAS_MAIL = True


@pytest.fixture
def barbara(db: None) -> Person:
    """A third Operator."""
    return make_person("barbara", Role.OPERATOR)


def reminded() -> list[str]:
    """The people who got an email, in order."""
    rows = Notification.objects.filter(code=EventCode.ACCESS_REVIEW_REMINDED)
    names = rows.order_by("created_at", "person__username").values_list("person__username")
    return [name for (name,) in names]


def reminder_of(person: Person) -> Notification:
    return Notification.objects.get(person=person, code=EventCode.ACCESS_REVIEW_REMINDED)


def send() -> None:
    reminders.send_due(actor=WORKER)
    reminders.send_due(actor=WORKER)


def test_each_reviewer_is_reminded_three_times_and_never_twice(
    make_review: MakeReview, ada: Person, grace: Person, clock: SettableClock
):
    make_review(2, ada, grace, days=10)
    send()
    assert reminded() == []
    for days, count in ((4, 2), (2, 2), (3.5, 4), (1, 6), (30, 6)):
        clock.advance(seconds=days * DAY)
        send()
        assert len(reminded()) == count
    kinds = AuditEvent.objects.filter(code=EventCode.ACCESS_REVIEW_REMINDED).order_by("seq")
    assert [event.details["reminder"] for event in kinds] == ["week", "day", "overdue"]


def test_a_late_reminder_replaces_those_before(
    make_review: MakeReview, ada: Person, clock: SettableClock
):
    make_review(1, ada, days=10)
    clock.advance(seconds=40 * DAY)
    send()
    assert reminded() == ["ada"]
    message = build_message(reminder_of(ada))
    assert message.subject == "Org Admin: Access review overdue: Q4 2026"


def test_a_connection_that_needs_another_decision_after_the_due_date_is_reminded_of_once(
    make_review: MakeReview,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    clock: SettableClock,
):
    review = make_review(1, ada, days=3)
    [row] = review.rows.all()
    decide(review, ada)
    clock.advance(seconds=5 * DAY)
    send()
    assert reminded() == []
    sandbox.world.change_connection(
        connection_id=str(row.connection_id), connection_types=("audit",)
    )
    sync_now(payments)
    send()
    assert reminded() == ["ada"]


def test_a_reminder_that_is_due_at_the_start_is_skipped(
    make_review: MakeReview, ada: Person, clock: SettableClock
):
    make_review(1, ada, days=5)
    send()
    assert reminded() == []
    clock.advance(seconds=4.5 * DAY)
    send()
    [event] = AuditEvent.objects.filter(code=EventCode.ACCESS_REVIEW_REMINDED)
    assert event.details["reminder"] == "day"


def test_named_reviewers_are_emailed_when_it_starts(
    make_review: MakeReview, ada: Person, edith: Person
):
    review = make_review(1, ada, edith)
    make_review(1)
    [sent] = Notification.objects.filter(code=EventCode.ACCESS_REVIEW_STARTED)
    assert (sent.person, build_message(sent).sentence) == (
        ada,
        f"You are a reviewer of the access review “Q4 2026”, due on {review.due_at:%Y-%m-%d}.",
    )


def test_the_email_says_what_is_left_for_its_reader(
    make_review: MakeReview, ada: Person, clock: SettableClock
):
    review = make_review(3, ada, days=10)
    decide(review, ada, texts_of(review)[0])
    clock.advance(seconds=4 * DAY)
    send()
    message = build_message(reminder_of(ada))
    assert message.subject == "Org Admin: Access review due: Q4 2026"
    assert message.sentence == (
        f"The access review “Q4 2026” is due on {review.due_at:%Y-%m-%d}. You can decide on 2 "
        "connections that still need a decision."
    )
    assert message.path == f"/reviews/{review.pk}/"


def test_a_reviewer_with_nothing_to_decide_gets_none(
    make_review: MakeReview,
    payments: Credential,
    ada: Person,
    grace: Person,
    linus: Person,
    barbara: Person,
    clock: SettableClock,
):
    grace.wants_change_emails = False
    grace.save()
    linus.is_active = False
    linus.save()
    for person in (grace, linus, barbara):
        CredentialAccess.objects.create(credential=payments, person=person, kind=AccessKind.SEE)
    make_review(1, ada, grace, barbara, days=10)
    clock.advance(seconds=4 * DAY)
    send()
    assert reminded() == ["barbara"]


def test_a_decided_access_review_reminds_nobody(
    make_review: MakeReview, ada: Person, clock: SettableClock
):
    review = make_review(1, days=10)
    decide(review, ada)
    clock.advance(seconds=4 * DAY)
    send()
    assert reminded() == []
    assert not AuditEvent.objects.filter(code=EventCode.ACCESS_REVIEW_REMINDED).exists()


def test_a_closed_access_review_reminds_nobody_not_even_by_a_queued_email(
    make_review: MakeReview, ada: Person, edith: Person, clock: SettableClock
):
    review = make_review(1, ada, days=10)
    clock.advance(seconds=4 * DAY)
    send()
    close(review, edith, "On leave.")
    with pytest.raises(AccessReview.DoesNotExist):
        build_message(reminder_of(ada))
    clock.advance(seconds=10 * DAY)
    send()
    assert reminded() == ["ada"]

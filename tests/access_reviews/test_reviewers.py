"""Named reviewers can be replaced while the access review is open."""

from collections.abc import Callable

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from pytest_django import Settings

from connections.access.actor import person_actor
from connections.access_reviews import decisions
from connections.access_reviews.reviewers import change_reviewers
from connections.core.errors import ConflictError, InvalidInputError
from connections.evidence import verification
from connections.models import (
    AccessReview,
    AccessReviewDecision,
    AuditEvent,
    EventCode,
    Notification,
    Person,
    with_values,
)
from connections.people import erasure
from tests.access_reviews.conftest import MakeReview
from tests.access_reviews.support import close, decide, states, texts_of
from tests.support.people import person_as_administrator

pytestmark = pytest.mark.django_db


def change(review: AccessReview, person: Person, *reviewers: Person) -> None:
    change_reviewers(review=review, actor=person_actor(person=person), reviewers=reviewers)


def test_a_decision_stays_valid_when_its_reviewer_is_replaced(
    make_review: MakeReview, ada: Person, grace: Person, edith: Person
):
    review = make_review(2, ada)
    first, second = texts_of(review)
    decide(review, ada, first)
    change(review, edith, grace)
    with pytest.raises(PermissionDenied):
        decide(review, ada, second)
    decide(review, grace, second)
    close(review, edith)
    assert states(review, edith) == ["keep", "keep"]
    [event] = AuditEvent.objects.filter(code=EventCode.ACCESS_REVIEW_REVIEWERS_CHANGED)
    assert event.details["previous_reviewers"] == [str(ada.pk)]
    assert event.details["reviewers"] == event.details["added"] == [str(grace.pk)]
    assert verification.verify_audit_log().fault is None


def test_auditors_change_them_on_a_page_and_new_ones_are_emailed(
    make_review: MakeReview,
    ada: Person,
    grace: Person,
    edith: Person,
    client_of: Callable[[Person], Client],
    settings: Settings,
):
    settings.HAS_MAIL = True
    review = make_review(1, ada)
    url = f"/reviews/{review.pk}/reviewers/"
    client = client_of(edith)
    assert url in client.get(f"/reviews/{review.pk}/").text
    assert 'value="ada" id="id_reviewers_0" checked' in client.get(url).text
    assert client.post(url, {}).status_code == 422
    assert client.post(url, {"reviewers": ["ada", "grace"]}).status_code == 303
    assert {reviewer.person for reviewer in review.reviewers.all()} == {ada, grace}
    notifications = Notification.objects.filter(code=EventCode.ACCESS_REVIEW_REVIEWERS_CHANGED)
    assert [each.person for each in notifications] == [grace]


def test_new_reviewers_who_want_only_alerts_get_the_email_and_slack_gets_it(
    make_review: MakeReview, ada: Person, grace: Person, edith: Person, settings: Settings
):
    settings.HAS_MAIL, settings.SLACK_URL = True, "https://hooks.slack.com/services/T/B/x"
    Person.objects.update(wants_only_alerts=True)
    review = make_review(1, ada)
    Notification.objects.all().delete()
    change(review, edith, grace)
    assert {each.person for each in Notification.objects.all()} == {grace, None}
    Notification.objects.all().delete()
    # Nobody has to do anything because there are fewer reviewers.
    change(review, edith, ada, grace)
    Notification.objects.all().delete()
    change(review, edith, ada)
    assert not Notification.objects.exists()


def test_named_reviewers_can_take_the_place_of_everyone(
    make_review: MakeReview,
    ada: Person,
    grace: Person,
    edith: Person,
    client_of: Callable[[Person], Client],
):
    review = make_review(2)
    first, second = texts_of(review)
    decide(review, ada, first)
    client, url = client_of(edith), f"/reviews/{review.pk}/reviewers/"
    assert "Every Operator, Approver and Auditor is a reviewer now." in client.get(url).text
    assert client.post(url, {"reviewers": ["grace"]}).status_code == 303
    with pytest.raises(PermissionDenied):
        decide(review, ada, second)
    decide(review, grace, second)
    event = AuditEvent.objects.get(code=EventCode.ACCESS_REVIEW_REVIEWERS_CHANGED)
    assert (event.details["previous_reviewers"], event.details["added"]) == ([], [str(grace.pk)])
    assert verification.verify_audit_log().fault is None


def test_events_name_the_reviewers_until_they_are_erased(
    make_review: MakeReview, ada: Person, grace: Person, edith: Person
):
    review = make_review(1)
    change(review, edith, ada, grace)
    change(review, edith, grace)
    started, *changed = sentences()
    assert started.endswith(". Every Operator, Approver and Auditor is a reviewer.")
    by_id = sorted([ada, grace], key=lambda each: str(each.pk))
    assert changed[0].endswith(f" Q4 2026. Reviewers: {', '.join(map(str, by_id))}.")
    assert changed[1].endswith(" Q4 2026. Reviewers: Grace.")
    number = erasure.erase_person(actor=person_as_administrator(), person=grace).number
    assert sentences()[-1].endswith(f" Reviewers: erased person no. {number}.")
    assert verification.verify_audit_log().fault is None


def sentences() -> list[str]:
    """The sentences of the events about the reviewers, in their order."""
    codes = (EventCode.ACCESS_REVIEW_STARTED, EventCode.ACCESS_REVIEW_REVIEWERS_CHANGED)
    events = AuditEvent.objects.filter(code__in=codes).order_by("seq")
    return [event.sentence for event in with_values(events)]


def test_the_reviewers_of_a_closed_access_review_are_not_changed(
    make_review: MakeReview, ada: Person, edith: Person, client_of: Callable[[Person], Client]
):
    review = make_review(1, ada)
    decide(review, ada)
    close(review, edith)
    client, url = client_of(edith), f"/reviews/{review.pk}/reviewers/"
    for response in (client.get(url, follow=True), client.post(url, follow=True)):
        assert response.redirect_chain == [(f"/reviews/{review.pk}/", 303)]
        assert "already closed" in response.text


def test_a_reviewer_who_lost_the_role_is_shown_as_one_who_cannot_decide(
    make_review: MakeReview,
    ada: Person,
    grace: Person,
    edith: Person,
    client_of: Callable[[Person], Client],
):
    review = make_review(1, ada, grace)
    url = f"/reviews/{review.pk}/"
    assert "can no longer decide" not in client_of(edith).get(url).text
    Person.objects.filter(pk=ada.pk).update(is_active=False)
    assert client_of(edith).get(url).text.count("can no longer decide") == 1


def test_not_everyone_changes_them_and_not_always(
    make_review: MakeReview, ada: Person, margaret: Person, edith: Person
):
    review = make_review(1, ada)
    with pytest.raises(PermissionDenied):
        change(review, ada, ada)
    with pytest.raises(InvalidInputError):
        change(review, edith, margaret)
    decide(review, ada)
    close(review, edith)
    with pytest.raises(ConflictError, match="closed"):
        change(review, edith, edith)


def test_a_reviewer_who_is_replaced_during_a_decision_decides_nothing(
    make_review: MakeReview,
    ada: Person,
    grace: Person,
    edith: Person,
    monkeypatch: pytest.MonkeyPatch,
):
    review = make_review(1, ada)
    lock = decisions.lock_open_review

    def replace_first(each: AccessReview) -> None:
        monkeypatch.setattr(decisions, "lock_open_review", lock)
        change(review, edith, grace)
        lock(each)

    monkeypatch.setattr(decisions, "lock_open_review", replace_first)
    with pytest.raises(PermissionDenied):
        decide(review, ada)
    assert not AccessReviewDecision.objects.exists()

"""People who get only alerts by email."""

from collections.abc import Callable

import pytest
from django.test import Client
from pytest_django import Settings

from connections import audit
from connections.access.actor import WORKER
from connections.models import AuditEvent, Notification, Person
from tests.notifications.conftest import RecordEvent

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada(ada: Person, settings: Settings) -> Person:
    """She requested the deletion, and wants only alerts."""
    settings.HAS_MAIL = True
    ada.wants_only_alerts = True
    ada.save()
    return ada


def codes_for(person: Person) -> list[str]:
    rows = Notification.objects.filter(person=person, channel="mail")
    return list(rows.order_by("event_seq").values_list("code", flat=True))


def test_they_get_what_someone_has_to_check_and_no_news(record_event: RecordEvent, ada: Person):
    record_event(audit.EventCode.DELETION_SETTLED)
    record_event(audit.EventCode.DELETION_UNKNOWN)
    assert codes_for(ada) == ["deletion.unknown"]


@pytest.mark.parametrize("deletion", [{"requested_by": None}], indirect=True)
def test_they_are_asked_to_approve(record_event: RecordEvent, ada: Person, linus: Person):
    linus.wants_only_alerts = True
    linus.save()
    record_event(audit.EventCode.DELETION_REQUESTED)
    assert codes_for(linus) == ["deletion.requested"]


def test_what_concerns_their_account_is_always_sent(root: Person, ada: Person):
    root.wants_only_alerts = True
    root.save()
    audit.record(
        code=audit.EventCode.SIGN_IN_LINK_MADE,
        actor=WORKER,
        subject=ada,
        sentence=audit.Sentence("A sign-in link for {person} was made.", person=ada),
    )
    assert (codes_for(ada), codes_for(root)) == (["sign_in_link.made"], [])


def test_a_webhook_gets_everything(record_event: RecordEvent, ada: Person, settings: Settings):
    settings.WEBHOOK_URL = "https://hooks.example.org"
    record_event(audit.EventCode.DELETION_SETTLED)
    assert Notification.objects.filter(channel="webhook", code="deletion.settled").exists()


def test_a_person_limits_their_own_emails_and_gets_all_again(
    ada: Person, client_of: Callable[[Person], Client]
):
    client = client_of(ada)
    for wanted, is_limited in (("no", False), ("no", False), ("yes", True)):
        client.post("/accounts/only-alerts/", {"wanted": wanted})
        ada.refresh_from_db()
        assert ada.wants_only_alerts is is_limited
    events = AuditEvent.objects.filter(code="person.change_emails_set").order_by("seq")
    assert [event.sentence for event in events] == [
        "Ada turned on emails that aren't alerts.",
        "Ada turned off emails that aren't alerts.",
    ]

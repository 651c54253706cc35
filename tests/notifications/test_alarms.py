"""Alarms: a deletion that stays unknown, once, and a failed verification of the audit log."""

import pytest
from django.db import IntegrityError
from pytest_django import Settings

from connections import audit
from connections.access.actor import WORKER
from connections.evidence import verification
from connections.evidence.stored_events import Fault
from connections.evidence.verification import VerificationReport
from connections.models import AuditEvent, AuditVerification, Deletion, Notification, Person
from connections.notification_queue import outbox
from connections.operations import due
from tests.notifications.conftest import RecordEvent
from tests.support.clock import SettableClock

pytestmark = [pytest.mark.django_db, pytest.mark.database(every=3)]


@pytest.fixture(autouse=True)
def _set(settings: Settings) -> None:
    settings.HAS_MAIL = True


@pytest.fixture
def unknown(deletion: Deletion, clock: SettableClock) -> Deletion:
    deletion.state = "unknown"
    deletion.sending_at = clock.now()
    deletion.save()
    return deletion


def test_a_deletion_still_unknown_after_an_hour_is_reported_once(
    unknown: Deletion, clock: SettableClock, ada: Person, root: Person
):
    clock.advance(minutes=59)
    assert due.raise_alarms(actor=WORKER) == []
    clock.advance(minutes=2)
    assert due.raise_alarms(actor=WORKER) == [unknown]
    assert due.raise_alarms(actor=WORKER) == []
    assert set(Notification.objects.values_list("person__username", flat=True)) == {"ada", "root"}


def test_it_is_reported_again_for_a_later_attempt(
    unknown: Deletion, clock: SettableClock, record_event: RecordEvent
):
    clock.advance(hours=2)
    due.raise_alarms(actor=WORKER)
    record_event(audit.EventCode.DELETION_SENDING)
    Deletion.objects.update(sending_at=clock.now())
    assert due.raise_alarms(actor=WORKER) == []
    clock.advance(hours=2)
    assert due.raise_alarms(actor=WORKER) == [unknown]


def test_a_deletion_settled_meanwhile_raises_no_alarm(unknown: Deletion, clock: SettableClock):
    clock.advance(hours=2)
    Deletion.objects.update(state="settled", outcome="unresolved", settled_at=clock.now())
    assert due.raise_alarms(actor=WORKER) == []


def test_administrators_and_auditors_are_notified_of_a_failed_verification(
    root: Person, edith: Person, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    broken = VerificationReport(
        size=3, checkpoints=0, fault=Fault.EDITED, first_bad_seq=2, message="Event 2 was edited."
    )
    monkeypatch.setattr(verification, "verify_in_steps", lambda: iter([broken]))
    # As a damaged audit log might refuse.
    monkeypatch.setattr(verification, "_record", _refuse)
    assert [done.fault for done in verification.verify_and_store() if done] == [Fault.EDITED]
    rows = Notification.objects.filter(code=outbox.VERIFICATION_FAILED)
    assert set(rows.values_list("person__username", flat=True)) == {"root", "edith"}
    assert not AuditEvent.objects.exists()


def _refuse(*_: object, **__: object) -> None:
    raise IntegrityError("The record refuses.")


def test_an_intact_log_notifies_no_one(root: Person):
    list(verification.verify_and_store())
    assert AuditVerification.objects.exists()
    assert not Notification.objects.exists()

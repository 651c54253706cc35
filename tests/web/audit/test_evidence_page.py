"""The page with checkpoints, signing keys and verification results."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from connections import audit
from connections.access.actor import command_actor
from connections.audit import EventCode, checkpoints
from connections.audit.signing import load_signing_key
from connections.evidence import verification
from connections.models import (
    AUDIT_VERIFICATION,
    AuditEvent,
    AuditVerification,
    Checkpoint,
    PeriodicTask,
    Person,
)
from connections.operations.worker import Worker
from tests.changes.support import make_credential
from tests.flows.support import Page, read
from tests.support.append_only import triggers_off
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db


@pytest.fixture
def reader(client_of: Callable[[Person], Client], edith: Person) -> Client:
    return client_of(edith)


def act() -> None:
    audit.record(
        code=EventCode.EXPORT_STARTED, actor=command_actor(), sentence=audit.Sentence("Done.")
    )


def signed() -> Checkpoint:
    act()
    checkpoint = checkpoints.make_checkpoint()
    assert checkpoint
    return checkpoint


def show(reader: Client) -> Page:
    return read(reader.get("/evidence/"))


def press_verify(reader: Client) -> Page:
    response = reader.post("/evidence/verify/")
    assert response.status_code == 303
    return read(reader.get(response["Location"]))


def test_the_newest_checkpoint_is_shown_with_its_key(reader: Client):
    checkpoint = signed()
    page = show(reader)
    key = load_signing_key()
    for line in [*checkpoint.note.splitlines(), key.fingerprint]:
        assert line in page.text


def test_without_keys_and_checkpoints_the_page_explains_how_they_are_created(
    reader: Client, settings: Settings
):
    Path(settings.SIGNING_KEY_FILE).unlink(missing_ok=True)
    page = show(reader)
    assert "No checkpoint yet" in page.text
    by_itself = settings.DATABASE_IS_SQLITE
    assert ("created with the first checkpoint" in page.text) is by_itself
    assert ("make_keys --output DIR" in page.text) is not by_itself


def test_events_that_no_checkpoint_covers_are_counted(reader: Client):
    signed()
    act()
    act()
    assert "2 events" in show(reader).text


def test_a_checkpoint_is_downloaded_exactly_as_signed(reader: Client):
    checkpoint = signed()
    path = f"/evidence/checkpoints/{checkpoint.pk}/"
    assert path in [href for href, _ in show(reader).links]
    response = reader.get(path)
    assert response.getvalue().decode() == checkpoint.note
    name = f"checkpoint-{checkpoint.size}.txt"
    assert response["Content-Disposition"] == f'attachment; filename="{name}"'


def test_a_replaced_key_is_shown_with_the_event_that_replaced_it(reader: Client):
    act()
    old = load_signing_key().fingerprint
    new = checkpoints.rotate_signing_key(actor=command_actor()).fingerprint
    page = show(reader)
    event = AuditEvent.objects.get(code=EventCode.SIGNING_KEY_ROTATED)
    assert f"Previous key (to event {event.seq - 1})" in page.text
    assert page.text.count("Previous key") == 1
    assert old in page.text
    assert new in page.text
    with triggers_off():
        AuditEvent.objects.filter(pk=event.pk).update(text='{"details": {}}')
    assert f"Previous key (to event {event.seq - 1}) not readable" in show(reader).text


@pytest.mark.database
def test_verifying_now_records_who_did_it(reader: Client, edith: Person):
    signed()
    page = press_verify(reader)
    assert "Audit log intact: 1 event verified." in page.text
    event = AuditEvent.objects.get(code=EventCode.AUDIT_LOG_VERIFIED)
    assert (event.actor_id, event.details["size"]) == (edith.pk, 1)
    assert "Intact" in show(reader).text


def test_a_failed_verification_is_shown_and_recorded(reader: Client):
    act()
    act()
    with triggers_off():
        AuditEvent.objects.filter(seq=1).update(hash="0" * 64)
    page = press_verify(reader)
    assert "First event that can't be trusted: #1." in page.text
    event = AuditEvent.objects.get(code=EventCode.AUDIT_LOG_VERIFICATION_FAILED)
    assert (event.details["fault"], event.details["first_bad_seq"]) == ("edited", 1)


def test_a_failed_verification_is_detected_even_if_no_event_can_be_recorded(reader: Client):
    act()
    act()
    with triggers_off():
        AuditEvent.objects.filter(seq=1).delete()
        AuditEvent.objects.filter(seq=2).update(seq=7)
    assert "First event that can't be trusted: #1." in press_verify(reader).text
    assert AuditVerification.objects.get().fault


def test_a_large_log_is_verified_by_the_worker_and_requested_once(
    reader: Client, monkeypatch: pytest.MonkeyPatch, clock: SettableClock
):
    monkeypatch.setattr(verification, "MAX_EVENTS_IN_REQUEST", 0)
    act()
    Worker().work_once()
    assert AuditVerification.objects.count() == 1
    clock.advance(seconds=61)
    page = press_verify(reader)
    due = dict(PeriodicTask.objects.values_list("name", "due_at"))
    assert [name for name in due if due[name] == clock.at] == [AUDIT_VERIFICATION]
    assert "The worker is verifying" in page.text
    assert not show(reader).has_form_to("/verify/")
    Worker().work_once()
    assert AuditVerification.objects.count() == 2
    assert show(reader).has_form_to("/verify/")


def test_without_the_public_keys_the_page_says_the_log_could_not_be_verified(
    reader: Client, settings: Settings
):
    signed()
    settings.SIGNING_KEY_FILE.unlink()
    assert "Not verified." in press_verify(reader).text


@pytest.mark.parametrize(
    ("age", "fault", "word"),
    [
        (None, "", "Not verified"),
        (3600, "", "Intact"),
        (3600, "edited", "Verification failed"),
        (72 * 3600, "", "Verification overdue"),
    ],
)
def test_the_overview_shows_the_state_of_the_audit_log(
    reader: Client, clock: SettableClock, age: int | None, fault: str, word: str
):
    make_credential("Prod")
    if age is not None:
        AuditVerification.objects.create(
            checked_at=clock.now(), size=0, fault=fault, message="It was looked at."
        )
        clock.advance(seconds=age)
    page = read(reader.get("/"))
    links = [(href, text.strip()) for href, text in page.links]
    assert ("/evidence/", f"Audit log {word.lower()}") in links


def test_an_empty_log_is_not_called_intact(reader: Client):
    assert "There were no events yet." in press_verify(reader).text

"""When checkpoints are made, which key signs them, and what the worker does."""

import base64
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.core.management import call_command
from django.db import transaction
from django.test import Client
from pytest_django import Settings

from connections import audit
from connections.access.actor import command_actor
from connections.audit import EventCode, checkpoints, signing
from connections.audit.signing import SigningKeyError, load_signing_key
from connections.batches import running
from connections.core import clock as database_clock
from connections.evidence import maintenance, stored_events
from connections.evidence.verification import verify_audit_log
from connections.models import AuditEvent, AuditVerification, Checkpoint, Person
from connections.operations.worker import Worker
from connections.verifier.notes import rotation_statement
from tests.flows.support import read
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db


def act(code: EventCode = EventCode.EXPORT_STARTED) -> None:
    audit.record(code=code, actor=command_actor(), sentence=audit.Sentence("Done."))


def sizes() -> list[int]:
    return list(Checkpoint.objects.order_by("size").values_list("size", flat=True))


@pytest.mark.database
def test_the_first_event_gets_a_checkpoint_at_once_and_only_one():
    assert checkpoints.make_checkpoint_if_due() is None
    act()
    checkpoints.make_checkpoint_if_due()
    checkpoints.make_checkpoint_if_due()
    checkpoints.make_checkpoint()
    assert sizes() == [1]


def test_an_hour_with_new_events_ends_with_a_checkpoint(clock: SettableClock):
    act()
    checkpoints.make_checkpoint_if_due()
    clock.advance(seconds=3601)
    assert checkpoints.make_checkpoint_if_due() is None
    act()
    assert checkpoints.make_checkpoint_if_due() is not None
    act()
    assert checkpoints.make_checkpoint_if_due() is None
    assert sizes() == [1, 2]


@pytest.mark.parametrize("noun", ["deletion", "access_request"])
@pytest.mark.parametrize("step", ["settled", "withdrawn", "declined"])
def test_a_settled_request_gets_a_checkpoint_at_once(noun: str, step: str):
    code = EventCode(f"{noun}.{step}")
    act()
    act(code)
    assert sizes() == [2]


@pytest.mark.database
def test_a_settled_deletion_and_its_checkpoint_are_rolled_back_together():
    with transaction.atomic():
        act(EventCode.DELETION_SETTLED)
        assert sizes() == [1]
        transaction.set_rollback(True)
    assert sizes() == []


@pytest.mark.database
def test_every_thousandth_event_gets_a_checkpoint_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(signing, "EVENTS_PER_CHECKPOINT", 3)
    for _ in range(7):
        act()
    with audit.atomic():
        for _ in range(4):
            act()
    assert sizes() == [3, 6, 11]


def test_a_checkpoint_that_could_not_be_signed_is_created_later(settings: Settings):
    act()
    checkpoints.make_checkpoint()
    path = Path(settings.SIGNING_KEY_FILE)
    key = path.rename(path.with_name("away.json"))
    act(EventCode.DELETION_SETTLED)
    assert sizes() == [1]
    key.rename(path)
    checkpoints.make_checkpoint_if_due()
    assert sizes() == [1, 2]


def test_without_a_key_no_checkpoint_is_created_and_a_warning_is_logged(
    settings: Settings, caplog: pytest.LogCaptureFixture
):
    act()
    checkpoints.make_checkpoint()
    Path(settings.SIGNING_KEY_FILE).unlink()
    act(EventCode.DELETION_SETTLED)
    assert checkpoints.make_checkpoint_if_due() is None
    assert "Put the file back" in caplog.text
    with pytest.raises(SigningKeyError):
        load_signing_key()


@pytest.mark.database
def test_both_keys_sign_the_event_of_a_rotation():
    act()
    old = load_signing_key()
    new = checkpoints.rotate_signing_key(actor=command_actor())
    event = AuditEvent.objects.get(code=EventCode.SIGNING_KEY_ROTATED)
    details = event.details
    statement = rotation_statement(details["origin"], event.seq - 1, old.public_key, new.public_key)
    for key, name in ((old, "signature_by_previous"), (new, "signature_by_new")):
        verifier = Ed25519PublicKey.from_public_bytes(key.public_key)
        verifier.verify(base64.b64decode(details[name]), statement)
    signers = Checkpoint.objects.order_by("size").values_list("fingerprint", flat=True)
    assert list(signers) == [old.fingerprint, new.fingerprint]
    report = verify_audit_log()
    assert (report.fault, report.checkpoints) == (None, 2)


def test_the_command_rotates_the_key():
    act()
    old = load_signing_key().fingerprint
    out = StringIO()
    call_command("rotate_signing_key", "--json", stdout=out)
    assert json.loads(out.getvalue())["fingerprint"] == load_signing_key().fingerprint != old


@pytest.mark.database
def test_the_workers_together_verify_once_a_day(clock: SettableClock):
    act()
    for _ in range(3):
        Worker().work_once()
    assert AuditVerification.objects.get().fault == ""
    clock.advance(hours=24)
    for _ in range(3):
        Worker().work_once()
    assert AuditVerification.objects.count() == 2


@pytest.fixture
def long_log(monkeypatch: pytest.MonkeyPatch, clock: SettableClock) -> None:
    """A log whose verification takes several passes."""
    del clock
    monkeypatch.setattr(maintenance, "MAX_VERIFICATION_SECONDS", 0.0)
    monkeypatch.setattr(stored_events, "BATCH_SIZE", 1)
    for _ in range(10):
        act()


def work_until_verified(worker: Worker) -> int:
    """Let the worker do its passes until a verification is stored. Return how many it took."""
    before = AuditVerification.objects.count()
    for number in range(1, 100):
        worker.work_once()
        if AuditVerification.objects.count() > before:
            return number
    raise AssertionError("nothing was verified")


@pytest.mark.database
@pytest.mark.usefixtures("long_log")
def test_a_worker_that_is_killed_leaves_the_verification_to_the_others_after_a_minute(
    clock: SettableClock,
):
    killed, other = Worker(), Worker()
    killed.work_once()
    clock.advance(seconds=59)
    other.work_once()
    assert other._verification is None
    clock.advance(seconds=1)
    assert work_until_verified(other) > 1
    # The first one was only slow and doesn't repeat what the other one did.
    killed.work_once()
    assert killed._verification is None
    assert AuditVerification.objects.count() == 1


@pytest.mark.usefixtures("long_log")
def test_a_verification_goes_on_during_the_passes_of_a_bulk_deletion(
    clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    passes = iter(range(20))

    def run_due(**_: object) -> int:
        if next(passes, None) is None:
            return 0
        clock.advance(minutes=1)
        return 1

    monkeypatch.setattr(running, "run_due", run_due)
    Worker().work_once()
    assert AuditVerification.objects.count() == 1


@pytest.mark.database
@pytest.mark.usefixtures("long_log")
def test_a_long_verification_stays_with_its_worker(clock: SettableClock):
    first, other = Worker(), Worker()
    first.work_once()
    clock.advance(seconds=40)
    first.work_once()
    clock.advance(seconds=40)
    other.work_once()
    assert other._verification is None
    assert work_until_verified(first) > 1


@pytest.mark.usefixtures("long_log")
def test_one_pass_ends_a_long_verification():
    Worker().run_once()
    assert AuditVerification.objects.count() == 1


def test_a_verification_that_is_impossible_is_tried_again_after_an_hour(
    clock: SettableClock, caplog: pytest.LogCaptureFixture, settings: Settings
):
    act()
    checkpoints.make_checkpoint()
    elsewhere = settings.SIGNING_KEY_FILE.rename(f"{settings.SIGNING_KEY_FILE}.elsewhere")
    Worker().work_once()
    assert "The audit log could not be verified." in caplog.text
    elsewhere.rename(settings.SIGNING_KEY_FILE)
    clock.advance(minutes=59)
    Worker().work_once()
    assert not AuditVerification.objects.exists()
    clock.advance(minutes=1)
    Worker().work_once()
    assert AuditVerification.objects.get().fault == ""


def test_the_overview_says_when_a_verification_failed(
    client_of: Callable[[Person], Client], edith: Person
):
    AuditVerification.objects.create(
        checked_at=database_clock.now(),
        size=7,
        fault="edited",
        first_bad_seq=3,
        message="Event 3 was edited.",
    )
    page = read(client_of(edith).get("/"))
    assert "Event 3 was edited." in page.text


def run_verify(*arguments: str) -> tuple[int, dict[str, object]]:
    out, code = StringIO(), 0
    try:
        call_command("verify_audit", "--json", *arguments, stdout=out)
    except SystemExit as ended:
        code = int(str(ended.code))
    return code, json.loads(out.getvalue())


def test_the_command_reports_an_intact_log_and_what_it_verified(tmp_path: Path):
    act()
    made = checkpoints.make_checkpoint()
    assert made is not None
    kept = tmp_path / "checkpoint.txt"
    kept.write_text(made.note)
    code, document = run_verify("--checkpoint", str(kept))
    assert code == 0
    assert (document["whole"], document["events"], document["checkpoints"]) == (True, 1, 2)

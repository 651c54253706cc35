"""Rotating the signing key, even if a process dies during it or a machine has the old file."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from pytest_django import Settings

from connections import audit
from connections.access.actor import command_actor
from connections.audit import EventCode, checkpoints
from connections.audit.signing import SigningKeyError, load_signing_key, stage_signing_key
from connections.evidence.verification import verify_audit_log
from connections.models import AuditEvent, AuditHead, Checkpoint

pytestmark = pytest.mark.django_db


@pytest.fixture
def key_file(settings: Settings) -> Path:
    """The key file of an audit log with a checkpoint."""
    act()
    checkpoints.make_checkpoint()
    return Path(settings.SIGNING_KEY_FILE)


def act(code: EventCode = EventCode.EXPORT_STARTED) -> None:
    audit.record(code=code, actor=command_actor(), sentence=audit.Sentence("Done."))


def document(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text())
    return read


def rotate_and_die() -> None:
    """The state after a process died just after committing the event of its rotation."""
    with audit.atomic():
        head = AuditHead.objects.select_for_update().get()
        old = load_signing_key()
        new = stage_signing_key()
        checkpoints._record_rotation(old=old, new=new, head=head, actor=command_actor())


def test_a_rotation_keeps_the_public_half_of_the_old_key(key_file: Path):
    old = load_signing_key()
    new = checkpoints.rotate_signing_key(actor=command_actor())
    assert new.public_keys == (old.public_key, new.public_key)
    stored = document(key_file)
    assert "next" not in stored
    assert [set(each) for each in stored["previous"]] == [{"public_key", "replaced_at"}]


def test_a_rotation_that_died_after_its_event_is_finished_by_the_next_signature(key_file: Path):
    old = load_signing_key()
    rotate_and_die()
    assert document(key_file)["next"]
    act(EventCode.DELETION_SETTLED)
    assert "next" not in document(key_file)
    key = load_signing_key()
    assert key.previous_public_keys == (old.public_key,)
    assert Checkpoint.objects.latest("size").fingerprint == key.fingerprint
    assert verify_audit_log().fault is None


def test_the_log_is_intact_while_a_rotation_is_unfinished(key_file: Path):
    rotate_and_die()
    assert verify_audit_log().fault is None


def test_a_rotation_that_died_before_its_event_changes_nothing(key_file: Path):
    old = load_signing_key()
    with transaction.atomic():
        rotate_and_die()
        transaction.set_rollback(True)
    assert document(key_file)["next"]
    act(EventCode.DELETION_SETTLED)
    assert load_signing_key().fingerprint == old.fingerprint
    assert verify_audit_log().fault is None
    new = checkpoints.rotate_signing_key(actor=command_actor())
    assert new.previous_public_keys == (old.public_key,)
    assert verify_audit_log().fault is None


def test_a_machine_that_kept_the_old_file_signs_nothing_and_says_so(
    key_file: Path, caplog: pytest.LogCaptureFixture
):
    kept = key_file.read_text()
    checkpoints.rotate_signing_key(actor=command_actor())
    before = Checkpoint.objects.count()
    key_file.write_text(kept)
    with pytest.raises(SigningKeyError, match="Put the newest file there"):
        checkpoints.make_checkpoint()
    act(EventCode.DELETION_SETTLED)
    assert AuditEvent.objects.filter(code=EventCode.DELETION_SETTLED).exists()
    assert Checkpoint.objects.count() == before
    assert "No checkpoint was made" in caplog.text


def test_a_file_with_an_altered_pending_key_is_refused(key_file: Path):
    stage_signing_key()
    altered = document(key_file)
    altered["next"]["public_key"] = altered["public_key"]
    key_file.write_text(json.dumps(altered))
    with pytest.raises(SigningKeyError, match="altered"):
        load_signing_key()

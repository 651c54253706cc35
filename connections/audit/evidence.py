"""What an auditor finds on one page: checkpoints, keys, and what verifications found."""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings

from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import checkpoints, events
from connections.audit import verification as audit_verification
from connections.audit.checkpoints import CheckpointRecipient, list_checkpoint_recipients
from connections.audit.signed_notes import spoken_code, verifier_key
from connections.audit.signing_key import (
    SigningKeyError,
    fingerprint_of,
    read_signing_key,
    require_creation_allowed,
)
from connections.core import clock
from connections.models import AuditEvent, AuditHead, AuditVerification, Checkpoint

PAGE_SIZE = 20


@dataclass(frozen=True, kw_only=True)
class PublicKey:
    """The key that signs now; both texts are public."""

    fingerprint: str
    text: str
    # One line that other programs for signed notes take.
    verifier_key: str


@dataclass(frozen=True, kw_only=True)
class ReplacedKey:
    """A key that signed until the event `seq`."""

    fingerprint: str
    seq: int
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything on the page, as of `at`."""

    at: datetime
    origin: str
    # How many events there are, and how many of them came after the newest checkpoint.
    size: int
    newer: int
    newest: Checkpoint | None
    spoken_code: str
    key: PublicKey | None
    # Why there is no key to show.
    key_problem: str
    replaced_keys: list[ReplacedKey]
    verification: AuditVerification | None
    # When a verification was asked for that was not made yet.
    asked_for_at: datetime | None
    # Who is sent each checkpoint.
    checkpoint_recipients: list[CheckpointRecipient]
    # Newest first; `older` is the number that the next page starts below.
    checkpoints: list[Checkpoint]
    older: int | None


def get_evidence(*, actor: Actor, below: int | None = None) -> Evidence:
    """What can be taken away or compared; the checkpoints with numbers below `below`.

    Raises PermissionDenied.
    """
    permissions.require(permissions.can_audit(actor), "read the evidence")
    head = AuditHead.objects.get()
    newest = checkpoints.latest_checkpoint()
    key, problem = _current_key(head.origin)
    rows = Checkpoint.objects.order_by("-pk")
    if below is not None:
        rows = rows.filter(pk__lt=below)
    page = list(rows[: PAGE_SIZE + 1])
    return Evidence(
        at=clock.now(),
        origin=head.origin,
        size=head.size,
        newer=head.size - newest.size if newest else head.size,
        newest=newest,
        spoken_code=spoken_code(newest.note) if newest else "",
        key=key,
        key_problem=problem,
        replaced_keys=_replaced_keys(),
        verification=audit_verification.last_verification(),
        asked_for_at=audit_verification.verification_requested_at(),
        checkpoint_recipients=list_checkpoint_recipients(),
        checkpoints=page[:PAGE_SIZE],
        older=page[PAGE_SIZE - 1].pk if len(page) > PAGE_SIZE else None,
    )


def get_checkpoint(*, actor: Actor, pk: int) -> Checkpoint | None:
    """One checkpoint by its number; None when there is none. Raises PermissionDenied."""
    permissions.require(permissions.can_audit(actor), "read the evidence")
    return Checkpoint.objects.filter(pk=pk).first()


def _current_key(origin: str) -> tuple[PublicKey | None, str]:
    path = Path(settings.SIGNING_KEY_FILE)
    try:
        if not path.exists():
            require_creation_allowed(path)
            return None, "There is none yet: it is made with the first checkpoint."
        key = read_signing_key(path)
    except SigningKeyError as error:
        return None, str(error)
    shown = PublicKey(
        fingerprint=key.fingerprint,
        text=base64.b64encode(key.public_key).decode(),
        verifier_key=verifier_key(name=origin, public_key=key.public_key),
    )
    return shown, ""


def _replaced_keys() -> list[ReplacedKey]:
    rotations = AuditEvent.objects.filter(code=events.EventCode.SIGNING_KEY_ROTATED).order_by(
        "-seq"
    )
    return [
        ReplacedKey(fingerprint=_previous_fingerprint(event), seq=event.seq, at=event.at)
        for event in rotations
    ]


def _previous_fingerprint(rotation: AuditEvent) -> str:
    try:
        return fingerprint_of(base64.b64decode(rotation.details["previous_public_key"]))
    except (KeyError, TypeError, binascii.Error):
        # Only somebody who tampered can have written that; verifying says what.
        return "not readable"

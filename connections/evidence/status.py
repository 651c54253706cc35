"""The data of the evidence page: checkpoints, keys and the last verification."""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import checkpoints
from connections.audit.checkpoints import CheckpointRecipient, list_checkpoint_recipients
from connections.audit.signing import (
    SigningKeyError,
    read_signing_key,
    require_creation_allowed,
)
from connections.core import clock
from connections.evidence import verification
from connections.models import AuditEvent, AuditHead, AuditVerification, Checkpoint
from connections.verifier.notes import fingerprint_of


@dataclass(frozen=True, kw_only=True)
class PublicKey:
    """The public half of the current signing key."""

    fingerprint: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything on the page, as of `at`."""

    at: datetime
    origin: str
    # How many events there are after the newest checkpoint.
    newer: int
    newest: Checkpoint | None
    key: PublicKey | None
    # Why there is no key to show, if there is none.
    key_problem: str
    # The fingerprint of each earlier key, and the number of the event that replaced it.
    replaced_keys: list[tuple[str, int]]
    verification: AuditVerification | None
    # When a verification that hasn't run yet was requested.
    verification_requested_at: datetime | None
    checkpoint_recipients: list[CheckpointRecipient]


def get_evidence(*, actor: Actor) -> Evidence:
    """The page's data. Raises PermissionDenied."""
    permissions.require(permissions.can_audit(actor), "read the evidence")
    head = AuditHead.objects.get()
    newest = checkpoints.latest_checkpoint()
    key, problem = _current_key()
    return Evidence(
        at=clock.now(),
        origin=head.origin,
        newer=head.size - newest.size if newest else head.size,
        newest=newest,
        key=key,
        key_problem=problem,
        replaced_keys=_replaced_keys(),
        verification=verification.last_verification(),
        verification_requested_at=verification.verification_requested_at(),
        checkpoint_recipients=list_checkpoint_recipients(),
    )


def get_checkpoint(*, actor: Actor, pk: int) -> Checkpoint | None:
    """One checkpoint by its number, or None. Raises PermissionDenied."""
    permissions.require(permissions.can_audit(actor), "read the evidence")
    return Checkpoint.objects.filter(pk=pk).first()


def _current_key() -> tuple[PublicKey | None, str]:
    path = Path(settings.SIGNING_KEY_FILE)
    try:
        if not path.exists():
            require_creation_allowed(path)
            return None, "No key yet. It is created with the first checkpoint."
        key = read_signing_key(path)
    except SigningKeyError as error:
        return None, str(error)
    text = base64.b64encode(key.public_key).decode()
    return PublicKey(fingerprint=key.fingerprint, text=text), ""


def _replaced_keys() -> list[tuple[str, int]]:
    rotations = AuditEvent.objects.filter(code=audit.EventCode.SIGNING_KEY_ROTATED).order_by("-seq")
    return [(_previous_fingerprint(event), event.seq) for event in rotations]


def _previous_fingerprint(rotation: AuditEvent) -> str:
    try:
        return fingerprint_of(base64.b64decode(rotation.details["previous_public_key"]))
    except (KeyError, TypeError, binascii.Error):
        # The event was tampered with, which a verification reports.
        return "not readable"

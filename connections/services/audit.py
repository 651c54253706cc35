"""The one door to the record of acts: every act appends its event in its own transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import Any

from django.db import transaction

from connections import clock
from connections.actors import Actor
from connections.models import AuditEvent, Credential, Deletion, Person


class Code(StrEnum):
    """What happened, as `subject.past_participle`. A code is never given a second meaning."""

    SIGNED_IN = "person.signed_in"
    SIGN_IN_FAILED = "person.sign_in_failed"
    SIGNED_OUT = "person.signed_out"
    PERSON_ADDED = "person.added"
    PERSON_CHANGED = "person.changed"
    PERSON_DISABLED = "person.disabled"
    PERSON_ENABLED = "person.enabled"
    PERSON_RESET = "person.second_factor_removed"
    PASSWORD_SET = "person.password_set"  # noqa: S105 - a code, not a password
    SIGN_IN_LINK_MADE = "sign_in_link.made"
    SIGN_IN_LINK_USED = "sign_in_link.used"
    CREDENTIAL_ADDED = "credential.added"
    CREDENTIAL_VERIFIED = "credential.verified"
    CREDENTIAL_NOT_VERIFIED = "credential.not_verified"
    CREDENTIAL_RENAMED = "credential.renamed"
    CREDENTIAL_ROTATED = "credential.rotated"
    CREDENTIAL_ROTATION_REFUSED = "credential.rotation_refused"
    CREDENTIAL_POLICY_CHANGED = "credential.policy_changed"
    CREDENTIAL_RETIRED = "credential.retired"
    DELETION_REQUESTED = "deletion.requested"
    DELETION_APPROVED = "deletion.approved"
    DELETION_DECLINED = "deletion.declined"
    DELETION_WITHDRAWN = "deletion.withdrawn"
    DELETION_CONFIRMED = "deletion.confirmed"
    DELETION_NOT_READ = "deletion.not_read"
    DELETION_SENDING = "deletion.sending"
    DELETION_ANSWERED = "deletion.answered"
    DELETION_ANSWERED_LATE = "deletion.answered_late"
    DELETION_WAITING = "deletion.waiting"
    DELETION_UNKNOWN = "deletion.unknown"
    DELETION_LOOKED = "deletion.looked"
    DELETION_STILL_PRESENT = "deletion.still_present"
    DELETION_SETTLED = "deletion.settled"
    DELETION_VERIFIED = "deletion.verified"
    DELETION_CONTRADICTED = "deletion.contradicted"
    EXPORTED = "export.made"
    DATABASE_BACKED_UP = "database.backed_up"
    DATABASE_RESTORED = "database.restored"
    ENCRYPTION_KEY_STAGED = "encryption_key.staged"
    ENCRYPTION_KEY_ROTATED = "encryption_key.rotated"
    ENCRYPTION_KEY_DROPPED = "encryption_key.dropped"


_door_is_open: ContextVar[bool] = ContextVar("audit_door_is_open", default=False)


def door_is_open() -> bool:
    """Whether the statement now running is the audit service's own insert."""
    return _door_is_open.get()


@contextmanager
def _open_door() -> Iterator[None]:
    token = _door_is_open.set(True)
    try:
        yield
    finally:
        _door_is_open.reset(token)


def record(
    *,
    code: Code,
    actor: Actor,
    sentence: str,
    subject: Deletion | Credential | Person | None = None,
    details: dict[str, Any] | None = None,
) -> AuditEvent:
    """Append one event.

    Call it inside the transaction of the act itself: no event, no effect. `details` holds only
    what JSON can hold, and never a key. Raises what the database raises.
    """
    with _open_door(), transaction.atomic():
        return AuditEvent.objects.create(
            at=clock.now(),
            code=code,
            actor_kind=actor.kind,
            actor_id=actor.person.pk if actor.person else None,
            actor_name=actor.name,
            request_id=actor.request_id,
            subject_type=type(subject).__name__.lower() if subject else "",
            subject_id=str(subject.pk) if subject else "",
            sentence=sentence,
            details=details or {},
        )


def events_of(*, subject: Deletion | Credential | Person) -> list[AuditEvent]:
    """Every event about one subject, oldest first."""
    events = AuditEvent.objects.filter(
        subject_type=type(subject).__name__.lower(), subject_id=str(subject.pk)
    )
    return list(events.order_by("seq"))

"""The one door to the record of acts: every act appends its event in its own transaction."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db import transaction

from connections import chain, clock
from connections.actors import Actor
from connections.models import AuditEvent, AuditHead, Credential, Deletion, Person, with_values
from connections.services import erasable


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
    EXPORT_STARTED = "export.started"
    EXPORT_FINISHED = "export.finished"
    EXPORT_ABORTED = "export.aborted"
    DATABASE_BACKED_UP = "database.backed_up"
    DATABASE_RESTORED = "database.restored"
    ENCRYPTION_KEY_STAGED = "encryption_key.staged"
    ENCRYPTION_KEY_ROTATED = "encryption_key.rotated"
    ENCRYPTION_KEY_DROPPED = "encryption_key.dropped"
    SIGNING_KEY_ROTATED = "signing_key.rotated"
    RECORD_VERIFICATION_REQUESTED = "record.verification_requested"
    RECORD_VERIFIED = "record.verified"
    RECORD_FOUND_BROKEN = "record.found_broken"
    PERSON_ERASED = "person.erased"


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

    Call it inside the transaction of the act itself: no event, no effect. From here to the end
    of that transaction nobody else can append, so nothing slow may follow. In the sentence people
    stand as `erasable.name(…)`. `details` holds strings, whole numbers, booleans, nulls, lists
    and dicts of these; never a key, never a person's name.

    Raises TypeError for other details, and what the database raises.
    """
    with _open_door(), transaction.atomic(savepoint=False):
        head = AuditHead.objects.select_for_update().get()
        (name, told), refs = erasable.refer(erasable.name(actor), sentence)
        at = clock.now()
        document = {
            "actor": {
                "id": str(actor.person.pk) if actor.person else None,
                "kind": actor.kind,
                "name": name,
            },
            "at": f"{at:%Y-%m-%dT%H:%M:%S.%f}Z",
            "code": code,
            "details": details or {},
            "format": chain.FORMAT,
            "refs": refs,
            "request_id": actor.request_id,
            "sentence": told,
            "seq": head.size + 1,
            "subject": {"id": str(subject.pk), "type": type(subject).__name__.lower()}
            if subject
            else None,
        }
        return _append(head, document=document, at=at)


def _append(head: AuditHead, *, document: dict[str, Any], at: datetime) -> AuditEvent:
    text = chain.canonical_text(document)
    data = text.encode()
    frontier = chain.frontier_of(head.frontier)
    chain.extend(frontier, size=head.size, leaf=chain.leaf_hash(data))
    head.hash = chain.event_hash(bytes.fromhex(head.hash), data).hex()
    head.frontier = chain.frontier_as_text(frontier)
    head.size += 1
    event = AuditEvent.objects.create(
        text=text, hash=head.hash, at=at, **copied_columns(json.loads(text))
    )
    head.save(update_fields=["size", "hash", "frontier"])
    return event


def copied_columns(document: dict[str, Any]) -> dict[str, Any]:
    """What the columns beside an event's text must hold, its time apart."""
    actor, subject = document["actor"], document["subject"] or {"type": "", "id": ""}
    return {
        "seq": document["seq"],
        "code": document["code"],
        "actor_kind": actor["kind"],
        "actor_id": UUID(actor["id"]) if actor["id"] else None,
        "stored_actor": actor["name"],
        "request_id": document["request_id"],
        "subject_type": subject["type"],
        "subject_id": subject["id"],
        "stored_sentence": document["sentence"],
    }


def events_of(*, subject: Deletion | Credential | Person) -> list[AuditEvent]:
    """Every event about one subject, oldest first."""
    events = AuditEvent.objects.filter(
        subject_type=type(subject).__name__.lower(), subject_id=str(subject.pk)
    )
    return with_values(events.order_by("seq"))

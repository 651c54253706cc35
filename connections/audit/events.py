"""The one door to the record of acts: every act appends its event in its own transaction."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Max

from connections.access.actor import Actor
from connections.audit import chain, outbox, personal_data, signing
from connections.core import clock
from connections.models import (
    AuditEvent,
    AuditHead,
    Credential,
    Deletion,
    OrgConnectionKey,
    Person,
    references_in,
    with_values,
)


class EventCode(StrEnum):
    """What happened, as `subject.past_participle`. A code is never given a second meaning."""

    SIGNED_IN = "person.signed_in"
    SIGN_IN_FAILED = "person.sign_in_failed"
    SIGNED_OUT = "person.signed_out"
    REAUTHENTICATED = "person.reauthenticated"
    REAUTHENTICATION_FAILED = "person.reauthentication_failed"
    PERSON_ADDED = "person.added"
    PERSON_CHANGED = "person.changed"
    BREAK_GLASS_ALLOWED = "person.break_glass_allowed"
    BREAK_GLASS_FORBIDDEN = "person.break_glass_forbidden"
    PERSON_DISABLED = "person.disabled"
    PERSON_ENABLED = "person.enabled"
    PERSON_RESET = "person.second_factor_removed"
    SECOND_FACTOR_ADDED = "person.second_factor_added"
    SECOND_FACTOR_TURNED_OFF = "person.second_factor_turned_off"
    SECOND_FACTOR_REFUSED = "person.second_factor_refused"
    PROVIDER_ACCOUNT_CONNECTED = "provider_account.connected"
    PROVIDER_ACCOUNT_DISCONNECTED = "provider_account.disconnected"
    PROVIDER_SIGN_IN_REFUSED = "person.provider_sign_in_refused"
    SESSION_ENDED = "session.ended"
    PASSWORD_SET = "person.password_set"  # noqa: S105 - a code, not a password
    EMAIL_CHANGED = "person.email_changed"
    PASSWORD_RESET_MAILED = "person.password_reset_mailed"  # noqa: S105 - a code too
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
    CONNECTION_PROTECTED = "org_connection.protected"
    CONNECTION_PROTECTION_LIFTED = "org_connection.protection_lifted"
    CREDENTIAL_ACCESS_CHANGED = "credential.access_changed"
    ACCESS_REFUSED = "access.refused"
    DELETION_REQUESTED = "deletion.requested"
    DELETION_APPROVED = "deletion.approved"
    DELETION_DECLINED = "deletion.declined"
    DELETION_APPROVALS_LAPSED = "deletion.approvals_lapsed"
    DELETION_BREAK_GLASS_USED = "deletion.break_glass_used"
    DELETION_BREAK_GLASS_REVIEWED = "deletion.break_glass_reviewed"
    DELETION_WITHDRAWN = "deletion.withdrawn"
    DELETION_CONFIRMED = "deletion.confirmed"
    DELETION_RECHECK_FAILED = "deletion.recheck_failed"
    DELETION_SENDING = "deletion.sending"
    DELETION_ANSWERED = "deletion.answered"
    DELETION_ANSWERED_LATE = "deletion.answered_late"
    DELETION_WAITING = "deletion.waiting"
    DELETION_UNKNOWN = "deletion.unknown"
    DELETION_STILL_UNKNOWN = "deletion.still_unknown"
    DELETION_CHECKED = "deletion.checked"
    DELETION_STILL_PRESENT = "deletion.still_present"
    DELETION_SETTLED = "deletion.settled"
    DELETION_VERIFIED = "deletion.verified"
    DELETION_CONTRADICTED = "deletion.contradicted"
    DELETION_COMMENTED = "deletion.commented"
    EXPORT_STARTED = "export.started"
    EXPORT_FINISHED = "export.finished"
    EXPORT_ABORTED = "export.aborted"
    EVIDENCE_BUNDLE_STARTED = "evidence_bundle.started"
    EVIDENCE_BUNDLE_FINISHED = "evidence_bundle.finished"
    EVIDENCE_BUNDLE_ABORTED = "evidence_bundle.aborted"
    DATABASE_BACKED_UP = "database.backed_up"
    DATABASE_RESTORED = "database.restored"
    ENCRYPTION_KEY_STAGED = "encryption_key.staged"
    ENCRYPTION_KEY_ROTATED = "encryption_key.rotated"
    ENCRYPTION_KEY_DROPPED = "encryption_key.dropped"
    SIGNING_KEY_ROTATED = "signing_key.rotated"
    AUDIT_LOG_VERIFICATION_REQUESTED = "audit_log.verification_requested"
    AUDIT_LOG_VERIFIED = "audit_log.verified"
    AUDIT_LOG_VERIFICATION_FAILED = "audit_log.verification_failed"
    PERSON_ERASED = "person.erased"
    NOTIFICATION_TESTED = "notification.tested"
    NOTIFICATION_RETRIED = "notification.retried"
    NOTIFICATION_FAILED = "notification.failed"


# What an event is about. An org connection is told by its id; its site stands in the details.
type Subject = Deletion | Credential | Person | OrgConnectionKey

# Each says that a deletion has come to its end; a checkpoint follows at once.
SETTLING_CODES = frozenset(
    {EventCode.DELETION_SETTLED, EventCode.DELETION_WITHDRAWN, EventCode.DELETION_DECLINED}
)

_is_appending: ContextVar[bool] = ContextVar("audit_door_is_open", default=False)


def is_appending() -> bool:
    """Whether the statement now running is the audit service's own insert."""
    return _is_appending.get()


@contextmanager
def _appending() -> Iterator[None]:
    token = _is_appending.set(True)
    try:
        yield
    finally:
        _is_appending.reset(token)


@dataclass(frozen=True, kw_only=True)
class PendingEvent:
    """What one call of `record` tells, until its act appends it."""

    code: EventCode
    actor: Actor
    sentence: str
    subject: dict[str, str] | None
    details: dict[str, Any]


# What the act of this thread has told so far; None outside any act.
_pending_events: ContextVar[list[PendingEvent] | None] = ContextVar("audit_told", default=None)


@contextmanager
def atomic(*, durable: bool = False) -> Iterator[list[AuditEvent]]:
    """One transaction whose events are appended together, as the last thing before its commit.

    Every service that records opens its transaction with it. The chain's head is then locked
    after every other row and for some milliseconds only: two acts cannot wait for each other, and
    several events cost hardly more than one. An act within an act belongs to the outer one. The
    list it gives holds the appended events once the outermost has ended. `durable` as in Django's
    `transaction.atomic`. Raises what the database raises.
    """
    outer = _pending_events.get()
    with transaction.atomic(durable=durable):
        if outer is not None:
            kept = len(outer)
            try:
                yield []
            except BaseException:
                # Its effects are rolled back, so nothing of it may be told.
                del outer[kept:]
                raise
            return
        told: list[PendingEvent] = []
        token = _pending_events.set(told)
        appended: list[AuditEvent] = []
        try:
            yield appended
        finally:
            _pending_events.reset(token)
        appended += _append(told)


def record(
    *,
    code: EventCode,
    actor: Actor,
    sentence: str,
    subject: Subject | None = None,
    details: dict[str, Any] | None = None,
) -> None:
    """Tell one event; it is appended when the `act` around it ends, at once when there is none.

    With it go the notices to those whom it concerns. Call it inside the act itself: no event, no
    effect. In the sentence people stand as `erasable.name(…)`. `details` holds strings, whole
    numbers, booleans, nulls, lists and dicts of these; never a key, never a person's name.

    Raises TypeError for other details and what the database raises; within an act at its end.
    """
    told = PendingEvent(
        code=code,
        actor=actor,
        sentence=sentence,
        subject=reference(subject) if subject else None,
        details=details or {},
    )
    pending = _pending_events.get()
    if pending is None:
        with transaction.atomic(savepoint=False):
            _append([told])
    else:
        pending.append(told)


def _append(told: list[PendingEvent]) -> list[AuditEvent]:
    """Put the events at the end of the chain. From here to the commit nobody else can append."""
    if not told:
        return []
    with _appending():
        head = AuditHead.objects.select_for_update().get()
        texts = [text for one in told for text in (personal_data.name_of(one.actor), one.sentence)]
        stored, commitments = personal_data.store_references(*texts)
        at = clock.now()
        frontier = chain.parse_frontier(head.frontier)
        events = []
        for one, name, sentence in zip(told, stored[::2], stored[1::2], strict=True):
            refs = {
                str(number): commitments[str(number)] for number in references_in(name, sentence)
            }
            document = _document(one, at=at, seq=head.size + 1, name=name, sentence=sentence)
            text = chain.canonical_text(document | {"refs": refs})
            data = text.encode()
            chain.extend(frontier, size=head.size, leaf=chain.leaf_hash(data))
            previous = head.hash
            head.hash = chain.event_hash(bytes.fromhex(previous), data).hex()
            head.size += 1
            columns = copied_columns(json.loads(text))
            events.append(
                AuditEvent(text=text, previous=previous, hash=head.hash, at=at, **columns)
            )
        AuditEvent.objects.bulk_create(events)
        head.frontier = chain.format_frontier(frontier)
        head.save(update_fields=["size", "hash", "frontier"])
        has_settled = any(one.code in SETTLING_CODES for one in told)
        if has_settled or signing.reaches_checkpoint_size(head.size, added=len(events)):
            signing.sign_if_possible(head, at=at)
        outbox.enqueue(events=events)
        return events


def _document(
    one: PendingEvent, *, at: datetime, seq: int, name: str, sentence: str
) -> dict[str, Any]:
    """An event as docs/EVIDENCE.md says, its references apart."""
    actor = one.actor
    return {
        "actor": {
            "id": str(actor.person.pk) if actor.person else None,
            "kind": actor.kind,
            "name": name,
        },
        "at": f"{at:%Y-%m-%dT%H:%M:%S.%f}Z",
        "code": one.code,
        "details": one.details,
        "format": chain.FORMAT,
        "request_id": actor.request_id,
        "sentence": sentence,
        "seq": seq,
        "subject": one.subject,
    }


def reference(subject: Subject) -> dict[str, str]:
    """How an event names its subject: its type and id."""
    if isinstance(subject, OrgConnectionKey):
        return {"id": str(subject.connection_id), "type": "org_connection"}
    return {"id": str(subject.pk), "type": type(subject).__name__.lower()}


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


def newest_at(*, deletions: Sequence[Deletion]) -> dict[UUID, datetime]:
    """When the newest event about each of some deletions was recorded."""
    about = {reference(deletion)["id"]: deletion.pk for deletion in deletions}
    events = AuditEvent.objects.filter(subject_type="deletion", subject_id__in=about)
    newest = events.order_by().values("subject_id").annotate(newest=Max("seq")).values("newest")
    rows = AuditEvent.objects.filter(seq__in=newest).values_list("subject_id", "at")
    return {about[subject_id]: at for subject_id, at in rows}


def events_of(*, subject: Subject) -> list[AuditEvent]:
    """Every event about one subject, oldest first."""
    about = reference(subject)
    events = AuditEvent.objects.filter(subject_type=about["type"], subject_id=about["id"])
    return with_values(events.order_by("seq"))

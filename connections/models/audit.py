"""The audit log. It has no foreign keys to other models, so nothing can cascade into it.

Database triggers refuse to change or remove its rows. docs/EVIDENCE.md specifies the texts and
hashes.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import cached_property
from typing import Any

from django.db import models

from connections.verifier.events import erased_placeholder

_REFERENCE = re.compile(r"\{\{|\}\}|\{(name|address|agent):([0-9]+)\}")


class EventCode(StrEnum):
    """What happened, as `subject.past_participle`. The meaning of a code never changes."""

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
    SECOND_FACTOR_LOST = "person.second_factor_lost"
    SECOND_FACTOR_REFUSED = "person.second_factor_refused"
    PROVIDER_ACCOUNT_CONNECTED = "provider_account.connected"
    PROVIDER_ACCOUNT_DISCONNECTED = "provider_account.disconnected"
    PROVIDER_SIGN_IN_REFUSED = "person.provider_sign_in_refused"
    SESSION_ENDED = "session.ended"
    PASSWORD_SET = "person.password_set"  # noqa: S105 - a code, not a password
    CHANGE_EMAILS_SET = "person.change_emails_set"
    SINGLE_KEYS_SET = "person.single_keys_set"
    EMAIL_CHANGED = "person.email_changed"
    PASSWORD_RESET_MAILED = "person.password_reset_mailed"  # noqa: S105 - also a code
    SIGN_IN_LINK_MADE = "sign_in_link.made"
    SIGN_IN_LINK_USED = "sign_in_link.used"
    API_TOKEN_MADE = "api_token.made"  # noqa: S105 - also a code
    API_TOKEN_REVOKED = "api_token.revoked"  # noqa: S105 - also a code
    CREDENTIAL_ADDED = "credential.added"
    CREDENTIAL_ADD_REFUSED = "credential.add_refused"
    CREDENTIAL_IMPORT_REFUSED = "credential.import_refused"
    CREDENTIAL_VERIFIED = "credential.verified"
    CREDENTIAL_NOT_VERIFIED = "credential.not_verified"
    CREDENTIAL_PERMISSION_LOST = "credential.permission_lost"
    CREDENTIAL_PERMISSION_RESTORED = "credential.permission_restored"
    CREDENTIAL_RENAMED = "credential.renamed"
    CREDENTIAL_ROTATED = "credential.rotated"
    CREDENTIAL_ROTATION_REFUSED = "credential.rotation_refused"
    CREDENTIAL_POLICY_CHANGED = "credential.policy_changed"
    CREDENTIAL_CREATOR_CHANGED = "credential.creator_changed"
    CREDENTIAL_RETIRED = "credential.retired"
    CONNECTION_PROTECTED = "org_connection.protected"
    CONNECTION_PROTECTION_LIFTED = "org_connection.protection_lifted"
    CREDENTIAL_ACCESS_CHANGED = "credential.access_changed"
    CHANGES_DETECTED = "changes.detected"
    CHANGES_ACKNOWLEDGED = "changes.acknowledged"
    PROBLEM_ACKNOWLEDGED = "problem.acknowledged"
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
    ACCESS_REQUEST_REQUESTED = "access_request.requested"
    ACCESS_REQUEST_APPROVED = "access_request.approved"
    ACCESS_REQUEST_DECLINED = "access_request.declined"
    ACCESS_REQUEST_APPROVALS_LAPSED = "access_request.approvals_lapsed"
    ACCESS_REQUEST_WITHDRAWN = "access_request.withdrawn"
    ACCESS_REQUEST_CONFIRMED = "access_request.confirmed"
    ACCESS_REQUEST_RECHECK_FAILED = "access_request.recheck_failed"
    ACCESS_REQUEST_SENDING = "access_request.sending"
    ACCESS_REQUEST_ANSWERED = "access_request.answered"
    ACCESS_REQUEST_ANSWERED_LATE = "access_request.answered_late"
    ACCESS_REQUEST_WAITING = "access_request.waiting"
    ACCESS_REQUEST_UNKNOWN = "access_request.unknown"
    ACCESS_REQUEST_STILL_UNKNOWN = "access_request.still_unknown"
    ACCESS_REQUEST_REMOVED = "access_request.removed"
    ACCESS_REQUEST_INTERRUPTED = "access_request.interrupted"
    ACCESS_REQUEST_CHECKED = "access_request.checked"
    ACCESS_REQUEST_NO_EFFECT = "access_request.no_effect"
    ACCESS_REQUEST_SETTLED = "access_request.settled"
    ACCESS_REQUEST_VERIFIED = "access_request.verified"
    ACCESS_REQUEST_CONTRADICTED = "access_request.contradicted"
    ACCESS_REQUEST_ENDED = "access_request.ended"
    ACCESS_REQUEST_NOT_ENDED = "access_request.not_ended"
    BATCH_REQUESTED = "batch.requested"
    BATCH_APPROVED = "batch.approved"
    BATCH_DECLINED = "batch.declined"
    BATCH_CONFIRMED = "batch.confirmed"
    BATCH_PAUSED = "batch.paused"
    BATCH_RESUMED = "batch.resumed"
    BATCH_CANCELLED = "batch.cancelled"
    BATCH_DISCARDED = "batch.discarded"
    BATCH_EXPIRED = "batch.expired"
    BATCH_FINISHED = "batch.finished"
    ACCESS_REVIEW_STARTED = "access_review.started"
    ACCESS_REVIEW_REVIEWERS_CHANGED = "access_review.reviewers_changed"
    ACCESS_REVIEW_OWNER_CHANGED = "access_review.owner_changed"
    ACCESS_REVIEW_DECIDED = "access_review.decided"
    ACCESS_REVIEW_REMINDED = "access_review.reminded"
    ACCESS_REVIEW_REPETITION_CHANGED = "access_review.repetition_changed"
    ACCESS_REVIEW_REPEAT_FAILED = "access_review.repeat_failed"
    ACCESS_REVIEW_CLOSED = "access_review.closed"
    AGREEMENT_SET = "agreement.set"
    AGREEMENT_ACCEPTED = "agreement.accepted"
    AGREEMENT_REFUSED = "agreement.refused"
    AGREEMENTS_ENDING = "agreements.ending"
    ORG_DETAILS_SET = "org.details_set"
    EXPORT_STARTED = "export.started"
    EXPORT_FINISHED = "export.finished"
    EXPORT_ABORTED = "export.aborted"
    EVIDENCE_BUNDLE_STARTED = "evidence_bundle.started"
    EVIDENCE_BUNDLE_FINISHED = "evidence_bundle.finished"
    EVIDENCE_BUNDLE_ABORTED = "evidence_bundle.aborted"
    DATABASE_BACKED_UP = "database.backed_up"
    DATABASE_RESTORED = "database.restored"
    SERVICE_HELD = "service.held"
    SERVICE_RELEASED = "service.released"
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


class AuditEvent(models.Model):
    """One event, appended in the same transaction as the change that it records.

    `text` is the event. The other columns copy parts of it, for filtering. Actor and subject are
    plain values, never foreign keys, so that no deletion elsewhere can change or remove an event.
    Names are references to PersonalValue rows.
    """

    seq = models.BigIntegerField(primary_key=True)
    text = models.TextField()
    # The hash of the previous event, and of this one: 64 hex digits each.
    previous = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    at = models.DateTimeField()
    code = models.CharField(max_length=60)
    actor_kind = models.CharField(max_length=10)
    actor_id = models.UUIDField(null=True)
    stored_actor = models.CharField(max_length=200, db_column="actor")
    request_id = models.CharField(max_length=64, blank=True)
    subject_type = models.CharField(max_length=20, blank=True)
    subject_id = models.CharField(max_length=64, blank=True)
    stored_sentence = models.TextField(db_column="sentence")

    class Meta:
        ordering = ("-seq",)
        indexes = [
            # Each ends with seq, so that a filtered page is read from the index in order.
            models.Index(fields=["subject_id", "seq"], name="event_of_subject"),
            models.Index(fields=["actor_id", "seq"], name="event_of_actor"),
            models.Index(
                fields=["stored_actor", "seq"],
                condition=models.Q(actor_id__isnull=True),
                name="event_of_other_actor",
            ),
            models.Index(fields=["code", "seq"], name="event_of_code"),
            models.Index(fields=["request_id", "seq"], name="event_of_request"),
            models.Index(fields=["at", "seq"], name="event_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.seq} {self.code}"

    @property
    def actor_name(self) -> str:
        """The actor, by name unless it was erased."""
        return render_references(self.stored_actor, self.shown_values)

    @property
    def sentence(self) -> str:
        """What happened, with all names that were not erased."""
        return render_references(self.stored_sentence, self.shown_values)

    @property
    def details(self) -> dict[str, Any]:
        """Further data, which depends on the code. Never contains a person's name."""
        details: dict[str, Any] = self._document["details"]
        return details

    @cached_property
    def _document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.text)
        return document

    @cached_property
    def shown_values(self) -> Mapping[int, str]:
        """The text for each reference.

        `with_values` reads the texts for many events in one query.
        """
        return get_displayed_values(self.references)

    @property
    def references(self) -> set[int]:
        """The numbers of the PersonalValue rows that the event refers to."""
        return references_in(self.stored_actor, self.stored_sentence)


class PersonalValue(models.Model):
    """A name, a network address or a browser, stored once for each person and value.

    The triggers allow one update: erasing value and salt. Events contain the commitment, so they
    can still be verified after that.
    """

    class Kind(models.TextChoices):
        NAME = "name"
        ADDRESS = "address"
        AGENT = "agent"  # a browser's User-Agent header

    number = models.BigIntegerField(primary_key=True)
    # The number of the first row about the same person.
    person_number = models.BigIntegerField()
    # Empty for the address of a visitor without an account.
    person_id = models.UUIDField(null=True)
    kind = models.CharField(max_length=16, choices=Kind)
    value = models.CharField(max_length=400, blank=True)
    salt = models.CharField(max_length=64, blank=True)
    commitment = models.CharField(max_length=64)
    erased_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["value", "kind"], name="erasable_by_value"),
            models.Index(fields=["person_id", "kind"], name="erasable_by_person"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.number}"

    @property
    def shown(self) -> str:
        """The value, or a placeholder if it was erased."""
        if self.erased_at is None:
            return self.value
        return erased_placeholder(self.kind, self.number, self.person_number)


class AuditHead(models.Model):
    """The end of the hash chain, in a single row whose lock orders the events."""

    ROW = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=ROW)
    # Identifies this database in every checkpoint.
    origin = models.CharField(max_length=40)
    size = models.BigIntegerField(default=0)
    hash = models.CharField(max_length=64)
    # The roots of the Merkle tree's full subtrees; see docs/EVIDENCE.md.
    frontier = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"{self.origin} at {self.size}"


class Checkpoint(models.Model):
    """The audit log at one size, as a signed note."""

    size = models.BigIntegerField()
    root = models.CharField(max_length=64)
    # The fingerprint of the public key that signed it.
    fingerprint = models.CharField(max_length=64)
    note = models.TextField()
    made_at = models.DateTimeField()

    class Meta:
        ordering = ("-size", "-id")
        constraints = [
            models.UniqueConstraint(fields=["size", "fingerprint"], name="one_checkpoint_by_key")
        ]

    def __str__(self) -> str:
        return f"checkpoint at {self.size}"


class AuditVerification(models.Model):
    """The result of one verification of the audit log."""

    checked_at = models.DateTimeField()
    size = models.BigIntegerField()
    # "" if the audit log is intact, otherwise the fault as `verify_audit` reports it.
    fault = models.CharField(max_length=40, blank=True)
    first_bad_seq = models.BigIntegerField(null=True)
    message = models.TextField()

    class Meta:
        ordering = ("-checked_at", "-id")

    def __str__(self) -> str:
        return f"verification of {self.checked_at:%Y-%m-%d %H:%M}"


def references_in(*texts: str) -> set[int]:
    """The numbers of the PersonalValue rows that stored texts refer to."""
    return {int(number) for text in texts for _, number in _REFERENCE.findall(text) if number}


def render_references(
    text: str, values: Mapping[int, str], *, agents: Callable[[str], str] = str
) -> str:
    """The text with its references replaced. `agents` converts User-Agent values."""

    def read(match: re.Match[str]) -> str:
        if not match[1]:
            return match[0][0]
        value = values.get(int(match[2]), f"missing value no. {match[2]}")
        return agents(value) if match[1] == "agent" else value

    return _REFERENCE.sub(read, text)


def get_displayed_values(numbers: Iterable[int]) -> dict[int, str]:
    """The text to show for each PersonalValue with one of these numbers."""
    wanted = set(numbers)
    if not wanted:
        return {}
    return {value.number: value.shown for value in PersonalValue.objects.filter(number__in=wanted)}


def with_values(events: Iterable[AuditEvent]) -> list[AuditEvent]:
    """The events, with all values that they refer to loaded in one query."""
    events = list(events)
    values = get_displayed_values(number for event in events for number in event.references)
    for event in events:
        event.shown_values = values
    return events

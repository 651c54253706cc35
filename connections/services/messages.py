"""What a notice says, read from the record when it is sent: as mail, and as a document."""

import json
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.urls import reverse

from connections import wording
from connections.models import (
    AuditEvent,
    AuditVerification,
    Checkpoint,
    Deletion,
    Notice,
    Policy,
    with_values,
)

LONGEST_REASON = 1000
LONGEST_SENTENCE = 500


@dataclass(frozen=True, kw_only=True)
class Message:
    """The news of one notice; foreign text in it is not made harmless yet."""

    code: str
    title: str
    # What it is about, for the subject of a mail; may be empty.
    about: str
    # When it happened: ISO 8601, UTC.
    at: str
    sentence: str
    # The path of the page that shows it.
    path: str
    seq: int | None = None
    reason: str = ""
    # What a program wants to know beside.
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where to look; only a path without ORGADMIN_BASE_URL."""
        return f"{settings.BASE_URL}{self.path}"

    @property
    def subject(self) -> str:
        """One line, whatever the names in it are made of."""
        parts = ("Org Admin", self.title, wording.one_line(self.about, limit=140))
        return ": ".join(part for part in parts if part)

    def as_text(self) -> str:
        """The body of a mail."""
        lines = [wording.some_lines(self.sentence, limit=LONGEST_SENTENCE)]
        if self.reason:
            reason = wording.some_lines(self.reason, limit=LONGEST_REASON)
            lines += ["", "Reason given:", *(f"> {line}" for line in reason.splitlines())]
        lines += ["", f"Look: {self.url}", f"Time: {self.at}"]
        if self.seq is not None:
            lines.append(f"Number in the record of acts: {self.seq}")
        if "note" in self.data:
            # Alone between its lines, so that it can be cut out as it is.
            lines += ["", _KEEP_IT, "", self.data["note"]]
        return "\n".join(lines) + "\n"

    def as_json(self) -> bytes:
        """The body of a webhook's message."""
        document = {
            "type": self.code,
            "timestamp": self.at,
            "data": {"sentence": self.sentence, "url": self.url} | self.data,
        }
        return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode()


_KEEP_IT = (
    "Keep this mail: the four lines below prove what the record of acts was at this moment. "
    "docs/EVIDENCE.md says how to compare them."
)


def message_of(notice: Notice) -> Message:
    """What the notice says now. Raises DoesNotExist when the database lost what it is about."""
    if notice.event_seq is not None:
        return _of_event(notice.event_seq)
    if notice.subject_type == "checkpoint":
        return _of_checkpoint(Checkpoint.objects.get(pk=notice.subject_id))
    if notice.subject_type != "verification":
        return _test(notice)
    return _of_verification(AuditVerification.objects.get(pk=notice.subject_id))


def _of_event(seq: int) -> Message:
    [event] = with_values([AuditEvent.objects.get(pk=seq)])
    deletion = _deletion_of(event)
    details = event.details
    needs_approval = deletion is not None and bool(Policy(deletion.policy).approvals_needed)
    data: dict[str, Any] = {
        "event": event.seq,
        "subject": {"type": event.subject_type, "id": event.subject_id},
    }
    for name in ("state", "outcome", "cause", "reason", "ticket"):
        if details.get(name):
            data[name] = details[name]
    return Message(
        code=event.code,
        title=wording.notice_title(event.code, details=details, needs_approval=needs_approval),
        about=_about(deletion),
        at=f"{event.at:%Y-%m-%dT%H:%M:%SZ}",
        sentence=event.sentence,
        path=reverse("deletion-detail", args=[deletion.pk]) if deletion else reverse("notice-list"),
        seq=event.seq,
        reason=str(details.get("reason") or ""),
        data=data | _facts(deletion),
    )


def _deletion_of(event: AuditEvent) -> Deletion | None:
    if event.subject_type != "deletion":
        return None
    return Deletion.objects.filter(pk=event.subject_id).first()


def _about(deletion: Deletion | None) -> str:
    if deletion is None:
        return ""
    if not deletion.is_reviewed:
        return f"…{str(deletion.connection_id)[-8:]}, not reviewed"
    names = (deletion.source_org_name or "?", deletion.sink_org_name or "?")
    limit = wording.LONGEST_NAME
    return " → ".join(wording.one_line(name, limit=limit) for name in names)


def _facts(deletion: Deletion | None) -> dict[str, Any]:
    if deletion is None:
        return {}
    return {
        "site": deletion.site,
        "connection_id": str(deletion.connection_id),
        "source_org": deletion.source_org_name,
        "sink_org": deletion.sink_org_name,
        "credential": deletion.credential_name,
        "approvals_needed": Policy(deletion.policy).approvals_needed,
    }


def _of_checkpoint(checkpoint: Checkpoint) -> Message:
    return Message(
        code="checkpoint.made",
        title=wording.notice_title("checkpoint.made", details={}),
        about=f"{checkpoint.size} events",
        at=f"{checkpoint.made_at:%Y-%m-%dT%H:%M:%SZ}",
        sentence=f"The record of acts held {checkpoint.size} events. Signed with key "
        f"{checkpoint.fingerprint}.",
        path=reverse("audit-list"),
        data={
            "size": checkpoint.size,
            "root": checkpoint.root,
            "fingerprint": checkpoint.fingerprint,
            "note": checkpoint.note,
        },
    )


def _of_verification(verification: AuditVerification) -> Message:
    return Message(
        code="record.broken",
        title=wording.notice_title("record.broken", details={}),
        about="",
        at=f"{verification.checked_at:%Y-%m-%dT%H:%M:%SZ}",
        sentence=verification.message,
        path=reverse("audit-list"),
        data={"fault": verification.fault, "first_bad_seq": verification.first_bad_seq},
    )


def _test(notice: Notice) -> Message:
    return Message(
        code=notice.code,
        title=wording.notice_title(notice.code, details={}),
        about="",
        at=f"{notice.created_at:%Y-%m-%dT%H:%M:%SZ}",
        sentence="An administrator wanted to know whether this arrives. Nothing else happened.",
        path=reverse("notice-list"),
    )

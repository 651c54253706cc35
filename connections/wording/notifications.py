"""Titles of notifications, and external text made safe for plain text."""

from collections.abc import Mapping
from typing import Any

from connections.models import Outcome
from connections.wording.deletions import label_of_outcome

_TITLES = {
    "deletion.requested": "Deletion requested",
    "deletion.approved": "Deletion approved",
    "deletion.declined": "Deletion declined",
    "deletion.approvals_lapsed": "Approvals expired",
    "deletion.withdrawn": "Deletion withdrawn",
    "deletion.settled": "Deletion closed",
    "deletion.unknown": "Outcome unknown",
    "deletion.still_unknown": "Still unknown after 1 hour",
    "deletion.still_present": "No effect so far",
    "deletion.contradicted": "Still listed by Datadog",
    "deletion.answered_late": "Late response",
    "deletion.break_glass_used": "Break glass used",
    "batch.requested": "Bulk deletion requested",
    "batch.approved": "Bulk deletion approved",
    "batch.declined": "Bulk deletion declined",
    "batch.paused": "Bulk deletion paused",
    "batch.cancelled": "Bulk deletion canceled",
    "batch.expired": "Bulk deletion expired",
    "batch.finished": "Bulk deletion finished",
    "access_review.started": "Access review started",
    "access_review.reviewers_changed": "Reviewers of an access review changed",
    "access_review.reminded": "Access review due",
    "credential.policy_changed": "Approval policy changed",
    "credential.access_changed": "Access list changed",
    "person.added": "Person added",
    "person.changed": "Roles changed",
    "person.enabled": "Person enabled",
    "person.disabled": "Person disabled",
    "person.break_glass_allowed": "Break glass allowed",
    "person.break_glass_forbidden": "Break glass revoked",
    "sign_in_link.made": "Sign-in link created",
    "person.email_changed": "Email address changed",
    "provider_account.connected": "SSO account connected",
    "notification.tested": "Test notification",
    "notification.failed": "Notification failed",
    "record.broken": "Audit log verification failed",
    "checkpoint.made": "Checkpoint",
    "changes.detected": "Changes need attention",
}
# Longer names are cut to keep subject lines short.
SHOWN_NAME_LENGTH = 60


def notification_title(
    code: str, *, details: Mapping[str, Any], needs_approval: bool = False
) -> str:
    """What happened, in a few words; the code itself for one that has none."""
    if code in {"deletion.requested", "batch.requested"} and needs_approval:
        return "Approval needed"
    if code == "deletion.still_present" and needs_approval:
        return "No effect so far: approval needed again"
    if code == "access_review.reminded" and details.get("reminder") == "overdue":
        return "Access review overdue"
    if code == "deletion.settled" and details.get("outcome") in set(Outcome):
        return label_of_outcome(str(details["outcome"]))
    return _TITLES.get(code, code)


def one_line(text: str, *, limit: int) -> str:
    """External text without line breaks, control characters or bidirectional controls."""
    shown = "".join(
        letter if letter.isprintable() else "\ufffd" for letter in " ".join(text.split())
    )
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def some_lines(text: str, *, limit: int) -> str:
    """The same for longer text, which keeps its line breaks."""
    lines = [one_line(line, limit=limit) for line in text[:limit].splitlines()]
    return "\n".join(lines)

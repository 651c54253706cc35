"""Titles of notifications, and external text made safe for plain text."""

from collections.abc import Mapping
from typing import Any

from connections.models import Outcome
from connections.wording.deletions import label_of_outcome

_TITLES = {
    "deletion.requested": "Asked for",
    "deletion.approved": "Approved",
    "deletion.declined": "Declined",
    "deletion.approvals_lapsed": "Approvals lapsed",
    "deletion.withdrawn": "Withdrawn",
    "deletion.settled": "Settled",
    "deletion.unknown": "Outcome unknown",
    "deletion.still_unknown": "Still unknown after an hour",
    "deletion.still_present": "Still there",
    "deletion.contradicted": "Still listed by Datadog",
    "deletion.answered_late": "A late response",
    "deletion.break_glass_used": "Glass broken",
    "credential.policy_changed": "A policy was changed",
    "credential.access_changed": "An allow-list was changed",
    "person.added": "A person was added",
    "person.changed": "Roles were changed",
    "person.enabled": "A person was enabled",
    "person.disabled": "A person was disabled",
    "person.break_glass_allowed": "May now break glass",
    "person.break_glass_forbidden": "May no longer break glass",
    "sign_in_link.made": "A sign-in link was made",
    "person.email_changed": "An e-mail address was changed",
    "provider_account.connected": "A provider account was connected",
    "notification.tested": "A test",
    "notification.failed": "A destination could not be told",
    "record.broken": "The record of acts is broken",
    "checkpoint.made": "Checkpoint",
}
# Longer names are cut to keep subject lines short.
LONGEST_NAME = 60


def notification_title(
    code: str, *, details: Mapping[str, Any], needs_approval: bool = False
) -> str:
    """What happened, in a few words; the code itself for one that has none."""
    if code == "deletion.requested" and needs_approval:
        return "Needs a second person"
    if code == "deletion.still_present" and needs_approval:
        return "Still there: approval needed again"
    if code == "deletion.settled" and details.get("outcome") == Outcome.NOT_SENT:
        # Datadog might have refused an earlier attempt.
        return "Not deleted"
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

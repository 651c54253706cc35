"""The titles of notifications."""

from collections.abc import Mapping
from typing import Any

from connections.audit.texts import event_title
from connections.deletions.texts import label_of_outcome
from connections.models import Outcome

# Titles of notifications that are about more than one event, or about none.
_NOTIFICATION_TITLES = {
    "access_review.reviewers_changed": "Reviewers of an access review changed",
    "access_review.reminded": "Access review due",
    "access_review.repeat_failed": "Access review not repeated",
    "agreements.ending": "Agreements end soon",
    "changes.detected": "Changes need attention",
    "checkpoint.made": "Checkpoint",
    "notification.tested": "Test notification",
    "record.broken": "Audit log verification failed",
}
# Longer names are cut off to keep subject lines short.
SHOWN_NAME_LENGTH = 60


def notification_title(
    code: str, *, details: Mapping[str, Any], needs_approval: bool = False
) -> str:
    """What happened, in a few words."""
    if code in {"deletion.requested", "batch.requested"} and needs_approval:
        return "Approval needed"
    if code == "deletion.still_present" and needs_approval:
        return "No effect: approval needed again"
    if code == "access_review.reminded" and details.get("reminder") == "overdue":
        return "Access review overdue"
    if code == "deletion.settled" and details.get("outcome") in set(Outcome):
        return label_of_outcome(str(details["outcome"]))
    return _NOTIFICATION_TITLES.get(code) or event_title(code)

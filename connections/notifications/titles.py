"""The titles of notifications."""

from collections.abc import Mapping
from typing import Any

from connections.audit.texts import event_title
from connections.models import AccessOutcome, Outcome, outcome_label

# Titles of notifications that are about more than one event, or about none.
_NOTIFICATION_TITLES = {
    "access_review.reviewers_changed": "Reviewers of an access review changed",
    "access_review.owner_changed": "Connections of an access review to decide on",
    "access_review.reminded": "Access review due",
    "access_review.repeat_failed": "Access review not repeated",
    "agreement.refused": "An owner refuses an agreement",
    "agreement.set": "New owner of an agreement",
    "agreements.ending": "Agreements end soon",
    "changes.detected": "Changes need attention",
    "checkpoint.made": "Checkpoint",
    "notification.tested": "Test notification",
    "record.broken": "Audit log verification failed",
    "service.held": "Org Admin is on hold",
    "service.released": "Hold released",
    "syncs.failing": "Syncs are failing",
    "syncs.recovered": "Syncs work again",
}
_REQUESTED = {"deletion.requested", "access_request.requested", "batch.requested"}
# Longer names are cut off to keep subject lines short.
SHOWN_NAME_LENGTH = 60


def notification_title(
    code: str, *, details: Mapping[str, Any], needs_approval: bool = False
) -> str:
    """What happened, in a few words."""
    outcome = str(details.get("outcome"))
    if code in _REQUESTED and needs_approval:
        return "Approval needed"
    if code in {"deletion.still_present", "access_request.no_effect"} and needs_approval:
        return "No effect: approval needed again"
    if code == "access_review.reminded" and details.get("reminder") == "overdue":
        return "Access review overdue"
    if code == "deletion.settled" and outcome in set(Outcome):
        return Outcome(outcome).label
    if code == "access_request.settled" and outcome in set(AccessOutcome):
        label = outcome_label(outcome, kind=details.get("kind", ""))
        return f"Access request: {label.lower()}"
    return _NOTIFICATION_TITLES.get(code) or event_title(code)

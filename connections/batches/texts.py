"""Texts about bulk deletions: statuses, what is planned, and which approvals it needs."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from connections.core.causes import cause_text
from connections.core.text import format_time, join_some_names, pluralize
from connections.models import ApprovalPolicy, Batch, BatchOrigin, BatchState


def is_discarded(batch: Batch) -> bool:
    """Whether a person ended it while it was a draft."""
    return batch.state == BatchState.CANCELLED and batch.requested_at is None


def batch_title(batch: Batch, *, review_name: str, first_pair: str, count: int) -> str:
    """What it deletes, as lists say it: "Labs → Mobile and 3 more", "All connections of Labs".

    `review_name` is the access review whose decisions made the plan, if the reader can see it, and
    `first_pair` the first of its `count` connections.
    """
    if review_name:
        return f"Marked for deletion in {review_name}"
    is_list = batch.origin == BatchOrigin.SELECTION or batch.filter_text
    if is_list and first_pair:
        return f"{first_pair} and {count - 1:,} more" if count > 1 else first_pair
    return batch_origin_text(batch)


def batch_origin_text(batch: Batch) -> str:
    """What the plan was made from: "Selected connections", "All connections of Labs"."""
    match BatchOrigin(batch.origin):
        case BatchOrigin.ORG:
            return f"All connections of {batch.org_name or batch.org_id}"
        case BatchOrigin.FILTER if not batch.filter_text:
            return "All connections"
        case BatchOrigin.FILTER:
            return "Connections that matched a filter"
        case BatchOrigin.SELECTION:
            return "Selected connections"
        case BatchOrigin.ACCESS_REVIEW:
            return "Connections marked for deletion in an access review"


def approvals_text(approvals: Iterable[tuple[str, str]], *, count: int, total: int) -> str:
    """ "1 of 19 needs approval: every connection of Group SOC needs 1, whichever credential sends."

    `approvals` are the credentials that require approval, each with its policy. `count` of `total`
    connections need it.
    """
    by_policy = defaultdict[int, list[str]](list)
    for name, policy in approvals:
        by_policy[ApprovalPolicy(policy).approvals_needed].append(name)
    required = [
        f"every connection of {join_some_names(sorted(names), limit=3)} needs {needed}"
        for needed, names in sorted(by_policy.items(), reverse=True)
    ]
    need = "needs" if count == 1 else "need"
    which = f"{count:,} of {total:,} {need}" if count < total else f"All {total:,} need"
    which = which if total > 1 else "It needs"
    return f"{which} approval: {', '.join(required)}, whichever credential sends the DELETE."


_HEADLINES = {
    BatchState.REQUESTED: "Waiting for {approvals}. Nothing has been sent.",
    BatchState.APPROVED: "{requester} must confirm by {deadline}. Nothing has been sent.",
    BatchState.PAUSED: "Paused by {pauser}",
    BatchState.CANCELLED: "Canceled by {by}. {rest}",
    BatchState.DECLINED: "Declined by {by}. Nothing was sent.",
    BatchState.EXPIRED: "Expired at {ended}. Nothing was sent.",
}


def batch_headline(
    batch: Batch, *, given: int, sending: int, has_expired: bool, is_requester: bool = False
) -> str:
    """What happens next, or how it ended. Empty where its progress says it.

    `given` is how many people approved it and `sending` how many DELETEs are in progress.
    `has_expired` is as in `batch_badge`. `is_requester` is whether the reader requested it.
    """
    if has_expired:
        return f"Expired at {format_time(batch.expires_at)}. Nothing was sent."
    if is_discarded(batch):
        return f"Discarded by {batch.ended_by_name}. Nothing was sent."
    missing = ApprovalPolicy(batch.policy).approvals_needed - given
    what = "a problem" if batch.stop_at_first_problem else "problems"
    problems = f"Org Admin after {what} with {batch.pause_credential_name}"
    rest = "Nothing more is sent." if batch.confirmed_at else "Nothing was sent."
    return _HEADLINES.get(BatchState(batch.state), "").format(
        approvals=pluralize(missing, "more approval" if given else "approval"),
        requester="You" if is_requester else batch.requested_by_name,
        deadline=format_time(batch.expires_at),
        pauser=problems if batch.pause_credential_name else batch.paused_by_name,
        by=batch.ended_by_name,
        ended=format_time(batch.ended_at),
        rest=f"{sending:,} in progress can't be stopped." if sending else rest,
    )


def batch_lines(batch: Batch, *, has_expired: bool) -> list[str]:
    """What else to know about its status. `has_expired` is as in `batch_badge`."""
    if has_expired:
        return [
            "No worker has ended it yet. Once it is canceled, its connections can be planned again."
        ]
    if batch.state == BatchState.PAUSED:
        why = cause_text(batch.pause_cause)
        lines = [why] if why else []
        lines += ["Nothing more is sent until someone resumes it."]
        return [*lines, "To plan the unsent connections again, stop it first."]
    if batch.state == BatchState.DECLINED:
        return [f"Reason: {batch.ended_reason}"]
    return []


def no_sender_text(seen_at: datetime | None) -> str:
    """What a missing worker means for a running bulk deletion. `seen_at` is the last heartbeat."""
    last = f"Last seen at {format_time(seen_at)}. " if seen_at else ""
    return f"{last}Nothing is sent until a worker runs. Run ./run worker."

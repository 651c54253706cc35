"""Texts for open deletions."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from connections.core.causes import Cause
from connections.core.text import format_time
from connections.datadog.responses import AttemptResult
from connections.models import ApprovalPolicy, Attempt, Deletion, State
from connections.wording import attempt_facts
from connections.wording.attempt_facts import DeletionFacts, Sent, attempt_text, quotes_of
from connections.wording.causes import cause_text
from connections.wording.connections import join_names
from connections.wording.next_steps import NextStep

MOST_TRIES = 5


def text_for(
    *,
    deletion: Deletion,
    attempts: list[Attempt],
    approvers: tuple[str, ...] | None,
    may_approve: bool,
) -> DeletionFacts:
    """The text for an open deletion."""
    if deletion.state == State.REQUESTED and deletion.needs_approval:
        return _needs_approval(deletion, attempts, approvers=approvers, may_approve=may_approve)
    if deletion.state == State.STILL_PRESENT and deletion.policy != ApprovalPolicy.NONE:
        return _still_present_with_approval(
            deletion, approvers=None if may_approve else approvers, attempts=attempts
        )
    return _TEXTS[State(deletion.state)](deletion, attempts)


def rechecking_text(attempts: list[Attempt]) -> DeletionFacts:
    """The text between confirmation and sending, when no one can do anything."""
    earlier = attempt_facts.earlier_attempts(attempts)
    what = "a new DELETE" if earlier else "anything"
    return DeletionFacts(
        headline=f"It is read again before {what} is sent.",
        lines=(earlier, "The record is already written; you may close this page."),
    )


def _approved_by(deletion: Deletion) -> list[str]:
    return [one.approver_name for one in deletion.current_approvals]


def _needs_approval(
    deletion: Deletion,
    attempts: list[Attempt],
    *,
    approvers: tuple[str, ...] | None,
    may_approve: bool,
) -> DeletionFacts:
    given = _approved_by(deletion)
    needed = ApprovalPolicy(deletion.policy).approvals_needed
    whom = "another" if given else "a second"
    nothing_new = attempt_facts.nothing_new(attempts, so_far=True)
    headline = f"Waiting for {whom} person. {nothing_new}"
    if may_approve:
        headline = f"{deletion.requested_by_name} asks to delete an org connection."
    who = ""
    if approvers is not None and not may_approve:
        who = _can_approve([name for name in approvers if name not in given])
    return DeletionFacts(
        headline=headline,
        lines=(
            f"Asked by {deletion.requested_by_name} at {format_time(deletion.requested_at)}; "
            f"expires at {format_time(deletion.expires_at)}.",
            attempt_facts.earlier_attempts(attempts),
            f"{len(given)} of {needed} approvals: {join_names(given)}." if given else "",
            who,
        ),
        steps=(NextStep.APPROVE, NextStep.DECLINE, NextStep.WITHDRAW, NextStep.BREAK_GLASS),
    )


def _can_approve(names: Sequence[str]) -> str:
    if not names:
        return "Nobody else can approve it: an administrator must give somebody the role Approver."
    return f"{join_names([*names])} can approve."


def _not_confirmed(deletion: Deletion, attempts: list[Attempt]) -> DeletionFacts:
    if deletion.cause == Cause.LISTING_FAILED:
        return _recheck_failed(deletion, attempts, headline="It could not be read again.")
    nothing_new = attempt_facts.nothing_new(attempts, so_far=True)
    return DeletionFacts(
        headline=f"It waits to be confirmed. {nothing_new}",
        lines=(
            attempt_facts.earlier_attempts(attempts),
            f"Asked by {deletion.requested_by_name} at {format_time(deletion.requested_at)}; "
            f"expires at {format_time(deletion.expires_at)}.",
        ),
        steps=(NextStep.CONFIRM, NextStep.WITHDRAW),
    )


def _recheck_failed(deletion: Deletion, attempts: list[Attempt], *, headline: str) -> DeletionFacts:
    details = deletion.cause_details
    return DeletionFacts(
        headline=f"{headline} {attempt_facts.nothing_new(attempts)}",
        lines=(
            cause_text(str(details.get("cause") or Cause.LISTING_FAILED)),
            attempt_facts.earlier_attempts(attempts),
            "Confirm again to read it once more and send it, or send it without reading it.",
            f"It expires at {format_time(deletion.expires_at)}.",
        ),
        quotes=tuple(str(text) for text in details.get("errors") or ()),
        steps=(NextStep.CONFIRM_WITHOUT_READING, NextStep.WITHDRAW),
    )


def _approved(deletion: Deletion, attempts: list[Attempt]) -> DeletionFacts:
    if deletion.cause == Cause.LISTING_FAILED:
        headline = "Approved, but it could not be read again."
        return _recheck_failed(deletion, attempts, headline=headline)
    by = join_names(_approved_by(deletion)) or "another person"
    return DeletionFacts(
        headline=f"Approved by {by}. {attempt_facts.nothing_new(attempts, so_far=True)}",
        lines=(
            attempt_facts.earlier_attempts(attempts),
            f"{deletion.requested_by_name} confirms before {format_time(deletion.expires_at)}.",
        ),
        steps=(NextStep.CONFIRM, NextStep.WITHDRAW),
    )


def _sending(deletion: Deletion, attempts: list[Attempt]) -> DeletionFacts:
    del attempts
    return DeletionFacts(
        headline="Sending to Datadog.",
        lines=(
            "The record is already written; you may close this page.",
            f"Started at {format_time(deletion.sending_at)}.",
        ),
        # 60 s after the claim, this check ends an attempt whose process was killed.
        steps=(NextStep.CHECK,),
    )


def _waiting(deletion: Deletion, attempts: list[Attempt]) -> DeletionFacts:
    last = attempts[-1] if attempts else None
    later = (
        f"Sent by itself at {format_time(deletion.due_at)}, "
        f"not later than {format_time(deletion.expires_at)}."
    )
    if deletion.due_at == deletion.expires_at:
        later = (
            "The wait is longer than the 15 minutes from confirming, so it is not sent again; "
            f"it ends at {format_time(deletion.expires_at)}."
        )
    steps = (NextStep.WITHDRAW,)
    earlier = attempt_facts.earlier_attempts(attempts)
    nothing_deleted = attempt_facts.nothing_deleted(attempts)
    if deletion.cause == Cause.RATE_LIMITED:
        return DeletionFacts(
            headline=f"Datadog asked us to wait (429). {nothing_deleted}".strip(),
            lines=("" if nothing_deleted else earlier, later),
            quotes=quotes_of(last),
            steps=steps,
        )
    nothing_new = attempt_facts.nothing_new(attempts)
    if deletion.cause == Cause.LISTING_FAILED:
        because = cause_text(str(deletion.cause_details.get("cause") or ""))
        headline = f"It could not be read again. {nothing_new}"
        return DeletionFacts(headline=headline, lines=(because, earlier, later), steps=steps)
    tries = sum(1 for one in attempts if one.verdict == AttemptResult.NOT_SENT)
    return DeletionFacts(
        headline=f"Datadog could not be reached. {nothing_new}",
        lines=(
            cause_text(deletion.cause),
            earlier,
            f"Try {min(tries + 1, MOST_TRIES)} of {MOST_TRIES} at {format_time(deletion.due_at)}.",
        ),
        steps=steps,
    )


_UNKNOWN = {
    Sent.DELETED: "Datadog returned 200; its list must confirm that it is gone.",
    Sent.UNCERTAIN: "We do not know whether it was deleted.",
}


def _unknown(deletion: Deletion, attempts: list[Attempt]) -> DeletionFacts:
    last = attempts[-1] if attempts else None
    sent = attempt_facts.sent_by(attempts) if attempts else Sent.UNCERTAIN
    # Only a late response can say so while it is unknown.
    nothing_deleted = "No response says that it was deleted; Datadog’s list must confirm that."
    look = "We never send again by ourselves"
    if deletion.due_at:
        look += f"; we look at Datadog’s list at {format_time(deletion.due_at)}"
    return DeletionFacts(
        headline=_UNKNOWN.get(sent, nothing_deleted),
        lines=(
            attempt_facts.earlier_attempts(attempts),
            cause_text(deletion.cause),
            attempt_text(last) if last and last.http_status is not None else "",
            f"{look}.",
            _last_check(deletion),
        ),
        quotes=quotes_of(last),
        steps=(NextStep.CHECK, NextStep.CLOSE),
    )


def _last_check(deletion: Deletion) -> str:
    look = deletion.cause_details.get("last_look")
    if not look:
        return ""
    if look["found"] == "cannot tell":
        return f"The last look could not tell. {cause_text(look.get('cause') or '')}".strip()
    if deletion.last_checked_at is None:
        return f"The last look found it {look['found']}; it came too early to count."
    return (
        f"Found {look['found']} at {format_time(deletion.last_checked_at)}; "
        "a second look a minute later decides."
    )


def _still_present(deletion: Deletion, attempts: list[Attempt]) -> DeletionFacts:
    is_deleted = attempt_facts.sent_by(attempts) == Sent.DELETED
    return DeletionFacts(
        headline="It is still there, although Datadog returned 200."
        if is_deleted
        else "It is still there. The request had no effect so far.",
        lines=(
            attempt_facts.earlier_attempts(attempts),
            f"Two complete listings show it, the last at {format_time(deletion.last_checked_at)}.",
            "Confirm again to read it and send it once more, or close it.",
            cause_text(deletion.cause) if deletion.cause != Cause.LISTINGS_AGREE else "",
        ),
        steps=(
            NextStep.CONFIRM_WITHOUT_READING
            if deletion.cause == Cause.LISTING_FAILED
            else NextStep.CONFIRM,
            NextStep.CHECK,
            NextStep.CLOSE,
        ),
    )


def _still_present_with_approval(
    deletion: Deletion, *, approvers: tuple[str, ...] | None, attempts: list[Attempt]
) -> DeletionFacts:
    """Another DELETE needs new approvals, then the requester's confirmation."""
    text = _still_present(deletion, attempts)
    given, until = _approved_by(deletion), format_time(deletion.expires_at)
    earlier_and_now, rest = text.lines[:2], text.lines[2:]
    if not deletion.lacks_approvals:
        by = join_names(given) or deletion.break_glass_by_name
        counts = f" This counts until {until}." if deletion.expires_at else ""
        approved = f"{by} approved another DELETE." if given else f"{by} used break glass."
        # People who have not decided can still decline.
        steps = (*text.steps, NextStep.DECLINE) if given else text.steps
        return replace(text, lines=(*earlier_and_now, f"{approved}{counts}", *rest), steps=steps)
    needed = ApprovalPolicy(deletion.policy).approvals_needed
    so_far = f": {join_names(given)}" if given else ""
    return replace(
        text,
        lines=(
            *earlier_and_now,
            "Another DELETE needs approval again: an approval covers one sending.",
            f"{len(given)} of {needed} approvals{so_far}.",
            f"Approvals lapse at {until}." if given and deletion.expires_at else "",
            "" if approvers is None else _can_approve(approvers),
        ),
        steps=(
            NextStep.APPROVE,
            NextStep.DECLINE,
            NextStep.BREAK_GLASS,
            NextStep.CHECK,
            NextStep.CLOSE,
        ),
    )


_TEXTS: dict[State, Callable[[Deletion, list[Attempt]], DeletionFacts]] = {
    State.REQUESTED: _not_confirmed,
    State.APPROVED: _approved,
    State.SENDING: _sending,
    State.WAITING: _waiting,
    State.UNKNOWN: _unknown,
    State.STILL_PRESENT: _still_present,
}

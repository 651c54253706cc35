"""What is said of a deletion that is still open."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from connections.datadog.errors import Cause as DatadogCause
from connections.datadog.errors import Verdict
from connections.models import Attempt, Cause, Deletion, Policy, State
from connections.wording.causes import cause_words
from connections.wording.effects import names_in_words
from connections.wording.said import Said, attempt_words, quotes_of
from connections.wording.steps import Step
from connections.wording.times import at_words

MOST_TRIES = 5


def say(
    *,
    deletion: Deletion,
    attempts: list[Attempt],
    approvers: tuple[str, ...] | None,
    may_approve: bool,
) -> Said:
    """The words for an open deletion."""
    if deletion.state == State.REQUESTED and deletion.needs_approval:
        return _needs_approval(deletion, approvers=approvers, may_approve=may_approve)
    if deletion.state == State.STILL_PRESENT and deletion.policy != Policy.NONE:
        return _still_present_with_approval(
            deletion, approvers=None if may_approve else approvers, attempts=attempts
        )
    return _SAY[State(deletion.state)](deletion, attempts)


def say_being_read() -> Said:
    """The words between the confirmation and the sending; nobody has anything to do meanwhile."""
    return Said(
        headline="It is read again before anything is sent.",
        lines=("The record is already written; you may close this page.",),
    )


def _approved_by(deletion: Deletion) -> list[str]:
    return [one.approver_name for one in deletion.current_approvals]


def _needs_approval(
    deletion: Deletion, *, approvers: tuple[str, ...] | None, may_approve: bool
) -> Said:
    given = _approved_by(deletion)
    needed = Policy(deletion.policy).approvals_needed
    headline = "Waiting for a second person. Nothing has been sent."
    if given:
        headline = "Waiting for another person. Nothing has been sent."
    if may_approve:
        headline = f"{deletion.requested_by_name} asks to delete an org connection."
    who = ""
    if approvers is not None and not may_approve:
        who = _can_approve([name for name in approvers if name not in given])
    return Said(
        headline=headline,
        lines=(
            f"Asked by {deletion.requested_by_name} at {at_words(deletion.requested_at)}; "
            f"expires at {at_words(deletion.expires_at)}.",
            f"{len(given)} of {needed} approvals: {names_in_words(given)}." if given else "",
            who,
        ),
        steps=(Step.APPROVE, Step.DECLINE, Step.WITHDRAW, Step.BREAK_GLASS),
    )


def _can_approve(names: Sequence[str]) -> str:
    if not names:
        return "Nobody else can approve it: an administrator must give somebody the role Approver."
    return f"{names_in_words([*names])} can approve."


def _not_confirmed(deletion: Deletion, attempts: list[Attempt]) -> Said:
    del attempts
    if deletion.cause == Cause.LISTING_FAILED:
        return _not_read(deletion, headline="It could not be read again. Nothing was sent.")
    return Said(
        headline="It waits to be confirmed. Nothing has been sent.",
        lines=(
            f"Asked by {deletion.requested_by_name} at {at_words(deletion.requested_at)}; "
            f"expires at {at_words(deletion.expires_at)}.",
        ),
        steps=(Step.CONFIRM, Step.WITHDRAW),
    )


def _not_read(deletion: Deletion, *, headline: str) -> Said:
    details = deletion.cause_details
    return Said(
        headline=headline,
        lines=(
            cause_words(str(details.get("cause") or Cause.LISTING_FAILED)),
            "Confirm again to read it once more and send it, or send it without reading it.",
            f"It expires at {at_words(deletion.expires_at)}.",
        ),
        quotes=tuple(str(text) for text in details.get("errors") or ()),
        steps=(Step.CONFIRM_WITHOUT_READING, Step.WITHDRAW),
    )


def _approved(deletion: Deletion, attempts: list[Attempt]) -> Said:
    del attempts
    if deletion.cause == Cause.LISTING_FAILED:
        headline = "Approved, but it could not be read again. Nothing was sent."
        return _not_read(deletion, headline=headline)
    by = names_in_words(_approved_by(deletion)) or "another person"
    return Said(
        headline=f"Approved by {by}. Nothing has been sent.",
        lines=(f"{deletion.requested_by_name} confirms before {at_words(deletion.expires_at)}.",),
        steps=(Step.CONFIRM, Step.WITHDRAW),
    )


def _sending(deletion: Deletion, attempts: list[Attempt]) -> Said:
    del attempts
    return Said(
        headline="Sending to Datadog.",
        lines=(
            "The record is already written; you may close this page.",
            f"Sent since {at_words(deletion.sending_at)}.",
        ),
        # Sixty seconds after the claim, the check ends a sending whose process was killed.
        steps=(Step.CHECK,),
    )


def _waiting(deletion: Deletion, attempts: list[Attempt]) -> Said:
    last = attempts[-1] if attempts else None
    later = (
        f"Sent by itself at {at_words(deletion.due_at)}, "
        f"not later than {at_words(deletion.expires_at)}."
    )
    if deletion.due_at == deletion.expires_at:
        later = (
            "The wait is longer than the 15 minutes from confirming, so it will not be sent; "
            f"it ends at {at_words(deletion.expires_at)}."
        )
    steps = (Step.WITHDRAW,)
    if deletion.cause == DatadogCause.RATE_LIMITED:
        headline = "Datadog asked us to wait (429). Nothing was deleted."
        return Said(headline=headline, lines=(later,), quotes=quotes_of(last), steps=steps)
    if deletion.cause == Cause.LISTING_FAILED:
        because = cause_words(str(deletion.cause_details.get("cause") or ""))
        headline = "It could not be read again. Nothing was sent."
        return Said(headline=headline, lines=(because, later), steps=steps)
    tries = sum(1 for one in attempts if one.verdict == Verdict.NOT_SENT)
    return Said(
        headline="Datadog could not be reached. Nothing was sent.",
        lines=(
            cause_words(deletion.cause),
            f"Try {min(tries + 1, MOST_TRIES)} of {MOST_TRIES} at {at_words(deletion.due_at)}.",
        ),
        steps=steps,
    )


_SURE_CAUSES = {
    DatadogCause.BAD_REQUEST,
    DatadogCause.UNAUTHORIZED,
    DatadogCause.FORBIDDEN,
    Cause.TOO_MANY_TRIES,
    Cause.TOO_LATE,
    Cause.PERSON_LOST_RIGHT,
    Cause.CREDENTIAL_RETIRED,
}


def _unknown(deletion: Deletion, attempts: list[Attempt]) -> Said:
    last = attempts[-1] if attempts else None
    if deletion.cause in _SURE_CAUSES:
        # What is known is about the last step; an earlier attempt is what is not known.
        lost = "An earlier request was sent and its answer was lost."
    else:
        lost = "The request was sent and may have been carried out."
    look = "We never send again by ourselves"
    if deletion.due_at:
        look += f"; we look at Datadog’s list at {at_words(deletion.due_at)}"
    return Said(
        headline="We do not know whether it was deleted.",
        lines=(
            lost,
            cause_words(deletion.cause),
            attempt_words(last) if last and last.http_status is not None else "",
            f"{look}.",
            _last_look(deletion),
        ),
        quotes=quotes_of(last),
        steps=(Step.CHECK, Step.CLOSE),
    )


def _last_look(deletion: Deletion) -> str:
    look = deletion.cause_details.get("last_look")
    if not look:
        return ""
    if look["found"] == "cannot tell":
        return f"The last look could not tell. {cause_words(look.get('cause') or '')}".strip()
    if deletion.looked_at is None:
        return f"The last look found it {look['found']}; it came too early to count."
    return (
        f"Found {look['found']} at {at_words(deletion.looked_at)}; "
        "a second look a minute later decides."
    )


def _still_present(deletion: Deletion, attempts: list[Attempt]) -> Said:
    del attempts
    return Said(
        headline="It is still there. The request had no effect so far.",
        lines=(
            f"Two complete listings show it, the last at {at_words(deletion.looked_at)}.",
            "Confirm again to read it and send it once more, or close it.",
            cause_words(deletion.cause) if deletion.cause != Cause.LISTINGS_AGREE else "",
        ),
        steps=(
            Step.CONFIRM_WITHOUT_READING
            if deletion.cause == Cause.LISTING_FAILED
            else Step.CONFIRM,
            Step.CHECK,
            Step.CLOSE,
        ),
    )


def _still_present_with_approval(
    deletion: Deletion, *, approvers: tuple[str, ...] | None, attempts: list[Attempt]
) -> Said:
    """What another DELETE needs: approvals of its own, then the requester's confirmation."""
    said = _still_present(deletion, attempts)
    given, until = _approved_by(deletion), at_words(deletion.expires_at)
    shows_it = said.lines[0]
    if not deletion.lacks_approvals:
        by = names_in_words(given) or deletion.glass_broken_by_name
        counts = f" This counts until {until}." if deletion.expires_at else ""
        approved = f"{by} approved another DELETE." if given else f"{by} used break glass."
        # Whoever has not decided may still object.
        steps = (*said.steps, Step.DECLINE) if given else said.steps
        return replace(said, lines=(shows_it, f"{approved}{counts}", *said.lines[1:]), steps=steps)
    needed = Policy(deletion.policy).approvals_needed
    so_far = f": {names_in_words(given)}" if given else ""
    return replace(
        said,
        lines=(
            shows_it,
            "Another DELETE needs approval again: an approval covers one sending.",
            f"{len(given)} of {needed} approvals{so_far}.",
            f"Approvals lapse at {until}." if given and deletion.expires_at else "",
            "" if approvers is None else _can_approve(approvers),
        ),
        steps=(Step.APPROVE, Step.DECLINE, Step.BREAK_GLASS, Step.CHECK, Step.CLOSE),
    )


_SAY: dict[State, Callable[[Deletion, list[Attempt]], Said]] = {
    State.REQUESTED: _not_confirmed,
    State.APPROVED: _approved,
    State.SENDING: _sending,
    State.WAITING: _waiting,
    State.UNKNOWN: _unknown,
    State.STILL_PRESENT: _still_present,
}

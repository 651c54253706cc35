"""What deletions say: each status, and the page of one deletion."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connections.change_requests import attempt_facts
from connections.change_requests.attempt_facts import response_text
from connections.change_requests.exclusion import stale_text
from connections.change_requests.status import RequestStatus, is_retry_too_late, retry_text
from connections.core.causes import Cause, cause_text
from connections.core.text import format_limit, format_span, format_time, join_names
from connections.core.time_limits import SENDING_WINDOW
from connections.datadog.responses import AttemptResult
from connections.deletions.claims import Claim, claim_text
from connections.deletions.confirmations import confirming_people
from connections.deletions.status import (
    DeletionEnd,
    DeletionStatus,
    retried_since,
)
from connections.models import ApprovalPolicy, Attempt, BatchState, Deletion, Outcome, State
from connections.verifier.rules import Sent


@dataclass(frozen=True)
class StatusText:
    """The label of a status, what happened, and what that means.

    The headline has no full stop. All can contain the fields of `_fields`. `claim` is what the
    meaning says about the attempts, in place of its field `{claim}`. It is left out or replaced if
    the recorded attempts make it untrue.
    """

    label: str
    headline: str
    claim: Claim | None = None
    meaning: str = "{claim}"


_TEXTS = {
    RequestStatus.NEEDS_APPROVAL: StatusText(
        "Needs approval", "Waiting for approval", Claim.NOTHING_SENT_YET
    ),
    RequestStatus.NEEDS_CONFIRMATION: StatusText(
        "Needs confirmation", "{requester} must confirm", Claim.NOTHING_SENT_YET
    ),
    RequestStatus.APPROVED: StatusText(
        "Approved", "{requester} must confirm by {deadline}", Claim.NOTHING_SENT_YET
    ),
    RequestStatus.CHECKING: StatusText(
        "Checking",
        "Checking the connection before sending",
        Claim.NOTHING_SENT_YET,
        "{claim}{confirmed}",
    ),
    RequestStatus.CONFIRMED: StatusText("Confirmed", "Confirmed", Claim.DELETE_NOT_SENT_YET),
    RequestStatus.CHECK_FAILED: StatusText(
        "Check failed", "The pre-send check failed", Claim.NOTHING_SENT
    ),
    RequestStatus.SENDING: StatusText(
        "Sending",
        "The DELETE is in progress",
        meaning="You can close this page; the result is recorded.",
    ),
    RequestStatus.RATE_LIMITED: StatusText(
        "Rate limited",
        "Rate limited (429)",
        Claim.NOTHING_DELETED,
        "{claim} {retries}{retry_limit}.",
    ),
    RequestStatus.QUEUED: StatusText(
        "Queued", "Confirmed", meaning="Waits for its turn in the bulk deletion."
    ),
    RequestStatus.RETRYING: StatusText(
        "Retrying",
        "The request could not leave this server",
        Claim.NOTHING_DELETED,
        "{claim} {retries}.",
    ),
    RequestStatus.UNKNOWN: StatusText(
        "Unknown", "Outcome unknown", Claim.MIGHT_HAVE_WORKED, "{claim} Never resent automatically."
    ),
    RequestStatus.NO_EFFECT: StatusText(
        State.STILL_PRESENT.label,
        "No effect so far",
        meaning="Two complete syncs still list the connection. Never resent automatically.",
    ),
    DeletionEnd.DELETED: StatusText(Outcome.DELETED.label, "Deleted and verified"),
    DeletionEnd.DELETED_VERIFYING: StatusText("Deleted, verifying", "Deleted", meaning="{then}"),
    DeletionEnd.DELETED_UNVERIFIED: StatusText(
        "Deleted, unverified", "Deleted", meaning="No complete sync has confirmed it yet."
    ),
    DeletionEnd.STILL_LISTED: StatusText("Still listed", "{reported}, but Datadog still lists it"),
    DeletionEnd.REAPPEARED: StatusText("Reappeared", "The connection was gone and is listed again"),
    DeletionEnd.GONE_LATER: StatusText(
        "Gone later", "Listed after this deletion, but not in the latest complete sync"
    ),
    DeletionEnd.NOT_FOUND: StatusText(
        Outcome.ALREADY_ABSENT.label, "Not found (404)", Claim.DELETED_NOTHING
    ),
    DeletionEnd.ALREADY_GONE: StatusText(
        "Already gone", "No longer listed in the pre-send check", Claim.NOTHING_SENT
    ),
    DeletionEnd.NOT_LISTED: StatusText(
        "Not listed", "This credential doesn't list that ID", Claim.NOTHING_SENT
    ),
    DeletionEnd.GONE_UNPROVEN: StatusText(
        Outcome.GONE_UNATTRIBUTED.label,
        "Gone, but not proven to be this request",
        Claim.RESPONSE_LOST,
    ),
    DeletionEnd.FAILED: StatusText(
        Outcome.REFUSED.label + "{http_status}", "{refusal}", Claim.NOTHING_DELETED
    ),
    DeletionEnd.NOT_SENT: StatusText("Not sent", "{cause}", Claim.NOTHING_SENT),
    DeletionEnd.GAVE_UP: StatusText(Outcome.NOT_SENT.label, "{cause}", Claim.DELETED_NOTHING),
    DeletionEnd.CHANGED: StatusText(Outcome.STALE.label, "{stale}", Claim.NOTHING_SENT),
    DeletionEnd.DECLINED: StatusText("Declined", "Declined by {by}", Claim.NOTHING_DELETED),
    DeletionEnd.WITHDRAWN: StatusText("Withdrawn", "Withdrawn by {by}", Claim.NOTHING_DELETED),
    RequestStatus.EXPIRED: StatusText("Expired", "Expired at {ended}", Claim.NOTHING_DELETED),
    DeletionEnd.UNRESOLVED: StatusText(
        "Unresolved", "Closed by {by}", meaning="The outcome was never determined."
    ),
}
_REFUSALS: dict[str, tuple[int, str]] = {
    Cause.BAD_REQUEST: (400, "Bad request (400)"),
    Cause.UNAUTHORIZED: (401, "Invalid keys (401)"),
    Cause.FORBIDDEN: (403, "Permission denied (403)"),
}


def _fields(deletion: Deletion) -> dict[str, str]:
    http_status, refusal = _REFUSALS.get(deletion.cause, (0, "Datadog refused the request"))
    return {
        "requester": confirming_people(deletion),
        "confirmed": f" Confirmed by {name}." if (name := deletion.confirmed_by_name) else "",
        "by": deletion.settled_by_name or "a person",
        "stale": stale_text(deletion.cause),
        "deadline": format_time(deletion.expires_at),
        "retries": retry_text(deletion),
        "then": f"Next check of Datadog's list: {format_time(deletion.due_at)}."
        if deletion.last_checked_at
        else "Checking that Datadog no longer lists it…",
        "retry_limit": ""
        if is_retry_too_late(deletion)
        else f", up to {format_span(SENDING_WINDOW)} after {retried_since(deletion)}",
        "ended": format_time(deletion.settled_at or deletion.expires_at),
        "reported": "Deleted" if deletion.outcome == Outcome.DELETED else "Not found (404)",
        "http_status": f" ({http_status})" if http_status else "",
        "refusal": refusal,
        "cause": cause_text(deletion.cause).removesuffix(".") or "Org Admin stopped trying",
    }


def label_of(deletion: Deletion, *, status: DeletionStatus) -> str:
    """The label of a deletion's status: "Failed (403)"."""
    return _TEXTS[status].label.format_map(_fields(deletion))


def explain(deletion: Deletion, *, status: DeletionStatus, sent: Sent | None) -> str:
    """The explanation of a deletion's status, which claims only what `sent` makes true."""
    headline, meaning = _explain(deletion, status=status, sent=sent)
    return f"{headline}. {meaning}".strip()


def _explain(
    deletion: Deletion, *, status: DeletionStatus, sent: Sent | None, requester: str = ""
) -> tuple[str, str]:
    """The headline and the meaning of a deletion's status.

    `requester` is what the headline calls the requester, if not by name.
    """
    text = _TEXTS[status]
    fields = _fields(deletion) | {"claim": claim_text(text.claim, sent=sent) if text.claim else ""}
    if requester:
        fields["requester"] = requester
    meaning = " ".join(text.meaning.format_map(fields).split())
    return text.headline.format_map(fields), meaning


# Their labels say everything.
_SAID_BY_LABEL = {
    RequestStatus.QUEUED,
    RequestStatus.SENDING,
    DeletionEnd.DECLINED,
    DeletionEnd.WITHDRAWN,
    RequestStatus.EXPIRED,
}


def result_text(deletion: Deletion, *, status: DeletionStatus) -> str:
    """What a list says beside the label of a status: "200 OK in 143 ms". Reads the attempts."""
    attempts = list(deletion.attempts.all())
    if status in _SAID_BY_LABEL:
        # The attempt in progress has done nothing yet that could be said.
        is_sending = status == RequestStatus.SENDING
        return attempt_facts.earlier_attempts(attempts[:-1] if is_sending else attempts)
    deciding = _deciding(attempts)
    if status in _DELETED and deciding:
        return response_text(deciding)
    sent = attempt_facts.sent_by(attempts)
    if status == RequestStatus.UNKNOWN:
        return claim_text(Claim.MIGHT_HAVE_WORKED, sent=sent)
    return explain(deletion, status=status, sent=sent)


@dataclass(frozen=True, kw_only=True)
class RequestText:
    """What a page says about one deletion.

    `quotes` are Datadog's own texts. `alarms` are warnings next to the status.
    """

    # The title of its page.
    title: str
    # The label of its status.
    label: str
    # What happened, without a full stop, and what that means, which can be empty.
    headline: str
    meaning: str
    # What was recorded about the attempt that decided it.
    facts: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()

    @property
    def sentences(self) -> str:
        """What happened and what that means."""
        return f"{self.headline}. {self.meaning}".strip()


def describe(
    deletion: Deletion,
    *,
    status: DeletionStatus,
    now: datetime | None = None,
    approvers: tuple[str, ...] | None = None,
    can_approve: bool = False,
    is_requester: bool = False,
    have_approvals_expired: bool = False,
    listed_by: str = "",
    block: str = "",
) -> RequestText:
    """The text for one deletion with this status.

    With `now`, times of that day have no date. `approvers` are the names of the people who can
    approve it; None leaves that sentence out. `can_approve` says whether the reader is one of them,
    and `is_requester` whether the reader requested it.
    `have_approvals_expired` says whether those of another attempt expired and no worker has ended
    them yet. `listed_by` is the credential that listed the connection after the deletion was closed
    as gone. `block` is why a confirmation would be refused. Reads the deletion's attempts and, if
    needed, its approvals. Both can be prefetched.
    """
    attempts = list(deletion.attempts.all())
    refusal = f"This deletion can't be confirmed. {block}" if block else ""
    headline, meaning = _headline(
        deletion, status=status, attempts=attempts, block=block, is_requester=is_requester
    )
    if deletion.is_settled:
        lines = _closed_lines(deletion, status=status, attempts=attempts, listed_by=listed_by)
    else:
        lines = _open_lines(deletion, status=status, attempts=attempts, refusal=refusal)
    if status in {RequestStatus.NEEDS_APPROVAL, RequestStatus.NO_EFFECT}:
        lines += _approval_lines(
            deletion,
            approvers=None if can_approve else approvers,
            have_expired=have_approvals_expired,
        )
    return RequestText(
        title=_title(deletion, status=status, can_approve=can_approve),
        label=label_of(deletion, status=status),
        headline=headline,
        meaning=meaning,
        facts=_facts(deletion, status=status, attempts=attempts, now=now),
        lines=tuple(line for line in lines if line),
        quotes=_quotes(deletion, status=status, attempts=attempts),
        alarms=attempt_facts.late_response_texts(attempts),
    )


_DELETED = {
    DeletionEnd.DELETED,
    DeletionEnd.DELETED_VERIFYING,
    DeletionEnd.DELETED_UNVERIFIED,
}


def _title(deletion: Deletion, *, status: DeletionStatus, can_approve: bool) -> str:
    if can_approve and status == RequestStatus.NEEDS_APPROVAL:
        return f"{deletion.requested_by_name} requests your approval"
    return f"{'Deleted' if status in _DELETED else 'Deletion of'} {pair_text(deletion)}"


def pair_text(deletion: Deletion) -> str:
    """ "Payments EU → Group SOC", or the end of the ID of a connection that wasn't listed."""
    if not deletion.is_reviewed:
        return f"…{str(deletion.connection_id)[-8:]}"
    return deletion.pair


# Their headline asks for the confirmation.
_TO_CONFIRM = {RequestStatus.NEEDS_CONFIRMATION, RequestStatus.APPROVED}
# What a 200 means for these, which otherwise say that the response was lost or without effect.
_AFTER_SUCCESS = {
    RequestStatus.UNKNOWN: (
        "Datadog returned 200",
        "A complete sync must confirm that the connection is gone.",
    ),
    DeletionEnd.GONE_UNPROVEN: ("Gone, and Datadog returned 200", ""),
    RequestStatus.NO_EFFECT: (
        "Datadog returned 200, but two complete syncs still list the connection",
        "",
    ),
}


def _headline(
    deletion: Deletion,
    *,
    status: DeletionStatus,
    attempts: list[Attempt],
    block: str,
    is_requester: bool,
) -> tuple[str, str]:
    """The headline and the meaning, from everything that is recorded."""
    sent = attempt_facts.sent_by(attempts)
    requester = "You" if is_requester else ""
    headline, meaning = _explain(deletion, status=status, sent=sent, requester=requester)
    if block and status in _TO_CONFIRM:
        return "This deletion can't be confirmed", f"{block} {meaning}"
    if sent == Sent.DONE and status in _AFTER_SUCCESS:
        return _AFTER_SUCCESS[status]
    if status == RequestStatus.APPROVED:
        names = [approval.approver_name for approval in deletion.current_approvals]
        return f"Approved by {join_names(names) or 'another person'}", f"{headline}. {meaning}"
    if status == RequestStatus.NEEDS_APPROVAL and deletion.current_approvals:
        return "Waiting for 1 more approval", meaning
    was_limited = bool(attempts) and attempts[-1].verdict == AttemptResult.RATE_LIMITED
    if was_limited and deletion.cause in {Cause.TOO_LATE, Cause.NOT_RETRIED_IN_TIME}:
        limit = format_limit(SENDING_WINDOW)
        nothing = claim_text(Claim.NOTHING_DELETED, sent=sent)
        return f"Rate limited for {limit}; Org Admin stopped retrying", nothing
    return headline, meaning


def _facts(
    deletion: Deletion, *, status: DeletionStatus, attempts: list[Attempt], now: datetime | None
) -> tuple[str, ...]:
    facts = list(attempt_facts.response_facts(_deciding(attempts), now=now))
    if status == DeletionEnd.DELETED:
        facts.append(f"no longer listed at {format_time(deletion.verified_at, today=now)}")
    elif status == RequestStatus.SENDING:
        facts = [f"Started at {format_time(deletion.sending_at, today=now)}"]
    elif status in _EXPIRING and deletion.expires_at:
        facts.append(f"Expires at {format_time(deletion.expires_at, today=now)}")
    return tuple(facts)


_EXPIRING = {
    RequestStatus.NEEDS_APPROVAL,
    RequestStatus.NEEDS_CONFIRMATION,
    RequestStatus.CHECK_FAILED,
}


def _deciding(attempts: list[Attempt]) -> Attempt | None:
    """The attempt that the facts are about: the one that got a 200, or else the last."""
    deleted = [attempt for attempt in attempts if attempt.verdict == AttemptResult.DELETED]
    return next(reversed(deleted or attempts), None)


def _other_attempts(attempts: list[Attempt]) -> str:
    """What the attempts did, apart from what the facts say about one of them.

    The facts of an attempt without a clear response don't say that it might have worked.
    """
    deciding = _deciding(attempts)
    return attempt_facts.earlier_attempts(
        attempt
        for attempt in attempts
        if attempt is not deciding or attempt_facts.sent_by([attempt]) == Sent.UNCERTAIN
    )


def _open_lines(
    deletion: Deletion, *, status: DeletionStatus, attempts: list[Attempt], refusal: str
) -> list[str]:
    """What an open status needs in addition to its headline. Some of the lines can be empty."""
    others, cause = _other_attempts(attempts), _cause_beside_facts(deletion, attempts=attempts)
    match status:
        case RequestStatus.EXPIRED:
            return ["No worker has closed it yet. Once it is withdrawn, it can be requested again."]
        case RequestStatus.SENDING:
            return []
        case RequestStatus.CHECK_FAILED:
            then = refusal or "Confirm to check again and send, or skip the check."
            if deletion.state == State.WAITING:
                then = _until_resumed(deletion) or f"{retry_text(deletion)}."
            why = cause_text(str(deletion.cause_details.get("cause") or ""))
            return [why, others, then]
        case RequestStatus.RATE_LIMITED:
            return [_uncertain_attempts(attempts), _until_resumed(deletion)]
        case RequestStatus.RETRYING:
            return [cause, others, _until_resumed(deletion)]
        case RequestStatus.UNKNOWN:
            is_said = len(attempts) == 1 and attempt_facts.sent_by(attempts) == Sent.UNCERTAIN
            return [
                "" if is_said else others,
                cause,
                _next_check(deletion),
                _last_check(deletion),
            ]
        case RequestStatus.NO_EFFECT:
            return [
                f"{others} Datadog's list might be behind.".strip(),
                f"Last check at {format_time(deletion.last_checked_at)}.",
                refusal or "Confirm to send a new DELETE, or close this deletion as unresolved.",
                cause if deletion.cause != Cause.LISTINGS_AGREE else "",
            ]
        case _:
            blocked = refusal if status not in _TO_CONFIRM else ""
            return [others, _until_resumed(deletion), blocked]


def _cause_beside_facts(deletion: Deletion, *, attempts: list[Attempt]) -> str:
    """The cause, unless the facts already give it for an attempt without a response."""
    deciding = _deciding(attempts)
    if deciding and deciding.http_status is None and deciding.cause == deletion.cause:
        return ""
    return cause_text(deletion.cause)


def _until_resumed(deletion: Deletion) -> str:
    batch = deletion.batch if deletion.is_run_by_batch else None
    is_paused = batch is not None and batch.state == BatchState.PAUSED
    return "Waits until the bulk deletion is resumed." if is_paused else ""


def _closed_lines(
    deletion: Deletion, *, status: DeletionStatus, attempts: list[Attempt], listed_by: str
) -> list[str]:
    """What a closed status needs in addition to its headline. Some of the lines can be empty."""
    others = _other_attempts(attempts)
    match status:
        case DeletionEnd.DELETED:
            return []
        case DeletionEnd.DELETED_VERIFYING | DeletionEnd.DELETED_UNVERIFIED:
            return [_last_check(deletion)]
        case DeletionEnd.STILL_LISTED | DeletionEnd.REAPPEARED | DeletionEnd.GONE_LATER:
            return [_contradiction(deletion, listed_by=listed_by), others]
        case DeletionEnd.NOT_FOUND | DeletionEnd.NOT_LISTED:
            other_org = (
                "It was deleted earlier, or it isn't a connection of "
                f"{deletion.credential_name}'s org."
            )
            return [_uncertain_attempts(attempts), other_org]
        case DeletionEnd.FAILED:
            return [_uncertain_attempts(attempts), _CHECKS.get(deletion.cause, "")]
        case DeletionEnd.NOT_SENT | DeletionEnd.GAVE_UP:
            return [others]
        case DeletionEnd.ALREADY_GONE:
            seen_at = deletion.snapshot_at
            return [others, f"Last listed at {format_time(seen_at)}." if seen_at else ""]
        case DeletionEnd.CHANGED:
            return [*_before_and_after(deletion), others]
        case _:
            reason = f"“{deletion.settled_reason}”" if deletion.settled_reason else ""
            cause = _cause_beside_facts(deletion, attempts=attempts)
            if deletion.cause == Cause.LISTINGS_AGREE:
                cause = "Two complete syncs, at least a minute apart, no longer list it."
            return [reason, cause, others]


def _approval_lines(
    deletion: Deletion, *, approvers: tuple[str, ...] | None, have_expired: bool
) -> list[str]:
    policy = ApprovalPolicy(deletion.policy)
    if policy == ApprovalPolicy.NONE:
        return []
    names = [approval.approver_name for approval in deletion.current_approvals]
    verb = "expired" if have_expired else "expire"
    deadline = f"Approvals {verb} at {format_time(deletion.expires_at)}." if names else ""
    is_approved = deletion.state == State.STILL_PRESENT and not deletion.lacks_approvals
    if is_approved and not have_expired:
        by = join_names(names) or f"{deletion.break_glass_by_name} (break glass)"
        return [f"A new DELETE is approved by {by}.", deadline if deletion.expires_at else ""]
    can_approve = f"{join_names(approvers or ())} can approve."
    if not approvers:
        can_approve = "No one else can approve this. Ask an administrator to add an Approver."
    is_first = deletion.state == State.REQUESTED
    return [
        "" if is_first else "A new DELETE needs new approvals: each covers one attempt.",
        "" if is_first else deadline,
        "" if approvers is None else can_approve,
    ]


def _uncertain_attempts(attempts: list[Attempt]) -> str:
    """What the attempts did, if one of them might have deleted the connection."""
    if attempt_facts.sent_by(attempts) <= Sent.REFUSED:
        return ""
    return attempt_facts.earlier_attempts(attempts)


def _next_check(deletion: Deletion) -> str:
    due_at = deletion.due_at
    return f"Next check of Datadog's list: {format_time(due_at)}." if due_at else ""


def _last_check(deletion: Deletion) -> str:
    last = deletion.cause_details.get("last_check")
    if not last:
        return ""
    if last["found"] == "cannot tell":
        why = cause_text(last.get("cause") or "")
        return f"The last check was inconclusive. {why}".strip()
    if deletion.state != State.UNKNOWN:
        return "The last check still listed the connection. Datadog's list might be behind."
    if deletion.last_checked_at is None:
        return f"Last check: {last['found']}. It ran too soon after the attempt to count."
    return (
        f"Last check at {format_time(deletion.last_checked_at)}: {last['found']}. A second check, "
        "at least a minute later, decides."
    )


def _contradiction(deletion: Deletion, *, listed_by: str) -> str:
    by, at = listed_by or "another credential", format_time(deletion.contradicted_at)
    if deletion.last_check_listed is False:
        gone_at = format_time(deletion.last_checked_at)
        return f"Listed by {by} at {at}; not in a complete sync at {gone_at}."
    return f"Listed by {by} at {at}. The list might be behind, or someone recreated it."


# What to look at after a refusal.
_CHECKS: dict[str, str] = {
    Cause.UNAUTHORIZED: "A key was mistyped or revoked, or its owner was disabled.",
    Cause.FORBIDDEN: (
        "Check that the role and the key's scopes include org_connections_write. A restriction "
        "policy or a key from another site also returns 403."
    ),
}


def _before_and_after(deletion: Deletion) -> list[str]:
    before = _connection_text(
        deletion.source_org_name, deletion.sink_org_name, deletion.connection_types
    )
    now: dict[str, Any] = deletion.cause_details.get("now_says") or {}
    if not now:
        return [f"Before: {before}."]
    after = _connection_text(now["source_org_name"], now["sink_org_name"], now["connection_types"])
    return [f"Before: {before}.", f"Now: {after}."]


def _connection_text(source: str, sink: str, types: list[str]) -> str:
    if not source and not sink:
        return "unknown"
    return f"{source or '?'} → {sink or '?'}: {join_names(types) or 'no data types'}"


_WITH_QUOTES = {
    RequestStatus.RATE_LIMITED,
    RequestStatus.UNKNOWN,
    DeletionEnd.STILL_LISTED,
    DeletionEnd.REAPPEARED,
    DeletionEnd.GONE_LATER,
    DeletionEnd.NOT_FOUND,
    DeletionEnd.FAILED,
}


def _quotes(
    deletion: Deletion, *, status: DeletionStatus, attempts: list[Attempt]
) -> tuple[str, ...]:
    """Datadog's error texts of the last attempt, or of the failed check."""
    errors: list[Any] = []
    if status == RequestStatus.CHECK_FAILED:
        errors = deletion.cause_details.get("errors") or []
    elif status in _WITH_QUOTES and attempts:
        errors = attempts[-1].errors
    return tuple(str(text) for text in errors)

"""The life of a request after it was made: confirm, withdraw, close and expire."""

from datetime import datetime, timedelta

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.change_requests import attempt_facts, exclusion, follow_ups, sending, states
from connections.change_requests.actions import action_of
from connections.change_requests.states import BecomeUnknown, Confirm, EndRound, Settle
from connections.core import clock, time_limits
from connections.core.causes import Cause, cause_text
from connections.core.errors import ConflictError, InvalidInputError, OvertakenError
from connections.core.text import format_limit
from connections.core.typed_text import clean_text, confirmation_matches
from connections.models import ApprovalPolicy, ChangeRequest, CommonOutcome, State, Step


def execute[R: ChangeRequest](
    *,
    change_request: R,
    actor: Actor,
    confirmation: str,
    skip_recheck: bool = False,
) -> R:
    """Confirm a request by its typed text and send it.

    A request that is already being sent, or is settled, is returned unchanged, so a second click
    does nothing. A request without effect that needs approval is refused until it is approved
    again. Raises PermissionDenied, InvalidInputError, ConflictError and UnavailableError, each with
    nothing sent.
    """
    action = action_of(change_request)
    permissions.require(
        permissions.can_use(actor, credential_id=change_request.credential_id),
        f"{action.permission} with it",
    )
    now = clock.now()
    lapse_approvals(change_request=change_request, actor=actor, now=now)
    require_not_run_by_batch(change_request)
    if states.is_awaiting_approval(change_request):
        again = "needs approval again" if change_request.epoch else "still needs approval"
        raise OvertakenError(
            f"This {change_request.label} {again}. "
            f"{attempt_facts.not_sent_sentence_of(change_request)}"
        )
    if not is_awaiting_confirmation(change_request):
        return change_request
    if not action.can_confirm(change_request, person=actor.person):
        who = "Only someone who didn't approve it can"
        if change_request.requested_by_id:
            who = f"Only {change_request.requested_by_name}, who requested it, can"
        raise ConflictError(f"{who} confirm this {change_request.label}.")
    if states.is_being_rechecked(change_request, now=now):
        return change_request
    expected = action.confirmation_text(change_request, actor=actor)
    if not confirmation_matches(typed=confirmation, expected=expected):
        raise InvalidInputError({"confirmation": f"Type {expected}."})
    if states.has_expired(change_request, now=now):
        not_sent_sentence = attempt_facts.not_sent_sentence_of(change_request)
        raise ConflictError(
            f"This {change_request.label} expired. {not_sent_sentence} Request it again."
        )
    # Only a deletion can be sent without a pre-send check, and only after one has failed.
    can_skip = action.can_skip_recheck and change_request.cause == Cause.LISTING_FAILED
    skip_recheck = skip_recheck and can_skip
    # If anything forbids sending it, that must show before it counts as confirmed.
    client = sending.require_sendable(change_request=change_request, confirmed_by=actor.person)
    with audit.atomic():
        excluded = exclusion.lock_excluded([change_request], actor=actor)
        confirmed = states.apply(
            change_request,
            transition=Confirm(at=now),
            actor=actor,
            events=[_confirmed_event(change_request, actor=actor, skip_recheck=skip_recheck)],
        )
        if not confirmed:
            return change_request
        exclusion.settle_excluded(excluded, by=[change_request], actor=actor)
    return sending.send(
        change_request=change_request,
        actor=actor,
        client=client,
        skip_recheck=skip_recheck,
        now=now,
    )


def require_not_run_by_batch(change_request: ChangeRequest) -> None:
    """Raise ConflictError if its bulk deletion must be approved or confirmed instead."""
    if change_request.is_run_by_batch and change_request.state in {State.REQUESTED, State.APPROVED}:
        raise ConflictError(
            "This deletion is part of a bulk deletion. Approve or confirm the bulk deletion."
        )


def _confirmed_event(
    change_request: ChangeRequest, *, actor: Actor, skip_recheck: bool
) -> audit.EventDraft:
    return audit.EventDraft(
        code=change_request.event_code(Step.CONFIRMED),
        sentence=confirmed_sentence(change_request, actor=actor, skip_recheck=skip_recheck),
        details={
            "skip_recheck": skip_recheck,
            "approval_round": change_request.approval_round,
        },
    )


def confirmed_sentence(
    change_request: ChangeRequest,
    *,
    actor: Actor,
    skip_recheck: bool = False,
    is_covered: bool = False,
) -> audit.Sentence:
    """That the actor confirmed it, and what was not checked."""
    sentence = audit.Sentence(
        "{actor} confirmed {title} {connection}.",
        title=change_request.title,
        connection=change_request.description,
    )
    return sentence.followed_by(
        "The access request covers this deletion." if is_covered else "",
        "No approval was required."
        if change_request.policy == ApprovalPolicy.NONE and not is_covered
        else "",
        "The pre-send check was skipped." if skip_recheck else "",
    )


def is_awaiting_confirmation(change_request: ChangeRequest) -> bool:
    """Whether the next step is a person typing the confirmation."""
    is_open = change_request.state in {State.REQUESTED, State.APPROVED}
    is_confirmable = is_open or change_request.has_no_effect
    return is_confirmable and not states.is_awaiting_approval(change_request)


def withdraw[R: ChangeRequest](*, change_request: R, actor: Actor, reason: str = "") -> R:
    """Withdraw it, unless an attempt might have worked.

    Raises PermissionDenied, and OvertakenError when it is too late.
    """
    permissions.require(
        permissions.can_withdraw(actor, change_request=change_request),
        f"withdraw this {change_request.label}",
    )
    if not can_be_withdrawn(change_request):
        raise OvertakenError(f"This {change_request.label} can no longer be withdrawn.")
    sentence = audit.Sentence(
        "{actor} withdrew the {title} {connection}. {facts}",
        title=change_request.title,
        connection=change_request.description,
        facts=attempt_facts.attempts_summary_of(change_request),
    )
    reason = reason.strip()
    states.apply_or_refuse(
        change_request,
        transition=Settle(outcome=CommonOutcome.WITHDRAWN, reason=reason),
        actor=actor,
        events=[
            audit.EventDraft(
                code=change_request.event_code(Step.WITHDRAWN),
                sentence=sentence,
                details={"reason": reason},
            )
        ],
    )
    return change_request


def can_be_withdrawn(change_request: ChangeRequest) -> bool:
    """Whether it can still be withdrawn, which requires that no attempt might have worked."""
    withdrawable = {State.REQUESTED, State.APPROVED, State.WAITING}
    return change_request.state in withdrawable and not change_request.has_ambiguous_attempt


def close[R: ChangeRequest](*, change_request: R, actor: Actor, reason: str) -> R:
    """Close a request with an unknown outcome or no effect as unresolved. It never counts as done.

    Raises PermissionDenied, InvalidInputError without a reason, and OvertakenError in other states.
    """
    permissions.require(
        permissions.can_use(actor, credential_id=change_request.credential_id),
        f"close this {change_request.label}",
    )
    if not change_request.awaits_outcome:
        raise OvertakenError(
            f"This {change_request.label} can be closed only if its outcome is unknown or it had "
            "no effect."
        )
    reason = clean_text(reason, missing="Enter a reason for closing it as unresolved.")
    sentence = audit.Sentence(
        "{actor} closed the {title} {connection} as unresolved.",
        title=change_request.title,
        connection=change_request.description,
    ).followed_by(attempt_facts.earlier_attempts(attempt_facts.attempts_of(change_request)))
    states.apply_or_refuse(
        change_request,
        transition=Settle(outcome=CommonOutcome.UNRESOLVED, reason=reason),
        actor=actor,
        events=[
            audit.EventDraft(
                code=change_request.event_code(Step.SETTLED),
                sentence=sentence,
                details={"reason": reason},
            )
        ],
    )
    return change_request


def lapse_approvals(
    *, change_request: ChangeRequest, actor: Actor, now: datetime | None = None
) -> bool:
    """Start a new approval round for a request without effect that expired. Return whether it did.

    The request stays open, and the same people can approve it again.
    """
    if not states.have_approvals_expired(change_request, now=now or clock.now()):
        return False
    sentence = audit.Sentence(
        "Approvals for another {method} of {connection} expired without confirmation after "
        "{limit}. No new {method} was sent.",
        method=action_of(change_request).method,
        limit=format_limit(time_limits.CONFIRMING_WINDOW),
        connection=change_request.description,
    )
    return end_approval_round(change_request=change_request, actor=actor, sentence=sentence)


def end_approval_round(
    *, change_request: ChangeRequest, actor: Actor, sentence: audit.Sentence
) -> bool:
    """End the approval round of a request without effect."""
    count = states.approvals_given(change_request).count()
    event = audit.EventDraft(
        code=change_request.event_code(Step.APPROVALS_LAPSED),
        sentence=sentence,
        details={"approval_round": change_request.approval_round, "approvals_given": count},
    )
    return states.apply(change_request, transition=EndRound(), actor=actor, events=[event])


def _expiry_cause(change_request: ChangeRequest) -> Cause:
    if states.is_queued(change_request):
        return Cause.NOT_STARTED_IN_TIME
    return Cause.NOT_RETRIED_IN_TIME if change_request.is_run_by_batch else Cause.TOO_LATE


def expire(*, change_request: ChangeRequest, actor: Actor, now: datetime | None = None) -> bool:
    """Settle a request that was not approved, confirmed or sent in time. Return whether it did."""
    now = now or clock.now()
    can_expire = change_request.state in {State.REQUESTED, State.APPROVED, State.WAITING}
    if not can_expire or not states.has_expired(change_request, now=now):
        return False
    # Another worker might have extended it since it was read.
    change_request.refresh_from_db(fields=["expires_at"])
    if not states.has_expired(change_request, now=now):
        return False
    transition: Settle | BecomeUnknown
    if change_request.state == State.WAITING:
        transition = states.stop_trying(
            cause=_expiry_cause(change_request),
            was_ambiguous=change_request.has_ambiguous_attempt,
            due_at=now + timedelta(seconds=60),
        )
    elif change_request.state == State.APPROVED or states.approvals_needed(change_request) == 0:
        transition = Settle(outcome=CommonOutcome.EXPIRED, cause=Cause.NOT_CONFIRMED_IN_TIME)
    else:
        transition = Settle(outcome=CommonOutcome.EXPIRED, cause=Cause.NOT_APPROVED_IN_TIME)
    sentence = audit.Sentence(
        "The {title} {connection} ran out of time. {why} {facts}",
        title=change_request.title,
        connection=change_request.description,
        why=cause_text(transition.cause),
        facts=attempt_facts.attempts_summary_of(change_request),
    )
    return follow_ups.apply(
        change_request, transition=transition, actor=actor, sentence=sentence, now=now
    )

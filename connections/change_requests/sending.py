"""Sends a confirmed request to Datadog: pre-send check, claim, request.

Everything that can change something at Datadog goes through this module.
"""

import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast
from uuid import UUID

from django.db.models import Exists

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor, person_actor
from connections.change_requests import (
    attempt_facts,
    exclusion,
    failpoints,
    follow_ups,
    guards,
    rechecks,
    saved_responses,
    states,
)
from connections.change_requests.actions import RecheckResult, action_of, protections_of
from connections.change_requests.failpoints import Point
from connections.change_requests.guards import ClockReading
from connections.change_requests.states import Settle, StartSending
from connections.core import boot_clock, clock, logs, time_limits
from connections.core.causes import Cause, cause_text
from connections.core.errors import BlockedError, UnavailableError
from connections.datadog.client import DatadogClient
from connections.datadog.responses import WriteResponse
from connections.inventory import fetching, protections, storing
from connections.inventory.fetching import SyncResult
from connections.models import (
    AMBIGUOUS,
    ApprovalPolicy,
    AttemptFields,
    ChangeRequest,
    Credential,
    Person,
    State,
    Step,
)
from connections.net.http import pool


@pool()
def send[R: ChangeRequest](
    *,
    change_request: R,
    actor: Actor,
    client: DatadogClient | None = None,
    skip_recheck: bool = False,
    result: SyncResult | None = None,
    now: datetime | None = None,
) -> R:
    """Send a confirmed request once, if it is still what was requested.

    `client` is used for the pre-send check; pass one if the caller has already run the checks in
    `require_sendable`. The claim runs those checks again. `skip_recheck` means that the person
    chose to send although the pre-send check failed. `result` is the sync that this same action has
    just made, so that Datadog isn't queried twice. `now` is the database time, if the caller has
    just read it.

    Returns the request with the recorded response, which is not verified yet: `due_at` is now, for
    the worker. Never raises for a failure at Datadog. Raises BlockedError when a person involved
    lost the permission, the credential is retired or the connection is protected, and
    UnavailableError; each before anything is sent. Raises ResponseNotRecordedError when it was sent
    but the database did not store the response.
    """
    logs.add_ids(**{change_request.noun: change_request.pk})
    action = action_of(change_request)
    if skip_recheck:
        claims = claim([change_request], actor=actor, was_rechecked=False)
    else:
        client = client or require_sendable(
            change_request=change_request, confirmed_by=change_request.confirmed_by
        )
        claims = _check_and_claim(
            change_request,
            actor=actor,
            client=client,
            result=result,
            now=now,
        )
    if not claims:
        return change_request
    [claimed] = claims
    saved_responses.record_or_save([(claimed.attempt, send_claimed(claimed))], actor=actor)
    sent = cast("R", claimed.attempt.change_request)
    if sent.state == State.WAITING and action_of(sent) is not action:
        # The second step follows at once. If it can't, a worker repeats it.
        with contextlib.suppress(BlockedError, UnavailableError):
            return send(change_request=sent, actor=actor)
    return sent


def _check_and_claim(
    change_request: ChangeRequest,
    *,
    actor: Actor,
    client: DatadogClient,
    result: SyncResult | None,
    now: datetime | None,
) -> "list[ClaimedAttempt]":
    """Claim it if a list shows that it can still be sent, and close it if nothing has to be sent.

    If the list or the agreement is too old at the claim, they are read again, once.
    """
    action = action_of(change_request)
    for is_repeated in (False, True):
        if result is None or is_repeated:
            result = fetching.fetch(
                credential=change_request.credential,
                client=client,
                find=None if action.checks_keys else change_request.connection_id,
                now=None if is_repeated else now,
            )
            storing.store(result, actor=actor)
        block = action.find_block_in(result, change_request) or action.find_block_at(
            change_request, now=result.started_at or clock.now()
        )
        if block:
            record_blocked(change_request=change_request, blocked=block, actor=actor)
            return []
        recheck = rechecks.recheck(change_request=change_request, result=result, actor=actor)
        if recheck is None:
            return []
        if not action.method:
            _settle_unsent(change_request, actor=actor)
            return []
        try:
            return claim(
                [change_request],
                actor=actor,
                was_rechecked=recheck.result == RecheckResult.SAME,
                listed_at=result.started_at,
            )
        except OldListError:
            failed = replace(result, cause=Cause.LIST_TOO_SLOW)
    rechecks.record_recheck_failure(change_request=change_request, result=failed, actor=actor)
    return []


def _settle_unsent(change_request: ChangeRequest, *, actor: Actor) -> None:
    """Settle a confirmed request that needs nothing from Datadog."""
    action = action_of(change_request)
    sentence = audit.Sentence(
        "The {title} {connection} is closed: {outcome}.",
        title=change_request.title,
        connection=change_request.description,
        outcome=change_request.outcomes(action.success).label,
    )
    states.apply(
        change_request,
        transition=Settle(outcome=action.success),
        actor=actor,
        events=[audit.EventDraft(code=change_request.event_code(Step.SETTLED), sentence=sentence)],
    )


class OldListError(Exception):
    """The pre-send check that a claim relies on is too old by now. Nothing was claimed."""


@dataclass(frozen=True, kw_only=True)
class ClaimedAttempt:
    """A recorded attempt whose request this process must send now, exactly once."""

    attempt: AttemptFields
    # Has the keys whose fingerprint the attempt records.
    client: DatadogClient
    # From `time.monotonic()`, read before the claim.
    began_at: float


def send_claimed(claimed: ClaimedAttempt) -> WriteResponse:
    """Send the request of an attempt. Doesn't use the database, so threads can call it."""
    # A process that was paused after its claim must not send once others have given the claim up.
    # So the deadline starts before the claim, and no request begins after it.
    seconds = time_limits.SEND_SECONDS - (time.monotonic() - claimed.began_at)
    change_request = claimed.attempt.change_request
    return action_of(change_request).send(
        change_request, client=claimed.client, deadline_seconds=seconds
    )


def require_sendable(
    *, change_request: ChangeRequest, confirmed_by: Person | None
) -> DatadogClient:
    """A client for this request, unless a local reason forbids sending it. Makes no request.

    Raises BlockedError when a person involved lost the permission, the credential is retired or the
    connection is protected; ClockBehindError; and UnavailableError when the keys can't be
    decrypted.
    """
    change_request.credential = Credential.objects.get(pk=change_request.credential_id)
    _require_sendable([change_request], confirmed_by=[confirmed_by.pk if confirmed_by else None])
    return fetching.open_client(credential=change_request.credential)


def find_block(
    change_requests: Sequence[ChangeRequest], *, confirmed_by: Iterable[UUID | None]
) -> BlockedError | None:
    """Why one of these requests can't be sent if these people confirm them, or None.

    They share one credential, which is current.
    """
    checked = _check_sendable(change_requests, confirmed_by=confirmed_by)
    return checked if isinstance(checked, BlockedError) else None


def _require_sendable(
    change_requests: Sequence[ChangeRequest], *, confirmed_by: Iterable[UUID | None]
) -> None:
    """Raise BlockedError or ClockBehindError if something forbids sending these requests."""
    checked = _check_sendable(change_requests, confirmed_by=confirmed_by)
    if isinstance(checked, BlockedError):
        raise checked
    checked.require_right()


def _check_sendable(
    change_requests: Sequence[ChangeRequest], *, confirmed_by: Iterable[UUID | None]
) -> ClockReading | BlockedError:
    """The clock when nothing else forbids sending these requests, or what `find_block` returns.

    Permissions are read from the database at every call, because these people, or the approvers,
    might have lost them a moment ago.
    """
    credential = change_requests[0].credential
    if credential.is_retired:
        return BlockedError(
            f"The credential {credential.name} was retired.", cause=Cause.CREDENTIAL_RETIRED
        )
    action = action_of(change_requests[0])
    protected = protections_of(change_requests)
    # A command can do it without naming a person.
    requesters = change_requests if action.requester_sends else ()
    involved = {*confirmed_by, *(each.requested_by_id for each in requesters)}
    people = {pk for pk in involved if pk}
    operators = permissions.people_who_can_delete().filter(pk__in=people)
    # Most credentials have no access list, and its query is slow to build.
    allowed = list(
        operators.values(
            "pk",
            now=clock.now_in_query(),
            newest_event_at=guards.newest_event_time(),
            is_protected=Exists(protected),
            has_access_list=Exists(credential.access.all()),
        )
    )
    is_protected = allowed[0]["is_protected"] if allowed else True
    protection = protected.first() if is_protected else None
    if protection:
        text = protections.protection_text(protection)
        return BlockedError(text, cause=Cause.CONNECTION_PROTECTED)
    allowed_ids = {operator["pk"] for operator in allowed}
    if allowed and allowed[0]["has_access_list"]:
        users = permissions.people_who_can_use(credential_id=credential.pk)
        allowed_ids = set(users.filter(pk__in=allowed_ids).values_list("pk", flat=True))
    without_right = people - allowed_ids
    if without_right:
        person = Person.objects.filter(pk__in=without_right)[0]
        text = f"{person} no longer has permission to {action.permission}."
        return BlockedError(text, cause=Cause.PERSON_LOST_RIGHT)
    for change_request in change_requests:
        if block := _find_approval_block(change_request):
            return block
    if not allowed:
        return guards.read_clock()
    return ClockReading(now=allowed[0]["now"], newest_event_at=allowed[0]["newest_event_at"])


def _find_approval_block(change_request: ChangeRequest) -> BlockedError | None:
    """Why the request's approvals, or what replaces them, no longer count, or None."""
    if change_request.policy != ApprovalPolicy.NONE and action_of(change_request).approved_once:
        tried = change_request.attempts.filter(
            AMBIGUOUS, approval_round=change_request.approval_round
        )
        if tried.exists():
            text = "An attempt under its approvals might have worked."
            return BlockedError(text, cause=Cause.APPROVALS_MISSING)
    if block := action_of(change_request).find_block(change_request):
        return block
    if not change_request.needs_approval:
        return None
    approvals = list(states.approvals_given(change_request).select_related("approver"))
    for approval in approvals:
        approver = person_actor(person=approval.approver)
        if not permissions.can_approve(approver, change_request=change_request):
            what = f"approve {change_request.label}s"
            text = f"{approval.approver_name} no longer has permission to {what}."
            return BlockedError(text, cause=Cause.PERSON_LOST_RIGHT)
    if len(approvals) < states.approvals_needed(change_request):
        text = f"This {change_request.label} still needs approval."
        return BlockedError(text, cause=Cause.APPROVALS_MISSING)
    return None


def claim(
    change_requests: Sequence[ChangeRequest],
    *,
    actor: Actor,
    was_rechecked: bool,
    listed_at: datetime | None = None,
) -> list[ClaimedAttempt]:
    """Claim requests for this process and record their attempts, durably, before they are sent.

    They belong to one credential and, if at all, to one bulk deletion. Each has its own
    attempt. The keys come from the locked credential, which might have been
    rotated during the pre-send check.

    Leaves out what another process claimed or changed first, what can no longer be sent in time
    and what a hold keeps back. Raises OldListError when the list that began at `listed_at` is now
    too old, BlockedError when a permission was lost, the credential was retired, a connection was
    protected or the approved access ended during the pre-send check, ClockBehindError, and
    UnavailableError when the keys can't be decrypted. Nothing is claimed then.
    """
    for change_request in change_requests:
        failpoints.hit(Point.BEFORE_CLAIM, change_request_id=change_request.pk)
    began_at = time.monotonic()
    first = change_requests[0]
    model, action = first.attempts.model, action_of(first)
    with audit.atomic(durable=True):
        # Locked before credentials and requests, as everywhere else.
        if not action.lock_parent(first):
            return []
        credential = Credential.objects.select_for_update(no_key=True).get(pk=first.credential_id)
        for change_request in change_requests:
            change_request.credential = credential
        # After taking the lock, because access might have changed while waiting for it.
        _require_sendable(
            change_requests,
            confirmed_by=[change_request.confirmed_by_id for change_request in change_requests],
        )
        waiting = [
            change_request
            for change_request in change_requests
            # One that was read after another process claimed it would seem unchanged.
            if change_request.state != State.SENDING
        ]
        # A row of a bulk deletion counts as confirmed when it is claimed.
        rows = waiting if first.is_run_by_batch else []
        excluded = exclusion.lock_excluded(rows, actor=actor)
        locked = states.lock_unchanged(waiting)
        # After taking all locks, because waiting for them takes time.
        unchanged = guards.leave_out_held(locked, actor=actor)
        write_by = boot_clock.seconds_since_boot() + time_limits.FIRST_BYTE_SECONDS
        now = clock.now()
        _require_in_time(unchanged, listed_at=listed_at, now=now)
        # One client for all: threads can share it, and the keys are decrypted once.
        client = fetching.open_client(credential=credential, write_by=write_by)
        attempts = {
            change_request.pk: model(
                **{model.parent: change_request},
                number=change_request.epoch + 1,
                epoch=change_request.epoch + 1,
                approval_round=change_request.approval_round,
                credential_name=credential.name,
                credential_fingerprint=credential.fingerprint,
                was_rechecked=was_rechecked,
                claimed_at=now,
            )
            for change_request in unchanged
            # If its time ran out during the pre-send check, it expires the next time it is due.
            if change_request.state != State.WAITING
            or not states.has_expired(change_request, now=now)
        }
        # Before the event, which records the row.
        for attempt in attempts.values():
            attempt.method = action.method
        states.apply_to_all(
            [attempt.change_request for attempt in attempts.values()],
            transition=StartSending(at=now),
            actor=actor,
            events_of=lambda change_request: [_sending_event(attempts[change_request.pk])],
        )
        exclusion.settle_excluded(
            excluded, by=[attempt.change_request for attempt in attempts.values()], actor=actor
        )
        claimed = model._default_manager.bulk_create(attempts.values())
        for attempt in claimed:
            failpoints.hit(Point.INSIDE_CLAIM, change_request_id=attempt.change_request_id)
    for attempt in claimed:
        failpoints.hit(Point.AFTER_CLAIM, change_request_id=attempt.change_request_id)
    return [
        ClaimedAttempt(attempt=attempt, client=client, began_at=began_at) for attempt in claimed
    ]


def _require_in_time(
    change_requests: Sequence[ChangeRequest], *, listed_at: datetime | None, now: datetime
) -> None:
    """Raise OldListError or BlockedError if they can't be claimed at this time."""
    is_list_old = (
        listed_at is not None and clock.elapsed_since(listed_at, now=now) > time_limits.LIST_WINDOW
    )
    # The pre-send check, which is repeated, ends a request about an older agreement.
    if is_list_old or any(action_of(each).is_agreement_newer(each) for each in change_requests):
        raise OldListError
    for change_request in change_requests:
        if block := action_of(change_request).find_block_at(change_request, now=now):
            raise block


def _sending_event(attempt: AttemptFields) -> audit.EventDraft:
    return audit.EventDraft(
        code=attempt.change_request.event_code(Step.SENDING),
        sentence=audit.Sentence(
            "Sending the {method} for {connection} (attempt {number}).",
            method=attempt.method,
            number=attempt.number,
            connection=attempt.change_request.description,
        ),
        details={
            "attempt": attempt.number,
            "epoch": attempt.epoch,
            "approval_round": attempt.approval_round,
            "was_rechecked": attempt.was_rechecked,
        },
        rows={f"attempt {attempt.number}": audit.row_of(attempt)},
    )


def record_blocked(*, change_request: ChangeRequest, blocked: BlockedError, actor: Actor) -> None:
    """Stop a request that can no longer be sent and for which no person can do anything."""
    follow_ups.apply(
        change_request,
        transition=states.stop_trying(
            cause=blocked.cause, was_ambiguous=change_request.has_ambiguous_attempt
        ),
        actor=actor,
        # Without the text of `blocked`, because that might name a person.
        sentence=audit.Sentence(
            "The {title} {connection} was stopped. {why} {facts}",
            title=change_request.title,
            connection=change_request.description,
            why=cause_text(blocked.cause),
            facts=attempt_facts.attempts_summary_of(change_request),
        ),
        now=clock.now(),
    )

"""Where an access request is now or how it ended, and what its pages say about that."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from connections.access_requests.moving import interrupted_since
from connections.access_requests.texts import kind_title
from connections.change_requests import attempt_facts
from connections.change_requests.actions import action_of
from connections.change_requests.exclusion import stale_text
from connections.change_requests.status import (
    OPEN_STEPS,
    NextStep,
    RequestStatus,
    open_status_at,
    retry_text,
)
from connections.core.causes import Cause, cause_text
from connections.core.data_types import data_text
from connections.core.text import format_day, format_time, join_names
from connections.datadog.responses import SUCCESSES
from connections.deletions.texts import RequestText
from connections.models import (
    SEEN,
    AccessOutcome,
    AccessRequest,
    ApprovalFields,
    AttemptFields,
    OrgConnectionSnapshot,
    Person,
    RequestKind,
    State,
)
from connections.verifier.rules import Sent


class ClosedStatus(StrEnum):
    """How an access request ended. Those not among AccessOutcome depend on Datadog's lists."""

    CREATED = "created"
    CREATED_VERIFYING = "created_verifying"
    CREATED_UNVERIFIED = "created_unverified"
    CHANGED = "changed"
    CHANGED_VERIFYING = "changed_verifying"
    CHANGED_UNVERIFIED = "changed_unverified"
    CONTRADICTED = "contradicted"
    EXTENDED = "extended"
    ALREADY_EXISTS = "already_exists"
    ALREADY_AS_REQUESTED = "already_as_requested"
    EXISTS_UNATTRIBUTED = "exists_unattributed"
    CHANGED_ELSEWHERE = "changed_elsewhere"
    GONE = "gone"
    REFUSED = "refused"
    NOT_SENT = "not_sent"
    STALE = "stale"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    UNRESOLVED = "unresolved"


class MoveStatus(StrEnum):
    """An open move whose old connection is deleted."""

    CREATING = "creating"
    INTERRUPTED = "interrupted"


type AccessStatus = RequestStatus | MoveStatus | ClosedStatus

_VERIFIED = (AccessOutcome.CREATED, AccessOutcome.CHANGED)
_CHECKED = {
    ClosedStatus.CREATED_VERIFYING,
    ClosedStatus.CREATED_UNVERIFIED,
    ClosedStatus.CHANGED_VERIFYING,
    ClosedStatus.CHANGED_UNVERIFIED,
    ClosedStatus.CONTRADICTED,
}


def access_status_at(access_request: AccessRequest, *, now: datetime) -> AccessStatus:
    """The status at this time."""
    if not access_request.is_settled:
        open_status = open_status_at(access_request, now=now)
        if access_request.removed_at and access_request.state == State.WAITING:
            return MoveStatus.CREATING
        is_move = access_request.removed_at and access_request.state == State.APPROVED
        return MoveStatus.INTERRUPTED if is_move and open_status not in _OVER else open_status
    if access_request.contradicted_at:
        return ClosedStatus.CONTRADICTED
    status, is_proven = access_request.outcome, access_request.verified_at is not None
    # Lists ended an unknown result themselves, so they prove it.
    if status in _VERIFIED and not is_proven and not access_request.cause:
        status += "_verifying" if access_request.due_at else "_unverified"
    return ClosedStatus(status)


_OVER = (RequestStatus.CHECKING, RequestStatus.EXPIRED)
# The POST of a move might have worked.
_MIGHT_BE_CREATED = (RequestStatus.UNKNOWN, ClosedStatus.UNRESOLVED)


def access_steps_of(status: AccessStatus) -> tuple[NextStep, ...]:
    """The steps that this status allows, before permissions are considered."""
    if isinstance(status, RequestStatus):
        # Break glass gives no access.
        not_of_access = {NextStep.BREAK_GLASS, NextStep.REQUEST_AGAIN}
        return tuple(step for step in OPEN_STEPS[status] if step not in not_of_access)
    if status == MoveStatus.INTERRUPTED:
        return NextStep.CONFIRM, NextStep.WITHDRAW
    return (NextStep.CHECK,) if status in _CHECKED else ()


@dataclass(frozen=True)
class _Text:
    label: str
    headline: str
    meaning: str = ""


# The fields of `_fields` can be in all of them.
_TEXTS: dict[AccessStatus, _Text] = {
    RequestStatus.NEEDS_APPROVAL: _Text("Needs approval", "Waiting for approval", "{nothing}"),
    RequestStatus.NEEDS_CONFIRMATION: _Text(
        "Needs confirmation", "{confirm} by {deadline}", "{nothing}"
    ),
    RequestStatus.APPROVED: _Text(
        "Approved", "Approved by {approvers}", "{confirm} by {deadline}. {nothing}"
    ),
    RequestStatus.CHECKING: _Text(
        "Checking", "Checking Datadog before sending", "{nothing}{confirmed}"
    ),
    RequestStatus.CONFIRMED: _Text("Confirmed", "Confirmed", "{nothing}"),
    RequestStatus.CHECK_FAILED: _Text("Check failed", "The pre-send check failed", "{nothing}"),
    RequestStatus.SENDING: _Text(
        "Sending",
        "The {method} is in progress",
        "You can close this page; the result is recorded.",
    ),
    RequestStatus.RATE_LIMITED: _Text("Rate limited", "Rate limited (429)", "{nothing} {retries}."),
    RequestStatus.RETRYING: _Text(
        "Retrying", "The request could not leave this server", "{nothing} {retries}."
    ),
    RequestStatus.UNKNOWN: _Text(
        "Unknown",
        "Outcome unknown",
        "The {method} was sent and might have worked. Never resent automatically.",
    ),
    RequestStatus.NO_EFFECT: _Text(
        "No effect",
        "No effect so far",
        "Two complete syncs show no change. Never resent automatically.",
    ),
    RequestStatus.EXPIRED: _Text("Expired", "Expired at {ended}", "{nothing}"),
    MoveStatus.CREATING: _Text(
        "Deleted, creating",
        "The old connection is deleted, the new one follows",
        "The POST is sent once a complete sync no longer lists it. {retries}.",
    ),
    MoveStatus.INTERRUPTED: _Text(
        "Access interrupted",
        "The new connection wasn't created",
        "{confirm} the POST again by {deadline}. It needs no new approval.",
    ),
    ClosedStatus.CREATED: _Text("{label}", "{label} and verified"),
    ClosedStatus.CREATED_VERIFYING: _Text("{label}, verifying", "{label}", "{then}"),
    ClosedStatus.CREATED_UNVERIFIED: _Text("{label}, unverified", "{label}", "{not_verified}"),
    ClosedStatus.CHANGED: _Text("{label}", "Changed and verified"),
    ClosedStatus.CHANGED_VERIFYING: _Text("{label}, verifying", "{label}", "{then}"),
    ClosedStatus.CHANGED_UNVERIFIED: _Text("{label}, unverified", "{label}", "{not_verified}"),
    ClosedStatus.CONTRADICTED: _Text(
        "Not as requested", "{label}, but Datadog doesn't list it as requested"
    ),
    ClosedStatus.EXTENDED: _Text(
        "Extended", "Extended to {end}", "Nothing was sent to Datadog: only the end changed."
    ),
    ClosedStatus.ALREADY_EXISTS: _Text(
        AccessOutcome.ALREADY_EXISTS.label, "These orgs were already connected", "{nothing}"
    ),
    ClosedStatus.ALREADY_AS_REQUESTED: _Text(
        AccessOutcome.ALREADY_AS_REQUESTED.label,
        "The connection already had the requested data types",
        "{nothing}",
    ),
    ClosedStatus.EXISTS_UNATTRIBUTED: _Text(
        AccessOutcome.EXISTS_UNATTRIBUTED.label,
        "Connected, but this request might not have done it",
    ),
    ClosedStatus.CHANGED_ELSEWHERE: _Text(
        AccessOutcome.CHANGED_ELSEWHERE.label,
        "The data types are neither the old nor the requested ones",
        "Someone else changed them.",
    ),
    ClosedStatus.GONE: _Text("Gone", "The connection no longer exists"),
    ClosedStatus.REFUSED: _Text(
        AccessOutcome.REFUSED.label + "{http_status}",
        "Datadog refused the request{http_status}",
        "{nothing}",
    ),
    ClosedStatus.NOT_SENT: _Text(AccessOutcome.NOT_SENT.label, "{cause}", "{nothing}"),
    ClosedStatus.STALE: _Text(AccessOutcome.STALE.label, "{stale}", "{nothing}"),
    ClosedStatus.DECLINED: _Text("Declined", "Declined by {by}", "{nothing}"),
    ClosedStatus.WITHDRAWN: _Text("Withdrawn", "Withdrawn by {by}", "{nothing}"),
    ClosedStatus.EXPIRED: _Text("Expired", "Expired at {ended}", "{nothing}"),
    ClosedStatus.UNRESOLVED: _Text(
        "Unresolved", "Closed by {by}", "The outcome was never determined."
    ),
}
_HTTP_STATUS: dict[str, int] = {
    Cause.BAD_REQUEST: 400,
    Cause.UNAUTHORIZED: 401,
    Cause.FORBIDDEN: 403,
}


def _fields(
    access_request: AccessRequest, *, nothing: str, method: str, is_confirming: bool
) -> dict[str, str]:
    status = _HTTP_STATUS.get(access_request.reason_code)
    approvers = [approval.approver_name for approval in access_request.current_approvals]
    return {
        "nothing": nothing,
        "confirmed": f" Confirmed by {name}." if (name := access_request.confirmed_by_name) else "",
        "method": method,
        "confirm": "Confirm"
        if is_confirming
        else f"{confirming_people(access_request)} must confirm",
        "approvers": join_names(approvers) or "another person",
        "deadline": format_time(access_request.expires_at),
        "ended": format_time(access_request.settled_at or access_request.expires_at),
        "retries": retry_text(access_request),
        "then": "Checking that Datadog lists it…"
        if not access_request.last_checked_at
        else f"Next check of Datadog's list: {format_time(access_request.due_at)}.",
        "not_verified": "No complete sync has confirmed it yet.",
        "end": format_day(access_request.ends_on) if access_request.ends_on else "no end",
        "by": access_request.settled_by_name or "a person",
        "cause": cause_text(access_request.cause).removesuffix(".") or "Org Admin stopped trying",
        "stale": stale_text(access_request.cause),
        "label": access_request.get_outcome_display(),
        "http_status": f" ({status})" if status else "",
    }


def confirming_people(access_request: AccessRequest) -> str:
    """Who can confirm it: "An Operator who can use the Labs credential"."""
    return f"An Operator who can use the {access_request.credential_name} credential"


def access_label_of(access_request: AccessRequest, *, status: AccessStatus) -> str:
    """The label of its status: "Failed (403)". Makes no query."""
    status_code = _HTTP_STATUS.get(access_request.reason_code)
    http_status = f" ({status_code})" if status_code else ""
    label = access_request.get_outcome_display()
    return _TEXTS[status].label.format(http_status=http_status, label=label)


def describe_access(
    access_request: AccessRequest,
    *,
    status: AccessStatus,
    now: datetime,
    approvers: tuple[str, ...] | None = None,
    is_deciding: bool = False,
    is_confirming: bool = False,
    block: str = "",
) -> RequestText:
    """What its page says. `approvers` and `block` are as for a deletion.

    `is_deciding` says whether the reader is to approve it, and `is_confirming` whether they can
    confirm it. Reads its attempts and approvals, which can be prefetched.
    """
    attempts = list(access_request.attempts.all())
    text = _TEXTS[status]
    method = attempts[-1].method if attempts else action_of(access_request).method
    fields = _fields(
        access_request,
        nothing=_nothing(attempts, status=status, method=method),
        method=method,
        is_confirming=is_confirming,
    )
    headline = text.headline.format_map(fields)
    meaning = " ".join(text.meaning.format_map(fields).split())
    if access_request.cause == Cause.CONCEALED:
        headline, meaning = "Not sent", f"Ask {access_request.cause_details['operator']} why."
    lines = [
        attempt_facts.earlier_attempts(attempts[:-1], last=attempts[-1]) if attempts else "",
        f"“{access_request.settled_reason}”" if access_request.settled_reason else "",
        f"This request can't be confirmed. {block}" if block else "",
    ]
    if not access_request.is_settled and status != RequestStatus.SENDING:
        is_failed_check = access_request.cause == Cause.LISTING_FAILED
        if is_failed_check or access_request.is_moving:
            lines.insert(0, cause_text(access_request.reason_code))
    if access_request.interrupts_access:
        since = format_time(interrupted_since(access_request), today=now)
        interruption = (
            f"Access was interrupted at {since} and might still be."
            if status in _MIGHT_BE_CREATED
            else f"Access has been interrupted since {since}."
        )
        meaning = f"{interruption} {meaning}".strip()
    if access_request.cause == Cause.ACCESS_GONE and status != ClosedStatus.NOT_SENT:
        lines.append(cause_text(Cause.ACCESS_GONE))
    if approvers is not None and not is_deciding:
        lines.append(
            f"{join_names(approvers)} can approve."
            if approvers
            else "No one else can approve this. Ask an administrator to add an Approver."
        )
    return RequestText(
        title=f"{access_request.requested_by_name} requests your approval"
        if is_deciding
        else f"{kind_title(RequestKind(access_request.kind))} {access_request.pair}",
        label=access_label_of(access_request, status=status),
        headline=headline,
        meaning=meaning,
        facts=(
            *_move_facts(access_request, _deciding(attempts), now=now),
            *attempt_facts.response_facts(_deciding(attempts), now=now),
        ),
        lines=tuple(line for line in lines if line),
        quotes=tuple(str(each) for each in attempts[-1].errors) if attempts else (),
        alarms=attempt_facts.late_response_texts(attempts),
    )


def new_creator(access_request: AccessRequest) -> str:
    """The creator of the connection that it created or, if no list shows it, whose keys did."""
    name, new_id = "", access_request.connection_id
    if new_id and access_request.outcome == AccessOutcome.CREATED:
        listed = OrgConnectionSnapshot.objects.filter(
            site=access_request.site, connection_id=new_id
        ).exclude(creator_name="")
        name = listed.values_list("creator_name", flat=True).first() or ""
    # The keys can have another owner by now.
    return name or f"the owner of the {access_request.credential_name} credential's keys"


def _move_facts(
    access_request: AccessRequest, created: AttemptFields | None, *, now: datetime
) -> tuple[str, ...]:
    """From whom to whom a connection was moved, and how long access was interrupted.

    `created` is the attempt that created it. Empty if it isn't moved.
    """
    is_created = access_request.outcome == AccessOutcome.CREATED
    if access_request.kind != RequestKind.MOVE or not is_created or not created:
        return ()
    after = new_creator(access_request)
    before = f"from {access_request.creator_name} " if access_request.creator_name else ""
    start = interrupted_since(access_request)
    is_exact = created.verdict in SUCCESSES and not created.is_late
    end = (created.answered_at if is_exact else None) or access_request.settled_at or now
    since, until = format_time(start, today=now), format_time(end, today=start)
    between = "–" if is_exact else " until at the latest "
    interrupted = f"interrupted {since.removesuffix(' UTC')}{between}{until}"
    if is_exact and since.endswith(until):
        interrupted = f"interrupted at {since} for less than a second"
    return f"{before}to {after}", interrupted


def _nothing(attempts: Sequence[AttemptFields], *, status: AccessStatus, method: str) -> str:
    """A sentence that the attempts allow: nothing was sent, or nothing was changed."""
    sent = attempt_facts.sent_by(attempts)
    if sent == Sent.NOTHING:
        is_open = isinstance(status, RequestStatus)
        return "Nothing has been sent." if is_open else "Nothing was sent."
    if sent == Sent.REFUSED:
        return "Nothing was changed."
    return f"No new {method} was sent." if status in _NOT_SENT_AGAIN else ""


_NOT_SENT_AGAIN = {RequestStatus.APPROVED, RequestStatus.CHECK_FAILED, ClosedStatus.STALE}


def _deciding(attempts: Sequence[AttemptFields]) -> AttemptFields | None:
    """The attempt that worked, or else the last. Of a move, only those of its newest step."""
    step = [attempt for attempt in attempts if attempt.method == attempts[-1].method]
    worked = [attempt for attempt in step if attempt.verdict in SUCCESSES]
    return next(reversed(worked or step), None)


# After these outcomes, people can request the access again.
GAVE_NOTHING = {
    AccessOutcome.REFUSED,
    AccessOutcome.NOT_SENT,
    AccessOutcome.STALE,
    AccessOutcome.DECLINED,
    AccessOutcome.WITHDRAWN,
    AccessOutcome.EXPIRED,
}
# What a person did who ended a request.
_ENDED_BY_A_PERSON: dict[str, str] = {
    AccessOutcome.DECLINED: "declined",
    AccessOutcome.WITHDRAWN: "withdrawn",
    AccessOutcome.UNRESOLVED: "closed",
}


def people_text(access_request: AccessRequest) -> str:
    """Who made it: "requested and confirmed by Ada, approved by Grace"."""
    did: list[tuple[str, UUID | None, str]] = [
        ("requested", access_request.requested_by_id, access_request.requested_by_name),
        *(
            ("approved", each.approver_id, each.approver_name)
            for each in access_request.current_approvals
        ),
        ("confirmed", access_request.confirmed_by_id, access_request.confirmed_by_name),
    ]
    if ended := _ENDED_BY_A_PERSON.get(access_request.outcome):
        did.append((ended, _find_ended_by(access_request, did), access_request.settled_by_name))
    # By the person's ID, or by the name of what isn't a person.
    verbs: dict[UUID | str, list[str]] = {}
    names: dict[UUID | str, str] = {}
    for verb, person_id, name in did:
        if verb and name:
            verbs.setdefault(person_id or name, []).append(verb)
            names.setdefault(person_id or name, name)
    names |= _names_with_usernames(names)
    people: dict[str, list[str]] = {}
    for key, done in verbs.items():
        people.setdefault(join_names(done), []).append(names[key])
    return ", ".join(f"{done} by {join_names(by)}" for done, by in people.items())


def _find_ended_by(
    access_request: AccessRequest, did: Sequence[tuple[str, UUID | None, str]]
) -> UUID | None:
    """Who ended it. Of who withdrew or closed it, only the name is stored."""
    declined = ApprovalFields.Decision.DECLINED
    if access_request.outcome == AccessOutcome.DECLINED:
        decisions = access_request.approvals.all()
        people = {each.approver_id for each in decisions if each.decision == declined}
    else:
        people = {pk for _, pk, name in did if pk and name == access_request.settled_by_name}
    return people.pop() if len(people) == 1 else None


def _names_with_usernames(names: Mapping[UUID | str, str]) -> dict[UUID | str, str]:
    """The people among these who share a name, as "Alex Kim (akim)"."""
    counts = Counter(names.values())
    shared = [pk for pk, name in names.items() if counts[name] > 1 and isinstance(pk, UUID)]
    if not shared:
        return {}
    people = Person.objects.filter(pk__in=shared)
    return {each.pk: f"{names[each.pk]} ({each.username})" for each in people}


def terms_text(access_request: AccessRequest) -> str:
    """What it gives in a few words: "logs and metrics until 28 Feb 2027"."""
    end = f" until {format_day(access_request.ends_on)}" if access_request.ends_on else ""
    return f"{data_text(access_request.types_after)}{end}"


def last_day_text(access_request: AccessRequest, *, today: date) -> str:
    """What happens after the last day of the access that it gave. "" if it has none to come."""
    ends_on = access_request.ends_on
    if ends_on is None or ends_on < today or access_request.end_due_at is None:
        return ""
    day = format_day(ends_on)
    if access_request.outcome in SEEN:
        return (
            f"Org Admin deletes this connection after {day}. If it has changed or is protected "
            "then, or the orgs require more approvals, people decide about its deletion."
        )
    return f"After {day}, people decide about its deletion: this request didn't create it."

"""Requesting access."""

import re
from datetime import date, datetime
from typing import TypedDict
from uuid import UUID

from django.db import IntegrityError

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.access_requests.actions import KEEPING_TYPES
from connections.access_requests.targets import (
    AccessChangedError,
    AccessTarget,
    AccessTerms,
    find_target,
)
from connections.change_requests import exclusion, guards, requesting, sending
from connections.core import clock
from connections.core.errors import ConflictError, InvalidInputError
from connections.core.typed_text import confirmation_matches, find_text_problem
from connections.inventory import fetching, protections
from connections.models import (
    AccessRequest,
    Credential,
    Deletion,
    MoveStep,
    OrgPair,
    Person,
    RequestKind,
)

CHANGED = (
    "Nothing was sent: the connection, its agreement or the approvals changed. Read the page again."
)
MAX_TYPES = 20
# Access requests of one person, administrators included.
MAX_OPEN = 20
MAX_OWNER_LENGTH = 200
# The fields of an agreement that stay unless a request names them.
_AGREED = ("owner", "purpose", "ticket", "ends_on")
# Datadog's names are like this. One that it has listed itself can be any text.
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class TooManyOpenError(ConflictError):
    """The person has as many open access requests as one can have."""


class WantedTerms(TypedDict, total=False):
    """What is asked for. A field that is missing stays as agreed."""

    types: list[str]
    owner: Person | None
    owner_text: str
    purpose: str
    ends_on: date | None


def complete_terms(
    target: AccessTarget, wanted: WantedTerms, *, reason: str, ticket: str
) -> AccessTerms:
    """The terms, with what isn't given as agreed.

    Data types that aren't given are those listed or, to restore a connection, those that it had. An
    end that isn't given stays automatic if it was approved, and only then.
    """
    agreement, snapshot, deletion = target.agreement, target.snapshot, target.restored_from
    types = snapshot.connection_types if snapshot else []
    if deletion and target.kind == RequestKind.RESTORE:
        types = deletion.connection_types
    # An owner or an owner text that is given replaces both.
    named = {*wanted, *({"owner"} if "owner_text" in wanted else ())}
    named |= {"ticket"} if ticket.strip() else set()
    as_agreed = [name for name in _AGREED if agreement and name not in named]
    stays = agreement if "owner" in as_agreed else None
    purpose = wanted.get("purpose", agreement.purpose if agreement else "").strip()
    # What a new connection is for is also why it is requested.
    reason = reason.strip() or (purpose if target.kind == RequestKind.CREATE else "")
    return AccessTerms(
        types=sorted(set(wanted.get("types", types))),
        owner=stays.owner if stays else wanted.get("owner"),
        owner_text=stays.owner_text if stays else " ".join(wanted.get("owner_text", "").split()),
        purpose=purpose,
        ends_on=target.approved_end if "ends_on" in as_agreed else wanted.get("ends_on"),
        reason=reason,
        ticket=ticket.strip(),
        as_agreed=as_agreed,
    )


def find_problems(target: AccessTarget, terms: AccessTerms, *, today: date) -> dict[str, str]:
    """What is wrong with the terms, by form field."""
    problems = {
        **requesting.find_input_problems(reason=terms.reason, ticket=terms.ticket),
        "purpose": find_text_problem(terms.purpose, missing="Enter a purpose.", noun="purpose"),
        "owner": _find_owner_problem(terms),
        "connection_types": _find_types_problem(target, terms),
        "ends_on": _find_end_problem(target, terms, today=today),
    }
    if terms.reason == terms.purpose:
        # The reason of a new connection, which its form doesn't ask for.
        reason = problems.pop("reason", None)
        problems["purpose"] = problems["purpose"] or reason
    return {field: problem for field, problem in problems.items() if problem}


def _find_owner_problem(terms: AccessTerms) -> str | None:
    if terms.owner is None:
        missing = "Choose an owner, or enter a team or other owner."
        return find_text_problem(
            terms.owner_text, missing=missing, noun="owner", max_length=MAX_OWNER_LENGTH
        )
    return None if "owner" in terms.as_agreed else permissions.find_owner_problem(terms.owner)


def _find_types_problem(target: AccessTarget, terms: AccessTerms) -> str:
    if not terms.types:
        return "Choose at least 1 data type."
    if len(terms.types) > MAX_TYPES:
        return f"Choose at most {MAX_TYPES} data types."
    listed = sorted(target.snapshot.connection_types) if target.snapshot else []
    deleted = target.restored_from.connection_types if target.restored_from else []
    if not all(kind in {*listed, *deleted} or _TYPE.fullmatch(kind) for kind in terms.types):
        return "Choose data types from the list."
    if target.kind == RequestKind.CHANGE and terms.types == listed:
        return "The connection already has exactly these data types."
    if target.kind in KEEPING_TYPES and terms.types != listed:
        return "Extending or moving a connection doesn't change its data types."
    return ""


def _find_end_problem(target: AccessTarget, terms: AccessTerms, *, today: date) -> str:
    agreed = target.agreement.ends_on if target.agreement else None
    is_kept = "ends_on" in terms.as_agreed
    # Nothing is added to what has ended, also by hand.
    ends = (terms.ends_on, agreed if is_kept and target.added(terms.types) else None)
    if any(end and end < today for end in ends):
        passed = "The agreed end has passed. Choose a later one."
        return passed if is_kept else "Choose today or a later date."
    latest = target.latest_day(today=today)
    is_limited = not is_kept or target.kind == RequestKind.CREATE
    if latest and is_limited and (terms.ends_on is None or terms.ends_on > latest):
        return f"Access can last until {latest.isoformat()} at most. Choose that date or earlier."
    if target.kind == RequestKind.EXTEND and target.agreement:
        if agreed is None:
            return "This connection has no end, so there is nothing to extend."
        if is_kept or (terms.ends_on and terms.ends_on <= agreed):
            return f"Choose a date later than {agreed.isoformat()}."
    return ""


def request_access(
    *,
    actor: Actor,
    kind: RequestKind,
    pair: OrgPair,
    wanted: WantedTerms,
    reason: str,
    ticket: str,
    request_id: UUID,
    digest: str,
    confirmation: str | None,
    credential: Credential | None = None,
    restored_from: Deletion | None = None,
    requester: Person | None = None,
) -> AccessRequest:
    """Request access. If no approval is required, a person who can confirm it sends it too.

    `digest` is that of the form, so that what was listed and agreed then is so now.
    `requester` is the person for whom a command requests it. The same `request_id` again returns
    the same access request.

    Raises Http404 for a pair that the actor doesn't know; PermissionDenied; InvalidInputError
    naming the fields; AccessChangedError; ConflictError when the pair has an open deletion or
    another open access request, or a protected connection would be moved or lose a data type;
    ClockBehindError and UnavailableError; each with nothing stored and nothing sent.
    """
    repeated = AccessRequest.objects.filter(request_id=request_id).first()
    if repeated:
        return requesting.require_own(repeated, actor=actor)
    target = find_target(
        actor=actor, kind=kind, pair=pair, credential=credential, restored_from=restored_from
    )
    person = requester or actor.person
    _require_possible(target)
    if target.needs_approval and person is None:
        raise InvalidInputError(
            {"credential": "This request needs approval, so name a person with --as USERNAME."}
        )
    terms = complete_terms(target, wanted, reason=reason, ticket=ticket)
    if digest and digest != target.form_digest:
        raise AccessChangedError(CHANGED, current=target)
    now = guards.require_right_clock() if target.is_sent_at_once else clock.now()
    _require_valid(target, terms, confirmation=confirmation or "", today=now.date())
    if not digest:
        raise AccessChangedError(requesting.OUT_OF_DATE, current=target)
    sender = target.credential if target.is_sent_at_once else None
    # If the keys can't be decrypted, that must show before the request is recorded.
    client = fetching.open_client(credential=sender) if sender else None
    try:
        access_request = _create(
            actor=actor,
            target=target,
            terms=terms,
            request_id=request_id,
            requester=person,
            now=now,
        )
    except IntegrityError:
        repeated = AccessRequest.objects.filter(request_id=request_id).first()
        if repeated:
            return requesting.require_own(repeated, actor=actor)
        other = exclusion.find_open(AccessRequest, target.pair)
        if other is None:
            raise
        raise ConflictError(exclusion.wait_for(other, actor=actor)) from None
    if client is None:
        return access_request
    return sending.send(
        change_request=access_request,
        actor=actor,
        client=client,
        now=now,
    )


def require_requestable(
    target: AccessTarget, terms: AccessTerms, *, actor: Actor, today: date
) -> None:
    """Raise what `request_access` would because of the target and the terms, for a dry run."""
    _require_possible(target)
    _require_valid(target, terms, confirmation=target.text_to_type, today=today)
    for kind in (AccessRequest, Deletion):
        if other := exclusion.find_open(kind, target.pair):
            raise ConflictError(exclusion.wait_for(other, actor=actor))


def _require_possible(target: AccessTarget) -> None:
    if target.kind == RequestKind.MOVE:
        protections.require_unprotected(target.protection)
    if target.problem:
        raise InvalidInputError({"credential": target.problem})


def _require_valid(
    target: AccessTarget, terms: AccessTerms, *, confirmation: str, today: date
) -> None:
    problems = find_problems(target, terms, today=today)
    expected = target.text_to_type
    if target.is_sent_at_once and not confirmation_matches(typed=confirmation, expected=expected):
        problems["confirmation"] = f"Type {expected}."
    if problems:
        raise InvalidInputError(problems)
    if target.removed(terms.types):
        protections.require_unprotected(target.protection)


def _create(
    *,
    actor: Actor,
    target: AccessTarget,
    terms: AccessTerms,
    request_id: UUID,
    requester: Person | None,
    now: datetime,
) -> AccessRequest:
    credential = target.credential
    if credential is None:
        raise ConflictError(target.problem)
    snapshot, is_move = target.snapshot, target.kind == RequestKind.MOVE
    access_request = requesting.build_request(
        AccessRequest,
        actor=actor,
        requester=requester,
        credential=credential,
        snapshot=snapshot,
        digest=target.digest_of(terms),
        reason=terms.reason,
        ticket=terms.ticket,
        policy=target.policy,
        request_id=request_id,
        now=now,
        is_confirmed=target.is_sent_at_once,
        columns={
            "source_org_id": target.pair.source_org_id,
            "source_org_name": target.source_name,
            "sink_org_id": target.pair.sink_org_id,
            "sink_org_name": target.sink_name,
            "kind": target.kind,
            "connection_id": snapshot.connection_id if snapshot else None,
            "types_after": list(terms.types),
            "owner": terms.owner,
            "owner_text": terms.owner_text,
            "purpose": terms.purpose,
            "ends_on": terms.ends_on,
            "as_agreed": list(terms.as_agreed),
            "restored_from": target.restored_from,
            "step": MoveStep.DELETE if is_move else "",
            "moved_from": snapshot.connection_id if snapshot and is_move else None,
            "snapshot_at": snapshot.last_seen_at if snapshot else None,
            "agreement_version": target.agreement_version,
        },
    )
    access_request.search_text = search_text_of(access_request)
    with audit.atomic(durable=True):
        exclusion.lock_source_orgs([target.pair])
        _require_few_open(requester)
        deletion = exclusion.find_open(Deletion, target.pair)
        if deletion:
            raise ConflictError(exclusion.wait_for(deletion, actor=actor))
        access_request.save(force_insert=True)
        requesting.record_request(access_request, actor=actor, kind=access_request.kind)
    return access_request


def _require_few_open(requester: Person | None) -> None:
    """Raise TooManyOpenError if this person has as many open access requests as one can have."""
    if requester is None:
        return
    # Locked so that two requests at the same time are counted one after the other.
    person = Person.objects.select_for_update(no_key=True).get(pk=requester.pk)
    if AccessRequest.objects.filter(requested_by=person, settled_at=None).count() >= MAX_OPEN:
        raise TooManyOpenError(
            f"{person} has {MAX_OPEN} open access requests, which is the most that a person can "
            "have. Nothing was requested. Withdraw one, or wait until one is closed."
        )


def search_text_of(access_request: AccessRequest) -> str:
    """Case-folded text for the search."""
    parts = (
        access_request.source_org_name,
        access_request.sink_org_name,
        access_request.source_org_id,
        access_request.sink_org_id,
        access_request.reason,
        access_request.ticket,
        access_request.purpose,
        access_request.owner_text,
        access_request.requested_by_name,
        str(access_request.pk),
    )
    return "\n".join(filter(None, parts)).casefold()

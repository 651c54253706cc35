"""What requesting has in common, whatever is requested."""

from datetime import datetime
from typing import Any
from uuid import UUID

from connections import audit
from connections.access.actor import Actor
from connections.audit import personal_data
from connections.change_requests import lifecycle
from connections.core import time_limits
from connections.core.errors import ConflictError
from connections.core.tickets import find_ticket_problem
from connections.core.typed_text import find_text_problem
from connections.models import (
    ChangeRequest,
    Credential,
    Person,
    SnapshotFields,
    Step,
    approval_digest_of,
)

OUT_OF_DATE = "This page is out of date. Nothing was sent. Open it again."


def find_input_problems(*, reason: str, ticket: str) -> dict[str, str]:
    """What is wrong with the reason and the ticket of a request, by form field."""
    problems = {
        "reason": find_text_problem(reason),
        "ticket": find_ticket_problem(ticket.strip()),
    }
    return {field: problem for field, problem in problems.items() if problem}


def require_own[R: ChangeRequest](change_request: R, *, actor: Actor) -> R:
    """Return the request. Raises ConflictError if another person made it."""
    if actor.person and change_request.requested_by_id != actor.person.pk:
        raise ConflictError("This form belongs to another person. Open the page again.")
    return change_request


def build_request[R: ChangeRequest](
    kind: type[R],
    *,
    actor: Actor,
    requester: Person | None,
    credential: Credential,
    snapshot: SnapshotFields | None,
    digest: str,
    reason: str,
    ticket: str,
    policy: str,
    request_id: UUID,
    now: datetime,
    is_confirmed: bool,
    columns: dict[str, Any],
) -> R:
    """An unsaved request of this kind, which the actor confirms with it if `is_confirmed`.

    `columns` are those of its kind, and those that differ from the snapshot. Set `search_text`
    before you save it.
    """
    confirmer = actor if is_confirmed else None
    expires_at = now + time_limits.APPROVAL_WINDOW
    return kind(
        **(snapshot.snapshot_values() if snapshot else {}) | columns,
        request_id=request_id,
        site=credential.site,
        credential=credential,
        credential_name=credential.name,
        credential_fingerprint=credential.fingerprint,
        digest=digest,
        reason=reason,
        ticket=ticket,
        policy=policy,
        approval_digest=approval_digest_of(digest=digest, reason=reason, ticket=ticket),
        requested_at=now,
        requested_by=requester,
        requested_by_name=requester.display_name if requester else actor.name,
        confirmed_at=now if confirmer else None,
        confirmed_by=confirmer.person if confirmer else None,
        confirmed_by_name=confirmer.name if confirmer else "",
        expires_at=expires_at,
        due_at=expires_at,
    )


def record_request(
    change_request: ChangeRequest, *, actor: Actor, is_covered: bool = False, **details: str
) -> None:
    """Record the request, and the confirmation if the request includes it.

    `is_covered` means that it was approved with the access that it ends. `details` are recorded
    besides the reason, the ticket and the policy.
    """
    audit.record(
        code=change_request.event_code(Step.REQUESTED),
        actor=actor,
        subject=change_request,
        sentence=audit.Sentence(
            "{requester} requested {wanted} {connection}.",
            requester=personal_data.name_of(change_request.requested_by or actor),
            wanted=change_request.wanted,
            connection=change_request.description,
        ),
        details={
            "reason": change_request.reason,
            "ticket": change_request.ticket,
            "policy": change_request.policy,
            **details,
        },
        rows={change_request.noun: audit.row_of(change_request, actor=actor)},
    )
    if change_request.confirmed_at:
        audit.record(
            code=change_request.event_code(Step.CONFIRMED),
            actor=actor,
            subject=change_request,
            sentence=lifecycle.confirmed_sentence(
                change_request, actor=actor, is_covered=is_covered
            ),
        )

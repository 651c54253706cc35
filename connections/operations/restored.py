"""What a restore implies: a hold, no sessions, and no request that might have been sent since."""

import contextlib
from typing import Any

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.change_requests import lifecycle, states
from connections.change_requests.states import Settle
from connections.core import clock
from connections.core.causes import Cause
from connections.core.errors import ConflictError
from connections.models import (
    ApiToken,
    ApprovalPolicy,
    ChangeRequest,
    CommonOutcome,
    Hold,
    PersonSession,
    SignInLink,
    State,
    Step,
    WorkerHeartbeat,
)
from connections.operations import due, holds


def follow_restore(*, actor: Actor, source: str, details: dict[str, Any]) -> int:
    """Put the restored database on hold, and end what might have ended since the backup.

    `source` is what it was restored from. Every session, one-time link and API token ends. A
    request that was open when the backup was made and could have been sent since is closed as
    unresolved. Returns how many were closed. Can be repeated. Raises PermissionDenied.
    """
    permissions.require(permissions.can_administer(actor), "follow a restore")
    audit.record(
        code=audit.EventCode.DATABASE_RESTORED,
        actor=actor,
        sentence=audit.Sentence("{actor} restored the database from {source}.", source=source),
        details=details,
    )
    reason = f"The database was restored from {source}."
    with contextlib.suppress(ConflictError):
        holds.put_on_hold(kind=Hold.Kind.RESTORED, reason=reason, actor=actor)
    # Sessions that have ended since, links that have been used since and tokens that have been
    # revoked since must stay invalid.
    PersonSession.objects.all().delete()
    ApiToken.objects.filter(revoked_at=None).update(revoked_at=clock.now())
    WorkerHeartbeat.objects.all().delete()
    SignInLink.objects.filter(used_at=None).update(used_at=clock.now())
    closed = 0
    for kind in due.KINDS:
        rows = kind._default_manager.all()
        # Their approvals might have been used since the backup.
        without_effect = rows.filter(state=kind.no_effect).exclude(policy=ApprovalPolicy.NONE)
        for request in without_effect:
            _end_approvals(request, actor=actor, source=source)
        could_be_sent = rows.filter(state__in=[State.REQUESTED, State.APPROVED, State.WAITING])
        for request in could_be_sent:
            closed += _close_as_unresolved(request, actor=actor, reason=reason)
    return closed


def _end_approvals(request: ChangeRequest, *, actor: Actor, source: str) -> None:
    sentence = audit.Sentence(
        "Approvals for sending again about {connection} no longer count: the database was restored "
        "from {source}. Nothing was sent.",
        connection=request.description,
        source=source,
    )
    lifecycle.end_approval_round(change_request=request, actor=actor, sentence=sentence)


def _close_as_unresolved(request: ChangeRequest, *, actor: Actor, reason: str) -> bool:
    sentence = audit.Sentence("Open when the backup was made. Its outcome since then is unknown.")
    return states.apply(
        request,
        # With a cause, because no person decided at an end of access that the connection stays.
        transition=Settle(
            outcome=CommonOutcome.UNRESOLVED, cause=Cause.DATABASE_RESTORED, reason=reason
        ),
        actor=actor,
        events=[
            audit.EventDraft(
                code=request.event_code(Step.SETTLED),
                sentence=sentence,
                details={"reason": reason},
            )
        ],
    )

"""Ends approved access on its date: its connection is deleted as approved, or people are told.

An approval covers the last day and the deletion after it, so the deletion needs none of its own. It
deletes exactly what was approved. Anything else is left to people, and recorded about once an hour
until someone acts.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.db.models import Exists, OuterRef, QuerySet

from connections import audit
from connections.access.actor import Actor
from connections.access_requests.actions import find_pair, pair_of
from connections.access_requests.targets import find_open_deletion, find_open_request
from connections.audit import EventCode
from connections.change_requests import sending, states
from connections.change_requests.states import Settle
from connections.core import clock, logs
from connections.core.causes import Cause
from connections.core.errors import DomainError, UnavailableError
from connections.deletions import requesting
from connections.inventory import fetching, protections, storing
from connections.inventory.fetching import SyncResult
from connections.models import (
    COMPLETED,
    AccessOutcome,
    AccessRequest,
    AuditEvent,
    Credential,
    Deletion,
    OrgConnectionSnapshot,
    Step,
)

# As whom the deletion is requested.
REQUESTER = "Org Admin"
REPEAT_AFTER = timedelta(minutes=55)
# The most that one pass handles.
LIMIT = 20


def end_due(*, actor: Actor) -> list[AccessRequest]:
    """End the access whose last day has passed. Return the requests that gave it.

    Each is handled in its own transactions, so any number of workers can run it: the constraint of
    one open deletion for each connection lets one of them request the deletion.
    """
    now = clock.now()
    ended = list(find_ended(now=now)[:LIMIT])
    for access_request in ended:
        with logs.about(access_request=access_request.pk):
            _end(access_request, actor=actor, now=now)
    return ended


def find_ended(*, now: datetime) -> QuerySet[AccessRequest]:
    """The newest completed request of each pair, if its last day has passed and it has access."""
    same_pair = {name: OuterRef(name) for name in ("site", "source_org_id", "sink_org_id")}
    completed = AccessRequest.objects.filter(outcome__in=COMPLETED)
    newer = completed.filter(**same_pair, settled_at__gt=OuterRef("settled_at"))
    listed = OrgConnectionSnapshot.objects.filter(
        **same_pair, is_current=True, credential__retired_at=None
    )
    ended = completed.filter(ends_on__lt=now.date()).exclude(Exists(newer))
    return ended.filter(Exists(listed)).select_related("credential").order_by("ends_on", "pk")


def _end(access_request: AccessRequest, *, actor: Actor, now: datetime) -> None:
    if not _settle_open_request(access_request, actor=actor):
        return
    if find_open_deletion(pair_of(access_request)):
        return
    credential = _find_sender(access_request)
    if credential is None:
        _record_not_ended(access_request, cause=Cause.CREDENTIAL_RETIRED, actor=actor, now=now)
        return
    try:
        result = fetching.fetch(credential=credential)
    except UnavailableError as error:
        _record_not_ended(access_request, cause=error.cause, actor=actor, now=now)
        return
    storing.store(result, actor=actor)
    problem = _find_problem(access_request, result=result)
    item = find_pair(access_request, result=result)
    if problem:
        _record_not_ended(access_request, cause=problem, actor=actor, now=now)
    elif item:
        connection_id = UUID(item.id)
        _delete(access_request, connection_id, credential=credential, actor=actor, now=now)


def _settle_open_request(access_request: AccessRequest, *, actor: Actor) -> bool:
    """Settle an open request of the pair that has sent nothing. False while one is being sent."""
    open_request = find_open_request(pair_of(access_request))
    if open_request is None:
        return True
    if open_request.epoch:
        return False
    sentence = audit.Sentence(
        "The {title} {connection} is closed, because the access that it was about has ended.",
        title=open_request.title,
        connection=open_request.description,
    )
    return states.apply(
        open_request,
        transition=Settle(outcome=AccessOutcome.EXPIRED, cause=Cause.ACCESS_ENDED),
        actor=actor,
        events=[audit.EventDraft(code=open_request.event_code(Step.SETTLED), sentence=sentence)],
    )


def _find_sender(access_request: AccessRequest) -> Credential | None:
    """A credential in use of either org, first the one that gave the access."""
    orgs = [access_request.source_org_id, access_request.sink_org_id]
    in_use = Credential.objects.filter(
        site=access_request.site, org_id__in=orgs, retired_at=None
    ).order_by("name")
    return min(
        in_use,
        key=lambda each: (
            each.pk != access_request.credential_id,
            each.org_id != access_request.source_org_id,
        ),
        default=None,
    )


def _find_problem(access_request: AccessRequest, *, result: SyncResult) -> str:
    """Why the connection can't be deleted as approved. "" if it can, or if it is gone."""
    item = find_pair(access_request, result=result)
    if item is None:
        return "" if result.is_complete else Cause.LISTING_FAILED
    if item.id != str(access_request.connection_id):
        return Cause.ANOTHER_CONNECTION
    if sorted(item.connection_types) != access_request.types_after:
        return Cause.CHANGED_WHEN_READ
    return Cause.CONNECTION_PROTECTED if protections.find_protection(access_request.key) else ""


def _delete(
    access_request: AccessRequest,
    connection_id: UUID,
    *,
    credential: Credential,
    actor: Actor,
    now: datetime,
) -> None:
    """Request the deletion that the approval covers, and send it."""
    org_admin = replace(actor, name=REQUESTER)
    try:
        deletion = requesting.request_covered_deletion(
            actor=org_admin,
            credential=credential,
            connection_id=connection_id,
            reason=access_request.reason,
            ticket=access_request.ticket,
            request_id=uuid4(),
            record_also=lambda deletion: _record_ended(
                access_request, deletion=deletion, actor=actor
            ),
        )
        sending.send(change_request=deletion, actor=org_admin)
    except DomainError as error:
        cause = getattr(error, "cause", Cause.CHANGED_WHEN_READ)
        _record_not_ended(access_request, cause=cause, actor=actor, now=now)


def _record_ended(access_request: AccessRequest, *, deletion: Deletion, actor: Actor) -> None:
    values = {"deletion": deletion}
    AccessRequest.objects.filter(pk=access_request.pk).update(**values)
    audit.record(
        code=EventCode.ACCESS_REQUEST_ENDED,
        actor=actor,
        subject=access_request,
        sentence=audit.Sentence(
            "The access for {connection} ended, so its connection is deleted.",
            connection=access_request.description,
        ),
        details={"deletion": str(deletion.pk)},
        rows={"access_request": audit.changes_of(AccessRequest, values=values, actor=actor)},
    )


def _record_not_ended(
    access_request: AccessRequest, *, cause: str, actor: Actor, now: datetime
) -> None:
    """Record why the connection still exists, unless that was recorded in this hour."""
    code = EventCode.ACCESS_REQUEST_NOT_ENDED
    about = audit.reference(access_request)
    recorded = AuditEvent.objects.filter(
        code=code, subject_type=about["type"], subject_id=about["id"], at__gt=now - REPEAT_AFTER
    )
    if recorded.exists():
        return
    audit.record(
        code=code,
        actor=actor,
        subject=access_request,
        sentence=audit.Sentence(
            "The access for {connection} ended, but its connection was not deleted.",
            connection=access_request.description,
        ),
        details={"cause": cause},
    )

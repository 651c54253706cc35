"""Ends approved access on its date: its connection is deleted as approved, or people decide.

An approval covers the last day and the deletion after it, so the deletion needs none of its own. It
deletes exactly what was approved. If the connection is another, or was deleted once before,
its deletion waits for people, without a time limit. If it can't be deleted now, it is tried again.
Either way, people are told.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from connections import audit
from connections.access.actor import Actor
from connections.access_requests.actions import find_pair, pair_of
from connections.agreements.approved import find_grants
from connections.audit import EventCode
from connections.change_requests import rechecks, sending, states
from connections.change_requests.exclusion import find_open
from connections.change_requests.states import Settle
from connections.core import clock, logs
from connections.core.causes import Cause, cause_text
from connections.core.errors import BlockedError, ConflictError, UnavailableError
from connections.datadog.payloads import OrgConnection
from connections.deletions import requesting
from connections.inventory import fetching, protections, storing
from connections.inventory.fetching import SyncResult
from connections.models import (
    GAVE_ACCESS,
    AccessOutcome,
    AccessRequest,
    AuditEvent,
    Credential,
    Deletion,
    OrgConnectionSnapshot,
    Outcome,
    State,
    Step,
    newest_agreements,
    snapshot_digest,
)

# As whom the deletion is requested.
REQUESTER = "Org Admin"
# After a deletion ended without deleting, another one is requested.
RETRY_AFTER = timedelta(minutes=55)
# The same reason is recorded again.
REPEAT_AFTER = timedelta(days=1)
# The most that one pass handles.
LIMIT = 20
# People decided that the connection stays. They can delete it, or request a later end.
_KEPT_BY_PEOPLE = Q(deletion__outcome__in=[Outcome.DECLINED, Outcome.UNRESOLVED]) | Q(
    deletion__outcome=Outcome.WITHDRAWN, deletion__cause=""
)

# Where the sentence of the cause is about sending.
_WHY: dict[str, str] = {
    Cause.CHANGED_WHEN_READ: "Its data types differ from those approved.",
    Cause.LATER_LISTING: "It was deleted at this end and is listed again.",
    Cause.CREDENTIAL_RETIRED: "No credential of these orgs is in use.",
    Cause.LISTING_FAILED: "Datadog's list could not be read.",
}


def why_text(cause: str) -> str:
    """Why a connection wasn't deleted at its end, in a sentence."""
    return _WHY.get(cause) or cause_text(cause)


def end_due(*, actor: Actor) -> list[AccessRequest]:
    """End the access whose last day has passed. Return the requests that gave it.

    Each is handled in its own transactions, so any number of workers can run it: the constraint of
    one open deletion for each connection lets one of them request the deletion.
    """
    _close_outdated(actor=actor)
    now = clock.now()
    ended = list(find_ended(now=now))
    # Those that something happened to last come last, so that one that can't end delays no other.
    newest = audit.newest_at(ended) if len(ended) > LIMIT else {}
    ended.sort(key=lambda access_request: newest.get(access_request.pk, now))
    for access_request in ended[:LIMIT]:
        with logs.about(access_request=access_request.pk):
            _end(access_request, actor=actor, now=now)
    return ended[:LIMIT]


def find_ended(*, now: datetime) -> QuerySet[AccessRequest]:
    """The newest completed request of each pair, if its last day has passed and it has access.

    Not where people have decided to keep the connection.
    """
    same_pair = {name: OuterRef(name) for name in ("site", "source_org_id", "sink_org_id")}
    completed = AccessRequest.objects.filter(GAVE_ACCESS)
    in_use = Credential.objects.filter(
        Q(org_id=OuterRef("source_org_id")) | Q(org_id=OuterRef("sink_org_id")),
        site=OuterRef("site"),
        retired_at=None,
    )
    # What the last credential of both orgs listed counts once that is retired.
    listed = OrgConnectionSnapshot.objects.filter(
        Q(credential__retired_at=None) | ~Exists(in_use), **same_pair, is_current=True
    )
    # What was extended isn't read each time.
    lasting = Q(ends_on=None) | Q(ends_on__gte=now.date())
    lasts = Exists(completed.filter(lasting, **same_pair)) & Exists(
        newest_agreements().filter(lasting, **same_pair)
    )
    ended = completed.filter(Exists(listed), ends_on__lt=now.date()).exclude(lasts)
    newest = find_grants([pair_of(each) for each in ended])
    ended = ended.filter(pk__in=[each.pk for each in newest.values()]).exclude(_KEPT_BY_PEOPLE)
    return ended.select_related("deletion__credential").order_by("ends_on", "pk")


def _end(access_request: AccessRequest, *, actor: Actor, now: datetime) -> None:
    if not _settle_open_request(access_request, actor=actor):
        return
    deletion, other = access_request.deletion, find_open(Deletion, pair_of(access_request))
    if other:
        if deletion and deletion == other and _is_unsent(deletion):
            _send(access_request, deletion=deletion, actor=actor, now=now)
        return
    if deletion and now - (deletion.settled_at or now) < RETRY_AFTER:
        return
    sender = _find_sender(access_request, actor=actor)
    if isinstance(sender, str):
        _record_not_ended(access_request, cause=sender, actor=actor, now=now)
        return
    item = find_pair(access_request, result=sender.result)
    if item and item.id != str(access_request.connection_id):
        _record_not_ended(access_request, cause=Cause.ANOTHER_CONNECTION, actor=actor, now=now)
    elif item:
        _request_deletion(access_request, item, sender=sender, actor=actor, now=now)


def _is_unsent(deletion: Deletion) -> bool:
    """Whether it was to be sent at once, without a person, and something prevented that."""
    is_confirmed = deletion.confirmed_at is not None and deletion.confirmed_by_id is None
    return is_confirmed and deletion.state == State.REQUESTED and not deletion.epoch


def _settle_open_request(access_request: AccessRequest, *, actor: Actor) -> bool:
    """Settle an open request of the pair that has sent nothing. False while one is being sent."""
    open_request = find_open(AccessRequest, pair_of(access_request))
    if open_request is None:
        return True
    if open_request.epoch:
        return False
    sentence = audit.Sentence(
        "The {title} {connection} is closed, because the approved access has ended.",
        title=open_request.title,
        connection=open_request.description,
    )
    return states.apply(
        open_request,
        transition=Settle(outcome=AccessOutcome.EXPIRED, cause=Cause.ACCESS_ENDED),
        actor=actor,
        events=[audit.EventDraft(code=open_request.event_code(Step.SETTLED), sentence=sentence)],
    )


@dataclass(frozen=True, kw_only=True)
class _Sender:
    """A credential that can send the deletion, and the complete list that it has just read."""

    credential: Credential
    result: SyncResult


def _find_sender(access_request: AccessRequest, *, actor: Actor) -> _Sender | str:
    """The first credential of either org that reads a complete list, or why none does.

    First the one that gave the access, then those of the source org.
    """
    orgs = [access_request.source_org_id, access_request.sink_org_id]
    in_use = Credential.objects.filter(
        site=access_request.site, org_id__in=orgs, retired_at=None
    ).order_by("name")
    cause: str = Cause.CREDENTIAL_RETIRED
    for credential in sorted(
        in_use,
        key=lambda each: (
            each.pk != access_request.credential_id,
            each.org_id != access_request.source_org_id,
        ),
    ):
        try:
            result = fetching.fetch(credential=credential)
        except UnavailableError as error:
            cause = error.cause
            continue
        storing.store(result, actor=actor)
        if result.is_complete:
            return _Sender(credential=credential, result=result)
        cause = Cause.LISTING_FAILED
    return cause


def _find_reason_to_ask(access_request: AccessRequest, item: OrgConnection) -> str:
    """Why the approval doesn't cover the deletion of this connection. "" if it does."""
    if sorted(item.connection_types) != access_request.types_after:
        return Cause.CHANGED_WHEN_READ
    if protections.find_protection(access_request.key):
        return Cause.CONNECTION_PROTECTED
    earlier = access_request.deletion
    if earlier and earlier.epoch and earlier.outcome != Outcome.NOT_SENT:
        # It covers one attempt.
        return earlier.cause or Cause.LATER_LISTING
    return ""


def _request_deletion(
    access_request: AccessRequest,
    item: OrgConnection,
    *,
    sender: _Sender,
    actor: Actor,
    now: datetime,
) -> None:
    """Request the deletion. Send it if the approval covers it."""
    cause = _find_reason_to_ask(access_request, item)

    def record_also(deletion: Deletion) -> None:
        _require_still_ended(access_request)
        _record_requested(access_request, deletion=deletion, cause=cause, actor=actor)

    try:
        deletion = requesting.request_at_end(
            actor=replace(actor, name=REQUESTER),
            credential=sender.credential,
            connection_id=UUID(item.id),
            reason=access_request.reason,
            ticket=access_request.ticket,
            is_covered=not cause,
            record_also=record_also,
        )
    except BlockedError as blocked:
        _record_not_ended(access_request, cause=blocked.cause, actor=actor, now=now)
        return
    except ConflictError:
        # Another process, or the clock, was faster.
        return
    if not cause:
        _send(access_request, deletion=deletion, actor=actor, now=now, result=sender.result)


def _require_still_ended(access_request: AccessRequest) -> None:
    """Raise ConflictError if another worker ended it since it was read, or people extended it.

    Also if the clock was set back. Call it in the transaction that has locked the pair, so that
    this stays true.
    """
    as_read = {"pk": access_request.pk, "deletion": access_request.deletion}
    if not find_ended(now=clock.now()).filter(**as_read).exists():
        raise ConflictError("The end of this access has changed.")


def _send(
    access_request: AccessRequest,
    *,
    deletion: Deletion,
    actor: Actor,
    now: datetime,
    result: SyncResult | None = None,
) -> None:
    """Send a deletion that the approval covers. One that is blocked is closed."""
    org_admin = replace(actor, name=REQUESTER)
    try:
        sending.send(change_request=deletion, actor=org_admin, result=result)
    except BlockedError as blocked:
        sending.record_blocked(change_request=deletion, blocked=blocked, actor=org_admin)
        _record_not_ended(access_request, cause=blocked.cause, actor=actor, now=now)
    except UnavailableError as error:
        _record_not_ended(access_request, cause=error.cause, actor=actor, now=now)


def _close_outdated(*, actor: Actor) -> None:
    """Close the deletions that wait for people while the connection is no longer the one shown.

    The next pass requests another one, if there is still a connection to delete.
    """
    waiting = Deletion.objects.filter(
        state=State.REQUESTED, settled_at=None, confirmed_at=None, requested_by=None
    )
    for deletion in waiting.exclude(ended_requests=None).select_related("credential"):
        snapshot = OrgConnectionSnapshot.objects.filter(
            credential=deletion.credential, connection_id=deletion.connection_id, is_current=True
        ).first()
        if snapshot and deletion.digest == _digest_of(snapshot):
            continue
        with logs.about(deletion=deletion.pk):
            comparison = rechecks.recheck_and_store(change_request=deletion, actor=actor)
            if not comparison.can_be_approved:
                rechecks.settle_not_as_requested(
                    change_request=deletion, comparison=comparison, actor=actor
                )


def _digest_of(snapshot: OrgConnectionSnapshot) -> str:
    return snapshot_digest(
        site=snapshot.site, connection_id=str(snapshot.connection_id), fields=snapshot
    )


def _record_requested(
    access_request: AccessRequest, *, deletion: Deletion, cause: str, actor: Actor
) -> None:
    """Link the deletion. `cause` is why it waits for people, if it does."""
    values = {"deletion": deletion}
    AccessRequest.objects.filter(pk=access_request.pk).update(**values)
    code, sentence = (
        EventCode.ACCESS_REQUEST_ENDED,
        audit.Sentence(
            "Access for {connection} ended, so Org Admin deletes the connection.",
            connection=access_request.description,
        ),
    )
    if cause:
        code, sentence = (
            EventCode.ACCESS_REQUEST_NOT_ENDED,
            audit.Sentence(
                "Access for {connection} ended, but people must decide about the deletion. {why}",
                connection=access_request.description,
                why=why_text(cause),
            ),
        )
    audit.record(
        code=code,
        actor=actor,
        subject=access_request,
        sentence=sentence,
        details={"deletion": str(deletion.pk)} | ({"cause": cause} if cause else {}),
        rows={"access_request": audit.changes_of(AccessRequest, values=values, actor=actor)},
    )


def _record_not_ended(
    access_request: AccessRequest, *, cause: str, actor: Actor, now: datetime
) -> None:
    """Record why the connection still exists, unless that was recorded within a day."""
    code = EventCode.ACCESS_REQUEST_NOT_ENDED
    about = audit.reference(access_request)
    events = AuditEvent.objects.filter(
        code=code, subject_type=about["type"], subject_id=about["id"], at__gt=now - REPEAT_AFTER
    )
    newest = events.order_by("seq").last()
    if newest and newest.details["cause"] == cause:
        return
    audit.record(
        code=code,
        actor=actor,
        subject=access_request,
        sentence=audit.Sentence(
            "Access for {connection} ended, but the connection was not deleted. {why}",
            connection=access_request.description,
            why=why_text(cause),
        ),
        details={"cause": cause},
    )

"""Requesting a deletion."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID, uuid4

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError

from connections import audit
from connections.access import permissions, visibility
from connections.access.actor import Actor, person_actor
from connections.agreements.agreed import find_version
from connections.change_requests import exclusion, guards, requesting, sending
from connections.core import clock
from connections.core.errors import ConflictError, InvalidInputError
from connections.core.typed_text import confirmation_matches
from connections.deletions import confirmations, history
from connections.deletions.confirmations import DeletionTarget, TargetChangedError
from connections.inventory import fetching, protections, storing
from connections.inventory.fetching import SyncResult
from connections.lookups.refusals import record_refusal
from connections.models import (
    Credential,
    Deletion,
    OrgConnectionKey,
    Person,
)

NOT_VISIBLE = (
    "This connection is known through a credential that you can't use. Nothing was sent. Ask a "
    "person who can use it."
)
CHANGED = "The connection has changed. Nothing was sent. Read its new details first."


def require_usable_credential(*, credential: Credential, requester: Person | None) -> None:
    """Raise unless this credential can send what this person requests.

    InvalidInputError names the reason. PermissionDenied is raised when the person can't delete
    connections with it.
    """
    if requester and not permissions.can_use(
        person_actor(person=requester), credential_id=credential.pk
    ):
        raise PermissionDenied(
            f"{requester} doesn't have permission to delete connections with {credential.name}."
        )
    if credential.is_retired:
        raise InvalidInputError(
            {"credential": f"{credential.name} was retired. Choose another credential."}
        )
    if not credential.org_id:
        raise InvalidInputError(
            {"credential": f"{credential.name} was never verified. Verify it first."}
        )


def require_visible_to_requester(target: DeletionTarget, *, actor: Actor) -> None:
    """Raise ConflictError when a credential other than the chosen one lists the connection.

    Otherwise the deletion could be requested unseen, or the connection be called gone. The
    same applies to a connection with an open deletion that is not visible to the actor.
    """
    if target.is_hidden or target.is_open_hidden:
        key = OrgConnectionKey(site=target.credential.site, connection_id=target.connection_id)
        record_refusal(actor=actor, subject=key)
        in_progress = f"{exclusion.IN_PROGRESS} {exclusion.WAIT}"
        raise ConflictError(in_progress if target.is_open_hidden else NOT_VISIBLE)
    if not target.is_listed and target.other_credentials:
        names = ", ".join(other.name for other in target.other_credentials)
        raise ConflictError(
            f"{target.credential.name} doesn't list this connection, but {names} does. Nothing was "
            "sent. Choose that credential to see the connection."
        )


def require_requester(target: DeletionTarget, *, requester: Person | None) -> None:
    """Raise InvalidInputError when approval is needed and the requester isn't a person."""
    if target.needs_approval and requester is None:
        raise InvalidInputError(
            {
                "credential": "This deletion needs approval, so a person must request it: name "
                "one with --as USERNAME."
            }
        )


def require_valid_input(
    *, target: DeletionTarget, reason: str, ticket: str, confirmation: str | None
) -> None:
    """Raise InvalidInputError naming every invalid field."""
    fields = requesting.find_input_problems(reason=reason, ticket=ticket)
    if not target.needs_approval and not confirmation_matches(
        typed=confirmation or "", expected=target.text_to_type
    ):
        fields["confirmation"] = f"Type {target.text_to_type}."
    if fields:
        raise InvalidInputError(fields)


def request_deletion(
    *,
    actor: Actor,
    credential: Credential,
    connection_id: UUID,
    reason: str,
    ticket: str,
    request_id: UUID,
    digest: str,
    confirmation: str | None,
    requester: Person | None = None,
    now: datetime | None = None,
) -> Deletion:
    """Request a deletion. Under policy `none`, also confirm and send it.

    `digest` is the target's, so that exactly what was shown is requested. `requester` is the person
    for whom a command requests it. `now` is the database time, if the caller has just read it. The
    same `request_id` again returns the same deletion. If the connection has an open deletion, that
    one is returned instead of creating a second one.

    An open access request of its orgs ends as stale once the deletion is confirmed. Raises
    PermissionDenied;
    InvalidInputError naming the fields; TargetChangedError when the connection changed;
    ConflictError when such an access request has sent something; ClockBehindError; and
    UnavailableError when no request can be made; each with nothing stored and nothing sent.
    """
    target = confirmations.find_target(
        actor=actor, credential=credential, connection_id=connection_id, request_id=request_id
    )
    if target.already_requested:
        return requesting.require_own(target.already_requested, actor=actor)
    require_usable_credential(credential=credential, requester=requester or actor.person)
    if target.open_deletion:
        return target.open_deletion
    protections.require_unprotected(target.protection)
    require_requester(target, requester=requester or actor.person)
    require_visible_to_requester(target, actor=actor)
    if digest and digest != target.digest:
        # Before the input is checked, because the confirmation text might have changed too.
        raise TargetChangedError(CHANGED, current=target)
    require_valid_input(target=target, reason=reason, ticket=ticket, confirmation=confirmation)
    if not digest:
        raise TargetChangedError(requesting.OUT_OF_DATE, current=target)
    result = None if target.is_listed else _sync_unlisted(target, actor=actor)
    if not target.needs_approval:
        now = guards.require_right_clock()
    elif now is None or result:
        # Read again, because a sync can take seconds.
        now = clock.now()
    # If the keys can't be decrypted, that must show before the request is recorded.
    client = None if target.needs_approval else fetching.open_client(credential=credential)
    try:
        deletion = _create(
            actor=actor,
            target=target,
            reason=reason.strip(),
            ticket=ticket.strip(),
            request_id=request_id,
            requester=requester or actor.person,
            now=now,
        )
    except IntegrityError:
        return _find_concurrent_request(request_id=request_id, target=target, actor=actor)
    if client is None:
        return deletion
    return sending.send(
        change_request=deletion,
        actor=actor,
        client=client,
        result=result,
        now=now,
    )


def request_at_end(
    *,
    actor: Actor,
    credential: Credential,
    connection_id: UUID,
    reason: str,
    ticket: str,
    is_confirmed: bool,
    is_covered: bool,
    record_also: Callable[[Deletion], None],
) -> Deletion:
    """Request the deletion at the end of approved access, in the name of Org Admin.

    If it needs no approval besides those of the access, it is confirmed too. Otherwise it waits for
    people, without a time limit, and they can't confirm it while the connection is protected.
    Nothing is sent yet. `is_covered` says whether people approved the access. `record_also` is
    called in the transaction that stores the deletion. Raises ConflictError when another deletion
    of the connection is open or just ended.
    """
    target = confirmations.find_target(
        actor=actor, credential=credential, connection_id=connection_id
    )
    if target.open_deletion:
        raise ConflictError("Another deletion of this connection is open.")
    try:
        return _create(
            actor=actor,
            target=target,
            reason=reason,
            ticket=ticket,
            request_id=uuid4(),
            requester=None,
            now=clock.now(),
            at_end=is_confirmed,
            is_covered=is_covered,
            record_also=record_also,
        )
    except IntegrityError:
        raise ConflictError("Another deletion of this connection is open.") from None


def _sync_unlisted(target: DeletionTarget, *, actor: Actor) -> SyncResult:
    """Sync for a connection that no snapshot shows.

    If it is listed now, its details must be shown first.
    """
    result = fetching.fetch(credential=target.credential)
    storing.store(result, actor=actor)
    if result.find(target.connection_id):
        raise TargetChangedError(
            "Datadog now lists this connection. Nothing was sent. Read its details first.",
            current=confirmations.find_target(
                actor=actor, credential=target.credential, connection_id=target.connection_id
            ),
        )
    return result


def _create(
    *,
    actor: Actor,
    target: DeletionTarget,
    reason: str,
    ticket: str,
    request_id: UUID,
    requester: Person | None,
    now: datetime,
    at_end: bool | None = None,
    is_covered: bool = False,
    record_also: Callable[[Deletion], None] = lambda deletion: None,
) -> Deletion:
    # `at_end` is None unless access has ended; False if its deletion waits for people.
    snapshot = target.snapshot
    deletion = requesting.build_request(
        Deletion,
        actor=actor,
        requester=requester,
        credential=target.credential,
        snapshot=snapshot,
        digest=target.digest,
        reason=reason,
        ticket=ticket,
        policy=target.policy,
        request_id=request_id,
        now=now,
        is_confirmed=not target.needs_approval if at_end is None else at_end,
        columns={
            "connection_id": target.connection_id,
            "automatic": None if at_end is None else True,
            "is_reviewed": target.is_listed,
            "snapshot_at": snapshot.last_seen_at if snapshot else None,
        },
    )
    if at_end is False:
        deletion.expires_at = deletion.due_at = None
    deletion.search_text = history.search_text_of(deletion)
    for pair in exclusion.pairs_of([deletion]):
        deletion.agreement_version = find_version(pair)
    with audit.atomic(durable=True):
        excluded = exclusion.lock_excluded([deletion], actor=actor)
        deletion.save(force_insert=True)
        requesting.record_request(deletion, actor=actor, is_covered=is_covered)
        if deletion.confirmed_at:
            exclusion.settle_excluded(excluded, by=[deletion], actor=actor)
        record_also(deletion)
    return deletion


def _find_concurrent_request(*, request_id: UUID, target: DeletionTarget, actor: Actor) -> Deletion:
    """The deletion that was stored first: from the same form posted twice, or another open one."""
    repeated = Deletion.objects.filter(request_id=request_id).first()
    if repeated:
        return requesting.require_own(repeated, actor=actor)
    existing = confirmations.find_open_deletion(
        site=target.credential.site, connection_id=target.connection_id
    )
    if existing and not visibility.is_visible(existing, actor=actor):
        raise ConflictError(exclusion.wait_for(existing, actor=actor))
    if existing:
        return existing
    raise ConflictError("Another deletion of this connection just ended. Open the page again.")

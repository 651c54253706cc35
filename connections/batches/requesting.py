"""Requesting a bulk deletion: every row of its plan becomes an ordinary deletion."""

from uuid import uuid4

from django.db import IntegrityError

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor, person_actor
from connections.agreements.agreed import find_agreements
from connections.audit import EventCode, personal_data
from connections.batches import confirming, drafts, facts
from connections.change_requests import exclusion, requesting
from connections.core import clock, time_limits
from connections.core.errors import ConflictError, InvalidInputError, OvertakenError
from connections.core.text import pluralize
from connections.deletions import history
from connections.models import (
    SENDABLE,
    AccessReview,
    AccessReviewRow,
    AccessReviewState,
    Batch,
    BatchRow,
    BatchState,
    Deletion,
    batch_approval_digest_of,
)


class PlanChangedError(ConflictError):
    """The plan differs from what the page showed. The stored draft has the current plan."""


def request_batch(
    *,
    batch: Batch,
    actor: Actor,
    reason: str,
    ticket: str,
    digest: str,
    stop_at_first_problem: bool = False,
    confirmation: str | None = None,
) -> bool:
    """Request the deletion of every row. Under policy `none`, also confirm it for the worker.

    `digest` is the digest of the plan that the page showed. Either every row becomes a deletion or
    none does. Posting the form again changes nothing: the result is whether it was requested with
    this reason, ticket and choice.

    Raises PermissionDenied; InvalidInputError naming the fields; PlanChangedError when a row
    changed or can no longer be deleted; and OvertakenError when it is no longer a draft. Each time,
    nothing was requested and nothing was sent.
    """
    typed = (reason.strip(), ticket.strip(), stop_at_first_problem)
    if batch.requested_at and _is_own_request(batch, actor=actor):
        return typed == (batch.reason, batch.ticket, batch.stop_at_first_problem)
    drafts.require_own_draft(batch, actor=actor)
    changed_rows = _store_changes(batch, actor=actor)
    if digest != batch.digest:
        raise PlanChangedError(_changed_text(changed_rows))
    require_requester(batch)
    _require_usable(batch, actor=actor)
    _require_valid_input(
        batch, actor=actor, reason=reason, ticket=ticket, confirmation=confirmation
    )
    try:
        with audit.atomic(durable=True):
            _wait_for_decisions(batch)
            drafts.lock_batch(batch)
            is_changed = batch.state != BatchState.DRAFT or batch.digest != digest
            # Decisions to keep a connection also lock the bulk deletion, so a later one pauses it.
            if is_changed or (batch.is_from_review and facts.find_kept(batch=batch)):
                raise OvertakenError(
                    f"This bulk deletion just changed. Nothing was requested. {drafts.CHECK_AGAIN}"
                )
            batch.reason, batch.ticket, batch.stop_at_first_problem = typed
            _request(batch, actor=actor)
    except IntegrityError:
        raise PlanChangedError(
            "Another deletion of one of these connections was just requested. Nothing was "
            f"requested here. {drafts.CHECK_AGAIN}"
        ) from None
    return True


def _wait_for_decisions(batch: Batch) -> None:
    """Lock the open access reviews of its connections, as a decision does.

    A decision that is about to be committed might not have seen this bulk deletion. Locked before
    the bulk deletion, as a decision that pauses it does.
    """
    if not batch.is_from_review:
        return
    sendable = batch.rows.filter(SENDABLE).order_by()
    # Filtered by site too, so that an index is used.
    rows = AccessReviewRow.objects.filter(
        site__in=sendable.values("site"), connection_id__in=sendable.values("connection_id")
    ).order_by()
    reviews = AccessReview.objects.filter(
        state=AccessReviewState.OPEN, pk__in=rows.values("review")
    )
    list(reviews.select_for_update(no_key=True).order_by("pk").values_list("pk"))


def _is_own_request(batch: Batch, *, actor: Actor) -> bool:
    return batch.requested_by_id == (actor.person.pk if actor.person else batch.created_by_id)


def _store_changes(batch: Batch, *, actor: Actor) -> list[BatchRow]:
    with audit.atomic():
        drafts.lock_batch(batch)
        drafts.require_own_draft(batch, actor=actor)
        return drafts.refresh_problems(batch=batch, actor=actor)


def _changed_text(changed_rows: list[BatchRow]) -> str:
    if not changed_rows:
        return drafts.OUT_OF_DATE
    return (
        f"{pluralize(len(changed_rows), 'connection')} changed or can no longer be deleted. "
        f"Nothing was requested. {drafts.CHECK_AGAIN}"
    )


def require_requester(batch: Batch) -> None:
    """Raise InvalidInputError if approval is needed and the requester isn't a person."""
    if batch.needs_approval and batch.created_by is None:
        raise InvalidInputError(
            {
                "credential": "This bulk deletion needs approval, so a person must request it: "
                "name one with --as USERNAME."
            }
        )


def _require_usable(batch: Batch, *, actor: Actor) -> None:
    requester = person_actor(person=batch.created_by) if batch.created_by else actor
    permissions.require(
        permissions.can_use_all(requester, credential_ids=batch.sending_credential_ids),
        "delete connections with every credential of this plan",
    )


def _require_valid_input(
    batch: Batch, *, actor: Actor, reason: str, ticket: str, confirmation: str | None
) -> None:
    if not drafts.count_sendable(batch):
        raise ConflictError("No connection in this plan can be deleted.")
    fields = requesting.find_input_problems(reason=reason, ticket=ticket)
    # A command confirms with its option --yes.
    if not batch.needs_approval and actor.person:
        fields |= confirming.find_problem(batch, confirmation=confirmation or "")
    if fields:
        raise InvalidInputError(fields)


def _request(batch: Batch, *, actor: Actor) -> None:
    now = clock.now()
    requester = batch.created_by
    batch.state = BatchState.REQUESTED
    batch.requested_at = now
    batch.requested_by = requester
    batch.requested_by_name = requester.display_name if requester else actor.name
    batch.expires_at = now + time_limits.APPROVAL_WINDOW
    batch.approval_digest = batch_approval_digest_of(batch)
    batch.save()
    rows = batch.rows.filter(SENDABLE).select_related("credential")
    deletions = [_deletion_of(row, batch=batch, actor=actor) for row in rows]
    agreements = find_agreements(exclusion.pairs_of(deletions))
    for deletion in deletions:
        for pair in exclusion.pairs_of([deletion]):
            deletion.agreement_version = agreements[pair].version if pair in agreements else 0
    exclusion.lock_excluded(deletions, actor=actor)
    # In an order that all requests share; otherwise two with the same connections would deadlock.
    Deletion.objects.bulk_create(
        sorted(deletions, key=lambda deletion: (deletion.site, deletion.connection_id))
    )
    audit.record(
        code=EventCode.BATCH_REQUESTED,
        actor=actor,
        subject=batch,
        sentence=audit.Sentence(
            "{requester} requested the bulk deletion of {connections}.",
            requester=personal_data.name_of(requester or actor),
            connections=pluralize(len(deletions), "connection"),
        ),
        details={
            "access_review": str(batch.access_review_id) if batch.access_review_id else None,
            "count": len(deletions),
            "policy": batch.policy,
            "reason": batch.reason,
            "ticket": batch.ticket,
        },
        rows={
            "batch": audit.row_of(batch, actor=actor),
            "batch_rows": audit.digest_of_rows(
                audit.row_of(row) for row in batch.rows.order_by("position")
            ),
        },
    )
    for deletion in deletions:
        requesting.record_request(deletion, actor=actor)
    if not batch.needs_approval:
        confirming.confirm(batch, deletions=deletions, actor=actor)


def _deletion_of(row: BatchRow, *, batch: Batch, actor: Actor) -> Deletion:
    """An unsaved deletion for one row, whose credential is loaded."""
    credential = row.credential
    if credential is None or row.connection_id is None or batch.requested_at is None:
        raise ValueError("Only a sendable row of a requested plan becomes a deletion.")
    deletion = requesting.build_request(
        Deletion,
        actor=actor,
        requester=batch.requested_by,
        credential=credential,
        snapshot=row,
        digest=row.digest,
        reason=batch.reason,
        ticket=batch.ticket,
        policy=batch.policy,
        request_id=uuid4(),
        now=batch.requested_at,
        is_confirmed=False,
        columns={
            "connection_id": row.connection_id,
            "batch": batch,
            "batch_row": row,
            "is_reviewed": True,
            "snapshot_at": row.snapshot_at,
        },
    )
    deletion.search_text = history.search_text_of(deletion)
    return deletion

"""Bulk deletions that wait for people."""

from django.db.models import Exists, OuterRef, QuerySet

from connections.access import permissions
from connections.access.actor import Actor
from connections.access.visibility import visible_batches
from connections.models import SENDABLE, Approval, Batch, BatchRow, BatchState

_WAITING = (BatchState.REQUESTED, BatchState.APPROVED, BatchState.PAUSED)


def find_to_approve(*, actor: Actor) -> QuerySet[Batch]:
    """Those that the actor can still approve: every row, never their own."""
    person = actor.person
    if person is None or not permissions.can_approve_any(actor):
        return Batch.objects.none()
    unapprovable = permissions.visibility_of(actor).unapprovable
    rows = BatchRow.objects.filter(SENDABLE, batch=OuterRef("pk"))
    decided = Approval.objects.filter(deletion__batch=OuterRef("pk"), approver=person)
    waiting = visible_batches(actor=actor).filter(state=BatchState.REQUESTED, ended_at=None)
    others = waiting.exclude(requested_by=person).exclude(created_by=person)
    if unapprovable:
        others = others.exclude(Exists(rows.filter(credential__in=unapprovable)))
    return others.exclude(Exists(decided))


def list_waiting(*, actor: Actor) -> list[tuple[Batch, bool]]:
    """Those that wait for someone, oldest first, each with whether the actor can do something."""
    found = visible_batches(actor=actor).filter(state__in=_WAITING, ended_at=None)
    waiting = list(found.order_by("created_at"))
    if not waiting:
        return []
    to_approve = set(find_to_approve(actor=actor).values_list("pk", flat=True))
    return [(batch, batch.pk in to_approve or can_go_on(batch, actor=actor)) for batch in waiting]


def can_go_on(batch: Batch, *, actor: Actor) -> bool:
    """Whether the actor can confirm it, as its requester, or resume it."""
    is_own = actor.person is not None and actor.person.pk == batch.requested_by_id
    is_next = batch.state == BatchState.PAUSED or (batch.state == BatchState.APPROVED and is_own)
    return is_next and permissions.can_use_all(actor, credential_ids=batch.sending_credential_ids)

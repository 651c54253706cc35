"""Puts Org Admin on hold, says what would happen on release, and releases it.

`change_requests/hold.py` says what a hold keeps back.
"""

from django.db import IntegrityError

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import EventCode
from connections.core import clock
from connections.core.typed_text import clean_text
from connections.models import Hold


def put_on_hold(*, kind: Hold.Kind, reason: str, actor: Actor, checkpoint: str = "") -> bool:
    """Put Org Admin on hold. Return False if a hold of this kind is on already.

    `checkpoint` is the note of the checkpoint that an older database lacks. Raises PermissionDenied
    and InvalidInputError.
    """
    is_allowed = actor.kind == "worker" or permissions.can_administer(actor)
    permissions.require(is_allowed, "put Org Admin on hold")
    reason = clean_text(reason)
    try:
        with audit.atomic():
            hold = Hold.objects.create(
                kind=kind,
                reason=reason,
                checkpoint=checkpoint,
                put_on_at=clock.now(),
                put_on_by=actor.person,
            )
            audit.record(
                code=EventCode.SERVICE_HELD,
                actor=actor,
                subject=hold,
                sentence=audit.Sentence(
                    "{actor} put Org Admin on hold: it changes nothing by itself until an "
                    "administrator releases it. Reason: {reason}",
                    reason=reason,
                ),
                details={"kind": kind},
                rows={"hold": audit.row_of(hold)},
            )
    except IntegrityError:
        # Another one of this kind is on.
        return False
    return True


def release_holds(*, actor: Actor) -> None:
    """Release every hold that is on. Raises PermissionDenied."""
    permissions.require(permissions.can_administer(actor), "release a hold")
    with audit.atomic():
        for hold in Hold.objects.select_for_update(no_key=True).filter(released_at=None):
            hold.released_at, hold.released_by = clock.now(), actor.person
            hold.save(update_fields=["released_at", "released_by"])
            audit.record(
                code=EventCode.SERVICE_RELEASED,
                actor=actor,
                subject=hold,
                sentence=audit.Sentence(
                    "{actor} released the hold: Org Admin acts by itself again."
                ),
                rows={"hold": audit.changed(hold, "released_at", "released_by", actor=actor)},
            )

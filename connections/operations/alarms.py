"""Alarms that no act raises by itself: something has been as it is for too long."""

from datetime import timedelta

from django.db.models import Q

from connections import audit
from connections.access.actor import Actor
from connections.core import clock
from connections.deletions import states
from connections.models import Deletion, State

# An unknown this old was looked at a dozen times: a person should do something about it.
UNKNOWN_FOR = timedelta(hours=1)


def raise_alarms(*, actor: Actor) -> list[Deletion]:
    """Put on the record, once, that a deletion is still unknown; gives those it was said of.

    Raises what the database raises.
    """
    now = clock.now()
    # One from the future was sent before the clock was set back.
    may_be_old = Q(sending_at__lte=now - UNKNOWN_FOR) | Q(sending_at__gt=now + clock.TOLERANCE)
    unknown = Deletion.objects.filter(may_be_old, state=State.UNKNOWN, settled_at=None)
    return [
        deletion
        for deletion in unknown
        if now - states.sending_began(deletion, now=now) >= UNKNOWN_FOR
        and _raise_once(deletion, actor=actor)
    ]


def _raise_once(deletion: Deletion, *, actor: Actor) -> bool:
    if _is_recorded(deletion):
        return False
    with audit.atomic():
        # Held, so that of two workers one says it.
        held = Deletion.objects.select_for_update(no_key=True).get(pk=deletion.pk)
        if held.state != State.UNKNOWN or _is_recorded(held):
            return False
        audit.record(
            code=audit.EventCode.DELETION_STILL_UNKNOWN,
            actor=actor,
            subject=held,
            sentence="An hour after the sending it is not known what became of "
            f"{held.description}.",
        )
    return True


def _is_recorded(deletion: Deletion) -> bool:
    """Whether it was said since the last sending."""
    codes = [event.code for event in audit.events_of(subject=deletion)]
    last_sending = max(
        (place for place, code in enumerate(codes) if code == audit.EventCode.DELETION_SENDING),
        default=0,
    )
    return audit.EventCode.DELETION_STILL_UNKNOWN in codes[last_sending:]

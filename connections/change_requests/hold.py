"""What a hold keeps from being sent: everything that no person has confirmed since it was put on.

`operations/holds.py` puts holds on and releases them. Whatever starts work that can change
something at Datadog without a person asks `find_hold` first, and `sending.claim` asks again in the
transaction that claims.
"""

from collections.abc import Sequence

from django.db.models import Q

from connections.access.actor import Actor
from connections.models import ChangeRequest, Hold, State


def find_hold() -> Hold | None:
    """The newest hold that is on, or None."""
    return Hold.objects.filter(released_at=None).first()


def leave_out_held[R: ChangeRequest](change_requests: Sequence[R], *, actor: Actor) -> list[R]:
    """Those of these requests that the actor can send although a hold might be on.

    What a person confirms while it is on is sent once: a request by the process that they use, the
    rows of a bulk deletion also by a worker.
    """
    hold = find_hold()
    return [each for each in change_requests if not (hold and _is_held(each, hold, actor=actor))]


def _is_held(change_request: ChangeRequest, hold: Hold, *, actor: Actor) -> bool:
    if actor.kind == "worker" and not change_request.is_run_by_batch:
        return True
    confirmed_at = change_request.confirmed_at
    if confirmed_at is None or confirmed_at <= hold.put_on_at:
        return True
    return change_request.state == State.WAITING and change_request.step_attempts.exists()


def is_row_held() -> Q:
    """Whether a hold keeps the row of a bulk deletion from being sent, as in `leave_out_held`."""
    hold = find_hold()
    if hold is None:
        return Q(pk__in=[])
    return ~Q(epoch=0, confirmed_at__gt=hold.put_on_at)

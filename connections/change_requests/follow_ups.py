"""What a request with a second step does instead of ending after the first."""

from abc import abstractmethod
from datetime import datetime
from typing import Any

from connections import audit
from connections.access.actor import Actor
from connections.change_requests import states
from connections.change_requests.actions import action_of
from connections.change_requests.states import BecomeUnknown, Settle
from connections.change_requests.transition import Transition
from connections.models import ChangeRequest


class FollowUp(Transition):
    """A change of state between the two steps of a request."""

    @abstractmethod
    def event(self, change_request: Any) -> audit.EventDraft:
        """What happened, for the audit log."""


def apply(
    change_request: ChangeRequest,
    *,
    transition: Settle | BecomeUnknown,
    actor: Actor,
    sentence: audit.Sentence,
    now: datetime,
) -> bool:
    """Stop a request with this sentence, or begin what follows. Return whether it was unchanged."""
    followed = action_of(change_request).follow(change_request, transition, now=now)
    if isinstance(followed, FollowUp):
        event = followed.event(change_request)
    else:
        event = audit.EventDraft(code=change_request.event_code(followed.step), sentence=sentence)
    return states.apply(change_request, transition=followed, actor=actor, events=[event])

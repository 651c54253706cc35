"""The base class of every change of a request's state."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from connections.access.actor import Actor
from connections.models import ChangeRequest, Step


class Transition(ABC):
    """A change of one request. Each subclass knows every column that it sets."""

    # What the event that records it says, unless it says that itself.
    step: ClassVar[Step]

    @abstractmethod
    def columns(self, *, change_request: ChangeRequest, actor: Actor) -> dict[str, Any]:
        """The new values. `state`, `outcome` and `cause` are left out if they stay the same."""

"""Who acts: a person in a browser, a command, or the worker."""

import getpass
from dataclasses import dataclass
from typing import Literal

from connections.models import Person


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who does an act, as its record will name them."""

    kind: Literal["person", "command", "worker"]
    name: str
    person: Person | None = None
    # Ties the records of one web request together.
    request_id: str = ""


def person_actor(*, person: Person, request_id: str = "") -> Actor:
    """The actor for a signed-in person."""
    return Actor(kind="person", name=person.display_name, person=person, request_id=request_id)


def command_actor() -> Actor:
    """The actor for a command: whoever may read the key ring file is trusted."""
    return Actor(kind="command", name=f"command: {os_user()}")


WORKER = Actor(kind="worker", name="worker")


def os_user() -> str:
    """The operating system's name for who runs this process, or its number in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"

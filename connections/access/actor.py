"""Actors: a person in a browser or with a token, a command, the worker, the identity provider."""

import getpass
from dataclasses import dataclass
from typing import Literal

from connections.models import ApiToken, Person


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who performs an action, as the audit log names them."""

    kind: Literal["person", "command", "worker", "provider"]
    name: str
    person: Person | None = None
    # The same for every event of one web request.
    request_id: str = ""
    # The token with which a program acts as the person.
    token: ApiToken | None = None


def person_actor(*, person: Person, request_id: str = "", token: ApiToken | None = None) -> Actor:
    """The actor for a person who is signed in, or whose token a program uses."""
    return Actor(
        kind="person",
        name=person.display_name,
        person=person,
        request_id=request_id,
        token=token,
    )


def command_actor() -> Actor:
    """The actor for a command.

    Commands are trusted: anyone who can run them can also read the key ring.
    """
    return Actor(kind="command", name=f"command: {os_user()}")


WORKER = Actor(kind="worker", name="worker")
PROVIDER_NAME = "identity provider"


def provider_actor(*, request_id: str) -> Actor:
    """The actor for roles that groups give, and for people who are added when they sign in."""
    return Actor(kind="provider", name=PROVIDER_NAME, request_id=request_id)


def os_user() -> str:
    """The name of the operating system user; "unknown" for a user without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"

"""The demo's people and credentials, created with the real services."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.hashers import make_password

from connections.access.actor import Actor, command_actor, person_actor
from connections.core import clock
from connections.core.datadog_keys import AccessToken, KeyPair
from connections.core.secret import Secret
from connections.credentials import lifecycle as credential_lifecycle
from connections.models import Credential, Person, Role
from connections.people import people
from sandbox.demo_world import demo_access_token, demo_key_pairs

# The role of an administrator is None.
_PEOPLE = (
    ("operator", "Ada", "Osei", Role.OPERATOR),
    ("approver", "Grace", "Lindqvist", Role.APPROVER),
    ("credentials", "Carlos", "Mendes", Role.CREDENTIAL_MANAGER),
    ("auditor", "Alma", "Rossi", Role.AUDITOR),
    ("viewer", "Victor", "Huang", Role.VIEWER),
    ("administrator", "Rosa", "Weber", None),
)
USERNAMES = tuple(username for username, *_ in _PEOPLE)


@dataclass
class DemoWorld:
    """The demo's people by username, and its credentials by org."""

    people: dict[str, Person] = field(default_factory=dict)
    credentials: dict[str, Credential] = field(default_factory=dict)

    def actor(self, username: str) -> Actor:
        """One of the people as an actor."""
        return person_actor(person=Person.objects.get(pk=self.people[username].pk))


def ago(*, days: int = 0, hours: int = 0) -> AbstractContextManager[None]:
    """A context in which the clock is that far in the past."""
    return clock.offset(-timedelta(days=days, hours=hours))


def add_people(world: DemoWorld) -> None:
    """Add one person for each role, and an administrator."""
    # Hashed once: each hash takes a third of a second.
    password = make_password(settings.DEMO_PASSWORD)
    for username, first, last, role in _PEOPLE:
        person = people.add_person(
            actor=command_actor(),
            username=username,
            email=f"{username}@example.com",
            roles=[role] if role else [],
            is_administrator=role is None,
        )
        person.first_name, person.last_name, person.password = first, last, password
        person.save(update_fields=["first_name", "last_name", "password"])
        world.people[username] = person


def add_credentials(world: DemoWorld) -> None:
    """Store the simulator's keys, which also lists their org connections."""
    for pair in demo_key_pairs():
        world.credentials[pair.org.name] = credential_lifecycle.add_credential(
            actor=world.actor("credentials"),
            name="",
            site=pair.org.site.name,
            keys=KeyPair(
                api_key=Secret(pair.api_key), application_key=Secret(pair.application_key)
            ),
        )
    # A second credential of an org. It lists a connection that the key pair doesn't list.
    token = demo_access_token()
    credential_lifecycle.add_credential(
        actor=world.actor("credentials"),
        name=f"{token.org.name} (access token)",
        site=token.org.site.name,
        keys=AccessToken(access_token=Secret(token.access_token)),
    )

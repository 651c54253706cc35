"""The demo's people and credentials, made through the real services."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from connections.access.actor import Actor, command_actor, person_actor
from connections.core import clock
from connections.core.secret import Secret
from connections.credentials import lifecycle as credential_lifecycle
from connections.inventory import protections
from connections.models import (
    Credential,
    KeyPair,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    Person,
    Role,
)
from connections.people import people
from sandbox.demo_world import connection_id_between, demo_key_pairs

# Of the demo alone, which listens on the loopback address and is gone afterwards.
PASSWORD = "just-having-a-look"  # noqa: S105

_PEOPLE = (
    ("operator", "Ada", "Osei", Role.OPERATOR),
    ("approver", "Grace", "Lindqvist", Role.APPROVER),
    ("credentials", "Carlos", "Mendes", Role.CREDENTIAL_MANAGER),
    ("auditor", "Alma", "Rossi", Role.AUDITOR),
    ("viewer", "Victor", "Huang", Role.VIEWER),
)


@dataclass
class DemoWorld:
    """Who acts in the demo's past, by user name, and with which credentials, by org."""

    people: dict[str, Person] = field(default_factory=dict)
    credentials: dict[str, Credential] = field(default_factory=dict)

    def actor(self, username: str) -> Actor:
        """One of the people as an actor."""
        return person_actor(person=Person.objects.get(pk=self.people[username].pk))


def ago(*, days: int = 0, hours: int = 0) -> AbstractContextManager[None]:
    """A context in which it is that long ago."""
    return clock.offset(-timedelta(days=days, hours=hours))


def add_people(cast: DemoWorld) -> None:
    """Add one person for each role, and an administrator."""
    for username, first, last, role in _PEOPLE:
        _add_person(cast, username=username, first=first, last=last, roles=[role])
    _add_person(cast, username="administrator", first="Rosa", last="Weber", roles=None)


def _add_person(
    cast: DemoWorld, *, username: str, first: str, last: str, roles: list[Role] | None
) -> None:
    person = people.add_person(
        actor=command_actor(),
        username=username,
        email=f"{username}@example.com",
        roles=roles or [],
        is_administrator=roles is None,
    )
    person.first_name, person.last_name = first, last
    person.save(update_fields=["first_name", "last_name"])
    people.set_password(actor=person_actor(person=person), person=person, password=PASSWORD)
    cast.people[username] = person


def describe_roles(person: Person) -> str:
    """What a person may do, in words."""
    if person.is_superuser:
        return "Administrator"
    return ", ".join(sorted(role.value for role in person.roles))


def add_credentials(cast: DemoWorld) -> None:
    """Store the simulator's key pairs, which also lists their org connections."""
    for pair in demo_key_pairs():
        cast.credentials[pair.org.name] = credential_lifecycle.add_credential(
            actor=cast.actor("credentials"),
            name="",
            site=pair.org.site.name,
            keys=KeyPair(
                api_key=Secret(pair.api_key), application_key=Secret(pair.application_key)
            ),
        )


def protect_a_connection(cast: DemoWorld) -> None:
    """Mark one connection as one that must stay."""
    key = OrgConnectionKey(
        site=cast.credentials["Retail US"].site,
        connection_id=UUID(connection_id_between(source="Contact Center", sink="Retail US")),
    )
    protections.protect_connection(
        actor=cast.actor("credentials"), key=key, reason="month-end reports read these metrics"
    )


def connection_names() -> dict[str, str]:
    """Each current connection's ID and its two orgs, to name those with a fault."""
    current = OrgConnectionSnapshot.objects.filter(is_current=True)
    return {
        str(one.connection_id): f"{one.source_org_name} → {one.sink_org_name}" for one in current
    }

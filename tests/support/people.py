"""The cast: people with one role each, and a stranger who has none."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import Group
from django.contrib.sessions.backends.base import SessionBase
from django.test import Client

from connections.access.actor import Actor, person_actor
from connections.models import Person, PersonSession, Role
from connections.models.sessions import SessionStore

PASSWORD = "a long enough pass phrase"


def make_person(username: str, *roles: Role, is_administrator: bool = False) -> Person:
    """Store a person who can sign in with PASSWORD, without any record of an act."""
    person = Person(
        username=username,
        first_name=username.capitalize(),
        email=f"{username}@example.com",
        is_superuser=is_administrator,
    )
    person.set_password(PASSWORD)
    person.save()
    # A test that empties the tables takes the groups with it, though a migration made them.
    person.groups.set([Group.objects.get_or_create(name=role.value)[0] for role in roles])
    return person


def just_signed_in(person: Person) -> Client:
    """A browser in which the person has just proved who they are."""
    client = Client()
    client.force_login(person)
    return client


def person_as_administrator() -> Actor:
    """The actor of a new administrator."""
    return person_actor(person=make_person(f"admin-{uuid4().hex[:8]}", is_administrator=True))


def let_proof_age(client: Client, *, minutes: float = 6) -> None:
    """Let so much time pass since the person in this browser was last asked who they are."""
    _age(client.session, minutes=minutes)


def let_proofs_age() -> None:
    """Let six minutes pass since anybody was asked who they are."""
    for row in PersonSession.objects.exclude(person_id=None):
        data = _aged(row.get_decoded(), minutes=6)
        PersonSession.objects.filter(pk=row.pk).update(session_data=SessionStore().encode(data))


def _age(session: SessionBase, *, minutes: float) -> None:
    session.update(_aged(dict(session.items()), minutes=minutes))
    session.save()


def _aged(data: dict[str, Any], *, minutes: float) -> dict[str, Any]:
    stamp = data["stepped_up"]
    at = datetime.fromisoformat(stamp["at"]) - timedelta(minutes=minutes)
    return data | {"stepped_up": stamp | {"at": at.isoformat()}}

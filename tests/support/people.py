"""The people of the tests: one per role, and one without a role."""

from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Group
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.test import Client

from connections.access.actor import Actor, person_actor
from connections.models import Person, PersonSession, Role
from connections.models.sessions import SessionStore
from connections.web.framework import reauthentication

PASSWORD = "a long enough pass phrase"


def make_person(username: str, *roles: Role, is_administrator: bool = False) -> Person:
    """Store a person who can sign in with PASSWORD, without an audit event.

    The ID is that of every test's person of this name: statements that the product builds once per
    person are then built once per test process.
    """
    person = Person(
        id=uuid5(NAMESPACE_URL, username),
        username=username,
        first_name=username.capitalize(),
        email=f"{username}@example.com",
        is_superuser=is_administrator,
    )
    person.set_password(PASSWORD)
    person.save(force_insert=True)
    # A test that empties the tables also deletes the groups that a migration created.
    person.groups.set([Group.objects.get_or_create(name=role.value)[0] for role in roles])
    return person


def just_signed_in(person: Person) -> Client:
    """A client in which the person has just signed in and passed the identity check."""
    # `force_login` takes four times as long.
    client, request = Client(), HttpRequest()
    request.session = session = SessionStore()
    session[SESSION_KEY] = str(person.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = person.get_session_auth_hash()
    reauthentication._stamp(request, person=person)
    session.create()
    client.cookies[settings.SESSION_COOKIE_NAME] = str(session.session_key)
    return client


def person_as_administrator() -> Actor:
    """The actor of a new administrator."""
    return person_actor(person=make_person(f"admin-{uuid4().hex[:8]}", is_administrator=True))


def let_proof_age(client: Client, *, minutes: float = 6) -> None:
    """Let this much time pass since the last identity check in this client."""
    _age(client.session, minutes=minutes)


def let_proofs_age() -> None:
    """Let six minutes pass since the last identity check of everyone."""
    for row in PersonSession.objects.exclude(person_id=None):
        data = _aged(row.get_decoded(), minutes=6)
        PersonSession.objects.filter(pk=row.pk).update(session_data=SessionStore().encode(data))


def _age(session: SessionBase, *, minutes: float) -> None:
    session.update(_aged(dict(session.items()), minutes=minutes))
    session.save()


def _aged(data: dict[str, Any], *, minutes: float) -> dict[str, Any]:
    stamp = data["reauthenticated"]
    at = datetime.fromisoformat(stamp["at"]) - timedelta(minutes=minutes)
    return data | {"reauthenticated": stamp | {"at": at.isoformat()}}

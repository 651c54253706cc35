"""Lists and ends people's sessions."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth import HASH_SESSION_KEY
from django.utils.crypto import constant_time_compare

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import EventCode
from connections.core import clock
from connections.core.text import pluralize
from connections.models import Person, PersonSession

# Under this session key: when, from where and with which browser the person signed in.
SESSION_START_KEY = "signed_in"
_MAX_AGENT = 300


@dataclass(frozen=True, kw_only=True)
class OpenSession:
    """One session in which a person is signed in.

    `at`, `address` and `agent` (the User-Agent) are unknown for a session that didn't start on the
    sign-in page.
    """

    public_id: str
    at: datetime | None
    address: str
    agent: str


def build_session_start(*, address: str, agent: str) -> dict[str, str]:
    """The value of SESSION_START_KEY in a new session."""
    return {"at": clock.now().isoformat(), "address": address, "agent": agent[:_MAX_AGENT]}


def list_sessions(*, person: Person) -> list[OpenSession]:
    """The person's open sessions, newest first."""
    sessions = [_to_open_session(row, data) for row, data in _list_open_rows(person)]
    return sorted(
        sessions, key=lambda session: session.at.isoformat() if session.at else "", reverse=True
    )


@audit.atomic()
def end_session(*, actor: Actor, person: Person, public_id: str) -> bool:
    """End one session of the person. Return whether it existed.

    People can end their own sessions, and administrators anyone's. Raises PermissionDenied.
    """
    _require_own_or_administrator(actor, person)
    hashes = [row.pk for row, _ in _list_open_rows(person) if row.public_id == public_id]
    return bool(hashes) and _delete_sessions(hashes, actor=actor, person=person) > 0


@audit.atomic()
def end_sessions(*, actor: Actor, person: Person, except_id: str = "") -> int:
    """End the person's sessions except the one with this public ID. Return how many.

    Unused links to reset the person's password end too, because their tokens contain the number of
    these events. People can end their own sessions, and administrators anyone's. Raises
    PermissionDenied.
    """
    _require_own_or_administrator(actor, person)
    hashes = [row.pk for row, _ in _list_open_rows(person) if row.public_id != except_id]
    return _delete_sessions(hashes, actor=actor, person=person)


def delete_ended_sessions() -> None:
    """Delete rows of sessions that expired or that a change to the person ended.

    They say where people were signed in, so they are not kept longer than needed.
    """
    PersonSession.objects.filter(expire_date__lt=clock.now()).delete()
    person_ids = PersonSession.objects.exclude(person_id=None).order_by().values_list("person_id")
    for person in Person.objects.filter(pk__in=person_ids):
        open_now = [row.pk for row, _ in _list_open_rows(person)]
        PersonSession.objects.filter(person_id=person.pk).exclude(pk__in=open_now).delete()


def _require_own_or_administrator(actor: Actor, person: Person) -> None:
    is_own = actor.person is not None and actor.person.pk == person.pk
    permissions.require(is_own or permissions.can_administer(actor), "end sessions of others")


def _delete_sessions(hashes: list[str], *, actor: Actor, person: Person) -> int:
    count: int = PersonSession.objects.filter(pk__in=hashes).delete()[0]
    sessions = pluralize(count, "session")
    audit.record(
        code=EventCode.SESSION_ENDED,
        actor=actor,
        subject=person,
        sentence=audit.Sentence("{actor} ended {sessions} of their own.", sessions=sessions)
        if actor.person == person
        else audit.Sentence(
            "{actor} ended {sessions} of {person}.", sessions=sessions, person=person
        ),
        details={"count": count},
    )
    return count


def _list_open_rows(person: Person) -> list[tuple[PersonSession, dict[str, Any]]]:
    rows = PersonSession.objects.filter(person_id=person.pk, expire_date__gt=clock.now())
    # A new password, a lost role or being disabled ends sessions but leaves their rows.
    current_hash = person.get_session_auth_hash()
    opened = [(row, row.get_decoded()) for row in rows]
    return [
        (row, data)
        for row, data in opened
        if constant_time_compare(data.get(HASH_SESSION_KEY, ""), current_hash)
    ]


def _to_open_session(row: PersonSession, data: dict[str, Any]) -> OpenSession:
    start = data.get(SESSION_START_KEY) or {}
    return OpenSession(
        public_id=row.public_id,
        at=datetime.fromisoformat(start["at"]) if "at" in start else None,
        address=start.get("address", ""),
        agent=start.get("agent", ""),
    )

"""The record of who signed in, who failed to, and who signed out."""

from django.db.models import Q

from connections.actors import Actor, person_actor
from connections.models import Person
from connections.services import audit, erasable
from connections.services.audit import Code


@audit.act()
def record_sign_in(*, person: Person, request_id: str) -> None:
    """Record that a person is now signed in."""
    audit.record(
        code=Code.SIGNED_IN,
        actor=person_actor(person=person, request_id=request_id),
        subject=person,
        sentence=f"{erasable.name(person)} signed in.",
    )


@audit.act()
def record_sign_out(*, person: Person, request_id: str) -> None:
    """Record that a person signed out."""
    audit.record(
        code=Code.SIGNED_OUT,
        actor=person_actor(person=person, request_id=request_id),
        subject=person,
        sentence=f"{erasable.name(person)} signed out.",
    )


@audit.act()
def record_failed_sign_in(*, login: str, address: str, request_id: str) -> None:
    """Record that somebody at a network address failed to sign in as `login`.

    What was typed is never kept: it may be a password in the wrong field.
    """
    person = Person.objects.filter(Q(username__iexact=login) | Q(email__iexact=login)).first()
    whom = erasable.name(person) if person else "a name that nobody has"
    audit.record(
        code=Code.SIGN_IN_FAILED,
        actor=_somebody(request_id),
        subject=person,
        sentence=f"Signing in as {whom} failed, from {erasable.address(address, of=person)}.",
    )


@audit.act()
def record_sign_ins_refused(*, address: str, request_id: str) -> None:
    """Record that sign-ins are refused unread for now, because too many failed."""
    audit.record(
        code=Code.SIGN_IN_FAILED,
        actor=_somebody(request_id),
        sentence=f"Too many sign-ins failed; more are refused for now, the last from "
        f"{erasable.address(address, of=None)}.",
        details={"is_over_limit": True},
    )


def _somebody(request_id: str) -> Actor:
    return Actor(kind="person", name="somebody not signed in", request_id=request_id)

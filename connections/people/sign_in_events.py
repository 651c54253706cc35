"""The record of who signed in, proved again who they are, failed to, and who signed out."""

from collections.abc import Iterable

from django.db.models import Q

from connections import audit
from connections.access.actor import Actor, person_actor
from connections.audit import personal_data
from connections.audit.events import EventCode
from connections.models import Person

_METHOD_NAMES = {
    "password": "password",
    "sign_in_link": "sign-in link",
    "provider": "single sign-on",
    "totp": "authenticator app",
    "webauthn": "passkey or security key",
    "recovery_codes": "recovery code",
}


@audit.atomic()
def record_sign_in(
    *,
    person: Person,
    request_id: str,
    ways: Iterable[str] = (),
    address: str = "",
    agent: str = "",
) -> None:
    """Record that a person is now signed in, by what they proved who they are, and from where.

    `ways` are keys of _WAYS, in the order in which they were given; `agent` is what the browser
    says of itself.
    """
    ways = list(dict.fromkeys(ways))
    how = f" with {' and '.join(_METHOD_NAMES[way] for way in ways)}" if ways else ""
    audit.record(
        code=EventCode.SIGNED_IN,
        actor=person_actor(person=person, request_id=request_id),
        subject=person,
        sentence=f"{personal_data.name_of(person)} signed in{how}"
        f"{_describe_origin(address, agent, of=person)}.",
        details={"ways": ways},
    )


@audit.atomic()
def record_sign_out(*, person: Person, request_id: str) -> None:
    """Record that a person signed out."""
    audit.record(
        code=EventCode.SIGNED_OUT,
        actor=person_actor(person=person, request_id=request_id),
        subject=person,
        sentence=f"{personal_data.name_of(person)} signed out.",
    )


@audit.atomic()
def record_failed_sign_in(*, login: str, address: str, request_id: str, agent: str = "") -> None:
    """Record that somebody at a network address failed to sign in as `login`.

    What was typed is never kept: it may be a password in the wrong field.
    """
    person = Person.objects.filter(Q(username__iexact=login) | Q(email__iexact=login)).first()
    whom = personal_data.name_of(person) if person else "a name that nobody has"
    audit.record(
        code=EventCode.SIGN_IN_FAILED,
        actor=_anonymous_actor(request_id),
        subject=person,
        sentence=f"Signing in as {whom} failed{_describe_origin(address, agent, of=person)}.",
    )


@audit.atomic()
def record_failed_passkey(*, address: str, request_id: str, agent: str = "") -> None:
    """Record that a passkey alone let nobody in. Whose it was said to be proves nothing."""
    audit.record(
        code=EventCode.SIGN_IN_FAILED,
        actor=_anonymous_actor(request_id),
        sentence=f"Signing in with a passkey failed{_describe_origin(address, agent, of=None)}.",
    )


@audit.atomic()
def record_sign_ins_refused(*, address: str, request_id: str) -> None:
    """Record that sign-ins are refused unread for now, because too many failed."""
    audit.record(
        code=EventCode.SIGN_IN_FAILED,
        actor=_anonymous_actor(request_id),
        sentence=f"Too many sign-ins failed; more are refused for now, the last from "
        f"{personal_data.address_of(address, of=None)}.",
        details={"is_over_limit": True},
    )


@audit.atomic()
def record_mfa_refused(
    *, person: Person, address: str, request_id: str, is_over_limit: bool
) -> None:
    """Record that a wrong code or key was given for a person whose password was right.

    `is_over_limit`: it was refused unread, because too many were wrong before.
    """
    why = ", too many were wrong before" if is_over_limit else ""
    audit.record(
        code=EventCode.SECOND_FACTOR_REFUSED,
        actor=_anonymous_actor(request_id),
        subject=person,
        sentence=f"The second factor of {personal_data.name_of(person)} was refused{why}, from "
        f"{personal_data.address_of(address, of=person)}.",
        details={"is_over_limit": is_over_limit},
    )


@audit.atomic()
def record_reauthentication(*, person: Person, method: str, request_id: str) -> None:
    """Record that a signed-in person proved again who they are, by `method`."""
    audit.record(
        code=EventCode.REAUTHENTICATED,
        actor=person_actor(person=person, request_id=request_id),
        subject=person,
        sentence=f"{personal_data.name_of(person)} proved again who they are, by {method}.",
        details={"method": str(method)},
    )


@audit.atomic()
def record_failed_reauthentication(
    *, person: Person, address: str, is_over_limit: bool, request_id: str
) -> None:
    """Record that somebody in a person's session could not prove to be them.

    `is_over_limit`: it was refused unread, because too many answers were wrong.
    """
    whom, whence = personal_data.name_of(person), personal_data.address_of(address, of=person)
    audit.record(
        code=EventCode.REAUTHENTICATION_FAILED,
        actor=person_actor(person=person, request_id=request_id),
        subject=person,
        sentence=f"Too many wrong proofs in the session of {whom}; more are refused for now, "
        f"the last from {whence}."
        if is_over_limit
        else f"A wrong proof of being {whom} was given in their session, from {whence}.",
        details={"is_over_limit": is_over_limit},
    )


@audit.atomic()
def record_reset_link_mailed(*, person: Person, address: str, request_id: str) -> None:
    """Record that somebody at a network address had a link to reset a password mailed."""
    audit.record(
        code=EventCode.PASSWORD_RESET_MAILED,
        actor=_anonymous_actor(request_id),
        subject=person,
        sentence=f"A link to choose a new password was mailed to {personal_data.name_of(person)}, "
        f"asked for from {personal_data.address_of(address, of=person)}.",
    )


@audit.atomic()
def record_single_sign_on_refused(
    *, person: Person | None, reason: str, why: str, address: str, request_id: str
) -> None:
    """Record that a sign-in at the provider came to nothing; `why` is the reason in words.

    `person` is whose account it was, where that is known. Which account it was otherwise is not
    kept: it is somebody's who has no business here.
    """
    whom = f" as {personal_data.name_of(person)}" if person else ""
    audit.record(
        code=EventCode.PROVIDER_SIGN_IN_REFUSED,
        actor=_anonymous_actor(request_id),
        subject=person,
        sentence=f"Single sign-on{whom} was refused: {why}; from "
        f"{personal_data.address_of(address, of=person)}.",
        details={"reason": reason},
    )


def _describe_origin(address: str, agent: str, *, of: Person | None) -> str:
    whence = f", from {personal_data.address_of(address, of=of)}" if address else ""
    return f"{whence} with {personal_data.browser_of(agent, of=of)}" if agent else whence


def _anonymous_actor(request_id: str) -> Actor:
    return Actor(kind="person", name="somebody not signed in", request_id=request_id)


_MFA_NAMES = {
    "totp": "an authenticator app",
    "webauthn": "a passkey or security key",
    "recovery_codes": "new recovery codes",
}


@audit.atomic()
def record_mfa_added(*, actor: Actor, what: str) -> None:
    """Record that the actor set up a factor; `what` is its type: totp, webauthn, recovery_codes."""
    audit.record(
        code=EventCode.SECOND_FACTOR_ADDED,
        actor=actor,
        subject=actor.person,
        sentence=f"{personal_data.name_of(actor)} set up {_MFA_NAMES[what]}.",
        details={"type": what},
    )


@audit.atomic()
def record_mfa_removed(*, actor: Actor, what: str) -> None:
    """Record that the actor turned off a factor of this type."""
    audit.record(
        code=EventCode.SECOND_FACTOR_TURNED_OFF,
        actor=actor,
        subject=actor.person,
        sentence=f"{personal_data.name_of(actor)} removed {_MFA_NAMES[what]} of theirs.",
        details={"type": what},
    )

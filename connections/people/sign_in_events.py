"""Records audit events about signing in and out, identity checks and MFA."""

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
    methods: Iterable[str] = (),
    address: str = "",
    agent: str = "",
) -> None:
    """Record that a person signed in, how and from where.

    `methods` are keys of _METHOD_NAMES in the order used; `agent` is the User-Agent.
    """
    methods = list(dict.fromkeys(methods))
    how = f" with {' and '.join(_METHOD_NAMES[method] for method in methods)}" if methods else ""
    audit.record(
        code=EventCode.SIGNED_IN,
        actor=person_actor(person=person, request_id=request_id),
        subject=person,
        sentence=f"{personal_data.name_of(person)} signed in{how}"
        f"{_describe_origin(address, agent, of=person)}.",
        details={"ways": methods},
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
    """Record that a sign-in as `login` from a network address failed.

    What was typed is never stored: it might be a password in the wrong field.
    """
    person = Person.objects.filter(Q(username__iexact=login) | Q(email__iexact=login)).first()
    who = personal_data.name_of(person) if person else "a name that nobody has"
    audit.record(
        code=EventCode.SIGN_IN_FAILED,
        actor=_anonymous_actor(request_id),
        subject=person,
        sentence=f"Signing in as {who} failed{_describe_origin(address, agent, of=person)}.",
    )


@audit.atomic()
def record_failed_passkey(*, address: str, request_id: str, agent: str = "") -> None:
    """Record that a sign-in with a passkey failed. It names no one: its claim is unproven."""
    audit.record(
        code=EventCode.SIGN_IN_FAILED,
        actor=_anonymous_actor(request_id),
        sentence=f"Signing in with a passkey failed{_describe_origin(address, agent, of=None)}.",
    )


@audit.atomic()
def record_sign_ins_refused(*, address: str, request_id: str) -> None:
    """Record that sign-ins are refused unchecked for now, because too many failed."""
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
    """Record that MFA failed for a person whose password was right.

    `is_over_limit`: it was refused unchecked, because too many attempts failed.
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
    """Record that a signed-in person passed an identity check, by `method`."""
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
    """Record that an identity check in a person's session failed.

    `is_over_limit`: it was refused unchecked, because too many attempts failed.
    """
    who, origin = personal_data.name_of(person), personal_data.address_of(address, of=person)
    audit.record(
        code=EventCode.REAUTHENTICATION_FAILED,
        actor=person_actor(person=person, request_id=request_id),
        subject=person,
        sentence=f"Too many wrong proofs in the session of {who}; more are refused for now, "
        f"the last from {origin}."
        if is_over_limit
        else f"A wrong proof of being {who} was given in their session, from {origin}.",
        details={"is_over_limit": is_over_limit},
    )


@audit.atomic()
def record_reset_link_mailed(*, person: Person, address: str, request_id: str) -> None:
    """Record that a password reset link was mailed on request from a network address."""
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
    """Record that a single sign-on was refused; `why` is the reason as text.

    `person` is the account's owner, if known. An unknown account is not stored: it belongs to
    someone who doesn't use Org Admin.
    """
    who = f" as {personal_data.name_of(person)}" if person else ""
    audit.record(
        code=EventCode.PROVIDER_SIGN_IN_REFUSED,
        actor=_anonymous_actor(request_id),
        subject=person,
        sentence=f"Single sign-on{who} was refused: {why}; from "
        f"{personal_data.address_of(address, of=person)}.",
        details={"reason": reason},
    )


def _describe_origin(address: str, agent: str, *, of: Person | None) -> str:
    origin = f", from {personal_data.address_of(address, of=of)}" if address else ""
    return f"{origin} with {personal_data.browser_of(agent, of=of)}" if agent else origin


def _anonymous_actor(request_id: str) -> Actor:
    return Actor(kind="person", name="somebody not signed in", request_id=request_id)


_MFA_NAMES = {
    "totp": "an authenticator app",
    "webauthn": "a passkey or security key",
    "recovery_codes": "new recovery codes",
}


@audit.atomic()
def record_mfa_added(*, actor: Actor, what: str) -> None:
    """Record that the actor set up MFA; `what` is its type: totp, webauthn, recovery_codes."""
    audit.record(
        code=EventCode.SECOND_FACTOR_ADDED,
        actor=actor,
        subject=actor.person,
        sentence=f"{personal_data.name_of(actor)} set up {_MFA_NAMES[what]}.",
        details={"type": what},
    )


@audit.atomic()
def record_mfa_removed(*, actor: Actor, what: str) -> None:
    """Record that the actor turned off MFA of this type."""
    audit.record(
        code=EventCode.SECOND_FACTOR_TURNED_OFF,
        actor=actor,
        subject=actor.person,
        sentence=f"{personal_data.name_of(actor)} removed {_MFA_NAMES[what]} of theirs.",
        details={"type": what},
    )

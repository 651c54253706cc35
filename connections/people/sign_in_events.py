"""Records audit events about signing in and out, identity checks and MFA."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from connections import audit
from connections.access.actor import Actor, person_actor
from connections.audit import EventCode, personal_data
from connections.audit.personal_data import ReferencedValue
from connections.models import Person


@dataclass(frozen=True, kw_only=True)
class SignInOrigin:
    """Where a request came from: its network address, User-Agent and ID."""

    address: str
    agent: str
    request_id: str

    def address_for(self, person: Person | None) -> ReferencedValue:
        """The address, as personal data of `person`."""
        return personal_data.address_of(self.address, person=person)

    def browser_for(self, person: Person | None) -> ReferencedValue | str:
        """The browser, as personal data of `person`."""
        return personal_data.browser_of(self.agent, person=person)


_METHOD_NAMES = {
    "password": "a password",
    "sign_in_link": "a sign-in link",
    "provider": "single sign-on",
    "passkey": "a passkey or security key",
    "totp": "an authenticator app",
    "webauthn": "a passkey or security key",
    "recovery_codes": "a recovery code",
}


def record_sign_in(*, person: Person, methods: Iterable[str], origin: SignInOrigin) -> None:
    """Record that a person signed in, how and from where.

    `methods` are keys of _METHOD_NAMES, in the order used.
    """
    methods = list(dict.fromkeys(methods))
    names = " and ".join(_METHOD_NAMES[method] for method in methods)
    sentence = audit.Sentence(
        "{person} signed in with {methods} from {address} using {browser}.",
        person=person,
        methods=names or "an unknown method",
        address=origin.address_for(person),
        browser=origin.browser_for(person),
    )
    _record(EventCode.SIGNED_IN, sentence, origin, person=person, details={"ways": methods})


def record_sign_out(*, person: Person, origin: SignInOrigin) -> None:
    """Record that a person signed out."""
    sentence = audit.Sentence("{person} signed out.", person=person)
    _record(EventCode.SIGNED_OUT, sentence, origin, person=person)


def record_failed_sign_in(*, login: str, origin: SignInOrigin) -> None:
    """Record that a sign-in as `login` failed.

    What was typed is never stored, because it might be a password in the wrong field.
    """
    person = Person.objects.filter(Q(username__iexact=login) | Q(email__iexact=login)).first()
    sentence = audit.Sentence(
        "Failed sign-in as {name} from {address} using {browser}.",
        name=person or "an unknown name",
        address=origin.address_for(person),
        browser=origin.browser_for(person),
    )
    _record(EventCode.SIGN_IN_FAILED, sentence, origin, person=person)


def record_failed_passkey(*, origin: SignInOrigin) -> None:
    """Record that a sign-in with a passkey failed.

    It names no one, because its claim is unproven.
    """
    sentence = audit.Sentence(
        "Failed sign-in with a passkey from {address} using {browser}.",
        address=origin.address_for(None),
        browser=origin.browser_for(None),
    )
    _record(EventCode.SIGN_IN_FAILED, sentence, origin)


def record_sign_ins_refused(*, origin: SignInOrigin) -> None:
    """Record that sign-ins are refused for now without checking them, because too many failed."""
    sentence = audit.Sentence(
        "Too many failed sign-ins, most recently from {address}. Further attempts are blocked "
        "for now.",
        address=origin.address_for(None),
    )
    _record(EventCode.SIGN_IN_FAILED, sentence, origin, details={"is_over_limit": True})


def record_mfa_refused(*, person: Person, origin: SignInOrigin, is_over_limit: bool) -> None:
    """Record that MFA failed for a person whose password was correct.

    `is_over_limit` means that it was refused without checking, because too many attempts failed.
    """
    address = origin.address_for(person)
    if is_over_limit:
        sentence = audit.Sentence(
            "MFA for {person} is blocked for now after too many failed attempts, most recently "
            "from {address}.",
            person=person,
            address=address,
        )
    else:
        sentence = audit.Sentence(
            "MFA for {person} failed, from {address}.", person=person, address=address
        )
    details = {"is_over_limit": is_over_limit}
    _record(EventCode.SECOND_FACTOR_REFUSED, sentence, origin, person=person, details=details)


def record_reauthentication(*, person: Person, method: str, origin: SignInOrigin) -> None:
    """Record that a signed-in person passed an identity check, by `method`."""
    sentence = audit.Sentence(
        "{person} passed an identity check with {method}.",
        person=person,
        method=_METHOD_NAMES[method],
    )
    details = {"method": str(method)}
    _record(EventCode.REAUTHENTICATED, sentence, origin, person=person, details=details)


def record_failed_reauthentication(
    *, person: Person, origin: SignInOrigin, is_over_limit: bool
) -> None:
    """Record that an identity check in a person's session failed.

    `is_over_limit` means that it was refused without checking, because too many attempts failed.
    """
    address = origin.address_for(person)
    if is_over_limit:
        sentence = audit.Sentence(
            "Too many failed identity checks in a session of {person}, most recently from "
            "{address}. Further attempts are blocked for now.",
            person=person,
            address=address,
        )
    else:
        sentence = audit.Sentence(
            "An identity check failed in a session of {person}, from {address}.",
            person=person,
            address=address,
        )
    details = {"is_over_limit": is_over_limit}
    _record(EventCode.REAUTHENTICATION_FAILED, sentence, origin, person=person, details=details)


def record_reset_link_mailed(*, person: Person, origin: SignInOrigin) -> None:
    """Record that a password reset link was mailed on request."""
    sentence = audit.Sentence(
        "A password reset link was emailed to {person}, requested from {address}.",
        person=person,
        address=origin.address_for(person),
    )
    _record(EventCode.PASSWORD_RESET_MAILED, sentence, origin, person=person)


def record_single_sign_on_refused(
    *, person: Person | None, reason: str, why: str, origin: SignInOrigin
) -> None:
    """Record that a single sign-on was refused. `why` is the reason as text.

    `person` is the account's owner, if known. An unknown account is not stored, because it belongs
    to someone who doesn't use Org Admin.
    """
    address = origin.address_for(person)
    if person:
        sentence = audit.Sentence(
            "Single sign-on as {person} from {address} was refused: {why}.",
            person=person,
            why=why,
            address=address,
        )
    else:
        sentence = audit.Sentence(
            "Single sign-on from {address} was refused: {why}.", why=why, address=address
        )
    details = {"reason": reason}
    _record(EventCode.PROVIDER_SIGN_IN_REFUSED, sentence, origin, person=person, details=details)


# Events of someone who is signed in. In the others, `person` has proved nothing yet.
_BY_THE_PERSON = {
    EventCode.SIGNED_IN,
    EventCode.SIGNED_OUT,
    EventCode.REAUTHENTICATED,
    EventCode.REAUTHENTICATION_FAILED,
}


def _record(
    code: EventCode,
    sentence: audit.Sentence,
    origin: SignInOrigin,
    *,
    person: Person | None = None,
    details: dict[str, Any] | None = None,
) -> None:
    if person and code in _BY_THE_PERSON:
        actor = person_actor(person=person, request_id=origin.request_id)
    else:
        actor = Actor(kind="person", name="someone not signed in", request_id=origin.request_id)
    audit.record(code=code, actor=actor, subject=person, sentence=sentence, details=details)


_MFA_NAMES = _METHOD_NAMES | {"recovery_codes": "recovery codes"}


def record_mfa_change(*, actor: Actor, code: EventCode, mfa_type: str) -> None:
    """Record that the actor set up or turned off MFA of this type, depending on `code`."""
    method = _MFA_NAMES[mfa_type]
    audit.record(
        code=code,
        actor=actor,
        subject=actor.person,
        sentence=audit.Sentence("{actor} set up {method}.", method=method)
        if code == EventCode.SECOND_FACTOR_ADDED
        else audit.Sentence("{actor} removed {method}.", method=method),
        details={"type": mfa_type},
    )

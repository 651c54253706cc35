"""What follows from an identity that the provider has proven: the person, and their roles."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from django.conf import settings
from django.core.exceptions import ValidationError

from connections import audit
from connections.access.actor import Actor, person_actor, provider_actor
from connections.core.errors import ConflictError, InvalidInputError
from connections.core.role_map import ADMINISTRATOR
from connections.models import Person, Role
from connections.people import names, people, provider_accounts
from connections.people.oidc.identity import ProviderIdentity
from connections.people.provider_roles import list_mapped_roles

_TAKEN = {names.NAME_TAKEN, names.LOOKS_TAKEN}


class SignInRefusal(StrEnum):
    """Why a valid identity from the provider is refused here."""

    UNKNOWN_ACCOUNT = "unknown_account"  # not connected to a person here
    DISABLED = "disabled"  # the person is disabled
    OTHER_ACCOUNT = "other_account"  # not the signed-in person's
    NO_ROLE = "no_role"  # the role map gives the account no role
    LAST_ADMINISTRATOR = "last_administrator"  # would lose that role, and there is no other
    NO_PROFILE = "no_profile"  # a person can't be added without a usable name and address
    NAME_TAKEN = "name_taken"  # the username or address is another person's


class SignInRefusedError(Exception):
    """The identity is valid, but doesn't sign anyone in."""

    def __init__(self, refusal: SignInRefusal, *, person: Person | None = None) -> None:
        super().__init__(refusal)
        self.refusal, self.person = refusal, person


@dataclass(frozen=True, kw_only=True)
class Admission:
    """A person who can sign in, as stored now.

    `previous_hash` is the hash of their sessions before groups took a role, which ends those.
    """

    person: Person
    previous_hash: str


def admit(identity: ProviderIdentity, *, request_id: str) -> Admission:
    """The person who signs in, with the roles that the role map gives them now.

    With ORGADMIN_OIDC_CREATE_PEOPLE, an unknown person is added. Raises RefusedError. A person whom
    the map gives no role is refused too, and loses every role. The last active administrator keeps
    that role, and is refused if the groups would take it.
    """
    actor = provider_actor(request_id=request_id)
    # Nothing that the map doesn't name gives a role.
    groups = settings.OIDC_ROLE_MAP.keys() & identity.claims.groups
    granted = _map_roles(groups)
    person = _find_person(identity)
    if person is None:
        if not settings.OIDC_CREATE_PEOPLE:
            raise SignInRefusedError(SignInRefusal.UNKNOWN_ACCOUNT)
        if settings.OIDC_ROLE_MAP and not granted:
            raise SignInRefusedError(SignInRefusal.NO_ROLE)
        person = _add_person(identity, actor=actor, roles=granted)
    if not person.is_active:
        raise SignInRefusedError(SignInRefusal.DISABLED, person=person)
    if not settings.OIDC_ROLE_MAP:
        return Admission(person=person, previous_hash=person.get_session_auth_hash())
    admission = _set_mapped_roles(actor=actor, person=person, groups=groups)
    if admission.person.is_superuser and _takes_administrator(granted):
        raise SignInRefusedError(SignInRefusal.LAST_ADMINISTRATOR, person=person)
    if not granted:
        raise SignInRefusedError(SignInRefusal.NO_ROLE, person=person)
    return admission


def _find_person(identity: ProviderIdentity) -> Person | None:
    return provider_accounts.find_person(issuer=identity.issuer, subject=identity.subject)


def _map_roles(groups: Collection[str]) -> frozenset[str]:
    """The names of the roles that these groups give."""
    return frozenset[str]().union(*(settings.OIDC_ROLE_MAP[group] for group in groups))


def _takes_administrator(granted: Collection[str]) -> bool:
    """Whether a person whose groups give these roles can't be an administrator."""
    return ADMINISTRATOR not in granted and (not granted or ADMINISTRATOR in list_mapped_roles())


@audit.atomic()
def _set_mapped_roles(*, actor: Actor, person: Person, groups: Collection[str]) -> Admission:
    """Of the roles that the map names, leave those of these groups. Without any, take every role.

    Only the last active administrator keeps that role all the same.
    """
    granted, mapped = _map_roles(groups), list_mapped_roles()
    is_last = _takes_administrator(granted) and people.is_last_administrator(person)
    person = people.lock_person(person)
    previous_hash = person.get_session_auth_hash()
    names = {role.value for role in people.get_stored_roles(person)}
    names |= {ADMINISTRATOR} if person.is_superuser else set()
    wanted = granted | (names - mapped) if granted else granted
    person = people.store_roles(
        actor=actor,
        person=person,
        roles=_to_roles(wanted),
        is_administrator=is_last or ADMINISTRATOR in wanted,
        groups=groups,
    )
    return Admission(person=person, previous_hash=previous_hash)


def _to_roles(names: frozenset[str]) -> list[Role]:
    return sorted(Role(name) for name in names - {ADMINISTRATOR})


def _add_person(identity: ProviderIdentity, *, actor: Actor, roles: frozenset[str]) -> Person:
    """Add a person with this account. Raises RefusedError.

    A name or address of another person connects nothing: only that person's own account can.
    """
    claims = identity.claims
    if not claims.email:
        raise SignInRefusedError(SignInRefusal.NO_PROFILE)
    try:
        with audit.atomic():
            person = people.build_person(
                username=claims.username if _is_username(claims.username) else claims.email,
                email=claims.email,
                is_administrator=ADMINISTRATOR in roles,
            )
            if not names.find_new_name_problem(claims.name):
                person.first_name = claims.name[:150]
            people.store_person(person, roles=_to_roles(roles))
            people.record_person_added(actor=actor, person=person)
            provider_accounts.connect_account(
                actor=person_actor(person=person, request_id=actor.request_id),
                person=person,
                issuer=identity.issuer,
                subject=identity.subject,
            )
    except (InvalidInputError, ConflictError) as error:
        # The same account's first sign-in in another tab might have been a moment earlier.
        if added := _find_person(identity):
            return added
        is_taken = isinstance(error, ConflictError) or not _TAKEN.isdisjoint(error.fields.values())
        raise SignInRefusedError(
            SignInRefusal.NAME_TAKEN if is_taken else SignInRefusal.NO_PROFILE
        ) from None
    return person


def _is_username(text: str) -> bool:
    try:
        Person._meta.get_field("username").clean(text, None)
    except ValidationError:
        return False
    return not names.find_name_problem(text)

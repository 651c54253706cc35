"""Accounts: adding people, their roles, passwords and email addresses."""

import hashlib
from collections.abc import Iterable
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth.models import Group
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError
from django.db.models import QuerySet

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import EventCode
from connections.core import clock
from connections.core.errors import ConflictError, InvalidInputError
from connections.core.role_map import ADMINISTRATOR
from connections.models import Person, Role
from connections.people.names import NAME_TAKEN, find_new_name_problem, is_taken
from connections.people.provider_roles import list_provider_roles

NO_SIGN_IN = "This is an account for a program: no one signs in to it."
PROGRAM_ADMINISTRATOR = "A program can't be an administrator."


def build_person(
    *, username: str, email: str, is_administrator: bool, is_program: bool = False
) -> Person:
    """A new person, not stored and without a password.

    Raises InvalidInputError when the name or address is malformed or belongs to another person, or
    when the name looks like another person's or Org Admin's.
    People sign in with either one, so neither can belong to two people, ignoring case.
    """
    person = Person(
        username=Person.normalize_username(username.strip()),
        email=Person.objects.normalize_email(email.strip()),
        is_superuser=is_administrator,
        is_program=is_program,
    )
    person.set_unusable_password()
    fields: dict[str, str] = {}
    try:
        person.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        fields = {name: " ".join(texts) for name, texts in error.message_dict.items()}
    if is_program and person.email:
        fields["email"] = "A program has no email address."
    if not is_program and not person.email:
        fields["email"] = "Enter an email address."
    if is_program and is_administrator:
        fields["is_administrator"] = PROGRAM_ADMINISTRATOR
    for name, value in (("username", person.username), ("email", person.email)):
        if value and name not in fields and is_taken(value, excluding=person):
            fields[name] = NAME_TAKEN
    if "username" not in fields and (problem := find_new_name_problem(person.username)):
        fields["username"] = problem
    if fields:
        raise InvalidInputError(fields)
    return person


def store_person(person: Person, *, roles: Iterable[Role] = ()) -> None:
    """Store a new person. Raises InvalidInputError if the name has been taken in the meantime."""
    try:
        with audit.atomic():
            person.save(force_insert=True)
            person.groups.set(_get_groups(roles))
    except IntegrityError:
        raise InvalidInputError({"username": NAME_TAKEN}) from None


def lock_person(person: Person) -> Person:
    """The person as stored now, locked until the transaction ends."""
    return Person.objects.select_for_update(no_key=True).get(pk=person.pk)


def is_last_administrator(person: Person) -> bool:
    """Whether this is the last active administrator.

    Locks all administrators until the transaction ends, so that two can't remove each other.
    """
    administrators = Person.objects.filter(is_superuser=True, is_active=True).order_by("pk")
    return list(administrators.select_for_update(no_key=True)) == [person]


def require_another_administrator(person: Person) -> None:
    """Raise ConflictError if this is the last active administrator. Locks all of them."""
    if is_last_administrator(person):
        raise ConflictError(
            f"{person.display_name} is the last active administrator. "
            "Make another person an administrator first."
        )


def get_stored_roles(person: Person) -> list[Role]:
    """The roles given to the person, without those that administrators have implicitly."""
    names = set(person.groups.values_list("name", flat=True))
    return sorted(role for role in Role if role.value in names)


def list_authenticators(person_id: Any) -> QuerySet[Authenticator]:
    """A person's MFA methods. Takes an ID or an OuterRef."""
    authenticators: QuerySet[Authenticator] = Authenticator.objects.filter(user=person_id)
    return authenticators


def _get_groups(roles: Iterable[Role]) -> list[Group]:
    """The groups of these roles."""
    return [Group.objects.get_or_create(name=role.value)[0] for role in roles]


def describe_roles(roles: Iterable[Role], *, is_administrator: bool) -> str:
    """A person's roles as text."""
    names = [ADMINISTRATOR] if is_administrator else []
    names.extend(role.value for role in roles)
    return ", ".join(names) or "none"


def can_use_sign_in_link(person: Person) -> bool:
    """Whether links sign the person in. With ORGADMIN_SSO_ONLY, they are break glass."""
    return not person.is_program and (person.is_superuser or not settings.SSO_ONLY)


def require_sign_in(person: Person) -> None:
    """Raise ConflictError for an account for a program."""
    if person.is_program:
        raise ConflictError(NO_SIGN_IN)


def expire_sign_in_links(person: Person) -> None:
    """Invalidate every unused link of the person."""
    now = clock.now()
    unused = person.sign_in_links.filter(used_at__isnull=True, expires_at__gt=now)
    unused.update(expires_at=now)


def remove_mfa(*, actor: Actor, person: Person) -> None:
    """Delete the person's MFA methods and end their sessions."""
    Authenticator.objects.filter(user=person).delete()
    person.session_epoch += 1
    person.save(update_fields=["session_epoch"])
    audit.record(
        code=EventCode.PERSON_RESET,
        actor=actor,
        subject=person,
        sentence=audit.Sentence("A sign-in link removed MFA for {person}.", person=person),
    )


def hash_of_token(token: str) -> str:
    """The hash stored instead of a token of a link or of the API."""
    # Random tokens of 230 bits and more can't be guessed, so a plain hash is enough.
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def list_administrator_names() -> list[str]:
    """The display names of up to five active administrators."""
    people = Person.objects.filter(is_superuser=True, is_active=True).order_by("username")
    return [person.display_name for person in people[:5]]


@audit.atomic()
def add_person(
    *,
    actor: Actor,
    username: str,
    email: str,
    roles: Iterable[Role],
    is_administrator: bool = False,
    is_program: bool = False,
) -> Person:
    """Add a person, who can sign in once a sign-in link has let them choose a password.

    An account for a program has roles but no email address, and no one signs in to it. Raises
    PermissionDenied, and InvalidInputError for a name or address that is malformed or belongs to
    another person.
    """
    permissions.require(permissions.can_administer(actor), "add people")
    person = build_person(
        username=username,
        email=email,
        is_administrator=is_administrator,
        is_program=is_program,
    )
    store_person(person, roles=roles)
    record_person_added(actor=actor, person=person)
    return person


def record_person_added(*, actor: Actor, person: Person) -> None:
    """Record that a person was added, with the roles that are stored."""
    roles = get_stored_roles(person)
    names = describe_roles(roles, is_administrator=person.is_superuser)
    sentence = audit.Sentence("{person} was added. Roles: {roles}.", person=person, roles=names)
    if person.is_program:
        sentence = audit.Sentence(
            "{person} was added as an account for a program. Roles: {roles}.",
            person=person,
            roles=names,
        )
    audit.record(
        code=EventCode.PERSON_ADDED,
        actor=actor,
        subject=person,
        sentence=sentence,
        details={
            "roles": roles,
            "is_administrator": person.is_superuser,
            "is_program": person.is_program,
        },
    )


@audit.atomic()
def set_roles(
    *, actor: Actor, person: Person, roles: Iterable[Role], is_administrator: bool
) -> Person:
    """Give a person exactly these roles. A person who loses a role is signed out everywhere.

    A person can't change roles that only the identity provider gives: they stay as they are. A
    command can, until the next sign-in. Returns the person as stored now. Raises PermissionDenied,
    and ConflictError if the last active administrator would lose that role.
    """
    permissions.require(permissions.can_administer(actor), "change roles")
    fixed = list_provider_roles(person) if actor.person else frozenset()
    if not is_administrator and ADMINISTRATOR not in fixed:
        require_another_administrator(person)
    person = lock_person(person)
    if is_administrator and person.is_program:
        raise ConflictError(PROGRAM_ADMINISTRATOR)
    kept = {role for role in get_stored_roles(person) if role.value in fixed}
    return store_roles(
        actor=actor,
        person=person,
        roles={role for role in roles if role.value not in fixed} | kept,
        is_administrator=person.is_superuser if ADMINISTRATOR in fixed else is_administrator,
    )


def store_roles(
    *,
    actor: Actor,
    person: Person,
    roles: Iterable[Role],
    is_administrator: bool,
    groups: Iterable[str] | None = None,
) -> Person:
    """Store the roles of a locked person, and record it.

    `groups` are those of the identity provider that give the roles; None if an actor does.

    The caller has checked that this is allowed, and that an administrator remains. A person who
    loses a role is signed out everywhere.
    """
    roles = sorted(set(roles))
    was_administrator, previous_roles = person.is_superuser, get_stored_roles(person)
    if previous_roles == roles and was_administrator == is_administrator:
        return person
    if set(previous_roles) - set(roles) or (was_administrator and not is_administrator):
        person.session_epoch += 1
    person.is_superuser = is_administrator
    person.save(update_fields=["is_superuser", "session_epoch"])
    person.groups.set(_get_groups(roles))
    names = describe_roles(roles, is_administrator=is_administrator)
    audit.record(
        code=EventCode.PERSON_CHANGED,
        actor=actor,
        subject=person,
        sentence=audit.Sentence(
            "The identity provider's groups changed the roles of {person} to: {roles}.",
            person=person,
            roles=names,
        )
        if groups is not None
        else audit.Sentence(
            "The roles of {person} were changed to: {roles}.", person=person, roles=names
        ),
        details={
            "roles": roles,
            "is_administrator": is_administrator,
            "previous_roles": previous_roles,
            "was_administrator": was_administrator,
        }
        | ({} if groups is None else {"groups": sorted(groups)}),
    )
    return person


@audit.atomic()
def disable_person(*, actor: Actor, person: Person) -> Person:
    """Disable a person. Their sessions, unused sign-in links and API tokens end now.

    Their deletion requests stay as they are. Raises PermissionDenied, and ConflictError for the
    last active administrator.
    """
    permissions.require(permissions.can_administer(actor), "disable people")
    require_another_administrator(person)
    person = lock_person(person)
    if not person.is_active:
        return person
    person.is_active = False
    person.session_epoch += 1
    person.save(update_fields=["is_active", "session_epoch"])
    expire_sign_in_links(person)
    person.api_tokens.filter(revoked_at=None).update(revoked_at=clock.now())
    audit.record(
        code=EventCode.PERSON_DISABLED,
        actor=actor,
        subject=person,
        sentence=audit.Sentence("{person} was disabled and signed out everywhere.", person=person),
    )
    return person


@audit.atomic()
def enable_person(*, actor: Actor, person: Person) -> Person:
    """Let a disabled person sign in again, with the roles they had. Raises PermissionDenied."""
    permissions.require(permissions.can_administer(actor), "enable people")
    person = lock_person(person)
    if person.is_active:
        return person
    person.is_active = True
    person.save(update_fields=["is_active"])
    audit.record(
        code=EventCode.PERSON_ENABLED,
        actor=actor,
        subject=person,
        sentence=audit.Sentence(
            "{person} was enabled. Roles: {roles}.",
            person=person,
            roles=describe_roles(get_stored_roles(person), is_administrator=person.is_superuser),
        ),
    )
    return person


@audit.atomic()
def set_password(*, actor: Actor, person: Person, password: str) -> None:
    """Set the password that a person chose. Their other sessions end.

    Raises PermissionDenied for a disabled person, and InvalidInputError if the password is too
    weak.
    """
    permissions.require(lock_person(person).is_active, "set a password")
    require_sign_in(person)
    try:
        validate_password(password, user=person)
    except ValidationError as error:
        raise InvalidInputError({"password": " ".join(error.messages)}) from None
    person.set_password(password)
    person.save(update_fields=["password"])
    audit.record(
        code=EventCode.PASSWORD_SET,
        actor=actor,
        subject=person,
        sentence=audit.Sentence("{person} set a new password.", person=person),
    )


def set_break_glass(*, actor: Actor, person: Person, is_allowed: bool) -> Person:
    """Let a person use break glass, or revoke that. Return the person as stored now.

    No role includes it. Administrators can't give it to themselves, but another administrator or a
    command can. Raises PermissionDenied and ConflictError.
    """
    permissions.require(permissions.can_administer(actor), "allow or revoke break glass")
    if is_allowed and actor.person and actor.person.pk == person.pk:
        raise ConflictError(
            "You can't give yourself break glass. Ask another administrator, or run "
            "change_person --break-glass on the server."
        )
    with audit.atomic():
        person = lock_person(person)
        if person.has_break_glass == is_allowed:
            return person
        person.has_break_glass = is_allowed
        person.save(update_fields=["has_break_glass"])
        audit.record(
            code=EventCode.BREAK_GLASS_ALLOWED if is_allowed else EventCode.BREAK_GLASS_FORBIDDEN,
            actor=actor,
            subject=person,
            sentence=audit.Sentence("{person} can now use break glass.", person=person)
            if is_allowed
            else audit.Sentence("{person} can no longer use break glass.", person=person),
        )
    return person


@audit.atomic()
def change_email(*, actor: Actor, person: Person, email: str) -> Person:
    """Change a person's email address. Links sent to the old address no longer work.

    Password, MFA and sessions stay as they are. Returns the person as stored now. Raises
    PermissionDenied, ConflictError for a program, and InvalidInputError for an address that is
    malformed or that another person signs in with.
    """
    permissions.require(permissions.can_administer(actor), "change email addresses")
    person = lock_person(person)
    require_sign_in(person)
    email = Person.objects.normalize_email(email.strip())
    if email == person.email:
        return person
    try:
        validate_email(email)
        Person._meta.get_field("email").run_validators(email)
    except ValidationError as error:
        raise InvalidInputError({"email": " ".join(error.messages)}) from None
    if is_taken(email, excluding=person):
        raise InvalidInputError({"email": NAME_TAKEN})
    person.email = email
    try:
        with audit.atomic():
            person.save(update_fields=["email"])
    except IntegrityError:
        raise InvalidInputError({"email": NAME_TAKEN}) from None
    EmailAddress.objects.filter(user=person).delete()
    audit.record(
        code=EventCode.EMAIL_CHANGED,
        actor=actor,
        subject=person,
        sentence=audit.Sentence("The email address of {person} was changed.", person=person),
    )
    return person

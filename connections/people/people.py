"""Accounts: adding people, their roles, passwords, sign-in links and email addresses."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
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
from django.urls import reverse

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor, person_actor
from connections.audit import EventCode
from connections.core import clock
from connections.core.errors import ConflictError, InvalidInputError
from connections.core.role_map import ADMINISTRATOR
from connections.models import Person, Role, SignInLink
from connections.people.names import NAME_TAKEN, find_new_name_problem, is_taken
from connections.people.provider_roles import list_provider_roles

# How long an unused link works.
SET_UP_LINK_LIFETIME = timedelta(hours=1)
SIGN_IN_LINK_LIFETIME = timedelta(hours=24)
LINK_LIFETIMES = {
    SignInLink.Purpose.SET_UP: SET_UP_LINK_LIFETIME,
    SignInLink.Purpose.SIGN_IN: SIGN_IN_LINK_LIFETIME,
}
# URL names.
_LINK_PAGES = {SignInLink.Purpose.SET_UP: "setup", SignInLink.Purpose.SIGN_IN: "sign-in-link"}
INVALID_LINK = (
    "This link was already used, was replaced or has expired. Ask an administrator for a new one."
)
ONLY_ADMINISTRATORS = "With ORGADMIN_SSO_ONLY, sign-in links are only for administrators."


def build_person(*, username: str, email: str, is_administrator: bool) -> Person:
    """A new person, not stored and without a password.

    Raises InvalidInputError when the name or address is malformed or belongs to another person, or
    when the name looks like another person's or Org Admin's.
    People sign in with either one, so neither can belong to two people, ignoring case.
    """
    person = Person(
        username=Person.normalize_username(username.strip()),
        email=Person.objects.normalize_email(email.strip()),
        is_superuser=is_administrator,
    )
    person.set_unusable_password()
    fields: dict[str, str] = {}
    try:
        person.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        fields = {name: " ".join(texts) for name, texts in error.message_dict.items()}
    if not person.email:
        fields["email"] = "Enter an email address."
    for name, value in (("username", person.username), ("email", person.email)):
        if name not in fields and is_taken(value, excluding=person):
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


def _create_link(
    *,
    purpose: SignInLink.Purpose,
    actor: Actor,
    now: datetime,
    person: Person | None = None,
    removes_second_factor: bool = False,
) -> str:
    """Store a link with the hash of a new token. Return its path with the token."""
    token = secrets.token_urlsafe(32)
    SignInLink.objects.create(
        purpose=purpose,
        person=person,
        token_hash=_hash_of(token),
        removes_second_factor=removes_second_factor,
        made_by_name=actor.name,
        created_at=now,
        expires_at=now + LINK_LIFETIMES[purpose],
    )
    return f"{reverse(_LINK_PAGES[purpose])}#{token}"


def redeem_link(*, token: str, purpose: SignInLink.Purpose) -> SignInLink:
    """Mark the link with this token as used. Raises ConflictError if no valid link has it."""
    if purpose == SignInLink.Purpose.SET_UP:
        # Locked so that when two setup links are used at the same time, the second finds a person.
        list(
            SignInLink.objects.select_for_update(no_key=True).filter(purpose=purpose).order_by("pk")
        )
    now = clock.now()
    usable = SignInLink.objects.filter(
        token_hash=_hash_of(token),
        purpose=purpose,
        used_at__isnull=True,
        expires_at__gt=now,
        # A later time comes from a clock that was ahead.
        expires_at__lte=now + LINK_LIFETIMES[purpose] + clock.TOLERANCE,
    )
    # One statement, so that only one of two simultaneous requests succeeds.
    if usable.update(used_at=now) != 1:
        raise ConflictError(INVALID_LINK)
    return SignInLink.objects.select_related("person").get(token_hash=_hash_of(token))


def can_use_sign_in_link(person: Person) -> bool:
    """Whether links sign the person in. With ORGADMIN_SSO_ONLY, they are break glass."""
    return person.is_superuser or not settings.SSO_ONLY


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


def _hash_of(token: str) -> str:
    # Random tokens of 256 bits can't be guessed, so a plain hash is enough.
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
) -> Person:
    """Add a person, who can sign in once a sign-in link has let them choose a password.

    Raises PermissionDenied, and InvalidInputError for a name or address that is malformed or
    belongs to another person.
    """
    permissions.require(permissions.can_administer(actor), "add people")
    person = build_person(username=username, email=email, is_administrator=is_administrator)
    store_person(person, roles=roles)
    record_person_added(actor=actor, person=person)
    return person


def record_person_added(*, actor: Actor, person: Person) -> None:
    """Record that a person was added, with the roles that are stored."""
    roles = get_stored_roles(person)
    audit.record(
        code=EventCode.PERSON_ADDED,
        actor=actor,
        subject=person,
        sentence=audit.Sentence(
            "{person} was added. Roles: {roles}.",
            person=person,
            roles=describe_roles(roles, is_administrator=person.is_superuser),
        ),
        details={"roles": roles, "is_administrator": person.is_superuser},
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
    """Disable a person. Their sessions and unused sign-in links end now.

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


@audit.atomic()
def make_sign_in_link(
    *, actor: Actor, person: Person, now: datetime, removes_second_factor: bool = False
) -> str:
    """A link that signs a person in once, and lets them choose a password.

    It is for invitations and forgotten passwords; `removes_second_factor` is for a lost MFA device.
    Invalidates the person's older unused links. Returns a path with the token in its fragment, to
    which the caller adds this service's address. The token is not stored.

    Raises PermissionDenied, and ConflictError for a disabled person, or with ORGADMIN_SSO_ONLY for
    anyone but an administrator.
    """
    permissions.require(permissions.can_administer(actor), "create sign-in links")
    person = lock_person(person)
    if not can_use_sign_in_link(person):
        raise ConflictError(ONLY_ADMINISTRATORS)
    if not person.is_active:
        raise ConflictError(f"{person.display_name} is disabled. Enable them first.")
    expire_sign_in_links(person)
    sentence = audit.Sentence("A one-time sign-in link was created for {person}.", person=person)
    audit.record(
        code=EventCode.SIGN_IN_LINK_MADE,
        actor=actor,
        subject=person,
        sentence=sentence.followed_by("It removes MFA." if removes_second_factor else ""),
        details={"removes_second_factor": removes_second_factor},
    )
    return _create_link(
        purpose=SignInLink.Purpose.SIGN_IN,
        actor=actor,
        now=now,
        person=person,
        removes_second_factor=removes_second_factor,
    )


@audit.atomic()
def use_sign_in_link(*, token: str, password: str, request_id: str = "") -> Person:
    """Redeem a sign-in link and return its person, whom the caller signs in.

    An empty `password` keeps the current one. Raises ConflictError if the link was used, is too
    old, was replaced or doesn't exist, and InvalidInputError for a password that is weak, or
    missing if there is none yet. The link can still be used after InvalidInputError.
    """
    link = redeem_link(token=token, purpose=SignInLink.Purpose.SIGN_IN)
    is_valid = link.person and link.person.is_active and can_use_sign_in_link(link.person)
    if not link.person or not is_valid:
        raise ConflictError(INVALID_LINK)
    person = lock_person(link.person)
    actor = person_actor(person=person, request_id=request_id)
    audit.record(
        code=EventCode.SIGN_IN_LINK_USED,
        actor=actor,
        subject=person,
        sentence=audit.Sentence("{person} used a one-time sign-in link.", person=person),
    )
    if password:
        set_password(actor=actor, person=person, password=password)
    elif not person.has_usable_password():
        raise InvalidInputError({"password": "Choose a password. You don't have one yet."})
    if link.removes_second_factor:
        remove_mfa(actor=actor, person=person)
    return person


@audit.atomic()
def make_set_up_link(*, actor: Actor, now: datetime) -> str:
    """A link to create the first administrator, once, within an hour.

    Returns a path as `make_sign_in_link` does. Raises PermissionDenied, and ConflictError once a
    person exists.
    """
    permissions.require(permissions.can_administer(actor), "create setup links")
    if Person.objects.exists():
        raise ConflictError(
            "Someone already has an account. Create a sign-in link for that person."
        )
    audit.record(
        code=EventCode.SIGN_IN_LINK_MADE,
        actor=actor,
        sentence=audit.Sentence("A one-time setup link for the first administrator was created."),
    )
    return _create_link(purpose=SignInLink.Purpose.SET_UP, actor=actor, now=now)


@audit.atomic()
def set_up_first_administrator(
    *, token: str, username: str, email: str, password: str, request_id: str = ""
) -> Person:
    """Redeem a setup link and return the first administrator, whom the caller signs in.

    Raises ConflictError if the link is invalid or a person exists, and InvalidInputError for what
    was typed. The link can still be used after InvalidInputError.
    """
    link = redeem_link(token=token, purpose=SignInLink.Purpose.SET_UP)
    if Person.objects.exists():
        raise ConflictError(
            "An administrator already exists. Sign in, or ask that person for a sign-in link."
        )
    person = build_person(username=username, email=email, is_administrator=True)
    store_person(person)
    actor = person_actor(person=person, request_id=request_id)
    audit.record(
        code=EventCode.PERSON_ADDED,
        actor=actor,
        subject=person,
        sentence=audit.Sentence(
            "{person} became the first administrator with the setup link created by {maker}.",
            person=person,
            maker=link.made_by_name,
        ),
        details={"roles": [], "is_administrator": True},
    )
    set_password(actor=actor, person=person, password=password)
    return person


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
    PermissionDenied, and InvalidInputError for an address that is malformed or that another person
    signs in with.
    """
    permissions.require(permissions.can_administer(actor), "change email addresses")
    person = lock_person(person)
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

"""Acts on people: adding them, their roles, letting them in, shutting them out."""

from collections.abc import Iterable
from datetime import datetime

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.urls import reverse

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor, person_actor
from connections.audit import personal_data
from connections.audit.events import EventCode
from connections.core.errors import ConflictError, InvalidInputError
from connections.models import Person, Role, SignInLink
from connections.people import rules

SET_UP_LINK_LIFETIME = rules.LIFETIMES[SignInLink.Purpose.SET_UP]
SIGN_IN_LINK_LIFETIME = rules.LIFETIMES[SignInLink.Purpose.SIGN_IN]


def names_of_administrators() -> list[str]:
    """The active administrators, by the name shown on screen; at most five."""
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
    """Add a person, who can sign in once a sign-in link let them choose a password.

    Raises PermissionDenied, and InvalidInputError for a name or address that is malformed or
    somebody else's.
    """
    permissions.require(permissions.can_administer(actor), "add people")
    roles = sorted(set(roles))
    person = rules.new_person(username=username, email=email, is_administrator=is_administrator)
    rules.store_new(person)
    person.groups.set(rules.groups_of(roles))
    audit.record(
        code=EventCode.PERSON_ADDED,
        actor=actor,
        subject=person,
        sentence=f"{personal_data.name_of(person)} was added: "
        f"{rules.describe_roles(roles, is_administrator)}.",
        details={"roles": roles, "is_administrator": is_administrator},
    )
    return person


@audit.atomic()
def record_administrator_made(*, actor: Actor, person: Person) -> None:
    """Record an administrator whom Django's own createsuperuser stored."""
    permissions.require(permissions.can_administer(actor), "add people")
    audit.record(
        code=EventCode.PERSON_ADDED,
        actor=actor,
        subject=person,
        sentence=f"{personal_data.name_of(person)} was added: Administrator.",
        details={"roles": [], "is_administrator": True},
    )


@audit.atomic()
def set_roles(
    *, actor: Actor, person: Person, roles: Iterable[Role], is_administrator: bool
) -> Person:
    """Give a person exactly these roles; whoever loses one is signed out everywhere.

    Gives the person as stored now. Raises PermissionDenied, and ConflictError when the last
    active administrator would lose that.
    """
    permissions.require(permissions.can_administer(actor), "change roles")
    roles = sorted(set(roles))
    if not is_administrator:
        rules.require_another_administrator(person)
    person = rules.locked(person)
    was_administrator, had = person.is_superuser, rules.stored_roles(person)
    if had == roles and was_administrator == is_administrator:
        return person
    if set(had) - set(roles) or (was_administrator and not is_administrator):
        person.session_epoch += 1
    person.is_superuser = is_administrator
    person.save(update_fields=["is_superuser", "session_epoch"])
    person.groups.set(rules.groups_of(roles))
    audit.record(
        code=EventCode.PERSON_CHANGED,
        actor=actor,
        subject=person,
        sentence=f"{personal_data.name_of(person)} is now: "
        f"{rules.describe_roles(roles, is_administrator)}.",
        details={
            "roles": roles,
            "is_administrator": is_administrator,
            "previous_roles": had,
            "was_administrator": was_administrator,
        },
    )
    return person


@audit.atomic()
def disable_person(*, actor: Actor, person: Person) -> Person:
    """Shut a person out: every session and unused sign-in link of theirs ends now.

    What they asked for stays as it is. Raises PermissionDenied, and ConflictError for the last
    active administrator.
    """
    permissions.require(permissions.can_administer(actor), "disable people")
    rules.require_another_administrator(person)
    person = rules.locked(person)
    if not person.is_active:
        return person
    person.is_active = False
    person.session_epoch += 1
    person.save(update_fields=["is_active", "session_epoch"])
    rules.end_sign_in_links(person)
    audit.record(
        code=EventCode.PERSON_DISABLED,
        actor=actor,
        subject=person,
        sentence=f"{personal_data.name_of(person)} was disabled and signed out everywhere.",
    )
    return person


@audit.atomic()
def enable_person(*, actor: Actor, person: Person) -> Person:
    """Let a disabled person sign in again, with the roles they had. Raises PermissionDenied."""
    permissions.require(permissions.can_administer(actor), "enable people")
    person = rules.locked(person)
    if person.is_active:
        return person
    person.is_active = True
    person.save(update_fields=["is_active"])
    audit.record(
        code=EventCode.PERSON_ENABLED,
        actor=actor,
        subject=person,
        sentence=f"{personal_data.name_of(person)} was enabled: "
        f"{rules.describe_roles(rules.stored_roles(person), person.is_superuser)}.",
    )
    return person


@audit.atomic()
def set_password(*, actor: Actor, person: Person, password: str) -> None:
    """Give a person the password they chose; their other sessions end.

    Raises InvalidInputError when the password is too weak.
    """
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
        sentence=f"{personal_data.name_of(person)} chose a new password.",
    )


@audit.atomic()
def make_sign_in_link(
    *, actor: Actor, person: Person, now: datetime, removes_second_factor: bool = False
) -> str:
    """A link that lets a person in once, within 24 hours, and choose a password.

    It serves as invitation and for a forgotten password; `removes_second_factor` is for one
    that is lost. Older unused links of the person end. Gives an address with the token in its
    fragment (only a path without ORGADMIN_BASE_URL), which is kept nowhere.

    Raises PermissionDenied, and ConflictError for a disabled person.
    """
    permissions.require(permissions.can_administer(actor), "make sign-in links")
    person = rules.locked(person)
    if not person.is_active:
        raise ConflictError(f"{person.display_name} is disabled. Enable them first.")
    rules.end_sign_in_links(person)
    token = rules.store_link(
        SignInLink(
            purpose=SignInLink.Purpose.SIGN_IN,
            person=person,
            removes_second_factor=removes_second_factor,
            made_by_name=actor.name,
            created_at=now,
            expires_at=now + SIGN_IN_LINK_LIFETIME,
        )
    )
    extra = " It removes the second factor." if removes_second_factor else ""
    audit.record(
        code=EventCode.SIGN_IN_LINK_MADE,
        actor=actor,
        subject=person,
        sentence=f"A one-time sign-in link was made for {personal_data.name_of(person)}.{extra}",
        details={"removes_second_factor": removes_second_factor},
    )
    return f"{settings.BASE_URL}{reverse('sign-in-link')}#{token}"


@audit.atomic()
def use_sign_in_link(*, token: str, password: str, request_id: str = "") -> Person:
    """Spend a sign-in link and give the person it lets in, whom the caller signs in.

    An empty `password` keeps the one there is. Raises ConflictError when the link is spent, too
    old, replaced or none at all, and InvalidInputError for a password that is weak, or missing
    where there is none yet; the link is not spent then.
    """
    link = rules.redeem_link(token=token, purpose=SignInLink.Purpose.SIGN_IN)
    if link.person is None or not link.person.is_active:
        raise ConflictError(rules.INVALID_LINK)
    person = rules.locked(link.person)
    actor = person_actor(person=person, request_id=request_id)
    audit.record(
        code=EventCode.SIGN_IN_LINK_USED,
        actor=actor,
        subject=person,
        sentence=f"{personal_data.name_of(person)} used the newest sign-in link made for them.",
    )
    if password:
        set_password(actor=actor, person=person, password=password)
    elif not person.has_usable_password():
        raise InvalidInputError({"password": "Choose a password: you have none yet."})
    if link.removes_second_factor:
        rules.remove_second_factor(actor=actor, person=person)
    return person


@audit.atomic()
def make_set_up_link(*, actor: Actor, now: datetime) -> str:
    """A link that lets its reader make the first administrator, once, within an hour.

    Gives an address as `make_sign_in_link` does. Raises PermissionDenied, and ConflictError
    once there is a person.
    """
    permissions.require(permissions.can_administer(actor), "make set-up links")
    if Person.objects.exists():
        raise ConflictError("There are people already. Make a sign-in link for one of them.")
    token = rules.store_link(
        SignInLink(
            purpose=SignInLink.Purpose.SET_UP,
            made_by_name=actor.name,
            created_at=now,
            expires_at=now + SET_UP_LINK_LIFETIME,
        )
    )
    audit.record(
        code=EventCode.SIGN_IN_LINK_MADE,
        actor=actor,
        sentence="A one-time link to make the first administrator was made.",
    )
    return f"{settings.BASE_URL}{reverse('setup')}#{token}"


@audit.atomic()
def set_up_first_administrator(
    *, token: str, username: str, email: str, password: str, request_id: str = ""
) -> Person:
    """Spend a set-up link and give the first administrator, whom the caller signs in.

    Raises ConflictError when the link is dead or there is a person, and InvalidInputError for
    what was typed; the link is not spent then.
    """
    link = rules.redeem_link(token=token, purpose=SignInLink.Purpose.SET_UP)
    if Person.objects.exists():
        raise ConflictError("There are people already. Sign in, or ask one of them.")
    person = rules.new_person(username=username, email=email, is_administrator=True)
    rules.store_new(person)
    actor = person_actor(person=person, request_id=request_id)
    audit.record(
        code=EventCode.PERSON_ADDED,
        actor=actor,
        subject=person,
        sentence=f"{personal_data.name_of(person)} became the first administrator, "
        "by the set-up link "
        f"made by {link.made_by_name}.",
        details={"roles": [], "is_administrator": True},
    )
    set_password(actor=actor, person=person, password=password)
    return person


def allow_break_glass(*, actor: Actor, person: Person, is_allowed: bool) -> Person:
    """Give a person the permission to break glass, or take it away.

    It is part of no role. Nobody gives it to themselves: another administrator does, or a command.
    Raises PermissionDenied and ConflictError.
    """
    permissions.require(permissions.can_administer(actor), "say who may break glass")
    if is_allowed and actor.person and actor.person.pk == person.pk:
        raise ConflictError(
            "Nobody gives it to themselves. Another administrator does, or whoever runs the "
            "server: change_person --break-glass."
        )
    with audit.atomic():
        person = rules.locked(person)
        if person.may_break_glass == is_allowed:
            return person
        person.may_break_glass = is_allowed
        person.save(update_fields=["may_break_glass"])
        may = "may now break glass" if is_allowed else "may no longer break glass"
        audit.record(
            code=EventCode.BREAK_GLASS_ALLOWED if is_allowed else EventCode.BREAK_GLASS_FORBIDDEN,
            actor=actor,
            subject=person,
            sentence=f"{personal_data.name_of(person)} {may}.",
        )
    return person

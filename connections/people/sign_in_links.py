"""One-time links: an invitation, a forgotten password or a lost MFA device, and the first setup."""

import secrets
from datetime import datetime, timedelta

from django.urls import reverse

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor, person_actor
from connections.audit import EventCode
from connections.core import clock
from connections.core.errors import ConflictError, InvalidInputError
from connections.models import Person, SignInLink
from connections.people import people

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
        token_hash=people.hash_of_token(token),
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
        token_hash=people.hash_of_token(token),
        purpose=purpose,
        used_at__isnull=True,
        expires_at__gt=now,
        # A later time comes from a clock that was ahead.
        expires_at__lte=now + LINK_LIFETIMES[purpose] + clock.TOLERANCE,
    )
    # One statement, so that only one of two simultaneous requests succeeds.
    if usable.update(used_at=now) != 1:
        raise ConflictError(INVALID_LINK)
    return SignInLink.objects.select_related("person").get(token_hash=people.hash_of_token(token))


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
    person = people.lock_person(person)
    people.require_sign_in(person)
    if not people.can_use_sign_in_link(person):
        raise ConflictError(ONLY_ADMINISTRATORS)
    if not person.is_active:
        raise ConflictError(f"{person.display_name} is disabled. Enable them first.")
    people.expire_sign_in_links(person)
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
    is_valid = link.person and link.person.is_active and people.can_use_sign_in_link(link.person)
    if not link.person or not is_valid:
        raise ConflictError(INVALID_LINK)
    person = people.lock_person(link.person)
    actor = person_actor(person=person, request_id=request_id)
    audit.record(
        code=EventCode.SIGN_IN_LINK_USED,
        actor=actor,
        subject=person,
        sentence=audit.Sentence("{person} used a one-time sign-in link.", person=person),
    )
    if password:
        people.set_password(actor=actor, person=person, password=password)
    elif not person.has_usable_password():
        raise InvalidInputError({"password": "Choose a password. You don't have one yet."})
    if link.removes_second_factor:
        people.remove_mfa(actor=actor, person=person)
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
    person = people.build_person(username=username, email=email, is_administrator=True)
    people.store_person(person)
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
    people.set_password(actor=actor, person=person, password=password)
    return person

"""What the acts on people share: what must hold of a person, and how one is told of."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError
from django.db.models import Q, QuerySet

from connections import audit
from connections.access.actor import Actor
from connections.audit import personal_data
from connections.audit.events import EventCode
from connections.core import clock
from connections.core.errors import ConflictError, InvalidInputError
from connections.models import Person, Role, SignInLink

# How long an unused link holds.
LIFETIMES = {
    SignInLink.Purpose.SET_UP: timedelta(hours=1),
    SignInLink.Purpose.SIGN_IN: timedelta(hours=24),
}
TAKEN = "Somebody else signs in with this already."
INVALID_LINK = (
    "This link was used before, is too old, or a newer one replaced it. "
    "Ask an administrator for a new one."
)


def new_person(*, username: str, email: str, is_administrator: bool) -> Person:
    """A person not yet stored and without a password.

    Raises InvalidInputError when the name or address is malformed, or somebody else's: people
    sign in with either, so neither may stand for two of them, whatever its case.
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
        fields["email"] = "An e-mail address is needed."
    for name, value in (("username", person.username), ("email", person.email)):
        taken = Person.objects.filter(Q(username__iexact=value) | Q(email__iexact=value))
        if value and name not in fields and taken.exists():
            fields[name] = TAKEN
    if fields:
        raise InvalidInputError(fields)
    return person


def require_free_email(email: str, *, of: Person) -> None:
    """Raise InvalidInputError for an address that is none, or by which somebody else signs in."""
    try:
        validate_email(email)
    except ValidationError as error:
        raise InvalidInputError({"email": " ".join(error.messages)}) from None
    others = Person.objects.exclude(pk=of.pk)
    if others.filter(Q(username__iexact=email) | Q(email__iexact=email)).exists():
        raise InvalidInputError({"email": TAKEN})


def store_new(person: Person) -> None:
    """Store a new person. Raises InvalidInputError when the name was taken in this moment."""
    try:
        with audit.atomic():
            person.save(force_insert=True)
    except IntegrityError:
        raise InvalidInputError({"username": TAKEN}) from None


def locked(person: Person) -> Person:
    """The person as stored now, held until the transaction ends."""
    return Person.objects.select_for_update(no_key=True).get(pk=person.pk)


def require_another_administrator(person: Person) -> None:
    """Raise ConflictError when this is the last active administrator.

    All of them are held until the transaction ends, so that two cannot remove each other.
    """
    administrators = Person.objects.select_for_update(no_key=True).order_by("pk")
    active = [one.pk for one in administrators.filter(is_superuser=True, is_active=True)]
    if active == [person.pk]:
        raise ConflictError(
            f"{person.display_name} is the last active administrator. "
            "Make somebody else an administrator first."
        )


def stored_roles(person: Person) -> list[Role]:
    """The roles given to the person, without those that being an administrator brings."""
    names = set(person.groups.values_list("name", flat=True))
    return sorted(role for role in Role if role.value in names)


def second_factors_of(person_id: Any) -> QuerySet[Authenticator]:
    """The second factors of a person: empty means none. Takes an id or an OuterRef."""
    factors: QuerySet[Authenticator] = Authenticator.objects.filter(user=person_id)
    return factors


def groups_of(roles: Iterable[Role]) -> list[Group]:
    """The groups that stand for the roles."""
    return [Group.objects.get_or_create(name=role.value)[0] for role in roles]


def describe_roles(roles: Iterable[Role], is_administrator: bool) -> str:
    """What a person may do, in words."""
    names = ["Administrator"] if is_administrator else []
    names.extend(role.value for role in roles)
    return ", ".join(names) or "no role"


def store_link(link: SignInLink) -> str:
    """Store a link under a new token, of which only the hash is kept; gives the token."""
    token = secrets.token_urlsafe(32)
    link.token_hash = _hash_of(token)
    link.save(force_insert=True)
    return token


def redeem_link(*, token: str, purpose: SignInLink.Purpose) -> SignInLink:
    """Use up the link of this token. Raises ConflictError when there is none that still holds."""
    if purpose == SignInLink.Purpose.SET_UP:
        # Two set-up links used at once wait for each other here, so that one finds a person.
        list(
            SignInLink.objects.select_for_update(no_key=True).filter(purpose=purpose).order_by("pk")
        )
    now = clock.now()
    usable = SignInLink.objects.filter(
        token_hash=_hash_of(token),
        purpose=purpose,
        used_at__isnull=True,
        expires_at__gt=now,
        # One further ahead was made by a clock that was ahead.
        expires_at__lte=now + LIFETIMES[purpose] + clock.TOLERANCE,
    )
    # One statement decides, so that of two that come at once only one succeeds.
    if usable.update(used_at=now) != 1:
        raise ConflictError(INVALID_LINK)
    return SignInLink.objects.select_related("person").get(token_hash=_hash_of(token))


def end_sign_in_links(person: Person) -> None:
    """Let no unused link of the person hold any longer."""
    now = clock.now()
    unused = person.sign_in_links.filter(used_at__isnull=True, expires_at__gt=now)
    unused.update(expires_at=now)


def remove_second_factor(*, actor: Actor, person: Person) -> None:
    """Forget every second factor of the person and end their sessions."""
    Authenticator.objects.filter(user=person).delete()
    person.session_epoch += 1
    person.save(update_fields=["session_epoch"])
    audit.record(
        code=EventCode.PERSON_RESET,
        actor=actor,
        subject=person,
        sentence=f"The second factor of {personal_data.name_of(person)} was removed "
        "by a sign-in link.",
    )


def _hash_of(token: str) -> str:
    # Random tokens of 256 bits cannot be searched for, so a bare hash is enough.
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()

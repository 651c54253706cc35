"""Tokens of the API: making, listing and revoking them, and finding the one of a request."""

from collections.abc import Collection
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet
from django.utils.crypto import get_random_string

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor, person_actor
from connections.audit import EventCode
from connections.core import clock
from connections.core.errors import ConflictError, InvalidInputError
from connections.core.text import join_names
from connections.core.typed_text import find_text_problem
from connections.models import ApiToken, Person, Scope
from connections.people.people import hash_of_token, lock_person

PREFIX = "oa1_"
_LENGTH = 40
MAX_NAME_LENGTH = 60
DEFAULT_DAYS = 90
MAX_DAYS = 365
# Two, so that a program can be given the next one before the previous one is revoked.
MAX_WITH_ONE_NAME = 2
_USE_INTERVAL = timedelta(minutes=1)


@audit.atomic()
def make_token(
    *, actor: Actor, person: Person, name: str, scopes: Collection[str], days: int = DEFAULT_DAYS
) -> tuple[ApiToken, str]:
    """A new token of the person, and its text, which is not stored.

    People make their own tokens, administrators those of programs, and commands anyone's. Raises
    PermissionDenied if the actor or the person can't have one, InvalidInputError, and ConflictError
    for a disabled person or a third active token with this name.
    """
    require_can_make(actor=actor, person=person)
    person = lock_person(person)
    if not person.is_active:
        raise ConflictError(f"{person.display_name} is disabled. Enable them first.")
    permissions.require(can_hold_tokens(person), "use the API")
    name = " ".join(name.split())
    now = clock.now()
    _require_valid(name, scopes, days)
    same_name = list_tokens(person=person).filter(name=name, expires_at__gt=now)
    if same_name.count() >= MAX_WITH_ONE_NAME:
        raise ConflictError(f"Two tokens named “{name}” are active. Revoke one of them first.")
    text = PREFIX + get_random_string(_LENGTH)
    token = ApiToken.objects.create(
        person=person,
        name=name,
        token_hash=hash_of_token(text),
        scopes=sorted(scopes),
        created_at=now,
        expires_at=now + timedelta(days=days),
    )
    audit.record(
        code=EventCode.API_TOKEN_MADE,
        actor=actor,
        subject=person,
        sentence=audit.Sentence(
            "The API token “{name}” of {person} was created, with {scopes}, until {expires}.",
            name=name,
            person=person,
            scopes=join_names(token.scopes),
            expires=f"{token.expires_at:%Y-%m-%d}",
        ),
        details=_details(token) | {"scopes": token.scopes, "days": days},
    )
    return token, text


@audit.atomic()
def revoke_token(*, actor: Actor, token: ApiToken) -> ApiToken:
    """End a token now: one's own, or as an administrator anyone's. Raises PermissionDenied."""
    is_own = actor.person is not None and actor.person.pk == token.person_id
    permissions.require(is_own or permissions.can_administer(actor), "revoke this token")
    token = ApiToken.objects.select_for_update(no_key=True, of=("self",)).get(pk=token.pk)
    if token.revoked_at is None:
        token.revoked_at = clock.now()
        token.save(update_fields=["revoked_at"])
        audit.record(
            code=EventCode.API_TOKEN_REVOKED,
            actor=actor,
            subject=token.person,
            sentence=audit.Sentence(
                "The API token “{name}” of {person} was revoked.",
                name=token.name,
                person=token.person,
            ),
            details=_details(token),
        )
    return token


def list_tokens(*, person: Person | None) -> QuerySet[ApiToken]:
    """The tokens that aren't revoked, also expired ones, of one person or of everyone, by name."""
    tokens = ApiToken.objects.filter(revoked_at=None)
    of_person = tokens if person is None else tokens.filter(person=person)
    return of_person.select_related("person").order_by("person__username", "name", "created_at")


def find_token(*, text: str, now: datetime) -> ApiToken | None:
    """The active token with this text, if its person is enabled."""
    tokens = list_tokens(person=None).filter(expires_at__gt=now, person__is_active=True)
    return tokens.filter(token_hash=hash_of_token(text)).first()


def store_use(*, token: ApiToken, now: datetime) -> None:
    """Store when the token was last used, to the minute. Raises database errors."""
    if token.last_used_at and now - token.last_used_at < _USE_INTERVAL:
        return
    is_older = Q(last_used_at=None) | Q(last_used_at__lt=now)
    minute = now.replace(second=0, microsecond=0)
    ApiToken.objects.filter(is_older, pk=token.pk).update(last_used_at=minute)


def can_hold_tokens(person: Person) -> bool:
    """Whether the person's tokens work: they need a role that can export."""
    return permissions.can_export(person_actor(person=person))


def require_can_make(*, actor: Actor, person: Person) -> None:
    """Raise PermissionDenied unless the actor can make tokens of this person."""
    is_own = actor.person is not None and actor.person.pk == person.pk
    is_for_program = person.is_program and permissions.can_administer(actor)
    permissions.require(
        is_own or is_for_program or actor.kind == "command", "create tokens of other people"
    )


def _require_valid(name: str, scopes: Collection[str], days: int) -> None:
    fields = {}
    if problem := find_text_problem(
        name, missing="Enter a name.", noun="name", max_length=MAX_NAME_LENGTH
    ):
        fields["name"] = problem
    if not scopes or not set(scopes) <= set(Scope.values):
        fields["scope"] = f"Choose one or more of {join_names(Scope.values)}."
    if not 1 <= days <= MAX_DAYS:
        fields["expires"] = f"Enter 1 to {MAX_DAYS} days."
    if fields:
        raise InvalidInputError(fields)


def _details(token: ApiToken) -> dict[str, object]:
    return {"api_token": {"id": str(token.pk), "name": token.name}}

"""Protecting a connection from being deleted, and another person's lifting of it.

A protection is about a site and an id, whatever is stored of the connection: it outlives every
listing, and may come before the first one. `sending.claim` asks for it in its own transaction.
"""

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.db.models import Max, Q, QuerySet

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import lookups, personal_data
from connections.core import clock
from connections.core.causes import Cause
from connections.core.errors import BlockedError, ConflictError, InvalidInputError, has_visible_text
from connections.core.sites import UnknownSiteError, get_site
from connections.core.text import format_time
from connections.inventory import sync
from connections.models import (
    Credential,
    Deletion,
    OrgConnectionKey,
    Person,
    Protection,
    ProtectionRemoval,
    Role,
    State,
)

LONGEST_REASON = 4000
NO_REASON_TO_PROTECT = "Say why it must stay."
NOT_VISIBLE = "No connection with this ID is visible to you. Ask an administrator to protect it."
NO_REASON_TO_UNPROTECT = "Say why it may be deleted again."


def protect_connection(*, actor: Actor, key: OrgConnectionKey, reason: str) -> Protection:
    """Say that nobody may delete this connection, from now on, until another person lifts it.

    What is being sent at this moment cannot be called back; the event says so. Raises
    PermissionDenied, InvalidInputError, ConflictError when it is protected already, and
    OutOfReachError, alike for a hidden connection and an id that nobody ever saw.
    """
    permissions.require(permissions.can_protect(actor), "protect connections")
    person = _person(actor)
    reason = _checked_reason(reason, missing=NO_REASON_TO_PROTECT)
    _check_site(key.site)
    lookups.require_visible_connection(key, actor=actor)
    try:
        with audit.atomic():
            # What `sending.claim` locks too: of a claim and a protection one comes first, and
            # the claim that comes second sees it.
            sync.lock_snapshots(site=key.site)
            if find_protection(key):
                raise ConflictError("It is protected already.")
            of_it = Protection.objects.filter(site=key.site, connection_id=key.connection_id)
            protection = Protection.objects.create(
                site=key.site,
                connection_id=key.connection_id,
                number=(of_it.aggregate(last=Max("number"))["last"] or 0) + 1,
                reason=reason,
                protected_at=clock.now(),
                protected_by=person,
            )
            audit.record(
                code=audit.EventCode.CONNECTION_PROTECTED,
                actor=actor,
                subject=key,
                sentence=f"{personal_data.name_of(actor)} protected the connection {key}.",
                details={
                    "site": key.site,
                    "reason": reason,
                    "is_being_sent": is_being_sent(key),
                },
            )
    except IntegrityError:
        raise ConflictError("Somebody else has just protected it.") from None
    return protection


def remove_protection(*, actor: Actor, protection: Protection, reason: str) -> ProtectionRemoval:
    """Say, as another person, that the connection may be deleted again.

    Raises PermissionDenied (one's own included), InvalidInputError without a reason, and
    ConflictError when it was lifted already.
    """
    check_not_own(protection, actor=actor)
    permissions.require(
        permissions.can_unprotect(actor, protection=protection), "lift this protection"
    )
    person = _person(actor)
    reason = _checked_reason(reason, missing=NO_REASON_TO_UNPROTECT)
    try:
        with audit.atomic():
            lifting = ProtectionRemoval.objects.create(
                protection=protection,
                reason=reason,
                lifted_at=clock.now(),
                lifted_by=person,
                protector=protection.protected_by,
            )
            audit.record(
                code=audit.EventCode.CONNECTION_PROTECTION_LIFTED,
                actor=actor,
                subject=protection.key,
                sentence=f"{personal_data.name_of(actor)} lifted the protection of the connection "
                f"{protection.key}, which "
                f"{personal_data.name_of(protection.protected_by)} had made.",
                details={"site": protection.site, "reason": reason},
            )
    except IntegrityError:
        raise ConflictError("Somebody else has just lifted it.") from None
    return lifting


def check_not_own(protection: Protection, *, actor: Actor) -> None:
    """Raise PermissionDenied, saying so, when the actor protected it."""
    if actor.person and protection.protected_by_id == actor.person.pk:
        raise PermissionDenied("You protected it; someone else must lift that.")


def _person(actor: Actor) -> Person:
    if actor.person is None:
        raise PermissionDenied("Only a person protects a connection or lifts that.")
    return actor.person


def _checked_reason(reason: str, *, missing: str) -> str:
    reason = reason.strip()
    if not has_visible_text(reason):
        raise InvalidInputError({"reason": missing})
    if len(reason) > LONGEST_REASON:
        raise InvalidInputError({"reason": f"A reason has at most {LONGEST_REASON} characters."})
    return reason


def _check_site(site: str) -> None:
    try:
        get_site(site)
    except UnknownSiteError:
        # A site that is no longer configured may be again.
        if not Credential.objects.filter(site=site).exists():
            raise InvalidInputError({"site": "Choose one of the sites."}) from None


def _holding() -> QuerySet[Protection]:
    return Protection.objects.filter(lifting=None).select_related("protected_by")


def find_protection(key: OrgConnectionKey) -> Protection | None:
    """What protects this connection now, if anything does."""
    return _holding().filter(site=key.site, connection_id=key.connection_id).first()


def find_protection_against(deletion: Deletion) -> Protection | None:
    """What stands against sending this deletion now, if anything does."""
    return find_protection(
        OrgConnectionKey(site=deletion.site, connection_id=deletion.connection_id)
    )


def active_protections() -> dict[OrgConnectionKey, Protection]:
    """Every protection that holds now, by its connection, newest first."""
    return {protection.key: protection for protection in _holding()}


def list_protections(key: OrgConnectionKey) -> list[Protection]:
    """Every protection that a connection ever had, oldest first, with its lifting."""
    of_it = Protection.objects.filter(site=key.site, connection_id=key.connection_id)
    return list(
        of_it.select_related("protected_by", "lifting", "lifting__lifted_by").order_by("number")
    )


def names_of_possible_removers(protection: Protection) -> list[str]:
    """Names of the people who could lift it now, in order."""
    may = Q(groups__name=Role.APPROVER) | Q(is_superuser=True)
    others = Person.objects.filter(may, is_active=True).exclude(pk=protection.protected_by_id)
    return [person.display_name for person in others.distinct().order_by("username")]


def is_being_sent(key: OrgConnectionKey) -> bool:
    """Whether a DELETE of this connection may be on its way at this moment."""
    return Deletion.objects.filter(
        site=key.site, connection_id=key.connection_id, state=State.SENDING, settled_at=None
    ).exists()


def protection_text(protection: Protection) -> str:
    """Who protects a connection, when, why, and what to do, as a refusal tells it."""
    return (
        "This connection is protected, so no new DELETE was sent. "
        f"{protection.protected_by} said at "
        f"{format_time(protection.protected_at)} that it must stay: “{protection.reason}”. Another "
        "person can lift that on the connection’s page."
    )


def require_unprotected(protection: Protection | None) -> None:
    """Raise BlockedError in those words, if there is one."""
    if protection:
        raise BlockedError(protection_text(protection), cause=Cause.CONNECTION_PROTECTED)

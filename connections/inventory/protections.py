"""Protecting a connection from deletion, and removing a protection, which takes another person.

A protection belongs to a site and an ID, whether or not the connection is listed. `sending.claim`
checks it in its own transaction.
"""

from collections.abc import Collection
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.db.models import Max, QuerySet

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import personal_data
from connections.core import clock
from connections.core.causes import Cause
from connections.core.errors import BlockedError, ConflictError, InvalidInputError
from connections.core.sites import UnknownSiteError, get_site
from connections.core.text import format_time
from connections.core.typed_text import clean_text
from connections.inventory import storing
from connections.lookups import objects
from connections.models import (
    Credential,
    Deletion,
    OrgConnectionKey,
    Person,
    Protection,
    ProtectionRemoval,
    State,
)


class HiddenConnectionError(InvalidInputError):
    """The connection is hidden from the person, who could otherwise learn whether it exists."""

    def __init__(self) -> None:
        message = "No connection with this ID is visible to you. Ask an administrator to protect it"
        super().__init__({"connection_id": f"{message}."})


def protect_connection(*, actor: Actor, key: OrgConnectionKey, reason: str) -> Protection:
    """Block all deletions of this connection until another person removes the protection.

    An attempt that is being sent can't be stopped, and the event records that. Raises
    PermissionDenied, InvalidInputError, HiddenConnectionError for a hidden connection and for an
    unknown ID alike, and ConflictError when it is already protected.
    """
    permissions.require(permissions.can_protect(actor), "protect connections")
    person = _require_person(actor)
    reason = clean_text(reason)
    _check_site(key.site)
    try:
        objects.require_visible_connection(key, actor=actor)
    except objects.NotVisibleError:
        raise HiddenConnectionError from None
    try:
        with audit.atomic():
            # `sending.claim` locks the same rows, so a claim either precedes this protection or
            # sees it.
            storing.lock_snapshots(site=key.site)
            if find_protection(key):
                raise ConflictError("This connection is already protected.")
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
                sentence=audit.Sentence(
                    "{actor} protected connection {connection}.",
                    connection=str(key),
                ),
                details={
                    "site": key.site,
                    "reason": reason,
                    "is_being_sent": is_being_sent(key),
                },
                rows={f"protection {protection.pk}": audit.row_of(protection)},
            )
    except IntegrityError:
        raise ConflictError("Another person just protected this connection.") from None
    return protection


def remove_protection(*, actor: Actor, protection: Protection, reason: str) -> None:
    """Remove a protection, so that the connection can be deleted again.

    Raises PermissionDenied (also for one's own protection), InvalidInputError without a reason, and
    ConflictError when it has already been removed.
    """
    require_not_own(protection, actor=actor)
    permissions.require(
        permissions.can_unprotect(actor, protection=protection), "remove this protection"
    )
    person = _require_person(actor)
    reason = clean_text(reason)
    try:
        with audit.atomic():
            removal = ProtectionRemoval.objects.create(
                protection=protection,
                reason=reason,
                removed_at=clock.now(),
                removed_by=person,
                protector=protection.protected_by,
            )
            audit.record(
                code=audit.EventCode.CONNECTION_PROTECTION_LIFTED,
                actor=actor,
                subject=protection.key,
                sentence=audit.Sentence(
                    "{actor} removed the protection of connection {connection} that "
                    "{protected_by} had added.",
                    connection=str(protection.key),
                    protected_by=personal_data.name_of(protection.protected_by),
                ),
                details={"site": protection.site, "reason": reason},
                rows={f"protection_removal {protection.pk}": audit.row_of(removal)},
            )
    except IntegrityError:
        raise ConflictError("Another person just removed this protection.") from None


def require_not_own(protection: Protection, *, actor: Actor) -> None:
    """Raise PermissionDenied when the actor made the protection."""
    if actor.person and protection.protected_by_id == actor.person.pk:
        raise PermissionDenied(
            "You protected this connection. Another person must remove the protection."
        )


def _require_person(actor: Actor) -> Person:
    if actor.person is None:
        raise PermissionDenied("Only a person can protect a connection or remove its protection.")
    return actor.person


def _check_site(site: str) -> None:
    try:
        get_site(site)
    except UnknownSiteError:
        # A site that has stored credentials might be configured again.
        if not Credential.objects.filter(site=site).exists():
            raise InvalidInputError({"site": "Choose a site."}) from None


def _active_protections() -> QuerySet[Protection]:
    return Protection.objects.filter(removal=None).select_related("protected_by")


def find_protection(key: OrgConnectionKey) -> Protection | None:
    """The active protection of this connection, if there is one."""
    return active_protections_of(site=key.site, connection_ids=[key.connection_id]).first()


def active_protections_of(*, site: str, connection_ids: Collection[UUID]) -> QuerySet[Protection]:
    """The active protections of these connections of a site."""
    return _active_protections().filter(site=site, connection_id__in=connection_ids)


def active_protections() -> dict[OrgConnectionKey, Protection]:
    """Every active protection, by its connection, newest first."""
    return {protection.key: protection for protection in _active_protections()}


def list_protections(key: OrgConnectionKey) -> list[Protection]:
    """Every protection that a connection ever had, oldest first, each with its removal."""
    of_it = Protection.objects.filter(site=key.site, connection_id=key.connection_id)
    return list(
        of_it.select_related("protected_by", "removal", "removal__removed_by").order_by("number")
    )


def names_of_possible_removers(protection: Protection) -> list[str]:
    """Names of the people who could remove it now, in order."""
    others = permissions.people_who_can_approve_with(
        credential_id=None, excluded=protection.protected_by_id
    )
    return [person.display_name for person in others.order_by("username")]


def is_being_sent(key: OrgConnectionKey) -> bool:
    """Whether a DELETE of this connection is in progress."""
    return Deletion.objects.filter(
        site=key.site, connection_id=key.connection_id, state=State.SENDING, settled_at=None
    ).exists()


def protection_text(protection: Protection) -> str:
    """The text of a refusal: who protects the connection, since when, why, and what to do."""
    end = "" if protection.reason.endswith((".", "!", "?")) else "."
    return (
        "This connection is protected, so nothing new was sent. "
        f"{protection.protected_by} protected it at {format_time(protection.protected_at)}: "
        f"“{protection.reason}”{end} Another person can remove the protection on the connection's "
        "page."
    )


def require_unprotected(protection: Protection | None) -> None:
    """Raise BlockedError with `protection_text`, if there is a protection."""
    if protection:
        raise BlockedError(protection_text(protection), cause=Cause.CONNECTION_PROTECTED)

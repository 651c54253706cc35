"""The one scope of what a person may see: every reading service asks here, and nowhere else.

A credential's allow-list decides. Its deletions are seen with it, and a connection is seen by
whoever sees one of the credentials that saw it. What is out of reach answers as if it did not
exist, and leaves an event; auditors and administrators see all. Commands and the worker are not
limited: they can read the key ring.
"""

from uuid import UUID

from django.db.models import Model, QuerySet

from connections.access.actor import Actor
from connections.access.permissions import visibility_of
from connections.models import (
    Credential,
    Deletion,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    Protection,
)

# With so few credentials in sight each is read off its own index, newest first; with more, what
# is out of sight is left out of a common reading, which soon has a page together.
MAX_QUERIES = 32


def visible[T: Model](rows: QuerySet[T], *, actor: Actor, by: str = "credential") -> QuerySet[T]:
    """Of these rows those whose credential the actor sees; `by` is its field, "pk" for itself."""
    hidden = visibility_of(actor).hidden
    return rows.exclude(**{f"{by}__in": hidden}) if hidden else rows


def usable_credentials(*, actor: Actor) -> QuerySet[Credential]:
    """The credentials in use that the actor may ask for deletions with."""
    in_use = Credential.objects.filter(retired_at=None)
    unusable = visibility_of(actor).unusable | visibility_of(actor).hidden
    return in_use.exclude(pk__in=unusable) if unusable else in_use


def visible_by_credential(rows: QuerySet[Deletion], *, actor: Actor) -> list[QuerySet[Deletion]]:
    """Queries that together find the deletions within reach, each in the order of `rows`."""
    hidden = visibility_of(actor).hidden
    if not hidden:
        return [rows]
    seen = list(Credential.objects.exclude(pk__in=hidden).values_list("pk", flat=True))
    if len(seen) <= MAX_QUERIES:
        return [rows.filter(credential=pk) for pk in seen]
    return [rows.exclude(credential__in=hidden)]


def is_visible(row: Deletion, *, actor: Actor) -> bool:
    """Whether the actor may know of this one."""
    return row.credential_id not in visibility_of(actor).hidden


def hidden_connections(keys: list[OrgConnectionKey], *, actor: Actor) -> set[OrgConnectionKey]:
    """Of these connections those that only credentials out of reach ever saw."""
    hidden = visibility_of(actor).hidden
    if not hidden or not keys:
        return set()
    sights = OrgConnectionSnapshot.objects.filter(
        connection_id__in=[key.connection_id for key in keys]
    )
    rows = sights.order_by().values_list("site", "connection_id", "credential").distinct()
    seen_by: dict[OrgConnectionKey, set[UUID]] = {}
    for site, connection_id, credential in rows:
        key = OrgConnectionKey(site=site, connection_id=connection_id)
        seen_by.setdefault(key, set()).add(credential)
    return {key for key in keys if key in seen_by and seen_by[key] <= hidden}


def visible_protections(
    held: dict[OrgConnectionKey, Protection], *, actor: Actor
) -> dict[OrgConnectionKey, Protection]:
    """Of these protections those of connections within reach."""
    hidden = hidden_connections(list(held), actor=actor)
    return {key: protection for key, protection in held.items() if key not in hidden}

"""The one scope of what a person may see: every reading service asks here, and nowhere else.

A credential's allow-list decides. Its deletions are seen with it, and a connection is seen by
whoever sees one of the credentials that saw it. What is out of reach answers as if it did not
exist, and leaves an event; auditors and administrators see all. Commands and the worker are not
limited: they can read the key ring.
"""

from typing import NoReturn
from uuid import UUID

from django.core.cache import cache
from django.db.models import Model, QuerySet
from django.http import Http404

from connections import audit
from connections.access.actor import Actor
from connections.access.permissions import reach_of
from connections.audit import personal_data
from connections.models import (
    Credential,
    Deletion,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    Protection,
)

# Of one person and one object, at most one event in so many seconds.
REFUSALS_RECORDED_EVERY = 60
LONGEST_PATH = 200
# With so few credentials in sight each is read off its own index, newest first; with more, what
# is out of sight is left out of a common reading, which soon has a page together.
MOST_PARTS = 32


class OutOfReachError(Http404):
    """It exists, and this person may not know: answered like what does not exist."""


def within[T: Model](rows: QuerySet[T], *, actor: Actor, by: str = "credential") -> QuerySet[T]:
    """Of these rows those whose credential the actor sees; `by` is its field, "pk" for itself."""
    unseen = reach_of(actor).unseen
    return rows.exclude(**{f"{by}__in": unseen}) if unseen else rows


def usable(*, actor: Actor) -> QuerySet[Credential]:
    """The credentials in use that the actor may ask for deletions with."""
    in_use = Credential.objects.filter(retired_at=None)
    unusable = reach_of(actor).unusable | reach_of(actor).unseen
    return in_use.exclude(pk__in=unusable) if unusable else in_use


def in_parts(rows: QuerySet[Deletion], *, actor: Actor) -> list[QuerySet[Deletion]]:
    """Queries that together find the deletions within reach, each in the order of `rows`."""
    unseen = reach_of(actor).unseen
    if not unseen:
        return [rows]
    seen = list(Credential.objects.exclude(pk__in=unseen).values_list("pk", flat=True))
    if len(seen) <= MOST_PARTS:
        return [rows.filter(credential=pk) for pk in seen]
    return [rows.exclude(credential__in=unseen)]


def find_credential(*, actor: Actor, pk: UUID) -> Credential:
    """The credential with this id. Raises Http404, also when it is out of reach."""
    return _find(Credential.objects.all(), actor=actor, pk=pk, by="pk")


def find_deletion(rows: QuerySet[Deletion], *, actor: Actor, pk: UUID) -> Deletion:
    """The deletion with this id, of `rows`. Raises Http404, also when it is out of reach."""
    return _find(rows, actor=actor, pk=pk, by="credential")


def _find[T: (Credential, Deletion)](rows: QuerySet[T], *, actor: Actor, pk: UUID, by: str) -> T:
    found = within(rows, actor=actor, by=by).filter(pk=pk).first()
    if found:
        return found
    # Asked in either case, so that what is out of reach costs what does not exist costs.
    unseen = reach_of(actor).unseen
    beyond = rows.model._default_manager.filter(pk=pk, **{f"{by}__in": unseen}).first()
    if beyond:
        refuse(actor=actor, subject=beyond)
    raise Http404("There is none with this id.")


def is_within(row: Deletion, *, actor: Actor) -> bool:
    """Whether the actor may know of this one."""
    return row.credential_id not in reach_of(actor).unseen


def require_connection(key: OrgConnectionKey, *, actor: Actor) -> None:
    """Raise OutOfReachError when only credentials out of reach ever saw this connection."""
    if reach_of(actor).unseen and key in hidden_connections([key], actor=actor):
        refuse(actor=actor, subject=key)


def require_visible_connection(key: OrgConnectionKey, *, actor: Actor) -> None:
    """Raise OutOfReachError unless the actor can see this connection.

    Stricter than `require_connection`: while anything is out of the actor's reach, an id that
    nobody ever saw is refused like one that is hidden, by the same queries and on record. Else
    the two could be told apart.
    """
    if not reach_of(actor).unseen:
        return
    of_it = {"site": key.site, "connection_id": key.connection_id}
    snapshots = within(OrgConnectionSnapshot.objects.filter(**of_it), actor=actor)
    deletions = within(Deletion.objects.filter(**of_it), actor=actor)
    if not snapshots.exists() and not deletions.exists():
        refuse(actor=actor, subject=key)


def hidden_connections(keys: list[OrgConnectionKey], *, actor: Actor) -> set[OrgConnectionKey]:
    """Of these connections those that only credentials out of reach ever saw."""
    unseen = reach_of(actor).unseen
    if not unseen or not keys:
        return set()
    sights = OrgConnectionSnapshot.objects.filter(
        connection_id__in=[key.connection_id for key in keys]
    )
    rows = sights.order_by().values_list("site", "connection_id", "credential").distinct()
    seen_by: dict[OrgConnectionKey, set[UUID]] = {}
    for site, connection_id, credential in rows:
        key = OrgConnectionKey(site=site, connection_id=connection_id)
        seen_by.setdefault(key, set()).add(credential)
    return {key for key in keys if key in seen_by and seen_by[key] <= unseen}


def protections_within(
    held: dict[OrgConnectionKey, Protection], *, actor: Actor
) -> dict[OrgConnectionKey, Protection]:
    """Of these protections those of connections within reach."""
    hidden = hidden_connections(list(held), actor=actor)
    return {key: protection for key, protection in held.items() if key not in hidden}


def refuse(*, actor: Actor, subject: audit.Subject) -> NoReturn:
    """Record that the actor asked for what is out of reach, and raise OutOfReachError."""
    record_refusal(actor=actor, subject=subject)
    raise OutOfReachError("It is out of reach.")


def record_refusal(*, actor: Actor, subject: audit.Subject) -> None:
    """Record it; of one person and object once a minute, so that nobody floods the record."""
    about = audit.reference(subject)
    if not _is_first_refusal(actor, f"{about['type']}:{about['id']}"):
        return
    what = f"the {subject}" if isinstance(subject, Deletion) else f"{about['type']} {subject}"
    audit.record(
        code=audit.Code.ACCESS_REFUSED,
        actor=actor,
        subject=subject,
        sentence=f"{personal_data.name(actor)} asked for {what}, which is out of their reach.",
        details={"site": subject.site} if isinstance(subject, OrgConnectionKey) else {},
    )


def record_denial(*, actor: Actor, address: str, method: str, path: str) -> None:
    """Record that the actor's roles refused them what they asked for.

    `address` is the name of what the path leads to: of one person and address once a minute,
    whatever ids the path is given.
    """
    if not _is_first_refusal(actor, f"address:{address}"):
        return
    audit.record(
        code=audit.Code.ACCESS_REFUSED,
        actor=actor,
        sentence=f"{personal_data.name(actor)} asked for what their roles do not allow.",
        details={"address": address, "method": method, "path": path[:LONGEST_PATH]},
    )


def _is_first_refusal(actor: Actor, what: str) -> bool:
    who = actor.person.pk if actor.person else actor.kind
    return cache.add(f"orgadmin:refused:{who}:{what}", True, REFUSALS_RECORDED_EVERY)

"""Finds what a person asks for, or refuses it on record.

What the person can't see answers as if it did not exist, and the refusal is an event.
"""

from typing import NoReturn
from uuid import UUID

from django.core.cache import cache
from django.db.models import QuerySet
from django.http import Http404

from connections import audit
from connections.access.actor import Actor
from connections.access.permissions import visibility_of
from connections.access.visibility import hidden_connections, visible
from connections.audit import personal_data
from connections.models import (
    Credential,
    Deletion,
    OrgConnectionKey,
    OrgConnectionSnapshot,
)

# Of one person and one object, at most one event in so many seconds.
REFUSAL_INTERVAL_SECONDS = 60
MAX_PATH_LENGTH = 200


class NotVisibleError(Http404):
    """It exists, and this person may not know: answered like what does not exist."""


def find_credential(*, actor: Actor, pk: UUID) -> Credential:
    """The credential with this id. Raises Http404, also when it is out of reach."""
    return _find(Credential.objects.all(), actor=actor, pk=pk, by="pk")


def find_deletion(rows: QuerySet[Deletion], *, actor: Actor, pk: UUID) -> Deletion:
    """The deletion with this id, of `rows`. Raises Http404, also when it is out of reach."""
    return _find(rows, actor=actor, pk=pk, by="credential")


def _find[T: (Credential, Deletion)](rows: QuerySet[T], *, actor: Actor, pk: UUID, by: str) -> T:
    found = visible(rows, actor=actor, by=by).filter(pk=pk).first()
    if found:
        return found
    # Asked in either case, so that what is out of reach costs what does not exist costs.
    hidden = visibility_of(actor).hidden
    beyond = rows.model._default_manager.filter(pk=pk, **{f"{by}__in": hidden}).first()
    if beyond:
        raise_not_visible(actor=actor, subject=beyond)
    raise Http404("There is none with this id.")


def require_connection(key: OrgConnectionKey, *, actor: Actor) -> None:
    """Raise OutOfReachError when only credentials out of reach ever saw this connection."""
    if visibility_of(actor).hidden and key in hidden_connections([key], actor=actor):
        raise_not_visible(actor=actor, subject=key)


def require_visible_connection(key: OrgConnectionKey, *, actor: Actor) -> None:
    """Raise OutOfReachError unless the actor can see this connection.

    Stricter than `require_connection`: while anything is out of the actor's reach, an id that
    nobody ever saw is refused like one that is hidden, by the same queries and on record. Else
    the two could be told apart.
    """
    if not visibility_of(actor).hidden:
        return
    of_it = {"site": key.site, "connection_id": key.connection_id}
    snapshots = visible(OrgConnectionSnapshot.objects.filter(**of_it), actor=actor)
    deletions = visible(Deletion.objects.filter(**of_it), actor=actor)
    if not snapshots.exists() and not deletions.exists():
        raise_not_visible(actor=actor, subject=key)


def raise_not_visible(*, actor: Actor, subject: audit.Subject) -> NoReturn:
    """Record that the actor asked for what is out of reach, and raise OutOfReachError."""
    record_refusal(actor=actor, subject=subject)
    raise NotVisibleError("It is out of reach.")


def record_refusal(*, actor: Actor, subject: audit.Subject) -> None:
    """Record it; of one person and object once a minute, so that nobody floods the record."""
    about = audit.reference(subject)
    if not _should_record_refusal(actor, f"{about['type']}:{about['id']}"):
        return
    what = f"the {subject}" if isinstance(subject, Deletion) else f"{about['type']} {subject}"
    audit.record(
        code=audit.EventCode.ACCESS_REFUSED,
        actor=actor,
        subject=subject,
        sentence=f"{personal_data.name_of(actor)} asked for {what}, which is out of their reach.",
        details={"site": subject.site} if isinstance(subject, OrgConnectionKey) else {},
    )


def record_denial(*, actor: Actor, address: str, method: str, path: str) -> None:
    """Record that the actor's roles refused them what they asked for.

    `address` is the name of what the path leads to: of one person and address once a minute,
    whatever ids the path is given.
    """
    if not _should_record_refusal(actor, f"address:{address}"):
        return
    audit.record(
        code=audit.EventCode.ACCESS_REFUSED,
        actor=actor,
        sentence=f"{personal_data.name_of(actor)} asked for what their roles do not allow.",
        details={"address": address, "method": method, "path": path[:MAX_PATH_LENGTH]},
    )


def _should_record_refusal(actor: Actor, what: str) -> bool:
    who = actor.person.pk if actor.person else actor.kind
    return cache.add(f"orgadmin:refused:{who}:{what}", True, REFUSAL_INTERVAL_SECONDS)

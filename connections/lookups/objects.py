"""Finds objects by ID for people who can see them.

An object that a person can't see gets the same response as one that doesn't exist (404); an audit
event records that they tried.
"""

from typing import NoReturn
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404

from connections import audit
from connections.access.actor import Actor
from connections.access.permissions import visibility_of
from connections.access.visibility import (
    hidden_connections,
    visible,
    visible_access_requests,
    visible_access_reviews,
    visible_batches,
)
from connections.core import logs
from connections.lookups.refusals import record_refusal
from connections.models import (
    AccessRequest,
    AccessReview,
    Batch,
    Credential,
    Deletion,
    Org,
    OrgConnectionKey,
    OrgConnectionSnapshot,
)


class NotVisibleError(Http404):
    """The object exists, but the person can't see it.

    The response is the same as for a missing one.
    """


def find_credential(*, actor: Actor, pk: UUID) -> Credential:
    """The credential with this ID. Raises Http404 when the actor can't see it."""
    return _find_by_credential(Credential.objects.all(), actor=actor, pk=pk, by="pk")


def find_deletion(rows: QuerySet[Deletion], *, actor: Actor, pk: UUID) -> Deletion:
    """The deletion in `rows` with this ID. Raises Http404 when the actor can't see it."""
    logs.add_ids(deletion=pk)
    return _find_by_credential(rows, actor=actor, pk=pk, by="credential")


def find_access_request(*, actor: Actor, pk: UUID) -> AccessRequest:
    """The access request with this ID. Raises Http404 when the actor can't see it."""
    logs.add_ids(access_request=pk)
    requests = visible_access_requests(actor=actor)
    return _find(requests, hidden=AccessRequest.objects.all(), actor=actor, pk=pk)


def find_batch(*, actor: Actor, pk: UUID) -> Batch:
    """The bulk deletion with this ID. Raises Http404 when the actor can't see it."""
    logs.add_ids(batch=pk)
    return _find(visible_batches(actor=actor), hidden=Batch.objects.all(), actor=actor, pk=pk)


def find_access_review(*, actor: Actor, pk: UUID) -> AccessReview:
    """The access review with this ID. Raises Http404 when the actor can't see any row of it."""
    visible_reviews = visible_access_reviews(actor=actor)
    return _find(visible_reviews, hidden=AccessReview.objects.all(), actor=actor, pk=pk)


def _find_by_credential[T: (Credential, Deletion)](
    rows: QuerySet[T], *, actor: Actor, pk: UUID, by: str
) -> T:
    """The row with this ID. `by` is the path to the credential whose access list decides."""
    of_hidden = {f"{by}__in": visibility_of(actor).hidden}
    hidden = rows.model._default_manager.filter(**of_hidden)
    return _find(visible(rows, actor=actor, by=by), hidden=hidden, actor=actor, pk=pk)


def _find[T: (Credential, Deletion, AccessRequest, Batch, AccessReview)](
    visible_rows: QuerySet[T], *, hidden: QuerySet[T], actor: Actor, pk: UUID
) -> T:
    row = visible_rows.filter(pk=pk).first()
    if row:
        return row
    # Queried in both cases so that timing doesn't distinguish hidden objects from missing ones.
    hidden_row = hidden.filter(pk=pk).first()
    if hidden_row:
        raise_not_visible(actor=actor, subject=hidden_row)
    raise Http404("Nothing has this ID.")


def require_connection(key: OrgConnectionKey, *, actor: Actor) -> None:
    """Raise NotVisibleError when only credentials hidden from the actor ever listed it."""
    if visibility_of(actor).hidden and key in hidden_connections([key], actor=actor):
        raise_not_visible(actor=actor, subject=key)


def require_visible_connection(key: OrgConnectionKey, *, actor: Actor) -> None:
    """Raise NotVisibleError unless the actor can see this connection.

    Stricter than `require_connection`: when any credential is hidden from the actor, an unknown ID
    is refused and recorded like a hidden one, after the same queries. Otherwise the actor could
    tell the two apart.
    """
    if not visibility_of(actor).hidden:
        return
    of_it = {"site": key.site, "connection_id": key.connection_id}
    snapshots = visible(OrgConnectionSnapshot.objects.filter(**of_it), actor=actor)
    deletions = visible(Deletion.objects.filter(**of_it), actor=actor)
    if not snapshots.exists() and not deletions.exists():
        raise_not_visible(actor=actor, subject=key)


def raise_org_not_found(*, actor: Actor, site: str, org_id: str) -> NoReturn:
    """Raise Http404 for an org that the actor doesn't know.

    Record the request if the org exists.
    """
    hidden_org = Org.objects.filter(site=site, org_id=org_id).first()
    if hidden_org:
        raise_not_visible(actor=actor, subject=hidden_org)
    raise Http404("Nothing has this ID.")


def raise_not_visible(*, actor: Actor, subject: audit.Subject) -> NoReturn:
    """Record that the actor requested a hidden object, and raise NotVisibleError."""
    record_refusal(actor=actor, subject=subject)
    raise NotVisibleError("This isn't visible to you.")

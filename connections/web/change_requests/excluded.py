"""What confirming a deletion or an access request ends: an open request of the other kind."""

from collections.abc import Collection
from typing import NamedTuple

from django.db.models import Exists, OuterRef
from django.urls import reverse

from connections.access import visibility
from connections.access.actor import Actor
from connections.change_requests import exclusion
from connections.models import AccessRequest, ChangeRequest, Deletion, OrgPair, of_these_pairs


class Excluded(NamedTuple):
    """An open request that ends. `visible` and `url` are empty if it is hidden from the reader."""

    visible: ChangeRequest | None
    url: str


def find_excluded(kind: type[ChangeRequest], pair: OrgPair, *, actor: Actor) -> Excluded | None:
    """The open request of this kind that confirming one of the other kind ends, if any."""
    other = exclusion.find_open(kind, pair)
    if other is None:
        return None
    if not exclusion.can_see(other, actor=actor):
        return Excluded(None, "")
    name = "deletion-detail" if kind is Deletion else "access-request-detail"
    return Excluded(other, reverse(name, args=[other.pk]))


def find_excluded_by_deletions(
    pairs: Collection[OrgPair], *, actor: Actor
) -> dict[OrgPair, Excluded]:
    """The open access request of each of these pairs that has one. One query."""
    if not pairs:
        return {}
    visible = visibility.visible_access_requests(actor=actor).filter(pk=OuterRef("pk"))
    rows = AccessRequest.objects.filter(of_these_pairs(pairs), settled_at=None)
    access_requests = list(rows.annotate(is_visible=Exists(visible)))
    return {
        pair: Excluded(each, reverse("access-request-detail", args=[each.pk]))
        if each.is_visible
        else Excluded(None, "")
        for pair, each in zip(exclusion.pairs_of(access_requests), access_requests, strict=True)
    }

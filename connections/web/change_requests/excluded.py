"""What confirming a deletion or an access request ends: an open request of the other kind."""

from typing import NamedTuple

from django.urls import reverse

from connections.access.actor import Actor
from connections.change_requests import exclusion
from connections.models import ChangeRequest, Deletion, OrgPair


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

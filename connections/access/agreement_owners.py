"""The owners of agreements about access that someone asks to change or delete."""

from collections.abc import Collection
from uuid import UUID

from django.db.models import Exists, OuterRef

from connections.access import visibility
from connections.access.actor import Actor, person_actor
from connections.models import (
    AccessRequest,
    Agreement,
    Batch,
    ChangeRequest,
    Deletion,
    OrgPair,
    Outcome,
    Person,
    newest_agreements,
    of_these_pairs,
)

# After these outcomes of a deletion, the access is gone.
_GONE = (Outcome.DELETED, Outcome.GONE_UNATTRIBUTED)
_PAIR = OrgPair._fields


def _pair_of(request: ChangeRequest) -> OrgPair:
    return OrgPair(*(getattr(request, name) for name in _PAIR))


def find_owner(change_request: ChangeRequest) -> Person | None:
    """The owner of the access before this request took effect, if that person can see it."""
    pair = _pair_of(change_request)
    versions = Agreement.objects.filter(**pair._asdict()).order_by("-version")
    if isinstance(change_request, AccessRequest) and change_request.is_settled:
        # One that is closed can have set a newer version itself.
        newest_shown = change_request.agreement_version
        if newest_shown is not None:
            versions = versions.filter(version__lte=newest_shown)
    agreement = versions.select_related("owner").first()
    owner = agreement.owner if agreement else None
    if owner is None:
        return None
    return owner if visibility.visible_pairs([pair], actor=person_actor(person=owner)) else None


def find_owned[R: ChangeRequest](requests: Collection[R], *, actor: Actor) -> list[R]:
    """The requests among these visible ones whose access the actor answers for."""
    pairs = {_pair_of(each) for each in requests}
    if not pairs or actor.person is None:
        return []
    agreements = newest_agreements().filter(of_these_pairs(pairs), owner=actor.person)
    owned = {each.pair for each in agreements}
    visible = visibility.visible_pairs(owned, actor=actor) if owned else owned
    return [each for each in requests if _pair_of(each) in visible]


def count_owned(batch: Batch) -> dict[UUID, int]:
    """How many of its connections each owner answers for, of those that the owner can see.

    Once the bulk deletion has ended, only those that are gone.
    """
    deletions = Deletion.objects.filter(batch=batch)
    if batch.has_ended:
        deletions = deletions.filter(outcome__in=_GONE)
    of_pair = deletions.filter(**{name: OuterRef(name) for name in _PAIR})
    agreements = newest_agreements().filter(Exists(of_pair)).select_related("owner")
    owners = {each.pair: each.owner for each in agreements if each.owner}
    hidden = visibility.hidden_from(set(owners.values()))
    counts: dict[UUID, int] = {}
    for *pair, credential_id in deletions.order_by().values_list(*_PAIR, "credential_id"):
        owner = owners.get(OrgPair(*pair))
        if owner and credential_id not in hidden[owner.pk]:
            counts[owner.pk] = counts.get(owner.pk, 0) + 1
    return counts

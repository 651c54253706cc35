"""Who gets messages about a connection: the first owner of its orgs who can.

Someone who can't see it, has no address, or turned these emails off is passed over. Without an
owner, everyone who gets messages about changes does.
"""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q

from connections.access import permissions, visibility
from connections.access.actor import person_actor
from connections.agreements.owners import find_owners
from connections.models import OrgPair, Person, Role


@dataclass(frozen=True, kw_only=True)
class Responsible:
    """The person who gets messages about each of some pairs, where it isn't everyone."""

    by_pair: dict[OrgPair, Person]

    def concerns(self, pair: OrgPair, *, person: Person) -> bool:
        """Whether messages about the pair go to this person, who can see it."""
        responsible = self.by_pair.get(pair)
        if responsible is None:
            return gets_all_messages(person)
        return responsible == person


def gets_all_messages(person: Person) -> bool:
    """Whether the person gets messages about what has no owner."""
    return not person.roles.isdisjoint({Role.OPERATOR, Role.APPROVER})


def list_recipients() -> list[Person]:
    """The people who get messages about what has no owner: Operators and Approvers, by ID."""
    has_role = Q(groups__name__in=[Role.OPERATOR, Role.APPROVER]) | Q(is_superuser=True)
    people = Person.objects.filter(has_role, is_active=True, wants_change_emails=True)
    return list(people.exclude(email="").distinct().order_by("pk"))


def find_responsible(pairs: Collection[OrgPair]) -> Responsible:
    """Who gets messages about each of these pairs. Two queries, and two for each access list."""
    seen: dict[UUID, set[OrgPair]] = {}

    def gets_it(person: Person, pair: OrgPair) -> bool:
        return gets_email(person) and pair in _visible_to(person, pairs, seen)

    by_pair = {
        pair: person
        for pair, owners in find_owners(pairs).items()
        for person in [each for each in owners if gets_it(each, pair)][:1]
    }
    return Responsible(by_pair=by_pair)


def gets_email(person: Person) -> bool:
    """Whether the person can get messages about connections, and hasn't turned them off."""
    return person.is_active and bool(person.email) and person.wants_change_emails


def _visible_to(
    person: Person, pairs: Collection[OrgPair], seen: dict[UUID, set[OrgPair]]
) -> set[OrgPair]:
    if person.pk not in seen:
        actor = person_actor(person=person)
        can_see = permissions.can_see(actor)
        seen[person.pk] = visibility.visible_pairs(pairs, actor=actor) if can_see else set()
    return seen[person.pk]

"""The choices of the filters that agreements and groups of orgs add."""

from dataclasses import dataclass

from django.db.models import Exists, OuterRef, TextField, Value

from connections.access import visibility
from connections.access.actor import Actor
from connections.models import Agreement, Person

_ANY, _GROUP, _OWNER = "agreement", "group", "owner"


@dataclass(frozen=True, kw_only=True)
class AgreementChoices:
    """What connections can be filtered by, as far as a person can see it."""

    has_agreements: bool
    # By name.
    groups: list[str]
    # The username and the name of each person that an agreement names as owner, by name.
    owners: list[tuple[str, str]]


def find_agreement_choices(*, actor: Actor) -> AgreementChoices:
    """The choices for this person. One query."""
    agreements = visibility.visible_agreements(Agreement.objects.order_by(), actor=actor)
    groups = visibility.visible_orgs(actor=actor).exclude(group="").order_by()
    owners = Person.objects.filter(Exists(agreements.filter(owner=OuterRef("pk"))))
    none = Value("", TextField())
    any_agreement = agreements.values_list(Value(_ANY, TextField()), none, none, none)
    rows = any_agreement.union(
        groups.values_list(Value(_GROUP, TextField()), "group", none, none),
        owners.values_list(Value(_OWNER, TextField()), "username", "first_name", "last_name"),
    )
    found: dict[str, list[Person]] = {_ANY: [], _GROUP: [], _OWNER: []}
    for kind, name, first_name, last_name in rows.order_by():
        found[kind].append(Person(username=name, first_name=first_name, last_name=last_name))
    owned = [(person.username, person.display_name) for person in found[_OWNER]]
    return AgreementChoices(
        has_agreements=bool(found[_ANY]),
        groups=sorted((row.username for row in found[_GROUP]), key=str.casefold),
        owners=sorted(owned, key=lambda owner: owner[1].casefold()),
    )


def list_groups(*, actor: Actor) -> list[str]:
    """The groups of the orgs that the actor knows, by name."""
    orgs = visibility.visible_orgs(actor=actor).exclude(group="").order_by()
    return sorted(set(orgs.values_list("group", flat=True)), key=str.casefold)

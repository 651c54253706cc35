"""Who answers for the access of a pair of orgs: its agreement's owner, else its source org's."""

from collections.abc import Collection

from django.db.models import OuterRef, Q, Subquery, UUIDField
from django.db.models.functions import Coalesce

from connections.agreements.agreed import find_agreements
from connections.models import Org, OrgPair, Person, newest_agreements


def find_owners(pairs: Collection[OrgPair]) -> dict[OrgPair, list[Person]]:
    """The owners of each of these pairs, the one who comes first first. Two queries."""
    agreements = find_agreements(pairs)
    owned = Org.objects.filter(owner__isnull=False, site__in={pair.site for pair in pairs})
    of_orgs = {(org.site, org.org_id): org.owner for org in owned.select_related("owner")}
    owners = {}
    for pair in pairs:
        agreement = agreements.get(pair)
        both = (agreement and agreement.owner, of_orgs.get((pair.site, pair.source_org_id)))
        owners[pair] = [owner for owner in both if owner]
    return owners


def first_owner(is_suitable: Q) -> Coalesce:
    """The ID of the first suitable owner of a row's pair, or NULL, for rows with these columns.

    `is_suitable` is about `owner`, and its OuterRef(OuterRef(…)) about the row.
    """
    source = {"site": OuterRef("site"), "source_org_id": OuterRef("source_org_id")}
    agreements = newest_agreements().filter(
        is_suitable, **source, sink_org_id=OuterRef("sink_org_id")
    )
    orgs = Org.objects.filter(is_suitable, site=OuterRef("site"), org_id=OuterRef("source_org_id"))
    first = (Subquery(rows.order_by().values("owner")[:1]) for rows in (agreements, orgs))
    # The driver for SQLite returns text otherwise.
    return Coalesce(*first, output_field=UUIDField())

"""Filters of an access review: the filter that it is about, and filters of its connections."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl

from django.http import HttpRequest, QueryDict
from django.urls import reverse

from connections.access.actor import Actor
from connections.access_reviews.details import FilterValues, load_filter_values
from connections.access_reviews.rows import ReviewRow
from connections.core.sites import site_name
from connections.models import AccessReview, Org
from connections.web.framework.lists import Filter, FilterBar, Options, filter_bar, type_filter
from connections.web.inventory.forms import CREATOR, PROTECTED

# Selects the rows whose creator has no ID.
UNKNOWN = "unknown"


class FilteredRows(NamedTuple):
    """The rows that match, and the filters."""

    rows: list[ReviewRow]
    bar: FilterBar


def filter_rows(
    request: HttpRequest, rows: Sequence[ReviewRow], *, review: AccessReview, actor: Actor
) -> FilteredRows:
    """The actor's rows that match `type` and `creator` in the address.

    The choices come from the actor's rows, so they name nothing that is hidden from the actor.
    """
    values = load_filter_values(review=review, actor=actor, rows=rows)
    kind, creator = request.GET.get("type", ""), request.GET.get("creator", "")
    bar = filter_bar(
        request,
        [
            type_filter(sorted({kind for value in values.values() for kind in value.types})),
            Filter(name="creator", label="Creator", options=_creator_options(values.values())),
        ],
        kept=["show"],
    )
    found = [
        row
        for row in rows
        if (not kind or kind in values[row.id].types)
        and (not creator or creator == _creator_key(values[row.id]))
    ]
    return FilteredRows(rows=found, bar=bar)


def _creator_key(values: FilterValues) -> str:
    return values.creator_id or UNKNOWN


def _creator_options(values: Collection[FilterValues]) -> Options:
    """The creators by name. If several have the same name, with the end of the ID."""
    names = {_creator_key(value): value.creator_name or "Unknown" for value in values}
    counts = Counter(names.values())
    labels = {
        key: name if counts[name] == 1 else f"{name} (…{key[-8:]})" for key, name in names.items()
    }
    return sorted(labels.items(), key=lambda choice: choice[1].casefold())


_LABELS = {
    "site": "Site",
    "org": "Org",
    "type": "Data type",
    "protected": "Protection",
    "creator": "Creator",
    "source": "Source",
    "destination": "Destination",
    "q": "Search",
}


def scope_text(scope: str) -> str:
    """ "Data type: audit · Site: US1"; "All connections" without a filter."""
    values = parse_qsl(scope)
    if not values:
        return "All connections"
    return " · ".join(f"{_LABELS[name]}: {_value_text(name, value)}" for name, value in values)


def _value_text(name: str, value: str) -> str:
    match name:
        case "site":
            return site_name(value)
        case "protected":
            return dict(PROTECTED)[value]
        case "creator":
            return dict(CREATOR)[value]
        case "org":
            site, _, org_id = value.partition("/")
            org = Org.objects.filter(site=site, org_id=org_id).first()
            return org.name if org and org.name else org_id
    return value


def scope_url(scope: str) -> str:
    """The inventory's URL with this filter."""
    return reverse("org-connection-list", query=QueryDict(scope))

"""Filters of an access review: the filter that it is about, and filters of its connections."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from django import forms
from django.http import HttpRequest, QueryDict
from django.urls import reverse

from connections.access.actor import Actor
from connections.access_reviews.details import FilterValues, load_filter_values
from connections.access_reviews.rows import ReviewRow
from connections.core.sites import site_name
from connections.inventory.filters import DISABLED, ConnectionFilters
from connections.models import AccessReview, Org
from connections.web.framework import lists

# Selects the rows whose creator has no ID.
UNKNOWN = "unknown"


class RowFilters(forms.Form):
    """The filters of the connections, from the query string. All are optional."""

    type = forms.CharField(label="Data type", required=False)
    creator = forms.CharField(required=False)


class FilteredRows(NamedTuple):
    """The rows that match, and the filters."""

    rows: list[ReviewRow]
    bar: lists.FilterBar


def filter_rows(
    request: HttpRequest, rows: Sequence[ReviewRow], *, review: AccessReview, actor: Actor
) -> FilteredRows:
    """The actor's rows that match `type` and `creator` in the address.

    The choices come from the actor's rows, so they name nothing that is hidden from the actor.
    """
    values = load_filter_values(review=review, actor=actor, rows=rows)
    kind, creator = request.GET.get("type", ""), request.GET.get("creator", "")
    types = sorted({kind for value in values.values() for kind in value.types})
    bar = lists.filter_bar(
        request,
        RowFilters(request.GET),
        choices={
            "type": [(kind, kind) for kind in types],
            "creator": _creator_options(values.values()),
        },
        kept=["show"],
    )
    matches = [
        row
        for row in rows
        if (not kind or kind in values[row.id].types)
        and (not creator or creator == _creator_key(values[row.id]))
    ]
    return FilteredRows(rows=matches, bar=bar)


def _creator_key(values: FilterValues) -> str:
    return values.creator_id or UNKNOWN


def _creator_options(values: Collection[FilterValues]) -> lists.Options:
    """The creators by name. If several have the same name, with the end of the ID."""
    names = {_creator_key(value): value.creator_name or "Unknown" for value in values}
    counts = Counter(names.values())
    labels = {
        key: name if counts[name] == 1 else f"{name} (…{key[-8:]})" for key, name in names.items()
    }
    return sorted(labels.items(), key=lambda choice: choice[1].casefold())


def scope_text(scope: str) -> str:
    """ "Data type: audit · Site: US1"; "All connections" without a filter."""
    form = ConnectionFilters(QueryDict(scope))
    texts = [_filter_text(form[name], value) for name, value in form.values().items()]
    return " · ".join(texts) or "All connections"


def _filter_text(field: forms.BoundField, value: str | tuple[str, ...]) -> str:
    values = [value] if isinstance(value, str) else value
    text = ", ".join(_value_text(field, each) for each in values)
    return f"{'Search' if field.name == 'q' else field.label}: {text}"


def _value_text(field: forms.BoundField, value: str) -> str:
    match field.name:
        case "site":
            return site_name(value)
        case "org":
            site, _, org_id = value.partition("/")
            org = Org.objects.filter(site=site, org_id=org_id).first()
            return org.name if org and org.name else org_id
        case "creator":
            return dict([DISABLED]).get(value, value)
        case _:
            return str(dict(getattr(field.field, "choices", ())).get(value, value))


def scope_url(scope: str) -> str:
    """The inventory's URL with this filter."""
    return reverse("org-connection-list", query=QueryDict(scope))

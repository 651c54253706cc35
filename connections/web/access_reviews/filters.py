"""Filters of an access review: the filter that it is about, and filters of its connections."""

from collections.abc import Iterable

from django import forms
from django.http import QueryDict
from django.urls import reverse

from connections.core.sites import site_name
from connections.inventory.filters import DISABLED, ConnectionFilters
from connections.inventory.matching import KnownOrg, sort_orgs
from connections.models import Org
from connections.web.framework import lists


class RowFilters(ConnectionFilters):
    """The inventory's filters, of which two mean something else here, in an access review."""

    changed = forms.ChoiceField(
        label="Changes", choices={"since": "Since the last decision"}, required=False
    )
    reviewed = forms.ChoiceField(
        label="Reviewed before", choices={"never": "Never"}, required=False
    )
    flag = protected = source = destination = None  # type: ignore[assignment]


def connection_choices(
    *, orgs: Iterable[KnownOrg], types: Iterable[str], creators: Iterable[str]
) -> dict[str, lists.Options]:
    """The choices of the filters that take their values from connections."""
    by_name = sort_orgs(orgs)
    return {
        "site": lists.site_options(sorted({org.site for org in by_name})),
        "org": lists.org_options(by_name),
        "type": [(name, name) for name in sorted(types)],
        "creator": [DISABLED, *((name, name) for name in sorted(creators, key=str.casefold))],
    }


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

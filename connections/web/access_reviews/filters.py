"""Filters of an access review: the filter that it is about, and filters of its connections."""

from collections import defaultdict
from collections.abc import Mapping

from django import forms
from django.http import HttpRequest, QueryDict
from django.urls import reverse

from connections.inventory.filters import ConnectionFilters
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
    agreed = owner = group = ends_within = None  # type: ignore[assignment]


def scope_bar(
    request: HttpRequest, scope: str, *, choices: Mapping[str, lists.Options]
) -> lists.FilterBar:
    """The inventory's filters with those of a scope, on the page that starts an access review.

    It offers none that matches other connections as time passes.
    """
    query = QueryDict(scope.removeprefix("?"))
    page = lists.as_page_request(request, path=reverse("access-review-new"), query=query)
    return lists.filter_bar(
        page,
        ConnectionFilters(query),
        choices=choices,
        more=["site", "flag", "protected", "source", "destination"],
        without=[
            name
            for name in ("created", "reviewed", "changed", "agreed", "ends")
            if name not in query
        ],
    )


def scope_text(bar: lists.FilterBar) -> str:
    """ "Data type: audit, logs · Search: EU"; "All connections" without a filter."""
    values = defaultdict[str, list[str]](list)
    for chip in bar.chips:
        values[chip.label].append(chip.value_label)
    if bar.search:
        values["Search"].append(bar.search)
    texts = [f"{label}: {', '.join(each)}" for label, each in values.items()]
    return " · ".join(texts) or "All connections"

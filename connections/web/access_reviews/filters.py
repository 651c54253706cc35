"""Filters of an access review: what it is about, and filters and groups of its connections."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from django import forms
from django.http import HttpRequest, QueryDict
from django.urls import reverse

from connections.access_reviews.details import find_owner_names
from connections.agreements.agreed import Agreements, NotAgreed
from connections.inventory.filters import ConnectionFilters
from connections.inventory.matching import ListedConnection
from connections.models.text_columns import HexKey
from connections.web.framework import lists


class RowFilters(ConnectionFilters):
    """The inventory's filters, of which two mean something else here, in an access review."""

    changed = forms.ChoiceField(
        label="Changes", choices={"since": "Since the last decision"}, required=False
    )
    reviewed = forms.ChoiceField(
        label="Reviewed before", choices={"never": "Never"}, required=False
    )
    new = forms.ChoiceField(
        label="New", choices={"yes": "Since the last access review"}, required=False
    )
    flag = protected = source = destination = ends_within = None  # type: ignore[assignment]
    field_order = ("type", "owner", "group", "agreed", "new", "org", "creator", "site", "created")

    # Not about the closing, so that a closed access review doesn't offer them.
    about_now = ("owner", "group", "agreed", "new")

    @property
    def is_new(self) -> bool:
        """Whether it asks for connections that no earlier access review had."""
        return bool(super().values().get("new"))

    def values(self) -> dict[str, Any]:
        """The valid filters of the inventory that are set."""
        return {name: value for name, value in super().values().items() if name != "new"}


def group_names(
    column: str, *, listed: Mapping[HexKey, ListedConnection], agreements: Agreements | None
) -> dict[HexKey, str]:
    """Who made each connection, or who answers for it. Empty in any other order."""
    if column == "creator":
        return {key: each.creator_name or "Unknown creator" for key, each in listed.items()}
    if column == "owner" and agreements:
        owners = find_owner_names(agreements)
        return {
            key: owners.get(each.pair, NotAgreed.NO_AGREEMENT.label) for key, each in listed.items()
        }
    return {}


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
            for name in ("created", "reviewed", "changed", "agreed", "ends_within")
            if name not in query
        ]
        # They are text fields without choices.
        + [name for name in ("owner", "group") if not choices.get(name)],
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

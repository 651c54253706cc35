"""The filters of an access review's connections, by what their rows show."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from django.http import HttpRequest

from connections.access.actor import Actor
from connections.access_reviews.details import ShownValues, load_shown_values
from connections.access_reviews.rows import ReviewRow
from connections.models import AccessReview
from connections.web.lists import Filter, FilterBar, Options, filter_bar

# The choice of rows whose creator has no ID.
UNKNOWN = "unknown"


class FilteredRows(NamedTuple):
    """The rows that match, and the filters."""

    rows: list[ReviewRow]
    bar: FilterBar


def filter_rows(
    request: HttpRequest, rows: Sequence[ReviewRow], *, review: AccessReview, actor: Actor
) -> FilteredRows:
    """Those of the actor's rows that match `type` and `creator` in the address.

    The choices are of these rows, so they name nothing that is hidden from the actor.
    """
    values = load_shown_values(review=review, actor=actor, rows=rows)
    kind, creator = request.GET.get("type", ""), request.GET.get("creator", "")
    bar = filter_bar(
        request,
        [
            Filter(name="type", label="Data type", options=_type_options(values.values())),
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


def _type_options(values: Collection[ShownValues]) -> Options:
    return [(kind, kind) for kind in sorted({kind for each in values for kind in each.types})]


def _creator_key(values: ShownValues) -> str:
    return values.creator_id or UNKNOWN


def _creator_options(values: Collection[ShownValues]) -> Options:
    """The creators by name, with the end of the ID where several have the same name."""
    names = {_creator_key(each): each.creator_name or "Unknown" for each in values}
    counts = Counter(names.values())
    labels = {
        key: name if counts[name] == 1 else f"{name} (…{key[-8:]})" for key, name in names.items()
    }
    return sorted(labels.items(), key=lambda choice: choice[1].casefold())

"""What the pages with a long list share: the address, the filters and the sortable columns."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from django.core.exceptions import BadRequest
from django.core.paginator import Page, Paginator
from django.http import HttpRequest, QueryDict

from connections.core.sites import org_label, site_name
from connections.core.text import pluralize
from connections.inventory.inventory import KnownOrg

type Options = Sequence[tuple[str, str]]

PAGE_SIZE = 100
# The parameters that say where a page starts, and whether it has the fields of every filter.
_PLACE = ("page", "after", "more")
_NO_QUERY = QueryDict()


def list_url(request: HttpRequest, /, **changes: str) -> str:
    """The first page of this list with some parameters changed. "" removes a parameter."""
    return current_url(request, **(dict.fromkeys(_PLACE, "") | changes))


def current_url(request: HttpRequest, /, **changes: str) -> str:
    """This page of the list with some parameters changed. "" removes a parameter."""
    query = request.GET.copy()
    for name in changes:
        query.pop(name, None)
    query.update({name: value for name, value in changes.items() if value})
    return f"{request.path}?{query.urlencode()}" if query else request.path


def numbered_page(request: HttpRequest, rows: Any) -> Page[Any]:
    """The page of these rows (a sequence or a QuerySet) whose number is in the address."""
    return Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))


def numbered_links(request: HttpRequest, page: Page[Any], /, **changes: str) -> dict[str, str]:
    """The addresses of the first and the next page; "" if there is none.

    `changes` are those of `list_url`.
    """
    number = str(page.next_page_number()) if page.has_next() else ""
    return {
        "first_url": list_url(request, **changes) if page.has_previous() else "",
        "next_url": list_url(request, **changes, page=number) if number else "",
    }


def cursor_links(request: HttpRequest, after: object, /, **changes: str) -> dict[str, str]:
    """`numbered_links` for a page that starts after a row.

    `after` is the last row here, if any follow.
    """
    return {
        "first_url": list_url(request, **changes) if "after" in request.GET else "",
        "next_url": "" if after is None else list_url(request, **changes, after=str(after)),
    }


def parse_after[T](request: HttpRequest, parse: Callable[[str], T]) -> T | None:
    """Where the page starts. None for the first page.

    Raises BadRequest if `parse` can't read it.
    """
    text = request.GET.get("after", "")
    try:
        return parse(text) if text else None
    except ValueError:
        raise BadRequest("The page in this address doesn't exist.") from None


def parse_positive_number(text: str) -> int:
    """The positive number in `text`, for `parse_after`. Raises ValueError."""
    # The database's numbers have at most 18 digits.
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text)):
        raise ValueError("This isn't a positive number.")
    return int(text)


def as_page_request(
    request: HttpRequest, *, path: str, query: QueryDict = _NO_QUERY
) -> HttpRequest:
    """A POST as if it had requested the page at `path`, whose address the page's links repeat."""
    shown = copy(request)
    shown.path = path
    shown.GET = query  # type: ignore[assignment]
    shown.META = {**request.META, "QUERY_STRING": query.urlencode()}
    return shown


def export_query(request: HttpRequest) -> str:
    """The filters of this list as a query string."""
    query = request.GET.copy()
    for name in (*_PLACE, "sort"):
        query.pop(name, None)
    return query.urlencode()


def count_of_total_text(shown: int, *, total: int, noun: str) -> str:
    """ "3 of 40 connections", or "40 connections" if all are shown."""
    every = pluralize(total, noun)
    return every if shown == total else f"{shown:,} of {every}"


@dataclass(frozen=True, kw_only=True)
class ViewLink:
    """A link to another view of a list, or to another part of it."""

    label: str
    url: str
    is_current: bool
    count: int | None = None


def part_links(
    request: HttpRequest, parts: Iterable[tuple[str, str, int]], *, shown: str, **changes: str
) -> list[ViewLink]:
    """The links to the parts of a list: each a label, a value of `show` and a number of rows.

    `changes` are those of `list_url`.
    """
    return [
        ViewLink(
            label=label,
            url=list_url(request, **changes, show=value),
            is_current=value == shown,
            count=count,
        )
        for label, value, count in parts
    ]


def shared_names(orgs: Iterable[KnownOrg]) -> set[str]:
    """The names that several of these orgs have. For these, lists show the end of the ID."""
    counts = Counter(org.name for org in orgs if org.name)
    return {name for name, count in counts.items() if count > 1}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column. `sort` is its name in the address, or "" if the list can't be sorted by it."""

    label: str
    css: str = ""
    sort: str = ""
    sort_url: str = ""
    # "ascending" or "descending" for the column that the list is sorted by.
    direction: str = ""


SELECT_COLUMN = Column(label="Select", css="cell-select")
CONNECTION_COLUMNS = (
    Column(label="Source", css="cell-org"),
    Column(label="to", css="cell-arrow"),
    Column(label="Destination", css="cell-org"),
    Column(label="Data types", css="cell-types"),
)


def chosen_sort(request: HttpRequest, columns: Sequence[Column], *, default: str) -> str:
    """The name of the column that the address sorts by, after "-" for descending order."""
    sort = request.GET.get("sort", "")
    names = {column.sort for column in columns if column.sort}
    return sort if sort.removeprefix("-") in names else default


def sortable(request: HttpRequest, columns: Sequence[Column], *, sort: str) -> list[Column]:
    """The columns with the address that sorts by each one, or reverses the current order.

    `sort` is the name of a column, with a leading "-" for descending order.
    """
    name = sort.removeprefix("-")
    direction = "descending" if sort.startswith("-") else "ascending"
    opposite = name if sort.startswith("-") else f"-{name}"
    return [
        column
        if not column.sort
        else replace(column, sort_url=list_url(request, sort=opposite), direction=direction)
        if column.sort == name
        else replace(column, sort_url=list_url(request, sort=column.sort))
        for column in columns
    ]


@dataclass(frozen=True, kw_only=True)
class Filter:
    """One filter: a field while it is empty, and a chip that removes it once it has a value."""

    name: str
    label: str
    # The choices. Empty for a text field.
    options: Options = ()
    value: str = ""
    value_label: str = ""
    remove_url: str = ""


def site_filter(sites: Iterable[str]) -> Filter:
    """The filter by one of these sites."""
    return Filter(name="site", label="Site", options=[(site, site_name(site)) for site in sites])


def org_filter(orgs: Iterable[KnownOrg]) -> Filter:
    """The filter by one of these orgs."""
    options = [
        (org.key, org_label(site=org.site, org_id=org.org_id, name=org.name)) for org in orgs
    ]
    return Filter(name="org", label="Org", options=options)


def type_filter(types: Iterable[str]) -> Filter:
    """The filter by one of these data types."""
    return Filter(name="type", label="Data type", options=[(kind, kind) for kind in types])


@dataclass(frozen=True, kw_only=True)
class FilterBar:
    """The filters of a list, all in one form."""

    path: str
    chips: list[Filter]
    fields: list[Filter]
    # Fields that are folded away.
    more: list[Filter]
    # The URL of the page that has those fields; "" if this page has them.
    more_url: str
    is_more_open: bool
    search: str
    # Other parameters in the address, which filtering keeps.
    other_parameters: dict[str, str]
    # "" if nothing is filtered.
    clear_url: str


def found_count_text(count: int | None, *, most: int, noun: str, bar: FilterBar) -> str:
    """ "2 deletions found". If None, "More than 10,000 deletions": counting ended at `most`."""
    text = pluralize(most, noun) if count is None else pluralize(count, noun)
    return f"{'More than ' if count is None else ''}{text}{' found' if bar.clear_url else ''}"


def filter_bar(
    request: HttpRequest,
    shown: Sequence[Filter],
    *,
    more: Sequence[Filter] = (),
    more_on_demand: bool = False,
    invalid: Sequence[str] = (),
    kept: Sequence[str] = ("sort",),
) -> FilterBar:
    """The filters with their values from the address.

    An `invalid` filter stays a field, so that its text can be corrected. `more_on_demand` is for
    fields with many choices, which would otherwise be most of the page. `kept` are the other
    parameters that filtering keeps.
    """
    filters = [_with_value(request, each) for each in (*shown, *more)]
    is_chip = {each.name: each.value != "" and each.name not in invalid for each in filters}
    hidden = {each.name for each in more if each.name not in invalid}
    search = request.GET.get("q", "")
    is_more_open = "more" in request.GET
    is_filtered = bool(search) or any(each.value for each in filters)
    return FilterBar(
        path=request.path,
        chips=[each for each in filters if is_chip[each.name]],
        fields=[each for each in filters if not is_chip[each.name] and each.name not in hidden],
        more=[each for each in filters if not is_chip[each.name] and each.name in hidden],
        more_url=current_url(request, more="1") if more_on_demand and not is_more_open else "",
        is_more_open=is_more_open,
        search=search,
        other_parameters={name: request.GET[name] for name in kept if request.GET.get(name)},
        clear_url=list_url(request, q="", **{each.name: "" for each in filters})
        if is_filtered
        else "",
    )


def _with_value(request: HttpRequest, empty: Filter) -> Filter:
    value = request.GET.get(empty.name, "")
    is_choice = not empty.options or value in dict(empty.options) or not value
    return replace(
        empty,
        options=empty.options if is_choice else [*empty.options, (value, value)],
        value=value,
        value_label=empty.value_label or dict(empty.options).get(value, value),
        remove_url=list_url(request, **{empty.name: ""}),
    )

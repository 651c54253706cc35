"""What the pages with a list share: the address, the filters, the sort order and the export.

The view of a list reads its filters with a form, asks a service for a page of rows, and returns
`render_list` with a template that extends components/lists/page.html. The form's fields are the
filter bar. Each heading of the table stands beside its cell in the template (`{% heading %}`).
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.core.exceptions import BadRequest
from django.core.paginator import Page, Paginator
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.text import Truncator

from connections.access.permissions import EXPORT, Permission
from connections.core.any_of import AnyOf
from connections.core.errors import InvalidInputError
from connections.core.own_address import own_origin
from connections.core.sites import site_name
from connections.core.text import pluralize
from connections.exports.export import Export
from connections.inventory.matching import KnownOrg
from connections.web.framework.http import actor_of, download, export_format
from connections.web.framework.person_limits import limited

type Options = Sequence[tuple[str, str]]
type Groups = Mapping[str, Options]

PAGE_SIZE = 100
# The parameters that say where a page starts, and whether it has every row or every filter.
_PLACE = ("page", "after", "all", "more")
_NO_QUERY = QueryDict()


def list_url(request: HttpRequest, /, **changes: str | list[str]) -> str:
    """The first page of this list with some parameters changed. "" removes a parameter."""
    return current_url(request, **{**dict.fromkeys(_PLACE, ""), **changes})


def current_url(request: HttpRequest, /, **changes: str | list[str]) -> str:
    """This page of the list with some parameters changed. "" removes a parameter."""
    query = request.GET.copy()
    for name, value in changes.items():
        # Also moves it to the end.
        query.pop(name, None)
        query.setlist(name, [value] if value and isinstance(value, str) else list(value))
    text = query.urlencode()
    return f"{request.path}?{text}" if text else request.path


def numbered_page(request: HttpRequest, rows: Any, *, size: int | None = None) -> Page[Any]:
    """The page of these rows (a sequence or a QuerySet) whose number is in the address."""
    return Paginator(rows, size or PAGE_SIZE).get_page(request.GET.get("page"))


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
    page_request = copy(request)
    page_request.path = path
    page_request.GET = query  # type: ignore[assignment]
    page_request.META = {**request.META, "QUERY_STRING": query.urlencode()}
    return page_request


def count_of_total_text(count: int, *, total: int, noun: str) -> str:
    """ "3 of 40 connections", or "40 connections" if all are shown."""
    every = pluralize(total, noun)
    return every if count == total else f"{count:,} of {every}"


@dataclass(frozen=True, kw_only=True)
class ViewLink:
    """A link to another view of a list, or to another part of it."""

    label: str
    url: str
    is_current: bool
    count: int | None = None


def view_links(urls: Mapping[str, str], *, current: str) -> list[ViewLink]:
    """The links to the views of a list, by label."""
    return [
        ViewLink(label=label, url=url, is_current=label == current) for label, url in urls.items()
    ]


def part_links(
    request: HttpRequest, parts: Iterable[tuple[str, str, int]], *, current: str, **changes: str
) -> list[ViewLink]:
    """The links to the parts of a list: each a label, a value of `show` and a number of rows.

    `changes` are those of `list_url`.
    """
    return [
        ViewLink(
            label=label,
            url=list_url(request, **changes, show=value),
            is_current=value == current,
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
    """The heading of a column. `sort_url` sorts by it, or reverses the order; "" if nothing can."""

    label: str
    css: str = ""
    sort_url: str = ""
    # "ascending" or "descending" for the column that the list is sorted by.
    direction: str = ""


def sortable_column(request: HttpRequest, *, label: str, css: str, name: str, sort: str) -> Column:
    """The heading of the column with this name in a list sorted by `sort` of `ListPage.sort_of`."""
    if sort.removeprefix("-") != name:
        return Column(label=label, css=css, sort_url=list_url(request, sort=name))
    is_descending = sort.startswith("-")
    return Column(
        label=label,
        css=css,
        sort_url=list_url(request, sort=name if is_descending else f"-{name}"),
        direction="descending" if is_descending else "ascending",
    )


@dataclass(frozen=True, kw_only=True)
class FilterField:
    """A filter that can get a value, or another one."""

    name: str
    label: str
    # The choices by heading, "" for those without one. Empty for a text field.
    groups: Groups
    # A text that isn't valid.
    value: str
    is_date: bool


@dataclass(frozen=True, kw_only=True)
class FilterChip:
    """One value of a filter, and the address without it."""

    name: str
    label: str
    value: str
    value_label: str
    remove_url: str
    # The filter can't be used. Its values share one chip, which isn't posted again.
    is_unusable: bool = False


@dataclass(frozen=True, kw_only=True)
class FilterBar:
    """The filters of a list, all in one form."""

    path: str
    chips: list[FilterChip]
    fields: list[FilterField]
    # Fields that are folded away.
    more: list[FilterField]
    # The URL of the page that has those fields; "" if this page has them.
    more_url: str
    is_more_open: bool
    search: str
    # "" if the list has no search.
    search_label: str
    # Other parameters in the address, which filtering keeps.
    other_parameters: dict[str, str]
    # "" if nothing is filtered.
    clear_url: str


def org_options(orgs: Iterable[KnownOrg]) -> Options:
    """These orgs as the choices of a filter: "Payments EU · EU1", and the ID if names repeat."""
    orgs = list(orgs)
    shared = shared_names(orgs)
    return [(org.key, _option_label(org, shared=shared)) for org in orgs]


def _option_label(org: KnownOrg, *, shared: set[str]) -> str:
    label = f"{org.name or 'Unknown org'} · {site_name(org.site)}"
    return label if org.name and org.name not in shared else f"{label} · …{org.org_id[-8:]}"


def site_options(sites: Iterable[str]) -> Options:
    """These sites as the choices of a filter."""
    return [(site, site_name(site)) for site in sites]


def filter_bar(
    request: HttpRequest,
    form: forms.BaseForm,
    *,
    choices: Mapping[str, Options] | None = None,
    names: Mapping[str, str] | None = None,
    more: Sequence[str] = (),
    more_on_demand: bool = False,
    without: Sequence[str] = (),
    kept: Sequence[str] = ("sort",),
) -> FilterBar:
    """The fields of a form that was filled from the address. The field `q` is the search.

    Each value is a chip, and its field stays only if it takes several (AnyOf). An invalid text
    stays in its field, so that it can be corrected. The links leave out what can't be used. A
    hidden field is an older filter, which appears only with a value.

    `choices` replace those of the form's fields, and `names` of values replace them in chips. The
    fields `more` are folded away; `more_on_demand` if they have many choices, which would otherwise
    be most of the page. The bar leaves out the fields `without`. Filtering keeps the parameters
    `kept`, which are no filters.
    """
    choices, names = choices or {}, names or {}
    is_more_open = "more" in request.GET
    usable = as_page_request(request, path=request.path, query=_without(request.GET, form.errors))
    chips: list[FilterChip] = []
    fields: list[FilterField] = []
    folded: list[FilterField] = []
    for field in form:
        if field.name == "q" or field.name in {*without, *kept}:
            continue
        values = _values_of(request, field.name)
        is_folded = field.name in more and not values
        is_loaded = not (is_folded and more_on_demand) or is_more_open
        groups = _groups_of(field, choices.get(field.name)) if is_loaded else {}
        options = [option for few in groups.values() for option in few]
        is_text = bool(field.errors) and not options and len(values) == 1
        if field.errors and values and not is_text:
            chips.append(_unusable_chip(usable, field, values=values))
        elif not is_text:
            chips += _chips(usable, field, values=values, labels={**dict(options), **names})
        if is_text or not (values or field.is_hidden) or isinstance(field.field, AnyOf):
            (folded if field.name in more else fields).append(
                FilterField(
                    name=field.name,
                    label=str(field.label),
                    groups={
                        heading: [option for option in few if option[0] not in values]
                        for heading, few in groups.items()
                    },
                    value=values[0] if is_text else "",
                    is_date=getattr(field.field.widget, "input_type", "") == "date",
                )
            )
    cleared = [name for name in form.fields if name not in kept]
    is_filtered = any(_values_of(request, name) for name in cleared)
    return FilterBar(
        path=request.path,
        chips=chips,
        fields=fields,
        more=folded,
        more_url=current_url(usable, more="1") if more_on_demand and not is_more_open else "",
        is_more_open=is_more_open,
        search=request.GET.get("q", ""),
        search_label=str(form["q"].label) if "q" in form.fields else "",
        other_parameters={name: request.GET[name] for name in kept if request.GET.get(name)},
        clear_url=list_url(usable, **dict.fromkeys(cleared, "")) if is_filtered else "",
    )


def _without(query: QueryDict, names: Iterable[str]) -> QueryDict:
    left = query.copy()
    for name in names:
        left.pop(name, None)
    return left


def _values_of(request: HttpRequest, name: str) -> list[str]:
    return [value for value in request.GET.getlist(name) if value]


def _chips(
    request: HttpRequest, field: forms.BoundField, *, values: list[str], labels: Mapping[str, str]
) -> list[FilterChip]:
    return [
        FilterChip(
            name=field.name,
            label=str(field.label),
            value=value,
            value_label=labels.get(value, value),
            remove_url=list_url(
                request, **{field.name: [other for other in values if other != value]}
            ),
        )
        for value in values
    ]


def _unusable_chip(
    request: HttpRequest, field: forms.BoundField, *, values: list[str]
) -> FilterChip:
    several = f"{len(values)} values"
    return FilterChip(
        name=field.name,
        label=str(field.label),
        value="",
        value_label=several if len(values) > 1 else _shorten(values[0]),
        remove_url=list_url(request, **{field.name: ""}),
        is_unusable=True,
    )


def _shorten(text: str) -> str:
    return Truncator(text).chars(60)


def _groups_of(field: forms.BoundField, replaced: Options | None) -> Groups:
    """The choices of a field by heading, or those that replace them."""
    if replaced:
        return {"": replaced}
    groups: dict[str, list[tuple[str, str]]] = {}
    for value, label in getattr(field.field, "choices", ()):
        if isinstance(label, list | tuple):
            groups[value] = [(str(each), text) for each, text in label]
        elif value != "":
            groups.setdefault("", []).append((str(value), label))
    return groups


def filter_query(request: HttpRequest, form: forms.BaseForm) -> str:
    """The filters that are set, as entered, as a query string."""
    values = {name: _values_of(request, name) for name in form.fields}
    return urlencode(values, doseq=True)


def filter_problems(form: forms.BaseForm) -> list[str]:
    """What is wrong with each filter that can't be used."""
    problems = []
    for name, (error, *_) in form.errors.as_data().items():
        text = error.messages[0]
        if error.code == "invalid_choice":
            text = f"Unknown value “{_shorten(str((error.params or {})['value']))}”."
        problems.append(f"{form[name].label}: {text}")
    return problems


def _view_url(request: HttpRequest) -> str:
    """The whole address of this list as it is filtered and sorted. "" if it isn't."""
    path, _, query = list_url(request).partition("?")
    origin = own_origin(request)
    return f"{origin}{path}?{query}" if origin and query else ""


@dataclass(frozen=True, kw_only=True)
class ListPage:
    """What one list declares. Its view gets rows from a service and returns `render`."""

    title: str
    # One row: "change".
    noun: str
    # Extends components/lists/page.html.
    template: str
    # What the columns can sort by, and the order of an address without one.
    sorts: Collection[str] = ()
    default_sort: str = ""
    # Filters to fold away, and whether to load them on demand: see `filter_bar`.
    more: Sequence[str] = ()
    more_on_demand: bool = False
    # Where the service stops counting what matches.
    most: int = 0
    # Parameters that filtering keeps.
    kept: Sequence[str] = ("sort",)
    # The name of the export's URL, and who can open it.
    export_url: str = ""
    export_permission: Permission = EXPORT

    def sort_of(self, request: HttpRequest) -> str:
        """The column that the address sorts by, after "-" for descending order."""
        sort = request.GET.get("sort", "")
        return sort if sort.removeprefix("-") in self.sorts else self.default_sort

    def render(
        self,
        request: HttpRequest,
        context: Mapping[str, Any] | None = None,
        *,
        form: forms.Form,
        rows: Collection[Any],
        links: Mapping[str, str],
        count: int | None,
        total: int | None = None,
        choices: Mapping[str, Options] | None = None,
        names: Mapping[str, str] | None = None,
        without: Sequence[str] = (),
        of_part: Sequence[str] = (),
        status: int = 200,
    ) -> HttpResponse:
        """The page, or the part of it that htmx replaces.

        If a filter can't be used, it lists nothing, because without that filter it would list more
        than was asked for.

        `links` are those of `numbered_links` or `cursor_links`. `count` is how many rows match,
        None for more than `most`, and `total` how many there are, if that is known. `choices`,
        `names` and `without` are those of `filter_bar`. The filters `of_part` are what the chosen
        part of the list is made of, so they are no chips. The template gets the `context` as well.
        """
        problems = filter_problems(form)
        if problems:
            rows, count, links = (), 0, dict.fromkeys(links, "")
        bar = filter_bar(
            request,
            form,
            choices=choices,
            names=names,
            more=self.more,
            more_on_demand=self.more_on_demand,
            without=without,
            kept=(*self.kept, *of_part),
        )
        has_any = bool(rows or bar.clear_url or links["first_url"] if total is None else total)
        can_export = (
            has_any and not problems and self.export_permission.is_held_by(actor_of(request))
        )
        page: dict[str, Any] = {
            "title": self.title,
            "noun": self.noun,
            "rows": rows,
            "has_any": has_any,
            "problems": problems,
            "bar": bar,
            "sort": self.sort_of(request),
            # Whether what isn't here matches no filter.
            "is_whole": bool(bar.clear_url) and not any(links.values()),
            "view_url": _view_url(request),
            "count": self._count_text(count, total=total),
            "export_url": reverse(self.export_url) if self.export_url and can_export else "",
            "export_query": filter_query(request, form),
        }
        if request.htmx.target == "list":  # type: ignore[attr-defined]
            page["layout"] = "layouts/fragment.html"
        return render(request, self.template, {**page, **links, **(context or {})}, status=status)

    def _count_text(self, count: int | None, *, total: int | None) -> str:
        """ "3 of 40 orgs"; without a total, "31 changes" or "More than 1,000 changes"."""
        if count is not None and total is not None:
            return count_of_total_text(count, total=total, noun=self.noun)
        more = "More than " if count is None else ""
        return f"{more}{pluralize(self.most if count is None else count, self.noun)}"


@limited("export", per_minute=30)
def export(
    request: HttpRequest,
    *,
    title: str,
    form: Any,
    prepare: Callable[..., Export[Any]],
    file_name: str,
    default_format: str = "csv",
) -> HttpResponseBase:
    """What matches the filters of a list, as a file. Raises BadRequest for an invalid filter.

    The form's method `filters` returns what the service `prepare` takes, and the file's name starts
    with `file_name`.
    """
    file_format = export_format(request, default=default_format)
    if not form.is_valid():
        raise BadRequest(f"A filter in this address can't be used. Set it on the {title} page.")
    try:
        prepared = prepare(
            actor=actor_of(request),
            filters=form.filters(),
            file_format=file_format,
            query=filter_query(request, form),
        )
    except InvalidInputError as error:
        raise BadRequest(str(error)) from None
    return download(request, export=prepared, name=file_name)

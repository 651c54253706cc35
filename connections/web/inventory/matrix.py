"""The inventory as a matrix: which org shares what with which other org."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from urllib.parse import quote, urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.html import escape, format_html, strip_tags
from django.utils.safestring import SafeString

from connections.access import permissions
from connections.agreements.agreed import NotAgreed
from connections.changes.texts import change_title
from connections.core.data_types import DATA_TYPES
from connections.core.sites import site_name
from connections.core.text import format_age, join_names, pluralize
from connections.inventory.choices import find_agreement_choices
from connections.inventory.filters import ConnectionFilters
from connections.inventory.matching import KnownOrg
from connections.inventory.matrix import MAX_ORGS, Cell, Matrix, build_matrix
from connections.web.framework import lists
from connections.web.framework.addresses import org_url
from connections.web.framework.http import actor_of
from connections.web.inventory.filters import agreement_choices, connection_choices, unused_filters
from connections.web.inventory.head import head_of

# Filters that are folded away.
RARE_FILTERS = (
    *("site", "created", "reviewed", "protected", "changed", "agreed", "group", "ends_within"),
    *("source", "destination"),
)
# The value of the parameter `view`.
MATRIX = "matrix"
_EMPTY = format_html("<td>{}</td>", "")
_OWN = format_html('<td class="{}"></td>', "is-self")
# The most creators that the label of a cell names.
MAX_CREATORS = 3
_LABEL_END = SafeString('">')
_CELL_END = SafeString("</a></td>")


@dataclass(frozen=True, kw_only=True)
class OrgHead:
    """The header of a row or a column.

    `suffix` is the end of the ID if several orgs have the same name.
    """

    name: str
    suffix: str
    url: str
    total: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row with its cells as HTML. In a template, 2,500 cells would take three times as long."""

    head: OrgHead
    cells: SafeString


def view_links(request: HttpRequest) -> list[lists.ViewLink]:
    """The links to the list and to the matrix, with the same filters."""
    is_matrix = request.GET.get("view") == MATRIX
    matrix_url = lists.list_url(request, view=MATRIX, sort="")
    urls = {"List": lists.list_url(request, view=""), "Matrix": matrix_url}
    return lists.view_links(urls, current="Matrix" if is_matrix else "List")


def matrix_page(request: HttpRequest) -> HttpResponse:
    """The matrix of one site."""
    actor, form = actor_of(request), ConnectionFilters(request.GET)
    values, filters = form.values(), form.filters()
    matrix = build_matrix(actor=actor, filters=filters)
    inventory, shared = matrix.inventory, lists.shared_names(matrix.orgs)
    agreed = find_agreement_choices(actor=actor)
    query = urlencode({**values, "site": matrix.site}, doseq=True)
    context = {
        "head": head_of(
            inventory.coverage, filters=filters, query=query, actor=actor, at=inventory.at
        ),
        "matrix": matrix,
        "site": site_name(matrix.site),
        "sites": _site_links(request, matrix),
        "views": view_links(request),
        "bar": lists.filter_bar(
            request,
            form,
            choices=connection_choices(matrix.orgs, inventory.connection_types, inventory.creators)
            | agreement_choices(agreed, actor=actor),
            # Links and fields of the matrix itself.
            without=["site", "source", "destination", *unused_filters(agreed, form)],
            more=RARE_FILTERS,
            kept=["view", "site"],
        ),
        "count": lists.count_of_total_text(
            matrix.matches, total=matrix.sites.get(matrix.site, 0), noun="connection"
        ),
        "total": f"{matrix.matches:,}",
        "columns": _org_heads(matrix.destinations, totals=matrix.incoming, shared=shared),
        "rows": [] if matrix.is_too_large else list(_rows(matrix, shared=shared)),
        "source_filter": values.get("source", ""),
        "destination_filter": values.get("destination", ""),
        "has_agreements": agreed.has_agreements,
        "max_orgs": MAX_ORGS,
        "can_export": permissions.can_export(actor),
    }
    return render(request, "inventory/matrix.html", context)


def _site_links(request: HttpRequest, matrix: Matrix) -> list[lists.ViewLink]:
    return [
        lists.ViewLink(
            label=site_name(site),
            url=lists.list_url(request, site=site, org="", source="", destination=""),
            is_current=site == matrix.site,
            count=count,
        )
        for site, count in matrix.sites.items()
    ]


def _org_heads(
    orgs: Iterable[KnownOrg], *, totals: dict[str, int], shared: set[str]
) -> list[OrgHead]:
    return [
        OrgHead(
            name=_name(org),
            suffix=f"…{org.org_id[-8:]}" if org.name in shared or not org.name else "",
            url=org_url(org),
            total=totals[org.org_id],
        )
        for org in orgs
    ]


def _rows(matrix: Matrix, *, shared: set[str]) -> Iterable[Row]:
    heads = _org_heads(matrix.sources, totals=matrix.outgoing, shared=shared)
    # Each part of a cell is escaped once and used in many cells, because formatting every cell
    # would take twice as long. If a part weren't escaped, the template would escape the whole cell.
    columns = [
        (
            sink,
            format_html('{}" aria-label="', quote(sink.org_id)),
            format_html("{}: ", _name(sink)),
        )
        for sink in matrix.destinations
    ]
    contents, mark, letters = cache(_contents), cache(_marks_html), cache(_type_letters)
    visible = cache(_visible_letters)
    for source, head in zip(matrix.sources, heads, strict=True):
        query = {"site": matrix.site, "source": source.org_id}
        url = reverse("org-connection-list", query=query)
        start = format_html('<td><a href="{}&amp;destination=', url)
        name = format_html("{} to ", head.name)
        cells = []
        for sink, sink_id, sink_name in columns:
            cell = matrix.cells.get((source.org_id, sink.org_id))
            if cell is None:
                cells.append(_OWN if sink == source else _EMPTY)
                continue
            types = frozenset(cell.types)
            label = contents(types, cell.count, frozenset(cell.creators))
            marks = mark(_change_text(cell, at=matrix.inventory.at), tuple(sorted(cell.reasons)))
            opened = start + sink_id + visible(types) + name + sink_name + label + marks
            cells.append(opened + letters(types) + _CELL_END)
        yield Row(head=head, cells=format_html("{}" * len(cells), *cells))


def _name(org: KnownOrg) -> str:
    return org.name or "Unknown org"


def _change_text(cell: Cell, *, at: datetime) -> str:
    """What changed in the last 7 days and when; "" if nothing did."""
    if cell.last_change is None:
        return ""
    change = cell.last_change.change
    title = change_title(change, deletion=cell.last_change.deletion)
    return f"{title} {format_age(change.detected_at, now=at)}"


def _contents(types: frozenset[str], count: int, creators: frozenset[str]) -> SafeString:
    """What the label of a cell's link says after the orgs."""
    known = [kind for kind in DATA_TYPES if kind in types]
    parts = [join_names([*known, *sorted(types.difference(DATA_TYPES))]) or "data types unknown"]
    if count > 1:
        parts.append(f"{count} connections")
    if creators:
        parts.append(f"created by {_creators_text(creators)}")
    return escape(", ".join(parts))


def _marks_html(change: str, reasons: tuple[NotAgreed, ...]) -> SafeString:
    """The end of the label and of its tag. Each mark gets its own line in the card."""
    css, label = "", ""
    if reasons:
        label = f". Not agreed: {join_names([each.label for each in reasons]).lower()}"
        css = "is-not-agreed"
    if change:
        label, css = f"{label}. {change}", f"{css} is-changed".strip()
    return format_html('{}" class="{}">', label, css) if css else _LABEL_END


def _creators_text(creators: frozenset[str]) -> str:
    if len(creators) > MAX_CREATORS:
        return pluralize(len(creators), "user")
    return join_names(sorted(creators))


def _visible_letters(types: frozenset[str]) -> SafeString:
    """What a cell shows: its label begins with it, so that voice control finds the link."""
    return format_html("{}: ", strip_tags(_type_letters(types)).strip())


def _type_letters(types: frozenset[str]) -> SafeString:
    """A letter for each known data type, at a fixed position, and the number of other types."""
    logs, metrics = ("L" if "logs" in types else " ", "M" if "metrics" in types else " ")
    others = len(types - {"logs", "metrics", "audit"})
    audit = format_html("<b>{}</b>", "A") if "audit" in types else " "
    more = f"+{others}" if others else "" if types else "?"
    return format_html("{}{}{}{}", logs, metrics, audit, more)

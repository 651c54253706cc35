"""The list of agreements, one row for each pair of orgs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from connections.access import permissions
from connections.access.actor import Actor
from connections.agreements.agreed import NotAgreed
from connections.agreements.texts import DAYS_SOON
from connections.core.text import pluralize
from connections.inventory.choices import AgreementChoices, find_agreement_choices
from connections.inventory.pair_files import prepare_export
from connections.inventory.pairs import (
    SORTS,
    ListedPair,
    PairList,
    PairRow,
    list_pairs,
    load_pair_rows,
)
from connections.models import OrgConnectionKey, OrgPair
from connections.web.agreed import AgreedView, agreed_view
from connections.web.agreements.forms import ANY, PairFilters
from connections.web.badges import AGREEMENT_REASONS, Badge
from connections.web.framework import lists
from connections.web.framework.actions import NOT_REFUSED, Refusal
from connections.web.framework.addresses import connection_url
from connections.web.framework.http import actor_of
from connections.web.inventory.filters import agreement_choices, unused_filters

LIST = lists.ListPage(
    title="Agreements",
    noun="agreement",
    template="agreements/list.html",
    sorts=SORTS,
    default_sort="reason",
    more=("group", "site"),
    kept=("sort", "needs"),
    export_url="agreement-export",
)
# The query of the part "Needs you".
NEEDS_YOU = "needs=you"
# The filters that the parts are made of.
_OF_PARTS = ("needs", "reason", "ends_within", "owner")
# As many as one form can set.
MAX_SELECTED = 1000


@dataclass(frozen=True, kw_only=True)
class PairRowView:
    """One row of the table."""

    row: PairRow
    agreed: AgreedView
    reasons: str
    badges: list[Badge]
    # "" without a connection.
    url: str
    # Whether it is the reader's to accept, also after refusing it.
    can_accept: bool
    # Whether the reader has to accept or refuse it.
    is_waiting: bool


def agreement_page(request: HttpRequest, refusal: Refusal = NOT_REFUSED) -> HttpResponse:
    """Every pair that has a connection or an agreement, first those that aren't agreed."""
    actor, form = actor_of(request), PairFilters(request.GET)
    filters = form.filters()
    pairs = list_pairs(actor=actor, filters=filters, sort=LIST.sort_of(request))
    agreed, matches = find_agreement_choices(actor=actor), len(pairs.matches)
    can_set = permissions.can_set_agreements(actor)
    can_select = (can_set or pairs.own > 0) and not form.errors
    can_select_all = can_select and matches <= MAX_SELECTED
    selects_all = can_select_all and "all" in request.GET
    views = _part_links(request, pairs, actor=actor)
    page = lists.numbered_page(request, pairs.matches, size=MAX_SELECTED if selects_all else None)
    context = {
        "agreed_text": _agreed_text(pairs),
        "is_all_agreed": 0 < pairs.connected == pairs.agreed
        and request.GET.getlist("reason") == [ANY],
        "views": views,
        "can_select": can_select,
        "selects_all": selects_all,
        "matching": matches if can_select_all and page.has_other_pages() else 0,
        "all_url": lists.list_url(request, all="1"),
        "shared_names": lists.shared_names(pairs.orgs),
        "can_import": can_set,
        "refusal": refusal,
        "answered": pairs.answered,
        "to_accept": pairs.to_accept,
        # Those that need the reader and are on other pages.
        "elsewhere": matches - len(page.object_list) if filters.needs_actor else 0,
    }
    is_part = any(link.is_current for link in views)
    rows = load_pair_rows(list(page.object_list), actor=actor)
    row_views = pair_row_views(
        rows, today=pairs.today, to_accept=pairs.to_accept, refused=pairs.refused
    )
    # The buttons take the place of a column.
    has_buttons = bool(pairs.to_accept) or any(view.can_accept for view in row_views)
    context |= {"has_buttons": has_buttons, "no_buttons": not has_buttons}
    if tuple(filters.reason) == (NotAgreed.ENDED,) and permissions.can_delete(actor):
        # Only with every match on the page, so that the plan has what the reader sees.
        context["to_delete"] = [] if page.has_other_pages() else _connections_of(rows)
    return LIST.render(
        request,
        context,
        form=form,
        rows=row_views,
        links=lists.numbered_links(request, page),
        count=matches,
        total=pairs.total,
        choices=_choices(pairs, agreed, actor=actor),
        without=unused_filters(agreed, form),
        of_part=[name for name in _OF_PARTS if is_part and request.GET.getlist(name)],
        names={org.org_id: org.name for org in pairs.orgs},
        status=refusal.status,
    )


def agreement_export(request: HttpRequest) -> HttpResponseBase:
    """The filtered agreements, streamed as a file."""
    return lists.export(
        request,
        title=LIST.title,
        form=PairFilters(request.GET),
        prepare=prepare_export,
        file_name="agreements",
    )


def pair_row_views(
    rows: Sequence[PairRow],
    *,
    today: date,
    to_accept: Collection[ListedPair] = (),
    refused: Collection[ListedPair] = (),
) -> list[PairRowView]:
    """The rows as the table shows them. The reader has to accept some, and has refused others."""
    waiting = {listed.pair for listed in to_accept}
    mine = waiting | {listed.pair for listed in refused}
    return [_row_view(row, today=today, mine=mine, waiting=waiting) for row in rows]


def _connections_of(rows: Sequence[PairRow]) -> list[str]:
    """The connections of these rows as the form of a bulk deletion names them."""
    return [f"{row.listed.pair.site}/{row.connection_id}" for row in rows if row.connection_id]


def _row_view(
    row: PairRow, *, today: date, mine: Collection[OrgPair], waiting: Collection[OrgPair]
) -> PairRowView:
    listed, url = row.listed, ""
    if row.connection_id:
        key = OrgConnectionKey(site=listed.pair.site, connection_id=row.connection_id)
        url = connection_url(key)
    return PairRowView(
        row=row,
        agreed=agreed_view(row.agreement, listed.types, today=today),
        reasons=" ".join(listed.reasons),
        badges=[AGREEMENT_REASONS[reason] for reason in listed.reasons],
        url=url,
        can_accept=listed.pair in mine,
        is_waiting=listed.pair in waiting,
    )


def _agreed_text(pairs: PairList) -> str:
    every = pluralize(pairs.connected, "connection")
    if pairs.agreed == pairs.connected:
        return f"All {every} agreed" if pairs.connected else ""
    return f"{pairs.agreed:,} of {every} agreed"


def _part_links(request: HttpRequest, pairs: PairList, *, actor: Actor) -> list[lists.ViewLink]:
    """What needs the person, what isn't agreed, what ends soon, what the person owns, and all."""
    username = actor.person.username if actor.person else ""
    parts: tuple[tuple[str, dict[str, str], int], ...] = (
        ("Needs you", {"needs": "you"}, pairs.needed),
        ("Not agreed", {"reason": ANY}, pairs.connected - pairs.agreed),
        (f"Ends in {DAYS_SOON} days", {"ends_within": str(DAYS_SOON)}, pairs.ending),
        ("Mine", {"owner": username}, pairs.own),
        ("All", {}, pairs.total),
    )
    chosen = {name: request.GET.getlist(name) for name in _OF_PARTS}
    return [
        lists.ViewLink(
            label=label,
            url=lists.list_url(request, **{**dict.fromkeys(chosen, ""), **query}),
            is_current=chosen == {name: [query[name]] if name in query else [] for name in chosen},
            count=count,
        )
        for label, query, count in parts
    ]


def _choices(
    pairs: PairList, agreed: AgreementChoices, *, actor: Actor
) -> dict[str, lists.Options]:
    choices = {
        "site": lists.site_options(sorted({org.site for org in pairs.orgs})),
        "org": lists.org_options(pairs.orgs),
    }
    return choices | agreement_choices(agreed, actor=actor)

"""The page of one access review, and its downloads."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import TextChoices
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.access_reviews.closing import appeared_since
from connections.access_reviews.decisions import MAX_TOGETHER, TERMS
from connections.access_reviews.deleting import ToDelete, find_to_delete
from connections.access_reviews.details import (
    find_earlier,
    load_details,
    load_filter_facts,
    load_listed,
)
from connections.access_reviews.population import find_without_reviewer
from connections.access_reviews.progress import list_own_reasons, list_reviewer_progress
from connections.access_reviews.rows import ReviewRow, count_states, review_rows
from connections.access_reviews.texts import (
    counts_text,
    decided_text,
    due_text,
    reviewers_text,
    undecided_text,
)
from connections.agreements.agreed import find_agreements
from connections.agreements.setting import can_set
from connections.core.text import format_time
from connections.inventory.choices import find_agreement_choices
from connections.inventory.matching import KnownOrg
from connections.lookups.objects import find_access_review
from connections.models import AccessReview, OrgConnectionKey, RowState
from connections.models.text_columns import HexKey
from connections.web.access_reviews.filters import RowFilters, group_names, scope_bar, scope_text
from connections.web.access_reviews.forms import DecidingOwnerForm, DecisionForm
from connections.web.access_reviews.groups import (
    DEFAULT_SORT,
    RowGroup,
    group_rows,
    page_after,
    sort_rows,
)
from connections.web.access_reviews.repeating import repetition
from connections.web.access_reviews.rows import (
    SELECTED_FACTS,
    pair_of,
    review_row_view,
)
from connections.web.access_reviews.start import without_reviewer_warning
from connections.web.agreements.forms import owner_choices
from connections.web.badges import LEFT_OPEN, review_badge
from connections.web.framework import addresses, http
from connections.web.framework.lists import (
    PAGE_SIZE,
    ListPage,
    Options,
    ViewLink,
    as_page_request,
    current_url,
    cursor_links,
    list_url,
    part_links,
    shared_names,
)
from connections.web.inventory.filters import (
    agreement_choices,
    connection_choices,
    unused_filters,
)


class RowFilter(TextChoices):
    """Which rows to show: the values of `show` in the address, and the texts of the links."""

    ALL = "", "All"
    TO_DECIDE = "to-decide", "To decide"
    YOURS = "yours", "For you"
    MINE = "mine", "By you"
    KEEP = "keep", "Keep"
    DELETE = "delete", "Delete"
    GONE = "gone", "Gone"
    NO_REVIEWER = "no-reviewer", "No reviewer"


ROWS = ListPage(
    title="Access review",
    noun="connection",
    template="access_reviews/detail.html",
    sorts=["source", "destination", "age", "creator", "owner"],
    default_sort=DEFAULT_SORT,
    more=["org", "creator", "site", "created", "reviewed", "changed"],
    kept=["show", "sort"],
)
_STATES = {
    RowFilter.TO_DECIDE: {RowState.PENDING},
    RowFilter.KEEP: {RowState.KEEP},
    RowFilter.DELETE: {RowState.DELETE},
    RowFilter.GONE: {RowState.GONE},
}
# In the address: all that can be decided on, on one page with their boxes checked.
_EVERY = "all"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How far the access review is."""

    headline: str
    detail: str
    decided: int
    needed: int
    pending: int
    pending_text: str


def summarize(rows: Sequence[ReviewRow], *, is_closed: bool) -> Summary:
    """How far the access review is, from the rows that the actor sees."""
    counts = Counter[str](count_states(rows))
    decided, pending = counts[RowState.KEEP] + counts[RowState.DELETE], counts[RowState.PENDING]
    return Summary(
        headline=decided_text(counts),
        detail=counts_text(counts, is_closed=is_closed),
        decided=decided,
        needed=decided + pending,
        pending=pending,
        pending_text=undecided_text(pending),
    )


class _Selected(NamedTuple):
    """The rows that the address asks for."""

    form: RowFilters
    # Of all rows.
    orgs: Collection[KnownOrg]
    choices: dict[str, Options]
    # All that match, in the order of the list, and those on this page.
    matching: list[ReviewRow]
    page: list[ReviewRow]
    links: list[ViewLink]
    without: list[str]  # filters that could only match nothing, or everything
    # The addresses of other pages.
    pages: dict[str, str]
    # What no reviewer can decide on, regardless of the filters. Only for people who manage access
    # reviews.
    without_reviewer: list[ReviewRow]
    # What the rows to decide on have in common, if the list is in that order.
    names: Mapping[HexKey, str]
    # The heading of rows to decide on, otherwise.
    to_decide: str

    def count_selectable(self) -> int:
        """How many rows the link selects that selects all. 0 without one."""
        if not any(self.pages.values()) or len(self.matching) > MAX_TOGETHER:
            return 0
        return sum(row.is_decidable for row in self.matching)


def _select(
    request: HttpRequest, rows: Sequence[ReviewRow], *, review: AccessReview, actor: Actor
) -> _Selected:
    """The rows that the address asks for."""
    try:
        chosen = RowFilter(request.GET.get("show", ""))
    except ValueError:
        chosen = RowFilter.ALL
    form, sort = RowFilters(request.GET), ROWS.sort_of(request)
    listed = load_listed(review=review, actor=actor, rows=rows)
    column = "" if review.is_closed else sort.removeprefix("-")
    facts = load_filter_facts(
        review=review, actor=actor, filters=form.filters(), with_agreements=column == "owner"
    )
    matches = {each.key for each in form.filters().select(listed.values(), facts=facts)}
    if form.is_new:
        matches -= find_earlier(review)
    # An org might have been renamed between two snapshots.
    orgs = {org[:2]: org for each in listed.values() for org in (each.source_org, each.sink_org)}
    names = group_names(column, listed=listed, agreements=facts.agreements)
    ordered = sort_rows(rows, sort=sort, listed=listed, names=names)
    without_reviewer = _without_reviewer(rows, review=review, actor=actor)
    matching = [row for row in ordered if row.hex_key in matches and not form.errors]
    rows_by_filter = {
        row_filter: _rows_of(row_filter, matching, actor=actor) for row_filter in RowFilter
    }
    if without_reviewer:
        positions = {row.position for row in without_reviewer}
        rows_by_filter[RowFilter.NO_REVIEWER] = [
            row for row in matching if row.position in positions
        ]
    page, last = page_after(
        rows_by_filter[chosen],
        ordered,
        after=request.GET.get("after", ""),
        size=MAX_TOGETHER if request.GET.get("select") == _EVERY else PAGE_SIZE,
        name_of=names.get,
    )
    labels = {row_filter: row_filter.label for row_filter in RowFilter}
    if review.is_closed:
        labels[RowFilter.TO_DECIDE] = LEFT_OPEN.label
    choices = find_agreement_choices(actor=actor)
    return _Selected(
        form=form,
        orgs=orgs.values(),
        choices=connection_choices(
            orgs.values(),
            {name for each in listed.values() for name in each.types},
            {each.creator_name for each in listed.values() if each.creator_name},
        )
        | agreement_choices(choices, actor=actor),
        without=unused_filters(choices, form),
        matching=rows_by_filter[chosen],
        page=page,
        links=part_links(
            request,
            [
                (labels[row_filter], row_filter, len(filtered))
                for row_filter, filtered in rows_by_filter.items()
                if filtered or row_filter in {chosen, RowFilter.ALL}
            ],
            current=chosen,
            select="",
            decision="",
        ),
        pages=cursor_links(request, last, select="", decision=""),
        without_reviewer=without_reviewer,
        names=names,
        to_decide=labels[RowFilter.TO_DECIDE],
    )


def _without_reviewer(
    rows: Sequence[ReviewRow], *, review: AccessReview, actor: Actor
) -> list[ReviewRow]:
    if review.is_closed or not permissions.can_manage_access_reviews(actor):
        return []
    keys = set(find_without_reviewer(review=review))
    return [row for row in rows if row.key in keys] if keys else []


def _rows_of(row_filter: RowFilter, rows: Sequence[ReviewRow], *, actor: Actor) -> list[ReviewRow]:
    match row_filter:
        case RowFilter.ALL:
            return list(rows)
        case RowFilter.YOURS:
            return [row for row in rows if row.is_decidable and row.owner_id]
        case RowFilter.MINE:
            person = actor.person.pk if actor.person else None
            return [row for row in rows if row.newest and row.newest.decided_by_id == person]
    return [row for row in rows if row.state in _STATES.get(row_filter, ())]


def access_review_detail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One access review: its progress, its connections, and the decisions about them."""
    actor = http.actor_of(request)
    return render_review(request, review=find_access_review(actor=actor, pk=pk), actor=actor)


def render_review(
    request: HttpRequest,
    *,
    review: AccessReview,
    actor: Actor,
    form: DecisionForm | None = None,
    notice: str = "",
    status: int = 200,
) -> HttpResponse:
    """The page. After a POST that was refused, with the decision's `form` or with a `notice`."""
    if request.method == "POST":
        request = _page_request(request, review)
    rows = review_rows(review=review, actor=actor)
    selected = _select(request, rows, review=review, actor=actor)
    can_manage = permissions.can_manage_access_reviews(actor)
    context = {
        **_progress(request, review=review, actor=actor, rows=rows),
        **_table(request, review=review, actor=actor, selected=selected, form=form),
        "title": review.name,
        "status": review_badge(review, now=http.time_of(request)),
        "scope": scope_text(scope_bar(request, review.scope, choices=selected.choices)),
        "scope_url": reverse("org-connection-list", query=QueryDict(review.scope)),
        "reviewers": reviewers_text(review),
        "owner_form": DecidingOwnerForm() if can_manage and review.has_fixed_owners else None,
        **repetition(review, can_manage=can_manage),
        "can_close": can_manage and not review.is_closed,
        "can_export": can_manage,
        "appeared": [
            (addresses.connection_url(key), name)
            for key, name in _appeared_links(review, actor=actor)
        ],
    }
    # Without a row, there is no form to show the errors in.
    errors = form.errors.values() if form and not context["rows"] else ()
    context["notice"] = notice or " ".join(str(error) for each in errors for error in each)
    if can_manage:
        context |= _coverage(review)
        if selected.without_reviewer:
            keys = [row.key for row in selected.without_reviewer]
            context["warning"] = without_reviewer_warning(keys)
    return ROWS.render(
        request,
        context,
        form=selected.form,
        rows=context["rows"],
        links=selected.pages,
        count=len(selected.matching),
        total=len(rows),
        choices=selected.choices,
        without=selected.form.about_now if review.is_closed else selected.without,
        status=status,
    )


def _page_request(request: HttpRequest, review: AccessReview) -> HttpRequest:
    """A POST as if it had requested the page that contained its form."""
    url = reverse("access-review-detail", args=[review.pk])
    return as_page_request(request, path=url, query=query_of_page(request))


def query_of_page(request: HttpRequest) -> QueryDict:
    """The query string of the page that contained the posted form, without what it selected."""
    query = QueryDict(request.POST.get("filters", ""), mutable=True)
    for name in ("select", "decision"):
        query.pop(name, None)
    return query


def _progress(
    request: HttpRequest, *, review: AccessReview, actor: Actor, rows: list[ReviewRow]
) -> dict[str, Any]:
    """How far the access review is."""
    can_plan, own = permissions.can_delete(actor), _rows_of(RowFilter.MINE, rows, actor=actor)
    to_delete = ToDelete([], [])
    if can_plan:
        to_delete = find_to_delete(review=review, actor=actor, rows=rows)
    return {
        "review": review,
        "summary": summarize(rows, is_closed=review.is_closed),
        "can_plan": can_plan,
        "to_delete": to_delete,
        "reviewer_rows": list_reviewer_progress(review=review, rows=rows),
        "due": "" if review.is_closed else due_text(review, now=http.time_of(request)),
        "is_closed": review.is_closed,
        "is_open": not review.is_closed,
        "reasons": list_own_reasons(review=review, actor=actor) if own else [],
    }


def _table(
    request: HttpRequest,
    *,
    review: AccessReview,
    actor: Actor,
    selected: _Selected,
    form: DecisionForm | None,
) -> dict[str, Any]:
    """The rows of the page, and the form for those that are selected."""
    details = load_details(review=review, actor=actor, rows=selected.page)
    is_closed = review.is_closed
    can_decide = permissions.can_decide(actor, review=review) and not is_closed
    pairs = [] if is_closed else [pair_of(row) for row in details]
    agreements = find_agreements(pairs)
    settable = can_set(actor=actor, pairs=pairs) if can_decide else set()
    views = [
        review_row_view(
            request,
            row,
            can_decide=can_decide,
            is_closed=is_closed,
            agreement=agreements.get(pair_of(row)),
            can_agree=pair_of(row) in settable,
        )
        for row in details
    ]
    groups = group_rows(
        request,
        views,
        matching=selected.matching,
        names=selected.names,
        to_decide=selected.to_decide,
    )
    missing = {name for view in views for name in view.missing} | {*(form.typed if form else ())}
    select = request.GET.get("select", "")
    return {
        "rows": views,
        "groups": groups,
        "views": selected.links,
        "shared_names": shared_names(selected.orgs),
        "can_decide": can_decide,
        "missing": [name for name in TERMS if name in missing],
        "owners": owner_choices() if missing else [],
        "facts": SELECTED_FACTS,
        "filters": current_url(request, select="", decision="").partition("?")[2],
        "decide_url": reverse("access-review-decide", args=[review.pk]),
        "selected": form["connection"].value() if form else _selected_keys(select, groups=groups),
        "decision": request.GET.get("decision", ""),
        "selectable": selected.count_selectable() if can_decide else 0,
        "select_all_url": list_url(request, select=_EVERY, decision=""),
        "form": form,
    }


def _selected_keys(select: str, *, groups: Sequence[RowGroup]) -> list[str]:
    """The connections whose boxes are checked when the page opens."""
    if group := next((group for group in groups if group.html_id == select), None):
        return [view.key for view in group.selectable]
    return [
        view.key
        for group in groups
        for view in group.views
        if view.keep_url
        and (
            select == f"row-{view.details.row.position}"
            or (select == _EVERY and view.details.row.is_decidable)
        )
    ]


def _appeared_links(
    review: AccessReview, *, actor: Actor
) -> Iterator[tuple[OrgConnectionKey, str]]:
    for connection in appeared_since(review=review, actor=actor):
        key = OrgConnectionKey(
            site=connection["site"], connection_id=UUID(connection["connection_id"])
        )
        source, sink = (
            connection[side]["name"] or connection[side]["id"]
            for side in ("source_org", "sink_org")
        )
        yield key, f"{source} → {sink}"


def _coverage(review: AccessReview) -> dict[str, Any]:
    """What the inventory lacked, for people who see everything."""
    at_close = {
        org["credential_id"]: org for org in (review.coverage_at_close or {"orgs": []})["orgs"]
    }
    return {
        "coverage": [
            (
                org["org_name"] or org["credential"],
                org["site"],
                _sync_text(org),
                _sync_text(at_close.get(org["credential_id"])),
            )
            for org in review.coverage["orgs"]
        ],
        "without_credential": [
            org["org_name"] or org["org_id"] for org in review.coverage["without_credential"]
        ],
    }


def _sync_text(org: dict[str, Any] | None) -> str:
    """When the newest complete sync was, and whether a later one failed."""
    if org is None:
        return "No credential in use"
    if org["complete_at"] is None:
        return "Never synced"
    at = format_time(datetime.fromisoformat(org["complete_at"]))
    return at if org["is_complete"] else f"{at}; a later sync failed"

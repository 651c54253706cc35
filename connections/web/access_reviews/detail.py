"""The page of one access review, and its downloads."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import groupby
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import TextChoices
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.access_reviews.closing import appeared_since
from connections.access_reviews.decisions import MAX_TOGETHER
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
from connections.core.errors import OvertakenError
from connections.core.text import format_time
from connections.inventory.choices import find_agreement_choices
from connections.inventory.inventory import SORT_KEYS
from connections.inventory.matching import KnownOrg, ListedConnection
from connections.lookups.objects import find_access_review
from connections.models import AccessReview, OrgConnectionKey, RowState
from connections.models.text_columns import HexKey
from connections.web.access_reviews.filters import RowFilters, group_names, scope_bar, scope_text
from connections.web.access_reviews.forms import DecidingOwnerForm
from connections.web.access_reviews.repeating import repetition
from connections.web.access_reviews.rows import Posted, ReviewRowView, pair_of, review_row_view
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
    cursor_links,
    part_links,
    shared_names,
)
from connections.web.inventory.filters import (
    agreement_choices,
    connection_choices,
    unused_filters,
)
from connections.web.inventory.rows import SELECTED_FACTS


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
    default_sort="source",
    more=["org", "creator", "site", "created", "reviewed", "changed"],
    kept=["show", "sort"],
)
_STATES = {
    RowFilter.TO_DECIDE: {RowState.PENDING},
    RowFilter.KEEP: {RowState.KEEP},
    RowFilter.DELETE: {RowState.DELETE},
    RowFilter.GONE: {RowState.GONE},
}
# The heading of the rows in each state. In the order of the page: those to decide on come first.
_GROUPS = {
    RowState.PENDING: (0, "To decide"),
    RowState.KEEP: (1, "Decided"),
    RowState.DELETE: (1, "Decided"),
    RowState.GONE: (2, "Gone"),
}


class RowCursor(NamedTuple):
    """The row that a page starts after: its group when the link was made, and its position.

    Numbered pages would skip rows, because a decision moves a row to another group.
    """

    group: int
    position: int

    @classmethod
    def of(cls, row: ReviewRow) -> "RowCursor":
        """The cursor of a row."""
        return cls(_GROUPS[row.state][0], row.position)

    @classmethod
    def parse(cls, text: str) -> "RowCursor":
        """The cursor in an address. The beginning for any other text."""
        match = re.fullmatch(r"([0-9]{1,9})-([0-9]{1,9})", text)
        return cls(int(match[1]), int(match[2])) if match else cls(0, 0)

    def __str__(self) -> str:
        return f"{self.group}-{self.position}"


@dataclass(frozen=True, kw_only=True)
class RowGroup:
    """The rows under one heading, whose checkbox selects all that are to be decided."""

    label: str
    # Those that the person can decide on, also on other pages.
    to_decide: list[ReviewRow]
    # Those on this page.
    views: list[ReviewRowView]

    @property
    def html_id(self) -> str:
        """Identifies it on the page."""
        return f"group-{sha256(self.label.encode()).hexdigest()[:8]}"

    @property
    def digest(self) -> str:
        """What its checkbox sends, so that nobody decides on what the page didn't count.

        "" without a checkbox: nothing is to be decided, or too much for one decision.
        """
        if not 0 < len(self.to_decide) <= MAX_TOGETHER:
            return ""
        rows = ",".join(f"{row.position} {row.digest}" for row in self.to_decide)
        return sha256(rows.encode()).hexdigest()


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
    # The heading above a row that isn't decided.
    heading_of: Callable[[ReviewRow], str]

    def to_decide(self) -> dict[str, list[ReviewRow]]:
        """What the person can decide on, by heading."""
        rows = defaultdict[str, list[ReviewRow]](list)
        for row in self.matching:
            if row.is_decidable:
                rows[self.heading_of(row)].append(row)
        return rows


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
    ordered = _sort(rows, sort=sort, listed=listed, names=names)
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
    following = _following(rows_by_filter[chosen], ordered, request.GET.get("after", ""))
    page = following[:PAGE_SIZE]
    last = RowCursor.of(page[-1]) if len(following) > PAGE_SIZE else None
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
            open="",
            decision="",
        ),
        pages=cursor_links(request, last, open="", decision=""),
        without_reviewer=without_reviewer,
        heading_of=lambda row: names.get(row.hex_key, labels[RowFilter.TO_DECIDE]),
    )


def _sort(
    rows: Sequence[ReviewRow],
    *,
    sort: str,
    listed: Mapping[HexKey, ListedConnection],
    names: Mapping[HexKey, str],
) -> list[ReviewRow]:
    if sort == ROWS.default_sort:
        # As the inventory was sorted at the start.
        return list(rows)
    column, is_descending = sort.removeprefix("-"), sort.startswith("-")
    if column == "owner":
        return sorted(
            rows, key=lambda row: names.get(row.hex_key, "").casefold(), reverse=is_descending
        )
    # The oldest was created first.
    name, is_reversed = ("created", True) if column == "age" else (column, False)
    return sorted(
        rows,
        key=lambda row: SORT_KEYS[name](listed[row.hex_key]),
        reverse=is_descending != is_reversed,
    )


def _following(
    chosen: Iterable[ReviewRow], ordered: Sequence[ReviewRow], after: str
) -> list[ReviewRow]:
    """The chosen rows by group, in this order, after the row with the cursor `after`."""
    ranks = {row.position: rank for rank, row in enumerate(ordered)}

    def place(cursor: RowCursor) -> tuple[int, int]:
        return cursor.group, ranks.get(cursor.position, -1)

    start = place(RowCursor.parse(after))
    places = {row.position: place(RowCursor.of(row)) for row in chosen}
    return sorted(
        (row for row in chosen if places[row.position] > start),
        key=lambda row: places[row.position],
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
    posted: Posted | None = None,
    notice: str = "",
    status: int = 200,
) -> HttpResponse:
    """The page. After a POST that was refused, with what was `posted` or a `notice`."""
    if request.method == "POST":
        request = _page_request(request, review)
    rows = review_rows(review=review, actor=actor)
    selected = _select(request, rows, review=review, actor=actor)
    can_manage = permissions.can_manage_access_reviews(actor)
    table = _table(request, review=review, actor=actor, rows=selected.page, posted=posted)
    context = {
        **_shared_context(request, review=review, actor=actor, rows=rows, selected=selected),
        **table,
        "title": review.name,
        "groups": _groups(selected, table["rows"]),
        "notice": notice or table["notice"],
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
    if can_manage:
        context |= _coverage(review)
        if selected.without_reviewer:
            keys = [row.key for row in selected.without_reviewer]
            context["warning"] = without_reviewer_warning(keys)
    return ROWS.render(
        request,
        context,
        form=selected.form,
        rows=table["rows"],
        links=selected.pages,
        count=len(selected.matching),
        total=len(rows),
        choices=selected.choices,
        without=selected.form.about_now if review.is_closed else selected.without,
        status=status,
    )


def _groups(selected: _Selected, views: Sequence[ReviewRowView]) -> list[RowGroup]:
    """The rows of the page by heading."""

    def heading(view: ReviewRowView) -> str:
        row = view.details.row
        is_open = row.state == RowState.PENDING
        return selected.heading_of(row) if is_open else _GROUPS[row.state][1]

    to_decide = selected.to_decide()
    return [
        RowGroup(label=label, to_decide=to_decide.get(label, []), views=list(members))
        for label, members in groupby(views, key=heading)
    ]


def find_groups(
    request: HttpRequest, *, review: AccessReview, actor: Actor, digests: Collection[str]
) -> list[ReviewRow]:
    """What is to be decided under these headings of the page that contained the posted form.

    `digests` are those of their checkboxes. Raises OvertakenError if it isn't what they counted.
    """
    page = _page_request(request, review)
    rows = review_rows(review=review, actor=actor)
    selected = _select(page, rows, review=review, actor=actor)
    groups = (
        RowGroup(label=label, to_decide=group, views=[])
        for label, group in selected.to_decide().items()
    )
    by_digest = {group.digest: group.to_decide for group in groups}
    if not by_digest.keys() >= set(digests) or "" in digests:
        raise OvertakenError(
            "The connections to decide on have changed since you opened this page. Nothing was "
            "saved. Select them again."
        )
    return [row for digest in digests for row in by_digest[digest]]


def _page_request(request: HttpRequest, review: AccessReview) -> HttpRequest:
    """A POST as if it had requested the page that contained its form."""
    url = reverse("access-review-detail", args=[review.pk])
    return as_page_request(request, path=url, query=query_of_page(request))


def query_of_page(request: HttpRequest) -> QueryDict:
    """The query string of the page that contained the posted form."""
    return QueryDict(request.POST.get("filters", ""), mutable=True)


def render_saved(
    request: HttpRequest, *, review: AccessReview, actor: Actor, posted: Posted, status: int
) -> HttpResponse:
    """The response to a decision in the page. It has only the posted rows and their headings."""
    request = _page_request(request, review)
    every = review_rows(review=review, actor=actor)
    selected = _select(request, every, review=review, actor=actor)
    rows = [row for row in every if row.key.reference in posted.connections]
    table = _table(request, review=review, actor=actor, rows=rows, posted=posted)
    to_decide = selected.to_decide()
    context = {
        **_shared_context(request, review=review, actor=actor, rows=every, selected=selected),
        **table,
        "groups": [
            RowGroup(label=label, to_decide=to_decide.get(label, []), views=[])
            for label in {selected.heading_of(row) for row in rows}
        ],
        "opened": next((view for view in table["rows"] if view.form), None),
        "is_fragment": True,
    }
    return render(request, "access_reviews/saved.html", context, status=status)


def _shared_context(
    request: HttpRequest,
    *,
    review: AccessReview,
    actor: Actor,
    rows: list[ReviewRow],
    selected: _Selected,
) -> dict[str, Any]:
    """What else a decision changes on the page, in addition to the rows."""
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
        "views": selected.links,
        "shared_names": shared_names(selected.orgs),
        "reasons": list_own_reasons(review=review, actor=actor) if own else [],
    }


def _table(
    request: HttpRequest,
    *,
    review: AccessReview,
    actor: Actor,
    rows: Sequence[ReviewRow],
    posted: Posted | None,
) -> dict[str, Any]:
    """The table of some rows, and the form for the selected ones."""
    details = load_details(review=review, actor=actor, rows=rows)
    is_closed, is_of_selection = review.is_closed, posted is not None and posted.is_of_selection
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
            posted=posted,
            agreement=agreements.get(pair_of(row)),
            can_agree=pair_of(row) in settable,
        )
        for row in details
    ]
    return {
        "rows": views,
        "notice": _unshown_errors(views, posted=posted),
        "can_decide": can_decide,
        "owners": owner_choices() if is_of_selection or any(view.offered for view in views) else [],
        "facts": SELECTED_FACTS,
        "filters": request.GET.urlencode(),
        "decide_url": reverse("access-review-decide", args=[review.pk]),
        "selected_groups": posted.groups if posted else (),
        "is_of_selection": is_of_selection,
        # The form of selected rows. A form about a single connection is in its row.
        "form": posted.form if posted and is_of_selection else None,
    }


def _unshown_errors(views: Sequence[ReviewRowView], *, posted: Posted | None) -> str:
    """Why a decision was not saved, if its connection can no longer be decided on."""
    if posted is None or posted.form is None or posted.is_of_selection:
        return ""
    if any(view.form for view in views):
        return ""
    return " ".join(str(error) for errors in posted.form.errors.values() for error in errors)


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

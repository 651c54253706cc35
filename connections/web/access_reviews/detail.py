"""The page of one access review, and its downloads."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib import messages
from django.db.models import TextChoices
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.access_reviews.closing import appeared_since
from connections.access_reviews.deleting import ToDelete, changed_text, find_to_delete
from connections.access_reviews.details import RowDetails, load_details
from connections.access_reviews.export import prepare_export
from connections.access_reviews.population import find_without_reviewer
from connections.access_reviews.progress import list_reviewer_progress
from connections.access_reviews.rows import ReviewRow, count_states, review_rows
from connections.access_reviews.texts import counts_text, decided_text, due_text, undecided_text
from connections.audit.signing import SigningKeyError
from connections.core.errors import ConflictError
from connections.core.tabular import CONTENT_TYPES
from connections.core.text import format_time, join_some_names
from connections.evidence.bundles import make_access_review_bundle
from connections.evidence.files import BundleError
from connections.inventory.matching import KnownOrg
from connections.lookups.objects import find_access_review
from connections.models import AccessReview, OrgConnectionKey, RowState
from connections.web.access_reviews.filters import filter_rows, scope_text, scope_url
from connections.web.access_reviews.rows import GROUPS, Posted, ReviewRowView, review_row_view
from connections.web.access_reviews.start import coverage_warnings, without_reviewer_warning
from connections.web.audit.evidence import bundle_response
from connections.web.badges import LEFT_OPEN, review_badge
from connections.web.framework import support
from connections.web.framework.lists import (
    PAGE_SIZE,
    FilterBar,
    ViewLink,
    as_page_request,
    cursor_links,
    part_links,
    shared_names,
)
from connections.web.framework.rate_limits import limited


class RowFilter(TextChoices):
    """Which rows to show: the values of `show` in the address, and the texts of the links."""

    ALL = "", "All"
    TO_DECIDE = "to-decide", "To decide"
    MINE = "mine", "Decided by you"
    KEEP = "keep", "Keep"
    DELETE = "delete", "Delete"
    GONE = "gone", "Gone"
    NO_REVIEWER = "no-reviewer", "No reviewer"


# How many names the top of the page shows.
MAX_REVIEWERS = 5
_STATES = {
    RowFilter.TO_DECIDE: {RowState.PENDING},
    RowFilter.KEEP: {RowState.KEEP},
    RowFilter.DELETE: {RowState.DELETE},
    RowFilter.GONE: {RowState.GONE},
}


class RowCursor(NamedTuple):
    """Where a row is on the page: by its group, then in the population's order.

    A page starts after the cursor of a row. Numbered pages would skip rows, because a decision
    moves a row to another group.
    """

    group: int
    position: int

    @classmethod
    def of(cls, row: ReviewRow) -> "RowCursor":
        """The cursor of a row."""
        return cls(GROUPS[row.state][0], row.position)

    @classmethod
    def parse(cls, text: str) -> "RowCursor":
        """The cursor in an address. The beginning for any other text."""
        match = re.fullmatch(r"([0-9]{1,9})-([0-9]{1,9})", text)
        return cls(int(match[1]), int(match[2])) if match else cls(0, 0)

    def __str__(self) -> str:
        return f"{self.group}-{self.position}"


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
    """The rows on this page of the list, and the links to the other pages."""

    rows: list[ReviewRow]
    links: list[ViewLink]
    # Template variables.
    pages: dict[str, str]
    bar: FilterBar
    # What no reviewer can decide on, regardless of the filters. Only for people who manage access
    # reviews.
    without_reviewer: list[ReviewRow]


def _select(
    request: HttpRequest, rows: Sequence[ReviewRow], *, review: AccessReview, actor: Actor
) -> _Selected:
    """The rows that the address asks for."""
    try:
        chosen = RowFilter(request.GET.get("show", ""))
    except ValueError:
        chosen = RowFilter.ALL
    matching, bar = filter_rows(request, rows, review=review, actor=actor)
    without_reviewer = _without_reviewer(rows, review=review, actor=actor)
    rows_by_filter = {
        row_filter: _rows_of(row_filter, matching, actor=actor) for row_filter in RowFilter
    }
    if without_reviewer:
        positions = {row.position for row in without_reviewer}
        rows_by_filter[RowFilter.NO_REVIEWER] = [
            row for row in matching if row.position in positions
        ]
    after = RowCursor.parse(request.GET.get("after", ""))
    following = sorted(
        (row for row in rows_by_filter[chosen] if RowCursor.of(row) > after), key=RowCursor.of
    )
    page = following[:PAGE_SIZE]
    last = RowCursor.of(page[-1]) if len(following) > PAGE_SIZE else None
    labels = {row_filter: row_filter.label for row_filter in RowFilter}
    if review.is_closed:
        labels[RowFilter.TO_DECIDE] = LEFT_OPEN.label
    return _Selected(
        rows=page,
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
        bar=bar,
        without_reviewer=without_reviewer,
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
        case RowFilter.MINE:
            person = actor.person.pk if actor.person else None
            return [row for row in rows if row.newest and row.newest.decided_by_id == person]
    return [row for row in rows if row.state in _STATES.get(row_filter, ())]


def access_review_detail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One access review: its progress, its connections, and the decisions about them."""
    actor = support.actor_of(request)
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
        url = reverse("access-review-detail", args=[review.pk])
        request = as_page_request(request, path=url, query=query_of_page(request))
    context = _page_context(request, review=review, actor=actor, posted=posted, notice=notice)
    return render(request, "access_reviews/detail.html", context, status=status)


def query_of_page(request: HttpRequest) -> QueryDict:
    """The query string of the page that contained the posted form."""
    return QueryDict(request.POST.get("filters", ""), mutable=True)


def _page_context(
    request: HttpRequest,
    *,
    review: AccessReview,
    actor: Actor,
    posted: Posted | None,
    notice: str,
) -> dict[str, Any]:
    """Template variables of the page. `posted` holds decisions that need to be corrected."""
    every = review_rows(review=review, actor=actor)
    selected = _select(request, every, review=review, actor=actor)
    can_manage = permissions.can_manage_access_reviews(actor)
    table = _table(request, review=review, actor=actor, rows=selected.rows, posted=posted)
    return {
        **_shared_context(request, review=review, actor=actor, every=every, selected=selected),
        **table,
        "bar": selected.bar,
        "notice": notice or table["notice"],
        "status": review_badge(review, now=support.time_of(request)),
        "scope": scope_text(review.scope),
        "scope_url": scope_url(review.scope),
        "reviewers": _reviewers_text(review),
        "can_close": can_manage and not review.is_closed,
        "can_export": can_manage,
        "appeared": [
            (support.connection_url(key), name)
            for key, name in _appeared_links(review, actor=actor)
        ],
        **(
            _coverage(review, without_reviewer=[row.key for row in selected.without_reviewer])
            if can_manage
            else {}
        ),
    }


def saved_context(
    request: HttpRequest, *, review: AccessReview, actor: Actor, posted: Posted
) -> dict[str, Any]:
    """Template variables of the response to a decision. It has only the posted rows."""
    every = review_rows(review=review, actor=actor)
    selected = _select(request, every, review=review, actor=actor)
    rows = [row for row in every if row.key.reference in posted.connections]
    table = _table(request, review=review, actor=actor, rows=rows, posted=posted)
    return {
        **_shared_context(request, review=review, actor=actor, every=every, selected=selected),
        **table,
        "opened": next((view for view in table["rows"] if view.form), None),
        "is_fragment": True,
    }


def _shared_context(
    request: HttpRequest,
    *,
    review: AccessReview,
    actor: Actor,
    every: list[ReviewRow],
    selected: _Selected,
) -> dict[str, Any]:
    """What else a decision changes on the page, in addition to the rows."""
    can_plan = permissions.can_delete(actor)
    to_delete = ToDelete([], [])
    if can_plan:
        to_delete = find_to_delete(review=review, actor=actor, rows=every)
    return {
        "review": review,
        "summary": summarize(every, is_closed=review.is_closed),
        "can_plan": can_plan,
        "plannable": len(to_delete.rows),
        "not_plannable": changed_text(len(to_delete.changed)),
        "reviewer_rows": list_reviewer_progress(review=review, rows=every),
        "due": "" if review.is_closed else due_text(review, now=support.time_of(request)),
        "is_closed": review.is_closed,
        "is_open": not review.is_closed,
        "links": selected.links,
        **selected.pages,
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
    is_closed = review.is_closed
    can_decide = permissions.can_decide(actor, review=review) and not is_closed
    views = [
        review_row_view(request, row, can_decide=can_decide, is_closed=is_closed, posted=posted)
        for row in details
    ]
    return {
        "rows": views,
        "notice": _unshown_errors(views, posted=posted),
        "can_decide": can_decide,
        "shared_names": _shared_names(details),
        "filters": request.GET.urlencode(),
        "decide_url": reverse("access-review-decide", args=[review.pk]),
        "is_of_selection": posted is not None and posted.is_of_selection,
        # The form of selected rows. A form about a single connection is in its row.
        "form": posted.form if posted and posted.is_of_selection else None,
    }


def _unshown_errors(views: Sequence[ReviewRowView], *, posted: Posted | None) -> str:
    """Why a decision was not saved, if its connection can no longer be decided on."""
    if posted is None or posted.form is None or posted.is_of_selection:
        return ""
    if any(view.form for view in views):
        return ""
    return " ".join(str(error) for errors in posted.form.errors.values() for error in errors)


def _shared_names(details: Sequence[RowDetails]) -> set[str]:
    orgs = {
        KnownOrg(row.row.key.site, org_id, name)
        for row in details
        for org_id, name in (
            (row.connection.source_org_id, row.connection.source_org_name),
            (row.connection.sink_org_id, row.connection.sink_org_name),
        )
    }
    return shared_names({org[:2]: org for org in orgs}.values())


def _reviewers_text(review: AccessReview) -> str:
    if review.is_for_everyone:
        return "every Operator, Approver and Auditor"
    return join_some_names(
        [reviewer.name for reviewer in review.reviewers.all()], limit=MAX_REVIEWERS
    )


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


def _coverage(review: AccessReview, *, without_reviewer: list[OrgConnectionKey]) -> dict[str, Any]:
    """What the inventory lacked and what no reviewer can see, for people who see everything."""
    warnings = [] if review.is_closed else coverage_warnings(review.coverage)
    if without_reviewer:
        warnings.insert(0, without_reviewer_warning(without_reviewer))
    at_close = {
        org["credential_id"]: org for org in (review.coverage_at_close or {"orgs": []})["orgs"]
    }
    return {
        "warnings": warnings,
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


BUNDLE = "bundle"


def access_review_export(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """The rows as CSV, JSON or NDJSON, or with `format=bundle` the evidence bundle."""
    review = find_access_review(actor=support.actor_of(request), pk=pk)
    file_format = support.export_format(request, formats=(*CONTENT_TYPES, BUNDLE))
    if file_format == BUNDLE:
        return _send_bundle(request, review)
    return _send_rows(request, review, file_format)


@limited("export", per_minute=30)
def _send_rows(request: HttpRequest, review: AccessReview, file_format: str) -> HttpResponseBase:
    export = prepare_export(review=review, actor=support.actor_of(request), file_format=file_format)
    return support.download(request, export=export, name="access-review")


@limited("evidence", per_minute=10)
def _send_bundle(request: HttpRequest, review: AccessReview) -> HttpResponseBase:
    if request.method == "HEAD":
        # No data is sent, so no bundle is made and recorded.
        return HttpResponse(content_type="application/zip")
    make = partial(make_access_review_bundle, actor=support.actor_of(request), review=review)
    try:
        return bundle_response(request, make, review=review)
    except (ConflictError, BundleError, SigningKeyError) as error:
        messages.error(request, str(error))
        return support.SeeOther(reverse("access-review-detail", args=[review.pk]))

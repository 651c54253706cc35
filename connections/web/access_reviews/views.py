"""Access reviews: the list, the page of each one, its actions and its downloads."""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access_reviews import closing, decisions, deleting, population, reviewers
from connections.access_reviews.export import prepare_export
from connections.access_reviews.progress import open_reviews_to_decide
from connections.access_reviews.rows import count_rows
from connections.access_reviews.texts import decided_text, due_text
from connections.audit.signing import SigningKeyError
from connections.batches import drafts
from connections.core.errors import (
    ConflictError,
    DomainError,
    InvalidInputError,
    OvertakenError,
)
from connections.core.tabular import CONTENT_TYPES
from connections.core.text import pluralize
from connections.evidence.bundles import make_access_review_bundle
from connections.evidence.files import BundleError
from connections.lookups.objects import find_access_review
from connections.models import AccessReview, AccessReviewState
from connections.web.access_reviews.forms import ClosingForm, DecisionForm, ReviewersForm, StartForm
from connections.web.access_reviews.page import (
    closing_context,
    detail_context,
    saved_context,
)
from connections.web.access_reviews.rows import Posted
from connections.web.access_reviews.start import new_context, reviewer_choices
from connections.web.audit.evidence_views import bundle_response
from connections.web.badges import Badge, review_badge
from connections.web.framework.lists import Column, as_page_request, numbered_links, numbered_page
from connections.web.framework.rate_limits import limited
from connections.web.framework.support import (
    SeeOther,
    actor_of,
    download,
    export_format,
    time_of,
    wants_fragment,
)

DETAIL = "access_reviews/detail.html"
CLOSED = "This access review is already closed."


def _url(review: AccessReview) -> str:
    return reverse("access-review-detail", args=[review.pk])


_COLUMNS = (
    Column(label="Status", css="cell-status"),
    Column(label="Access review", css="cell-main"),
    Column(label="Due", css="cell-due"),
    Column(label="Decided", css="cell-progress"),
    Column(label="For you", css="cell-yours"),
    Column(label="Started", css="cell-time"),
    Column(label="Started by", css="cell-person"),
)


@dataclass(frozen=True, kw_only=True)
class ListedReview:
    """One row of the list."""

    review: AccessReview
    badge: Badge
    # "Due in 5 days"; "" once it is closed.
    due: str
    progress: str
    # How many connections this person has left to decide on.
    yours: int


def access_review_list(request: HttpRequest) -> HttpResponse:
    """The access reviews with a connection that this person can see.

    Open ones come first, by due date.
    """
    actor, now = actor_of(request), time_of(request)
    visible = visibility.visible_access_reviews(actor=actor)
    open_ones = list(
        visible.filter(state=AccessReviewState.OPEN).order_by("due_at", "created_at", "id")
    )
    closed = visible.filter(state=AccessReviewState.CLOSED).order_by("-closed_at", "-id")
    page = numbered_page(request, closed)
    shown = [*([] if page.has_previous() else open_ones), *page.object_list]
    counts = count_rows(reviews=shown, actor=actor)
    to_decide = set(open_reviews_to_decide(actor=actor).values_list("pk", flat=True))
    context = {
        "rows": [
            ListedReview(
                review=review,
                badge=review_badge(review, now=now),
                due="" if review.is_closed else due_text(review, now=now),
                progress=decided_text(Counter[str](counts[review.pk].states)),
                yours=counts[review.pk].decidable if review.pk in to_decide else 0,
            )
            for review in shown
        ],
        "columns": _COLUMNS,
        "can_start": permissions.can_manage_access_reviews(actor),
        **numbered_links(request, page),
    }
    return render(request, "access_reviews/list.html", context)


def access_review_new(request: HttpRequest) -> HttpResponse:
    """Start an access review of the connections that match a filter.

    A POST with `check` changes nothing: it shows how many connections match, and warnings.
    """
    actor = actor_of(request)
    people = reviewer_choices()
    if request.method != "POST":
        return _new_page(
            request, form=StartForm(initial={"scope": request.GET.get("scope", "")}, people=people)
        )
    form = StartForm(request.POST, people=people)
    if "check" in request.POST:
        typed = request.POST.dict() | {"reviewers": request.POST.getlist("reviewers")}
        return _new_page(request, form=StartForm(initial=typed, people=people))
    try:
        form.require_valid()
        review = population.start_review(actor=actor, **form.values())
    except InvalidInputError as error:
        form.add_errors(error)
        return _new_page(request, form=form, status=422)
    messages.success(
        request, f"Access review of {pluralize(review.row_count, 'connection')} started."
    )
    return SeeOther(_url(review))


def _new_page(request: HttpRequest, *, form: StartForm, status: int = 200) -> HttpResponse:
    context = new_context(form=form, actor=actor_of(request))
    name = "access_reviews/new.html"
    if wants_fragment(request):
        name += "#population"
    return render(request, name, context, status=status)


def access_review_detail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One access review: its progress, its connections, and the decisions about them."""
    actor = actor_of(request)
    review = find_access_review(actor=actor, pk=pk)
    return _page(request, review=review, actor=actor)


def _page(
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
        request = as_page_request(request, path=_url(review), query=_query(request))
    context = detail_context(request, review=review, actor=actor, posted=posted, notice=notice)
    return render(request, DETAIL, context, status=status)


def access_review_decide(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Decide on one connection, or on all selected ones: either all of them or none."""
    actor = actor_of(request)
    review = find_access_review(actor=actor, pk=pk)
    form = DecisionForm(request.POST)
    connections = request.POST.getlist("connection")
    query = _query(request)
    made, status = [], 200
    try:
        form.require_valid()
        made = decisions.decide(
            review=review,
            actor=actor,
            connections=connections,
            digests=_digests(request.POST),
            **form.cleaned_data,
        )
    except DomainError as error:
        status = 422 if isinstance(error, InvalidInputError) else 409
        form.add_errors(
            error if isinstance(error, InvalidInputError) else InvalidInputError({"": str(error)})
        )
    posted = Posted(
        connections=connections,
        is_of_selection="selection" in request.POST,
        form=form if status != 200 else None,
    )
    if wants_fragment(request):
        page = as_page_request(request, path=_url(review), query=query)
        context = saved_context(page, review=review, actor=actor, posted=posted)
        return render(page, "access_reviews/saved.html", context, status=status)
    if status != 200:
        return _page(request, review=review, actor=actor, posted=posted, status=status)
    messages.success(request, f"{pluralize(len(made), 'decision')} saved.")
    for name in ("open", "decision"):
        query.pop(name, None)
    return SeeOther(reverse("access-review-detail", args=[review.pk], query=query))


def _query(request: HttpRequest) -> QueryDict:
    """The query string of the page that contained the form."""
    return QueryDict(request.POST.get("filters", ""), mutable=True)


def _digests(posted: QueryDict) -> dict[str, str]:
    """What the page showed of each connection, by its name in the form."""
    pairs = (text.rpartition(" ") for text in posted.getlist("digest"))
    return {name: digest for name, _, digest in pairs}


def access_review_plan(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Plan the deletion of the connections decided to delete, and continue to the plan."""
    actor = actor_of(request)
    review = find_access_review(actor=actor, pk=pk)
    try:
        planned = deleting.plan_deletions(review=review, actor=actor)
    except ConflictError as error:
        return _page(request, review=review, actor=actor, notice=str(error), status=409)
    if not planned.is_new:
        messages.info(
            request,
            "You already planned these connections. To plan them again, discard this draft first.",
        )
    if planned.remaining:
        messages.info(
            request,
            f"{pluralize(planned.remaining, 'more connection')} can be planned afterwards: a bulk "
            f"deletion can have at most {drafts.MAX_ROWS:,}.",
        )
    return SeeOther(reverse("batch-detail", args=[planned.batch.pk]))


def access_review_reviewers(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Name the reviewers of an open access review."""
    actor = actor_of(request)
    review = find_access_review(actor=actor, pk=pk)
    if review.is_closed:
        messages.info(request, CLOSED)
        return SeeOther(_url(review))
    named = list(review.reviewers.values_list("person__username", flat=True))
    form = ReviewersForm(
        request.POST if request.method == "POST" else None,
        people=reviewer_choices(),
        initial={"reviewers": named},
    )
    status = 200
    if request.method == "POST":
        try:
            form.require_valid()
            reviewers.change_reviewers(review=review, actor=actor, reviewers=form.reviewers_shown)
        except InvalidInputError as error:
            form.add_errors(error)
            status = 422
        except ConflictError as error:
            form.add_error("reviewers", str(error))
            status = 409
        else:
            messages.success(request, "Reviewers changed.")
            return SeeOther(_url(review))
    context = {"review": review, "form": form}
    return render(request, "access_reviews/reviewers.html", context, status=status)


def access_review_close(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Close an access review permanently."""
    actor = actor_of(request)
    review = find_access_review(actor=actor, pk=pk)
    if review.is_closed:
        messages.info(request, CLOSED)
        return SeeOther(_url(review))
    form = ClosingForm(request.POST if request.method == "POST" else None)
    status = 200
    if request.method == "POST":
        try:
            form.require_valid()
            closing.close_review(review=review, actor=actor, **form.cleaned_data)
        except InvalidInputError as error:
            form.add_errors(error)
            status = 422
        except OvertakenError as error:
            form.add_errors(InvalidInputError({"": str(error)}))
            status = 409
        except ConflictError as error:
            form.add_error("open_reason", str(error))
            status = 409
        else:
            messages.success(request, "Access review closed.")
            return SeeOther(_url(review))
    context = closing_context(review=review, actor=actor, form=form)
    return render(request, "access_reviews/close.html", context, status=status)


BUNDLE = "bundle"


def access_review_export(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """The rows as CSV, JSON or NDJSON, or with `format=bundle` the evidence bundle."""
    review = find_access_review(actor=actor_of(request), pk=pk)
    file_format = export_format(request, formats=(*CONTENT_TYPES, BUNDLE))
    if file_format == BUNDLE:
        return _send_bundle(request, review)
    return _send_rows(request, review, file_format)


@limited("export", per_minute=30)
def _send_rows(request: HttpRequest, review: AccessReview, file_format: str) -> HttpResponseBase:
    export = prepare_export(review=review, actor=actor_of(request), file_format=file_format)
    return download(request, export=export, name="access-review")


@limited("evidence", per_minute=10)
def _send_bundle(request: HttpRequest, review: AccessReview) -> HttpResponseBase:
    if request.method == "HEAD":
        # No data is sent, so no bundle is made and recorded.
        return HttpResponse(content_type="application/zip")
    make = partial(make_access_review_bundle, actor=actor_of(request), review=review)
    try:
        return bundle_response(request, make, review=review)
    except (ConflictError, BundleError, SigningKeyError) as error:
        messages.error(request, str(error))
        return SeeOther(reverse("access-review-detail", args=[review.pk]))

"""The actions on an access review."""

from copy import copy
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django_htmx.http import HttpResponseClientRefresh

from connections.access.actor import Actor
from connections.access_reviews import closing, decisions, deleting, repeating, reviewers
from connections.access_reviews.rows import review_rows
from connections.agreements.setting import OlderVersionError
from connections.batches import drafts
from connections.core.errors import ConflictError, InvalidInputError, OvertakenError
from connections.core.text import pluralize
from connections.lookups.objects import find_access_review
from connections.models import AccessReview
from connections.web.access_reviews import detail, forms
from connections.web.access_reviews.rows import Posted
from connections.web.framework.actions import NOT_REFUSED, Refusal, Subject, service_action
from connections.web.framework.http import actor_of, redirect_to, wants_fragment

_CLOSED = "This access review is already closed."


def _page(request: HttpRequest, pk: UUID, refusal: Refusal = NOT_REFUSED) -> HttpResponse:
    """The page of the access review, with why nothing happened."""
    actor = actor_of(request)
    review, notice = find_access_review(actor=actor, pk=pk), str(refusal.error)
    return detail.render_review(
        request, review=review, actor=actor, notice=notice, status=refusal.status
    )


_action = partial(
    service_action,
    Subject(
        name="review",
        find=lambda actor, pk: find_access_review(actor=actor, pk=pk),
        page=_page,
    ),
)


def _refused_decision(
    request: HttpRequest, pk: UUID, refusal: Refusal = NOT_REFUSED
) -> HttpResponse:
    """The page with the form to correct. For htmx, only the rows that were posted."""
    actor, status = actor_of(request), refusal.status
    review = find_access_review(actor=actor, pk=pk)
    if not isinstance(refusal.error, InvalidInputError):
        refusal.form.add_error(None, str(refusal.error))
    if isinstance(refusal.error, OlderVersionError):
        # The page now shows what was saved meanwhile, so the form can replace it.
        refusal.form.replace_version(refusal.error.newest.values())
    posted = _posted(request, form=refusal.form)
    if wants_fragment(request):
        return detail.render_saved(
            request, review=review, actor=actor, posted=posted, status=status
        )
    return detail.render_review(request, review=review, actor=actor, posted=posted, status=status)


def _decided(
    request: HttpRequest, actor: Actor, review: AccessReview, saved: list[Any]
) -> HttpResponse:
    posted = _posted(request)
    if wants_fragment(request) and not posted.groups:
        return detail.render_saved(request, review=review, actor=actor, posted=posted, status=200)
    messages.success(request, f"{pluralize(len(saved), 'decision')} saved.")
    if wants_fragment(request):
        return HttpResponseClientRefresh()
    query = detail.query_of_page(request)
    for name in ("open", "decision"):
        query.pop(name, None)
    return redirect_to(review, query=query)


def _posted(request: HttpRequest, *, form: forms.DecisionForm | None = None) -> Posted:
    return Posted(
        connections=request.POST.getlist("connection"),
        is_of_selection="selection" in request.POST,
        form=form,
        groups=request.POST.getlist("group"),
    )


_decide = _action(
    "access-review-decide",
    decisions.decide,
    form=forms.DecisionForm,
    page=_refused_decision,
    respond=_decided,
)


def access_review_decide(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Decide on one connection, or on all selected ones: either all of them or none.

    `group` is the digest of a heading, and stands for all that is to be decided under it.
    """
    if "group" in request.POST:
        actor, posted = actor_of(request), request.POST.copy()
        review = find_access_review(actor=actor, pk=pk)
        try:
            rows = detail.find_groups(
                request, review=review, actor=actor, digests=posted.getlist("group")
            )
        except OvertakenError as error:
            form = forms.DecisionForm(posted)
            form.is_valid()
            return _refused_decision(request, pk, Refusal(form=form, error=error))
        posted.setlist("grouped", [f"{row.key.reference} {row.digest}" for row in rows])
        request = copy(request)
        request.POST = posted  # type: ignore[assignment]
    return _decide(request, pk=pk)


def _planned(
    request: HttpRequest, actor: Actor, review: AccessReview, plan: deleting.PlannedDeletions
) -> HttpResponse:
    if not plan.is_new:
        messages.info(
            request,
            "You already planned these connections. To plan them again, discard this draft first.",
        )
    if plan.remaining:
        messages.info(
            request,
            f"{pluralize(plan.remaining, 'more connection')} can be planned afterwards: a bulk "
            f"deletion can have at most {drafts.MAX_ROWS:,}.",
        )
    return redirect_to(plan.batch)


# Plans the deletion of the connections decided to delete, and continues to the plan.
access_review_plan = _action("access-review-plan", deleting.plan_deletions, respond=_planned)


def _redirect_if_closed(request: HttpRequest, review: AccessReview) -> HttpResponse | None:
    if not review.is_closed:
        return None
    messages.info(request, _CLOSED)
    return redirect_to(review)


def _reviewers_page(request: HttpRequest, pk: UUID, refusal: Refusal = NOT_REFUSED) -> HttpResponse:
    review = find_access_review(actor=actor_of(request), pk=pk)
    if response := _redirect_if_closed(request, review):
        return response
    form = refusal.form or forms.ReviewersForm.about(review)
    if isinstance(refusal.error, ConflictError):
        form.add_error("reviewers", str(refusal.error))
    context = {"review": review, "form": form}
    return render(request, "access_reviews/reviewers.html", context, status=refusal.status)


access_review_reviewers = _action(
    "access-review-reviewers",
    reviewers.change_reviewers,
    form=forms.ReviewersForm,
    page=_reviewers_page,
    done=lambda review, result: "Reviewers changed.",
)


# Names who alone decides on connections of an access review by owners.
access_review_owner = _action(
    "access-review-owner",
    reviewers.change_owner,
    form=forms.DecidingOwnerForm,
    done=lambda review, result: "Saved who decides.",
)


access_review_repeat = _action(
    "access-review-repeat",
    repeating.change_repetition,
    form=forms.RepetitionForm,
    done=lambda review, result: "Saved how often it repeats.",
)


def _closing_page(request: HttpRequest, pk: UUID, refusal: Refusal = NOT_REFUSED) -> HttpResponse:
    review = find_access_review(actor=actor_of(request), pk=pk)
    if response := _redirect_if_closed(request, review):
        return response
    form = refusal.form or forms.ClosingForm()
    if isinstance(refusal.error, ConflictError):
        # What changed on the page is said above the form.
        field = None if isinstance(refusal.error, OvertakenError) else "open_reason"
        form.add_error(field, str(refusal.error))
    rows = review_rows(review=review, actor=actor_of(request))
    context = {
        "review": review,
        "summary": detail.summarize(rows, is_closed=False),
        "pending_digest": closing.pending_digest(rows),
        "form": form,
    }
    return render(request, "access_reviews/close.html", context, status=refusal.status)


# Closes it permanently.
access_review_close = _action(
    "access-review-close",
    closing.close_review,
    form=forms.ClosingForm,
    page=_closing_page,
    done=lambda review, result: "Access review closed.",
)

"""The actions on an access review."""

from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.html import format_html

from connections.access.actor import Actor
from connections.access_reviews import closing, decisions, deleting, repeating, reviewers
from connections.access_reviews.rows import review_rows
from connections.batches import drafts
from connections.core.errors import ConflictError, InvalidInputError, OvertakenError
from connections.core.text import pluralize
from connections.lookups.objects import find_access_review
from connections.models import AccessReview, ReviewDecision
from connections.web.access_reviews import detail, forms
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
    """The page with the form to correct. What was selected and can still be decided on stays so."""
    actor = actor_of(request)
    if not isinstance(refusal.error, InvalidInputError):
        refusal.form.add_error(None, str(refusal.error))
    return detail.render_review(
        request,
        review=find_access_review(actor=actor, pk=pk),
        actor=actor,
        form=refusal.form,
        status=refusal.status,
    )


def _decided(
    request: HttpRequest, actor: Actor, review: AccessReview, saved: list[Any]
) -> HttpResponse:
    query = detail.query_of_page(request)
    decision = saved[0].decision
    decided = query.copy()
    decided.pop("after", None)
    decided["show"] = decision
    url = reverse("access-review-detail", args=[review.pk], query=decided)
    words = "kept" if decision == ReviewDecision.KEEP else "marked for deletion"
    message = format_html('{} {} · <a href="{}">Show</a>', f"{len(saved):,}", words, url)
    messages.success(request, message)
    if wants_fragment(request):
        return detail.render_review(request, review=review, actor=actor)
    return redirect_to(review, query=query)


# Decides on all selected connections: either all of them or none.
access_review_decide = _action(
    "access-review-decide",
    decisions.decide,
    form=forms.DecisionForm,
    page=_refused_decision,
    respond=_decided,
)


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

"""The pages to request a deletion, whole and as fragments for htmx."""

from typing import Any

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render

from connections import wording
from connections.access import approvers
from connections.access.actor import Actor
from connections.core.errors import InvalidInputError
from connections.deletions import reviews
from connections.deletions.lifecycle import OUT_OF_DATE
from connections.deletions.reviews import Review
from connections.web.deletions.forms import DeletionForm
from connections.web.deletions.responses import wants_fragment
from connections.web.deletions.review import build_review_page, choice_form, no_sender_page
from connections.web.support import actor_of

REVIEW = "connections/deletion_review.html"


def choice_page(
    request: HttpRequest, *, data: QueryDict, error: InvalidInputError | None = None
) -> HttpResponse:
    """The form to choose a connection, with its errors."""
    actor = actor_of(request)
    if error:
        form = choice_form(data, actor=actor)
        form.add_errors(error)
    else:
        # Half of the query string is no error: fill in what is there.
        form = choice_form(actor=actor)
        form.initial = data.dict()
    context = {"form": form, "no_sender": no_sender_page(actor=actor)}
    status = 422 if error else 200
    response = render(request, "connections/deletion_new.html", context, status=status)
    if wants_fragment(request):
        # This replaces the whole review page.
        response["HX-Retarget"] = response["HX-Reselect"] = "#content"
        response["HX-Reswap"] = "outerHTML"
    return response


def review_page(
    request: HttpRequest, *, review: Review, form: DeletionForm, notice: str, status: int
) -> HttpResponse:
    """The review page; for htmx the form, or all of the review where the review changed."""
    actor = actor_of(request)
    context = {
        "review": review,
        **_previous_deletion_context(review, actor=actor),
        "page": build_review_page(review, form=form),
        "form": form,
        "notice": notice,
        "is_out_of_date": notice == OUT_OF_DATE,
        "too_few": approvers.missing_approvers_warning(
            credential=review.credential, policy=review.policy, requester=actor.person
        ),
    }
    if not wants_fragment(request):
        return render(request, REVIEW, context, status=status)
    if status != 409:
        return render(request, f"{REVIEW}#request_form", context, status=status)
    response = render(request, f"{REVIEW}#review", context, status=status)
    response["HX-Retarget"] = "#review"
    response["HX-Reswap"] = "outerHTML"
    return response


def _previous_deletion_context(review: Review, *, actor: Actor) -> dict[str, Any]:
    """The deletion that ended this connection; empty where it may still exist."""
    ended = reviews.previous_deletion(
        actor=actor, credential=review.credential, connection_id=review.connection_id
    )
    if ended is None:
        return {}
    asked_at = wording.format_time(ended.requested_at)
    return {"ended": ended, "ended_at": asked_at, "ended_text": wording.describe(ended)}

"""The page of one deletion, and the actions on it."""

from functools import partial
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django_htmx.http import HttpResponseStopPolling

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.core import clock
from connections.core.causes import unavailable_text
from connections.core.errors import (
    DomainError,
    InvalidInputError,
    OvertakenError,
    UnavailableError,
)
from connections.deletions import approvals, attempt_facts, break_glass, lifecycle, reconciliation
from connections.deletions.comments import comment_on_deletion
from connections.lookups import objects
from connections.models import Deletion
from connections.web.badges import Badge
from connections.web.deletions.forms import (
    ApprovalForm,
    BreakGlassForm,
    BreakGlassReviewForm,
    CommentForm,
    ConfirmationForm,
)
from connections.web.deletions.page import record_context
from connections.web.deletions.status_section import (
    find_objections,
    find_steps,
    poll_interval,
    state_version,
    status_context,
)
from connections.web.framework.actions import NOT_REFUSED, Refusal, Subject, service_action
from connections.web.framework.forms import ReasonForm, ServiceForm
from connections.web.framework.rate_limits import limited
from connections.web.framework.support import SeeOther, actor_of, time_of, wants_fragment

DETAIL = "deletions/detail.html"


def error_status_and_text(
    error: DomainError, *, deletion: Deletion | None = None
) -> tuple[int, str]:
    """The status and message for an action that was refused.

    `deletion` is the one that the action was about, or None for a new request.
    """
    if isinstance(error, InvalidInputError):
        return 422, error.fields.get("request_id", error.fields.get("credential", ""))
    if isinstance(error, UnavailableError):
        nothing = attempt_facts.not_sent_sentence_of(deletion) if deletion else "Nothing was sent."
        return 503, f"{nothing} {unavailable_text(cause=error.cause, why=str(error))}"
    return 409, str(error)


def notice_about(error: DomainError, *, text: str) -> Badge:
    """The text above the status. That someone else was first is information, not an error."""
    if isinstance(error, OvertakenError):
        return Badge(text, "info", "info")
    return Badge(text, "danger", "warning")


def deletions_with_details() -> QuerySet[Deletion]:
    """Deletions with the related rows that their page shows."""
    return Deletion.objects.select_related(
        "credential", "requested_by", "confirmed_by", "break_glass_by", "break_glass_review"
    ).prefetch_related("attempts", "approvals")


def find_deletion(*, actor: Actor, pk: UUID) -> Deletion:
    """The deletion with this ID. Raises Http404, also if the actor's access lists hide it."""
    return objects.find_deletion(deletions_with_details(), actor=actor, pk=pk)


def respond(
    request: HttpRequest, *, deletion: Deletion, actor: Actor, is_on_review_page: bool = False
) -> HttpResponse:
    """The response after an action: a redirect to the deletion or, for htmx, its outcome."""
    url = reverse("deletion-detail", args=[deletion.pk])
    if not wants_fragment(request):
        return SeeOther(url)
    deletion = deletions_with_details().get(pk=deletion.pk)
    response = render_outcome(
        request, deletion=deletion, actor=actor, is_on_review_page=is_on_review_page
    )
    if is_on_review_page:
        response["HX-Push-Url"] = url
    return response


def render_outcome(
    request: HttpRequest,
    *,
    deletion: Deletion,
    actor: Actor,
    form: ServiceForm | None = None,
    notice: Badge | None = None,
    status: int = 200,
    is_on_review_page: bool = False,
    comment: CommentForm | None = None,
) -> HttpResponse:
    """The page of one deletion. For htmx, only `#outcome`."""
    context: dict[str, Any] = {
        "deletion": deletion,
        "shows_batch": _shows_batch(deletion, actor=actor),
        "outcome": status_context(deletion=deletion, actor=actor, form=form, notice=notice),
    }
    if not wants_fragment(request):
        context |= record_context(deletion=deletion, actor=actor, now=time_of(request))
        if permissions.can_comment(actor):
            context["comment"] = comment or CommentForm()
        return render(request, DETAIL, context, status=status)
    part = "outcome_on_review" if is_on_review_page else "outcome"
    response = render(request, f"{DETAIL}#{part}", context, status=status)
    # The details next to the outcome reload themselves.
    response["HX-Trigger"] = "deletionChanged"
    return response


def _shows_batch(deletion: Deletion, *, actor: Actor) -> bool:
    """Whether it belongs to a bulk deletion that this person can see."""
    return bool(visibility.visible_batch_ids([deletion], actor=actor))


def deletion_detail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One deletion: its outcome, next steps and details."""
    actor = actor_of(request)
    deletion = find_deletion(actor=actor, pk=pk)
    if not wants_fragment(request):
        return render_outcome(request, deletion=deletion, actor=actor)
    if request.htmx.target == "record":  # type: ignore[attr-defined]
        context = {"deletion": deletion, "shows_batch": _shows_batch(deletion, actor=actor)}
        context |= record_context(deletion=deletion, actor=actor, now=time_of(request))
        return render(request, f"{DETAIL}#record", context)
    if request.htmx.target == "watch":  # type: ignore[attr-defined]
        return _poll_response(request, deletion=deletion, actor=actor)
    return render_outcome(request, deletion=deletion, actor=actor)


def _poll_response(request: HttpRequest, *, deletion: Deletion, actor: Actor) -> HttpResponse:
    """The response to a poll. If nothing is new, it replaces nothing, so that input is kept."""
    now = clock.now()
    objections = find_objections(deletion, actor=actor)
    offered = find_steps(deletion, objections=objections, actor=actor, now=now)
    version = state_version(deletion, objections=objections, offered=offered, now=now)
    seconds = poll_interval(deletion, now=now)
    if request.GET.get("seen") != version:
        response = render_outcome(request, deletion=deletion, actor=actor)
        response["HX-Retarget"] = "#outcome"
        return response
    if seconds is None:
        return HttpResponseStopPolling()
    if request.GET.get("every") == str(seconds):
        return HttpResponse(status=204)
    watch = {"url": request.path, "version": version, "poll_interval": seconds}
    return render(request, f"{DETAIL}#watch", {"outcome": watch, "deletion": deletion})


def _show(request: HttpRequest, pk: UUID, refusal: Refusal = NOT_REFUSED) -> HttpResponse:
    actor, form, error = actor_of(request), refusal.form, refusal.error
    deletion = find_deletion(actor=actor, pk=pk)
    if error is None:
        return render_outcome(request, deletion=deletion, actor=actor, form=form)
    status, text = error_status_and_text(error, deletion=deletion)
    notice = notice_about(error, text=text)
    return render_outcome(
        request, deletion=deletion, actor=actor, form=form, notice=notice, status=status
    )


_action = partial(
    service_action,
    Subject(
        name="deletion",
        find=lambda actor, pk: objects.find_deletion(Deletion.objects.all(), actor=actor, pk=pk),
        page=_show,
        respond=lambda request, actor, deletion, result: respond(
            request, deletion=deletion, actor=actor
        ),
    ),
)

# Confirms with the typed text, and sends the DELETE.
deletion_execute = _action(
    "deletion-execute", lifecycle.execute_deletion, form=ConfirmationForm, reauthenticate=True
)
deletion_withdraw = _action("deletion-withdraw", lifecycle.withdraw_deletion, form=ReasonForm)
# Checks Datadog's list now.
deletion_reconcile = limited("reconcile", per_minute=30)(
    _action("deletion-reconcile", reconciliation.check_deletion)
)
# Closes an unknown or still-present deletion as unresolved.
deletion_close = _action("deletion-close", lifecycle.close_deletion, form=ReasonForm)
# Approves what the page showed, and sends nothing.
deletion_approve = _action(
    "deletion-approve",
    approvals.approve_deletion,
    form=ApprovalForm,
    reauthenticate=True,
    is_allowed=lambda actor, deletion: permissions.can_approve(actor, deletion=deletion),
    what="approve or decline this deletion",
)
deletion_decline = _action("deletion-decline", approvals.decline_deletion, form=ReasonForm)
# Confirms with the typed text, and sends without the missing approvals.
deletion_break_glass = _action(
    "deletion-break-glass",
    break_glass.break_glass,
    form=BreakGlassForm,
    reauthenticate=True,
    is_allowed=lambda actor, deletion: permissions.can_break_glass(actor, deletion=deletion),
    what="break glass",
)
deletion_review_break_glass = _action(
    "deletion-review-break-glass",
    break_glass.review_break_glass,
    form=BreakGlassReviewForm,
    reauthenticate=True,
    is_allowed=lambda actor, deletion: permissions.can_review_break_glass(actor, deletion=deletion),
    what="review this use of break glass",
)

TOO_MANY_COMMENTS = "Too many comments. Nothing was added. Try again in a minute."


def _comment_error(
    request: HttpRequest, pk: UUID, *, error: InvalidInputError, status: int
) -> HttpResponse:
    """The form with its input and error. For htmx, only the form."""
    actor = actor_of(request)
    deletion = find_deletion(actor=actor, pk=pk)
    form = CommentForm(request.POST)
    form.add_errors(error)
    if not wants_fragment(request):
        return render_outcome(request, deletion=deletion, actor=actor, comment=form, status=status)
    context = {"deletion": deletion, "comment": form}
    return render(request, f"{DETAIL}#comment_form", context, status=status)


def _too_many_comments(request: HttpRequest, pk: UUID) -> HttpResponse:
    return _comment_error(
        request, pk, error=InvalidInputError({"text": TOO_MANY_COMMENTS}), status=429
    )


@limited("comments", per_minute=30, over=_too_many_comments)
def deletion_comment(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Add a comment. For htmx, the response is only the form, empty again or with its errors."""
    actor = actor_of(request)
    deletion = find_deletion(actor=actor, pk=pk)
    form = CommentForm(request.POST)
    try:
        form.require_valid()
        comment_on_deletion(deletion=deletion, actor=actor, text=form.cleaned_data["text"])
    except InvalidInputError as error:
        return _comment_error(request, pk, error=error, status=422)
    if not wants_fragment(request):
        return SeeOther(reverse("deletion-detail", args=[pk], fragment="comment"))
    context = {"deletion": deletion, "comment": CommentForm(), "is_added": True}
    response = render(request, f"{DETAIL}#comment_form", context)
    response["HX-Trigger"] = "deletionChanged"
    return response

"""Reviewing, asking, confirming and following one deletion."""

from collections.abc import Mapping
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django_htmx.http import HttpResponseStopPolling

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.audit import lookups
from connections.core import clock
from connections.core.errors import ConflictError, DomainError, InvalidInputError
from connections.deletions import approvals, break_glass, lifecycle, reconciliation, reviews
from connections.deletions.comments import comment_on_deletion
from connections.deletions.reviews import ReviewChangedError
from connections.models import Credential, Deletion
from connections.web.deletions.forms import (
    ApprovalForm,
    BreakGlassForm,
    BreakGlassReviewForm,
    CommentForm,
    ConfirmationForm,
    DeletionForm,
    ReasonForm,
)
from connections.web.deletions.outcome import poll_interval, state_version
from connections.web.deletions.page import record_context
from connections.web.deletions.responses import (
    DETAIL,
    deletions_with_details,
    error_status_and_text,
    find_deletion,
    page_with_input,
    render_outcome,
    respond,
    run_action,
    wants_fragment,
)
from connections.web.deletions.review import deletion_form, previous_input, uuid_or_none
from connections.web.deletions.review_pages import choice_page, review_page
from connections.web.rate_limits import limited
from connections.web.reauthentication import requires_reauthentication
from connections.web.support import SeeOther, actor_of


def _new_page_with_input(request: HttpRequest) -> HttpResponse:
    """The review with the input and the reauthentication prompt."""
    actor = actor_of(request)
    recorded = _find_requested(request.POST.get("request_id", ""), actor=actor)
    if recorded:
        return respond(request, deletion=recorded, actor=actor, is_apart=True)
    try:
        credential, connection_id = _parse_choice(request.POST.dict(), actor=actor)
    except InvalidInputError as error:
        return choice_page(request, data=request.POST, error=error)
    review = reviews.review(actor=actor, credential=credential, connection_id=connection_id)
    form = DeletionForm(request.POST)
    return review_page(request, review=review, form=form, notice="", status=422)


# Without a confirmation, this only requests approval: nothing is sent.
@requires_reauthentication(
    on_missing=_new_page_with_input, when=lambda request: bool(request.POST.get("confirmation"))
)
def deletion_new(request: HttpRequest) -> HttpResponse:
    """The review of one connection; a POST requests its deletion."""
    if request.method == "POST":
        return _request_deletion(request)
    actor = actor_of(request)
    asked = request.GET
    recorded = _find_requested(asked.get("request_id", ""), actor=actor)
    if recorded:
        return HttpResponseRedirect(reverse("deletion-detail", args=[recorded.pk]))
    if "credential" not in asked or "connection_id" not in asked:
        return choice_page(request, data=asked)
    try:
        credential, connection_id = _parse_choice(asked, actor=actor)
    except InvalidInputError as error:
        return choice_page(request, data=asked, error=error)
    review = reviews.review(actor=actor, credential=credential, connection_id=connection_id)
    request_id = uuid_or_none(asked.get("request_id", ""))
    typed = previous_input(asked.get("again", ""), actor=actor) | asked.dict()
    form = deletion_form(review, typed=typed, request_id=request_id)
    notice = "Nothing was recorded from that form, so nothing was sent." if request_id else ""
    return review_page(request, review=review, form=form, notice=notice, status=200)


def _parse_choice(data: Mapping[str, str], *, actor: Actor) -> tuple[Credential, UUID]:
    """The chosen credential and connection.

    Raises InvalidInputError, and Http404 for a credential that doesn't exist or is hidden.
    """
    problems: dict[str, str] = {}
    credential = None
    pk = uuid_or_none(data.get("credential", ""))
    if pk:
        credential = lookups.find_credential(actor=actor, pk=pk)
    if credential is None:
        problems["credential"] = "Choose the credential that sends."
    try:
        connection_id = reviews.parse_connection_id(data.get("connection_id", ""))
    except InvalidInputError as error:
        problems |= error.fields
    if problems or credential is None:
        raise InvalidInputError(problems)
    return credential, connection_id


def _find_requested(request_id: str, *, actor: Actor) -> Deletion | None:
    """The deletion that this person's form has already requested, if any."""
    wanted = uuid_or_none(request_id)
    if wanted is None or actor.person is None:
        return None
    own = visibility.visible(deletions_with_details(), actor=actor).filter(
        requested_by=actor.person
    )
    return own.filter(request_id=wanted).first()


def _request_deletion(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    try:
        credential, connection_id = _parse_choice(request.POST.dict(), actor=actor)
    except InvalidInputError as error:
        return choice_page(request, data=request.POST, error=error)
    form = DeletionForm(request.POST)
    try:
        form.require_valid()
        typed = form.cleaned_data
        deletion = lifecycle.request_deletion(
            actor=actor,
            credential=credential,
            connection_id=connection_id,
            reason=typed["reason"],
            ticket=typed["ticket"],
            request_id=typed["request_id"],
            digest=typed["digest"],
            confirmation=typed["confirmation"],
        )
    except ReviewChangedError as changed:
        form = deletion_form(
            changed.review, typed=request.POST.dict(), request_id=form.request_id_or_none
        )
        return review_page(
            request, review=changed.review, form=form, notice=str(changed), status=409
        )
    except DomainError as error:
        return _request_failed(
            request, form=form, error=error, credential=credential, connection_id=connection_id
        )
    return respond(request, deletion=deletion, actor=actor, is_apart=True)


def _request_failed(
    request: HttpRequest,
    *,
    form: DeletionForm,
    error: DomainError,
    credential: Credential,
    connection_id: UUID,
) -> HttpResponse:
    """The review with the input, or the deletion where it was requested after all."""
    actor = actor_of(request)
    status, notice = error_status_and_text(error)
    recorded = _find_requested(request.POST.get("request_id", ""), actor=actor)
    if recorded:
        return render_outcome(
            request, deletion=recorded, actor=actor, notice=notice, status=status, is_apart=True
        )
    review = reviews.review(actor=actor, credential=credential, connection_id=connection_id)
    if isinstance(error, InvalidInputError) and form.request_id_or_none:
        form.add_errors(error)
    else:
        # This form's id is missing or was used by another person: make a new one.
        keep = None if isinstance(error, ConflictError) else form.request_id_or_none
        form = deletion_form(review, typed=request.POST.dict(), request_id=keep)
    return review_page(request, review=review, form=form, notice=notice, status=status)


def deletion_detail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One deletion: its outcome, next steps and details."""
    actor = actor_of(request)
    deletion = find_deletion(actor=actor, pk=pk)
    if not wants_fragment(request):
        return render_outcome(request, deletion=deletion, actor=actor)
    if request.htmx.target == "record":  # type: ignore[attr-defined]
        context = {"deletion": deletion} | record_context(
            deletion=deletion, links_to_evidence=permissions.can_audit(actor)
        )
        return render(request, f"{DETAIL}#record", context)
    if request.htmx.target == "watch":  # type: ignore[attr-defined]
        return _poll_response(request, deletion=deletion, actor=actor)
    return render_outcome(request, deletion=deletion, actor=actor)


def _poll_response(request: HttpRequest, *, deletion: Deletion, actor: Actor) -> HttpResponse:
    """The response to a poll. Without news it replaces nothing, so that input is kept."""
    now = clock.now()
    version, seconds = state_version(deletion, now=now), poll_interval(deletion, now=now)
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


@requires_reauthentication(on_missing=page_with_input(ConfirmationForm))
def deletion_execute(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Confirm with the typed text, and send the DELETE."""
    return run_action(
        request,
        pk,
        form=ConfirmationForm(request.POST),
        action=lifecycle.execute_deletion,
    )


def deletion_withdraw(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Withdraw it while no attempt can have deleted anything."""
    return run_action(
        request,
        pk,
        form=ReasonForm(request.POST),
        action=lifecycle.withdraw_deletion,
    )


@limited("reconcile", per_minute=30)
def deletion_reconcile(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Check Datadog's list now."""
    return run_action(
        request,
        pk,
        action=reconciliation.check_deletion,
    )


def deletion_close(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Close an unknown or still present deletion as unresolved."""
    return run_action(
        request,
        pk,
        form=ReasonForm(request.POST),
        action=lifecycle.close_deletion,
    )


@requires_reauthentication(
    on_missing=page_with_input(
        ApprovalForm,
        may=lambda actor, deletion: permissions.can_approve(actor, deletion=deletion),
        what="approve or decline this deletion",
    )
)
def deletion_approve(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Approve what the page showed. Sends nothing."""
    return run_action(
        request,
        pk,
        form=ApprovalForm(request.POST),
        action=approvals.approve_deletion,
    )


def deletion_decline(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Decline, with a reason."""
    return run_action(
        request,
        pk,
        form=ReasonForm(request.POST),
        action=approvals.decline_deletion,
    )


@requires_reauthentication(
    on_missing=page_with_input(
        BreakGlassForm,
        may=lambda actor, deletion: permissions.can_break_glass(actor, deletion=deletion),
        what="break glass",
    )
)
def deletion_break_glass(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Confirm with the typed text, and send without the missing approvals."""
    return run_action(
        request,
        pk,
        form=BreakGlassForm(request.POST),
        action=break_glass.break_glass,
    )


@requires_reauthentication(
    on_missing=page_with_input(
        BreakGlassReviewForm,
        may=lambda actor, deletion: permissions.can_review_break_glass(actor, deletion=deletion),
        what="review this broken glass",
    )
)
def deletion_review_break_glass(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Record the review of a break-glass deletion."""
    return run_action(
        request,
        pk,
        form=BreakGlassReviewForm(request.POST),
        action=break_glass.review_break_glass,
    )


TOO_MANY_COMMENTS = (
    "Not added: too many comments within a minute. Wait a minute, then add it again."
)


def _comment_error(
    request: HttpRequest, pk: UUID, *, error: InvalidInputError, status: int
) -> HttpResponse:
    """The form with its input and error; for htmx the form alone."""
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
    """Add a comment; for htmx the form alone, empty again or with its errors."""
    actor = actor_of(request)
    deletion = find_deletion(actor=actor, pk=pk)
    form = CommentForm(request.POST)
    try:
        form.require_valid()
        comment_on_deletion(deletion=deletion, actor=actor, text=form.cleaned_data["text"])
    except InvalidInputError as error:
        return _comment_error(request, pk, error=error, status=422)
    if not wants_fragment(request):
        return SeeOther(f"{reverse('deletion-detail', args=[pk])}#comment")
    context = {"deletion": deletion, "comment": CommentForm(), "is_added": True}
    response = render(request, f"{DETAIL}#comment_form", context)
    response["HX-Trigger"] = "deletionChanged"
    return response
